"""``whodid key``: verifier keys for auditors, and a new key when the old one must go."""

import shutil

import pytest
from tests.cli.running import ACCOUNT, Whodid

from whodid.checkpoint import open_checkpoint
from whodid.notes import Verifier


def test_each_log_has_a_verifier_key(acme: Whodid) -> None:
    """Named after the log; all of one public key."""
    acme("account", "add", "org-other")
    rows = acme("key", "show", "--json").json
    assert [row["account"] for row in rows] == [ACCOUNT, "org-other"]
    verifiers = [Verifier.parse(row["verifier_key"]) for row in rows]
    assert [one.name for one in verifiers] == [f"localhost/log/{ACCOUNT}", "localhost/log/org-other"]
    assert len({one.public_key for one in verifiers}) == 1
    assert acme.key_path.stat().st_mode & 0o777 == 0o600


def test_one_account_s_key_is_shown_alone(acme: Whodid) -> None:
    """And an account that is not there is told."""
    acme("account", "add", "org-other")
    (row,) = acme("key", "show", "--account", "org-other", "--json").json
    assert row["verifier_key"] in acme("key", "show", "--account", "org-other").out
    assert "no account" in acme("key", "show", "--account", "org-nobody", status=1).err


def test_the_public_host_names_the_logs(acme: Whodid) -> None:
    """Given once, it is remembered; one with a scheme is refused."""
    given = acme("key", "show", "--json", WHODID_PUBLIC_HOST="audit.acme.example").json
    assert given == acme("key", "show", "--json").json
    assert given[0]["verifier_key"].startswith(f"audit.acme.example/log/{ACCOUNT}+")
    refused = acme("key", "show", status=1, WHODID_PUBLIC_HOST="https://audit.acme.example")
    assert "without https://" in refused.err


def test_a_rotation_is_told_in_every_log_and_keeps_the_old_key_for_checking(acme: Whodid) -> None:
    """The action names both keys; what the old one signed can be checked still, and what the new one signs, too."""
    acme("account", "add", "org-other")
    (old, _) = acme("key", "show", "--json").json
    acme("export", "--account", ACCOUNT, "--evidence", "--output", "before.gz")
    signed = (acme.signed_dir / f"{ACCOUNT}.checkpoint").read_text()
    rotated = acme("key", "rotate", "--json").json
    assert [row["retired"] for row in rotated] == [None, None]
    shown = acme("key", "show", "--account", ACCOUNT, "--json").json
    assert [row["verifier_key"] for row in shown] == [rotated[0]["verifier_key"], old["verifier_key"]]
    assert shown[1]["retired"] is not None
    for account in (ACCOUNT, "org-other"):
        told = [line for line in acme("export", "--account", account).out.splitlines() if "verifier_key" in line]
        assert len(told) == 1
        assert '"action":"update"' in told[0]
    assert old["verifier_key"] in acme("export", "--account", ACCOUNT).out
    verifiers = [Verifier.parse(row["verifier_key"]) for row in shown]
    assert open_checkpoint(signed, verifiers).signer == verifiers[1]
    acme("export", "--account", ACCOUNT, "--evidence", "--output", "after.gz")
    renewed = (acme.signed_dir / f"{ACCOUNT}.checkpoint").read_text()
    assert open_checkpoint(renewed, verifiers).signer == verifiers[0]
    assert "PRIVATE" not in acme("key", "show").out
    acme("verify-store")


def test_a_key_may_be_anywhere_but_must_be_there(acme: Whodid) -> None:
    """A key that is named is never made in silence."""
    before = acme("key", "show", "--json").json
    mine = acme.folder / "mine.pem"
    refused = acme("key", "show", status=1, WHODID_SIGNING_KEY=str(mine))
    assert "openssl genpkey" in refused.err
    shutil.move(acme.key_path, mine)
    assert acme("key", "show", "--json", WHODID_SIGNING_KEY=str(mine)).json == before
    assert not acme.key_path.exists()


@pytest.mark.on_sqlite_only("a database knows its key: test_db tells what it says")
def test_a_key_that_is_gone_is_noticed(acme: Whodid) -> None:
    """A new one is made, but not without a word, once something was signed."""
    assert acme("key", "show").err == ""
    acme("export", "--account", ACCOUNT, "--evidence", "--output", "before.gz")
    acme.key_path.unlink()
    told = acme("key", "show")
    assert "their key is gone" in told.err
    assert acme("key", "show").err == ""


def test_a_new_store_has_no_logs_to_show_keys_of(whodid: Whodid, store_kind: str) -> None:
    """It says how to get one."""
    if store_kind == "sqlite":
        whodid.store_path.touch()
    assert "whodid account add" in whodid("key", "show").err
