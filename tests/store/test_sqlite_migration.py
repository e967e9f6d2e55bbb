"""A store of an older schema, brought up to date with what is in it."""

import asyncio
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from tests.building import NOW_MS, add_account, append, event, event_at, flat, new_id, no_progress

from whodid.conditions import All, Says
from whodid.errors import StoreUnusable
from whodid.records import Body, Kind
from whodid.store.base import Account, Entry, Question, Search
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.connection import ServerLock, open_writer, transaction
from whodid.store.sqlite.schema import migrations
from whodid.store.sqlite.tally import counted

# Undoes migration 3: what only it has goes, and what it changed is as it was.
_BACK_TO_2 = """
    DROP TABLE tally;
    DROP TABLE address_word;
    ALTER TABLE account DROP COLUMN kept_from;
    CREATE TABLE old_id (account_no INTEGER NOT NULL, id BLOB NOT NULL, time_key INTEGER NOT NULL,
        PRIMARY KEY (account_no, id)) STRICT, WITHOUT ROWID;
    INSERT INTO old_id SELECT r.account_no, r.id, e.time_key
        FROM record_id r JOIN entry e ON e.account_no = r.account_no AND e.seq = r.seq;
    DROP TABLE record_id;
    ALTER TABLE old_id RENAME TO record_id;
    INSERT INTO search (search) VALUES ('delete-all');
    PRAGMA user_version = 2;
"""


async def _fill(path: Path) -> tuple[Account, list[Entry], str]:
    store = SqliteStore(path, create=True)
    account, other = await add_account(store), await add_account(store)
    own_id = new_id()
    await append(store, account, event(account, _id=own_id, target_name="Nightly build", user_email="ann@acme.example"))
    await append(store, account, *(event_at(account, NOW_MS + at, Kind(at % 2 + 1)) for at in range(20)))
    await append(store, other, event(other, target_name="Nightly build"))
    entries = await flat(store.entries(account.no))
    await store.close()
    return account, entries, own_id


def _go_back(path: Path) -> None:
    connection = open_writer(path)
    connection.execute(_BACK_TO_2)
    connection.close()


async def _check(path: Path, account: Account, entries: list[Entry], own_id: str) -> None:
    store = SqliteStore(path)
    assert await flat(store.entries(account.no)) == entries
    found = await store.search(Search(account.no, All((Says("nightly"), Says("acme")))))
    assert [one.seq for one in found.records] == [1]
    summary = await store.summarize(Question(Search(account.no), "kind", 3_600_000))
    assert (summary.total, sum(summary.buckets.values())) == (len(entries), len(entries))
    entry = await store.entry(account.no, own_id)
    assert entry is not None
    assert entry.seq == 1
    assert await store.check(no_progress) == []
    await store.close()


def test_a_store_of_schema_2_is_searchable_after_the_migration(tmp_path: Path) -> None:
    """Its entries are as they were; ids, index and counts are made of them."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    asyncio.run(_check(path, *filled))


def test_a_migration_that_breaks_off_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is one transaction: who opens the store next does it all."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    with monkeypatch.context() as patch:
        patch.setattr("whodid.store.sqlite.search_rebuild.counted", _break)
        with pytest.raises(ZeroDivisionError):
            SqliteStore(path)
    assert _version(path) == 2
    asyncio.run(_check(path, *filled))


_KILLED = """
import os, signal, sys
from pathlib import Path
from whodid.store.sqlite import SqliteStore, search_rebuild

def kill(body):
    os.kill(os.getpid(), signal.SIGKILL)

search_rebuild.counted = kill
SqliteStore(Path(sys.argv[1]))
"""


def test_a_process_that_is_killed_in_a_migration_leaves_the_old_store(tmp_path: Path) -> None:
    """And no lock: who opens the store next does it all."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert _version(path) == 2
    asyncio.run(_check(path, *filled))


def _version(path: Path) -> int:
    connection = apsw.Connection(str(path))
    version = connection.pragma("user_version")
    connection.close()
    assert isinstance(version, int)
    return version


def test_a_store_that_an_older_server_serves_is_not_brought_up_to_date(tmp_path: Path) -> None:
    """Its appends would fail from then on: a command refuses, names it, and leaves the store as it was."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    server = ServerLock(path)
    try:
        with pytest.raises(StoreUnusable, match=rf"\(process {os.getpid()}\) of an older version .* stop that server"):
            SqliteStore(path)
        assert _version(path) == 2
    finally:
        server.release()
    asyncio.run(_check(path, *filled))
    assert (tmp_path / "whodid.db.lock").read_text() == ""


def test_no_server_starts_while_a_command_brings_the_store_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor another command that would do the same; both are told what is going on, and that it ends."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    told: list[str] = []

    def counted_meanwhile(body: Body) -> str:
        if not told:
            for exclusive in (True, False):
                with pytest.raises(StoreUnusable) as refused:
                    SqliteStore(path, exclusive=exclusive)
                told.append(refused.value.message)
        return counted(body)

    monkeypatch.setattr("whodid.store.sqlite.search_rebuild.counted", counted_meanwhile)
    asyncio.run(_check(path, *filled))
    now = f"process {os.getpid()} is bringing {path} up to date; try again when it has ended"
    assert told == [now, now]
    asyncio.run(SqliteStore(path, exclusive=True).close())


def test_a_server_brings_its_store_up_to_date_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In its log, and to whoever would do the same; then it serves."""
    path = tmp_path / "whodid.db"
    asyncio.run(_fill(path))
    _go_back(path)
    lock = tmp_path / "whodid.db.lock"
    said: set[str] = set()

    def counted_meanwhile(body: Body) -> str:
        said.add(lock.read_text())
        return counted(body)

    monkeypatch.setattr("whodid.store.sqlite.search_rebuild.counted", counted_meanwhile)
    monkeypatch.setattr("whodid.store.sqlite.schema._TELL_SECONDS", -1)
    with caplog.at_level("INFO"):
        store = SqliteStore(path, exclusive=True)
    assert said == {f"{os.getpid()} migrating\n"}
    assert lock.read_text() == f"{os.getpid()}\n"
    assert [record.message for record in caplog.records if "schema" in record.name] == [
        "making the search index of whodid.db anew, since its schema has changed",
        "indexed 24 of 24 entries",
        "all entries are indexed; writing them",
        "whodid.db is up to date",
    ]
    asyncio.run(store.close())


def test_whoever_sits_before_a_terminal_sees_how_far_a_migration_is(tmp_path: Path) -> None:
    """By the command that brings the store up to date; what it prints is as ever."""
    path = tmp_path / "whodid.db"
    asyncio.run(_fill(path))
    _go_back(path)
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "whodid", "account", "list", "--store", f"sqlite:///{path}"]
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=theirs)
    told = os.read(ours, 4000)
    os.close(theirs)
    os.close(ours)
    assert b"whodid: making the search index of whodid.db anew" in told
    assert b"whodid: whodid.db is up to date" in told
    assert b"org-" in done.stdout
    assert b"index" not in done.stdout
    assert _version(path) == len(migrations())


def test_a_migration_that_the_disk_has_no_room_for_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how much room it takes, and leaves the store as it was."""
    path = tmp_path / "whodid.db"
    filled = asyncio.run(_fill(path))
    _go_back(path)
    room = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: room._replace(free=path.stat().st_size // 2 - 1))
        with pytest.raises(StoreUnusable, match="takes about 1 MB of free disk, and there are 0; make space"):
            SqliteStore(path)
    assert _version(path) == 2
    asyncio.run(_check(path, *filled))


def _break(_body: object) -> str:
    raise ZeroDivisionError


def test_an_empty_store_of_each_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """From whatever schema on, the tables are those of a new store."""

    def tables(path: Path) -> set[tuple[str, str]]:
        connection = apsw.Connection(str(path))
        rows = set(connection.execute("SELECT type, name FROM sqlite_schema"))
        connection.close()
        return {(str(kind), str(name)) for kind, name in rows}

    new = tmp_path / "new.db"
    asyncio.run(SqliteStore(new, create=True).close())
    for version in range(1, len(migrations())):
        path = tmp_path / f"{version}.db"
        _at(path, version)
        asyncio.run(SqliteStore(path).close())
        assert tables(path) == tables(new)


def _at(path: Path, version: int) -> None:
    """Make an empty store of a schema."""
    path.touch()
    connection = open_writer(path)
    with transaction(connection):
        for number, sql in migrations():
            if number <= version:
                connection.execute(sql)
        connection.execute("INSERT INTO dictionary SELECT 1, 0, ?", (b"",))
        connection.execute(f"PRAGMA application_id = {0x57484F44}")
        connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
