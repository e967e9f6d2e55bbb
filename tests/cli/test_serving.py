"""The server and the demonstration, started from the command line."""

import json
import re
import signal
import subprocess
import urllib.request

import pytest
from tests.cli.running import ACCOUNT, EMAIL, Whodid

from whodid.tokens import is_authentic

demonstration = pytest.mark.on_sqlite_only("the demonstration makes a file of its own")


def _until(process: subprocess.Popen[bytes], pattern: str) -> tuple[str, str]:
    """What the process prints up to the line that matches; and what the pattern caught."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line.decode()
        if match := re.search(pattern, line.decode()):
            return said, match[1]
    raise AssertionError(said)


def _get(url: str, token: str) -> dict[str, object]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        answer: dict[str, object] = json.load(reply)
    return answer


def test_a_server_serves_the_store_until_it_is_stopped(acme: Whodid) -> None:
    """A token made beside the running server opens it; Ctrl-C ends it with status 0."""
    with acme.running("serve", "--port", "0") as process:
        _, url = _until(process, r"(http://\S+)")
        create = ("token", "create", "--account", ACCOUNT, "--email", EMAIL, "--name", "laptop", "--scope", "api")
        token = acme(*create).out.strip()
        assert _get(f"{url}/api/v1/logs/user/tokens?count=1", token)["count"] == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.mark.on_sqlite_only("it is refused before the store is opened")
def test_a_setting_that_is_wrong_is_one_line(whodid: Whodid) -> None:
    """Whether it is a flag's or a file's."""
    assert whodid("serve", "--port", "70000", status=1).err.startswith("whodid: port must be")
    whodid.write("whodid.toml", b'colour = "red"\n')
    assert "there is no setting 'colour'" in whodid("serve", "--config", "whodid.toml", status=1).err
    assert "can't read" in whodid("serve", "--config", "missing.toml", status=1).err


@pytest.mark.on_sqlite_only("a database may have many")
def test_a_store_has_one_server(acme: Whodid) -> None:
    """The second is told about the first."""
    with acme.running("serve", "--port", "0") as process:
        _until(process, r"(http://\S+)")
        assert "another server" in acme("serve", "--port", "0", status=1).err


@demonstration
def test_the_demonstration_fills_its_store_and_prints_tokens(whodid: Whodid) -> None:
    """A month of activity, tokens and commands to copy; the store stands any check."""
    said = whodid("demo", "--store", whodid.url, "--no-serve").out
    assert len({token for token in re.findall(r"whodid_pat_\w+", said) if is_authentic(token)}) == 2
    assert said.count("curl ") == 3
    (account,) = whodid("account", "list", "--json").json
    assert account["name"] == ACCOUNT
    assert 8_000 <= account["entries"] <= 12_500
    assert "the store is sound" in whodid("verify-store").out


@demonstration
def test_a_second_demonstration_only_makes_fresh_tokens(whodid: Whodid) -> None:
    """Those of the first are expired; the month is not lived twice."""
    whodid("demo", "--store", whodid.url, "--no-serve")
    (before,) = whodid("account", "list", "--json").json
    whodid("demo", "--store", whodid.url, "--no-serve")
    (after,) = whodid("account", "list", "--json").json
    assert after["entries"] == before["entries"] + 4
    tokens = [
        token for token in whodid("token", "list", "--account", ACCOUNT, "--json").json if "demo" in token["name"]
    ]
    assert [token["valid"] for token in tokens] == [True, True, False, False]


@demonstration
def test_the_demonstration_stays_out_of_a_store_that_is_in_use(whodid: Whodid) -> None:
    """Made-up activity must not get between what is true."""
    whodid("account", "add", "org-real")
    assert "a store of its own" in whodid("demo", "--store", whodid.url, "--no-serve", status=1).err


@demonstration
def test_the_demonstrations_commands_work_as_printed(whodid: Whodid) -> None:
    """All three of them, against the server that it starts."""
    with whodid.running("demo", "--store", whodid.url, "--port", "0") as process:
        said, _ = _until(process, r"(Ctrl-C)")
        commands = re.findall(r"^  curl (?:.*\\\n)?.*$", said, re.MULTILINE)
        assert len(commands) == 3
        for command in commands:
            reply = subprocess.run(command + " -sS", shell=True, capture_output=True, check=True, timeout=20)
            assert json.loads(reply.stdout)["count"] in (1, 5)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
