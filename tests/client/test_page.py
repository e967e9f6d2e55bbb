"""What the page about the client shows works, as it stands there."""

import re
import shlex
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running import Running, tenant_of
from tests.cli.running import ACCOUNT, Whodid

from whodid import AsyncClient, Client

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "client.md").read_text("utf-8")
URL = "https://audit.acme.example"


class Enough(Exception):
    """The consumer of an endless feed crashes."""


def blocks(language: str) -> list[str]:
    """The page's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def consumer(handled: list[Any]) -> Any:
    """Takes three records."""

    def handle(record: Any) -> None:
        if len(handled) == 3:
            raise Enough
        handled.append(record["seq"])

    return handle


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_the_examples_run(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them in order, in one program, and then the commands."""
    monkeypatch.chdir(tmp_path)
    database = sqlite3.connect(tmp_path / "theirs.db")
    database.executescript("CREATE TABLE event (seq, id); CREATE TABLE place (cursor); INSERT INTO place VALUES (NULL)")
    handled: list[Any] = []
    known: dict[str, Any] = {
        "database": database,
        "cursor_of": lambda opened: opened.execute("SELECT cursor FROM place").fetchone()[0],
        "handle": consumer(handled),
    }
    with Running(tmp_path, store_url) as server, tenant_of(server, ACCOUNT) as tenant:
        tenant.add_user("ann@acme.example")
        Path("ann.token").write_text(tenant.token() + "\n")
        whodid = Whodid(tmp_path, server.url)
        Path("acme.key").write_text(whodid("key", "show").out)
        url = f"http://127.0.0.1:{server.port}"
        for block in blocks("python"):
            program = compile(block.replace(URL, url), "client.md", "exec")
            if "handle(" in block:
                with pytest.raises(Enough):
                    exec(program, known)
            else:
                exec(program, known)
        known["client"].close()
        size = tenant.size()
        commands = [shlex.split(line.replace(URL, url)) for block in blocks("sh") for line in block.splitlines()]
        shown = [whodid(*command[1:]).out for command in commands]
    assert handled == [0, 1, 2]
    assert known["summary"]["total"] > 0
    assert known["proven"].record == known["record"]
    assert Path("acme.checkpoint").exists()
    told = database.execute("SELECT seq FROM event ORDER BY seq").fetchall()
    database.close()
    assert 10 < len(told) <= size
    assert [seq for (seq,) in told] == list(range(len(told)))
    assert all(shown)


def test_the_page_names_every_function() -> None:
    """Of both clients, which have the same."""
    functions = {name for name in vars(Client) if not name.startswith("_")}
    assert functions == {name.replace("aclose", "close") for name in vars(AsyncClient) if not name.startswith("_")}
    named = set(re.findall(r"(?<=client\.)\w+|(?<=`)\w+", PAGE))
    assert functions - named == {"feed_page"}
