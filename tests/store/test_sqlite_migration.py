"""A store of an older schema, brought up to date with what is in it."""

import asyncio
from pathlib import Path

import apsw
import pytest
from tests.building import NOW_MS, add_account, append, event, event_at, flat, new_id, no_progress

from whodid.conditions import All, Says
from whodid.records import Kind
from whodid.store.base import Account, Entry, Question, Search
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.connection import open_writer, transaction
from whodid.store.sqlite.schema import migrations

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
    connection = apsw.Connection(str(path))
    assert connection.pragma("user_version") == 2
    connection.close()
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
