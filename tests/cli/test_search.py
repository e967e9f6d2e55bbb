"""``whodid search``: out of a store and from a server, for people and for programs."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.cli.running import ACCOUNT, Finished, Whodid, action, token_use

ESCAPE = "\x1b[2J"


@pytest.fixture
def filled(acme: Whodid) -> Whodid:
    """A store with some actions and a token use."""
    records = [action(n, type=("task", "policy")[n % 2], target_id=f"t{n}") for n in range(6)]
    records.append(
        action(9, type="task", target_name=f"evil {ESCAPE}", outcome="denied", user_email="eve@acme.example")
    )
    acme("import", "--account", ACCOUNT, acme.write("in.ndjson", [*records, token_use(7)]))
    return acme


def found(finished: Finished) -> list[str]:
    """The targets in the output of ``--json``."""
    return [json.loads(line)["target_id"] for line in finished.out.splitlines()]


def search(whodid: Whodid, *more: str, status: int = 0) -> Finished:
    """Search the store's account."""
    return whodid("search", "--account", ACCOUNT, *more, status=status)


def test_a_search_finds_what_it_says(filled: Whodid) -> None:
    """A line for each: when, who, what, to what."""
    lines = search(filled, "type:policy target:t3").out.splitlines()
    assert [line.split() for line in lines] == [
        ["2021-07-30T16:13:52.109Z", "support@opsera.io", "policy", "update", "t3"]
    ]


def test_json_has_the_records_with_their_numbers(filled: Whodid) -> None:
    """Each on a line, as the API has them; the newest first unless it is said otherwise."""
    newest = search(filled, "type:policy", "--json")
    assert found(newest) == ["t5", "t3", "t1"]
    assert found(search(filled, "type:policy", "--json", "--order", "asc")) == ["t1", "t3", "t5"]
    record = json.loads(newest.out.splitlines()[0])
    assert list(record)[:2] == ["seq", "_id"]
    assert record | action(5, type="policy", target_id="t5", updatedAt=record["updatedAt"]) == record


def test_a_search_is_limited(filled: Whodid) -> None:
    """To 50 unless it is said otherwise; 0 is no limit."""
    filled("import", "--account", ACCOUNT, filled.write("more", [action(n + 100, type="tag") for n in range(60)]))
    assert len(search(filled, "type:tag").out.splitlines()) == 50
    assert len(search(filled, "type:tag", "--limit", "3").out.splitlines()) == 3
    assert len(search(filled, "type:tag", "--limit", "0").out.splitlines()) == 60
    assert "--limit must be" in search(filled, "--limit", "-1", status=2).err


def test_a_search_has_bounds_in_time(filled: Whodid) -> None:
    """Times, days and ages."""
    assert search(filled, "type:task", "--since", "7d").out == ""
    assert len(search(filled, "type:task", "--since", "2021-07-30", "--until", "2021-07-31").out.splitlines()) == 4
    assert "since must be a time" in search(filled, "--since", "yesterday", status=1).err


def test_a_mistake_says_where_it_is(filled: Whodid) -> None:
    """And a mistyped option is none of a search text."""
    assert "q, character 1:" in search(filled, "(type:task", status=1).err
    assert search(filled, "-type:task kind:action", "--json", "--limit", "1").out
    assert "no option --sicne" in search(filled, "--sicne=7d", status=2).err


@pytest.mark.parametrize("words", ["type:pipeline -outcome:success", "type:pipeline user:ann", "ann -bob"])
def test_a_search_text_without_quotes_is_told_so(whodid: Whodid, words: str) -> None:
    """Its words are not options, and it is one argument."""
    for command in ("search", "tail"):
        told = whodid(command, *words.split(), "--account", ACCOUNT, status=2).err
        assert "put the search into one pair of quotation marks" in told
    told = whodid("search", "--account", ACCOUNT, "ann", "--sicne", "7d", status=2).err
    assert "quotation marks" not in told


def test_no_record_is_obeyed_by_the_terminal(filled: Whodid) -> None:
    """Whoever wrote it."""
    for more in ((), ("--json",)):
        out = search(filled, "user:eve@acme.example", *more).out
        assert "evil" in out
        assert "\x1b" not in out


def test_colours_are_for_terminals(filled: Whodid) -> None:
    """And for those who want them."""
    arguments = ["search", "--account", ACCOUNT, "user:eve@acme.example"]
    assert "\x1b[33m[denied]\x1b[0m" in on_terminal(filled, arguments)
    assert "\x1b" not in on_terminal(filled, arguments, NO_COLOR="1")
    assert "\x1b" not in on_terminal(filled, [*arguments, "--json"])
    assert ESCAPE not in on_terminal(filled, arguments)


def test_a_terminal_is_told_what_is_not_shown(filled: Whodid) -> None:
    """That there are more, or that there is nothing; scripts are told neither."""
    arguments = ["search", "--account", ACCOUNT, "type:policy"]
    more = "there are more: --limit 0 shows all"
    assert more in on_terminal(filled, [*arguments, "--limit", "2"], errors=True)
    assert more not in on_terminal(filled, [*arguments, "--limit", "3"], errors=True)
    assert on_terminal(filled, [*arguments, "--limit", "2", "--json"]).count("\n") == 2
    assert on_terminal(filled, [*arguments[:3], "type:nothing"], errors=True) == "nothing found\r\n"
    assert search(filled, "type:nothing").err == search(filled, "--limit", "1").err == ""


def on_terminal(whodid: Whodid, arguments: list[str], *, errors: bool = False, **environ: str) -> str:
    """What a command writes on a terminal; with what it says beside, if asked for."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WHODID_", "NO_COLOR"))}
    with subprocess.Popen(
        [sys.executable, "-m", "whodid", *arguments], stdin=subprocess.DEVNULL, stdout=theirs, cwd=whodid.folder,
        stderr=theirs if errors else None,
        env={**kept, "WHODID_STORE": whodid.url, **environ},
    ) as process:  # fmt: skip
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # what a terminal's end is on Linux
            pass
        assert process.wait(60) == 0
    os.close(ours)
    return written.decode()


def test_a_closed_pipe_is_no_error(filled: Whodid) -> None:
    """``whodid search | head -1`` ends quietly."""
    with filled.running("search", "--account", ACCOUNT, "--limit", "0") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


# From a server.


@pytest.fixture
def tenant(store_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """An account of a running server."""
    with Running(tmp_path, store_url) as server, tenant_of(server) as made:
        yield made


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_a_server_is_searched_alike(tenant: Tenant, tmp_path: Path) -> None:
    """By its URL and a token, of a file or of the environment; the URL may be there as well."""
    server = tenant.server
    url, token = f"http://127.0.0.1:{server.port}", tenant.token()
    events = [{"user_id": "0" * 24, "type": "task", "action": "create", "target_id": f"t{n}"} for n in range(3)]
    assert server.post("/api/v1/logs/user/actions", token, events).status == 201
    whodid = Whodid(tmp_path, tenant.server.url)
    (tmp_path / "token").write_text(token + "\n")
    by_file = whodid("search", "--url", url, "--token-file", "token", "type:task", "--json")
    assert sorted(found(by_file)) == ["t0", "t1", "t2"]
    assert whodid("search", "type:task", "--json", WHODID_URL=url, WHODID_TOKEN=token).out == by_file.out
    store = whodid("search", "--account", tenant.name, "type:task", "--json", WHODID_URL=url)
    assert store.out == by_file.out
    assert len(whodid("search", "--url", url, "--token-file", "token", "--limit", "2").out.splitlines()) == 2
    told = whodid("search", "(", "--url", url, "--token-file", "token", status=1)
    assert "q, character" in told.err
    assert token not in told.err


def test_where_to_search_must_be_said_once(whodid: Whodid) -> None:
    """A store's account, or a server with a token; the token itself is never an argument."""
    for arguments, words in (
        ([], "give --account, or --url"),
        (["--url", "http://a.example"], "a server needs a token: --token-file, or WHODID_TOKEN"),
        (["--url", "http://a.example", "--account", ACCOUNT], "--url goes with neither"),
        (["--url", "http://a.example", "--store", "sqlite:///x.db"], "--url goes with neither"),
        (["--account", ACCOUNT, "--token-file", "token"], "--token-file is for --url"),
    ):
        assert words in whodid("search", *arguments, status=2).err


def test_a_server_that_does_not_answer_is_an_error(whodid: Whodid) -> None:
    """Of what can't be a URL, at once."""
    assert "URL is like" in whodid("search", "--url", "a.example", status=1, WHODID_TOKEN="x").err
