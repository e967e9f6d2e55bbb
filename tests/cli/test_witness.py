"""How far the witnesses are, at the command line: what the store has noted, for people and for programs."""

from tests.cli.running import ACCOUNT, Whodid
from tests.stores import run

from whodid.store.base import WitnessState
from whodid.store.opening import open_store

COSIGNED_MS = 1_627_661_632_000


async def note(url: str, **witnesses: tuple[str, int, str | None]) -> None:
    """Note in a store how far witnesses are: of which account, with which size, and what their error was."""
    store = open_store(url)
    for witness, (name, size, error) in witnesses.items():
        account = await store.account(name)
        assert account is not None
        cosigned_ms = COSIGNED_MS if size else None
        await store.keep([WitnessState(account.no, f"{witness}.example", size, cosigned_ms, error, COSIGNED_MS)])
    await store.close()


def test_each_witness_has_a_row_for_each_log(acme: Whodid) -> None:
    """With what it has cosigned, what it has not, when, and why not the last."""
    acme("account", "add", "org-other")
    told = 'answered 404 "unknown log": it does not know the log'
    run(note(acme.url, w2=(ACCOUNT, 0, told), w1=(ACCOUNT, 1, None), w3=("org-other", 1, None)))
    assert acme("witness", "status", "--json").json == [
        {
            "account": ACCOUNT, "witness": "w1.example", "size": 1, "behind": 1,
            "cosigned": "2021-07-30T16:13:52.000Z", "error": None,
        },
        {"account": ACCOUNT, "witness": "w2.example", "size": 0, "behind": 2, "cosigned": None, "error": told},
        {
            "account": "org-other", "witness": "w3.example", "size": 1, "behind": 0,
            "cosigned": "2021-07-30T16:13:52.000Z", "error": None,
        },
    ]  # fmt: skip
    head, *rows = acme("witness", "status").out.splitlines()
    assert head.split() == ["account", "witness", "size", "behind", "cosigned", "error"]
    assert [row.split()[:5] for row in rows] == [
        [ACCOUNT, "w1.example", "1", "1", "2021-07-30T16:13:52.000Z"],
        [ACCOUNT, "w2.example", "0", "2", "-"],
        ["org-other", "w3.example", "1", "0", "2021-07-30T16:13:52.000Z"],
    ]
    assert rows[1].endswith(told)


def test_one_account_s_witnesses_are_shown_alone(acme: Whodid) -> None:
    """And an account that is not there is told."""
    acme("account", "add", "org-other")
    run(note(acme.url, w1=(ACCOUNT, 1, None), w3=("org-other", 1, None)))
    (row,) = acme("witness", "status", "--account", "org-other", "--json").json
    assert row["witness"] == "w3.example"
    assert "no account" in acme("witness", "status", "--account", "org-nobody", status=1).err


def test_where_no_witness_was_asked_it_is_said(acme: Whodid) -> None:
    """With what to set; programs get an empty list."""
    finished = acme("witness", "status")
    assert finished.out == ""
    assert "'witnesses'" in finished.err
    assert acme("witness", "status", "--json").json == []
