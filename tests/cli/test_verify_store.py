"""The check of a store at the command line."""

from tests.cli.running import ACCOUNT, Whodid, action
from tests.stores import overwrite, spoil_search


def _fill(acme: Whodid) -> None:
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", [action(1), action(2)]))


def test_a_sound_store_is_told_sound(acme: Whodid) -> None:
    """With how much there is in it."""
    _fill(acme)
    assert acme("verify-store").out == "the store is sound: 1 account, 4 entries, nothing signed yet\n"
    assert acme("verify-store", "--json").json == {
        "sound": True,
        "accounts": 1,
        "entries": 4,
        "checkpoints": 0,
        "findings": [],
    }


def test_a_store_that_was_tampered_with_fails_the_check(acme: Whodid) -> None:
    """Status 1, and each finding with account and place."""
    _fill(acme)
    overwrite(acme.url, "salt", bytes(16), 2)
    told = acme("verify-store", status=1)
    assert ACCOUNT in told.out
    assert "not sound" in told.err
    found = acme("verify-store", "--json", status=1).json
    assert (found["sound"], found["findings"][0]["account"], found["findings"][0]["seq"]) == (False, ACCOUNT, 2)


def test_a_broken_search_index_is_found_and_rebuilt(acme: Whodid) -> None:
    """--rebuild-search makes it anew from the records, then checks."""
    _fill(acme)
    spoil_search(acme.url)
    assert "search" in acme("verify-store", status=1).out
    rebuilt = acme("verify-store", "--rebuild-search")
    assert "the store is sound" in rebuilt.out
    assert "4 entries" in rebuilt.err
