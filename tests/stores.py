"""Stores of every kind, for tests about all of them: made, copied, looked into, and changed behind Whodid's back.

And the one event loop in which tests use such stores: those that have connections live in one only.
"""

import asyncio
import atexit
import shutil
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import apsw
import psycopg
from psycopg import sql
from tests.postgres import copy_database, drop_database, new_database

from whodid.store.opening import bring_up
from whodid.store.urls import is_postgres, sqlite_path

KINDS = ("sqlite", "postgresql")

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """The result of a coroutine."""
    return _runner().run(work)


@lru_cache(maxsize=1)
def _runner() -> asyncio.Runner:
    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


@contextmanager
def made_store(kind: str, folder: Path, name: str = "whodid.db") -> Iterator[str]:
    """The URL of a new store: of a file that is not there yet, or of a database that has its schema."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / name}"
        return
    url = copy_database(_prepared())
    try:
        yield url
    finally:
        drop_database(url)


@lru_cache(maxsize=1)
def _prepared() -> str:
    """A database with a schema, to be copied: that is quicker than making each one anew."""
    url = new_database()
    atexit.register(drop_database, url)
    bring_up(url)
    return url


def database_of(url: str) -> str:
    """The name of the database that a URL names."""
    return urlsplit(url).path.removeprefix("/")


def beside(url: str, folder: Path, ending: str) -> Path:
    """Where a process that runs in ``folder`` keeps what belongs to a store and is not in it, as the README has it."""
    if is_postgres(url):
        return folder / "data" / f"{database_of(url)}{ending}"
    path = sqlite_path(url)
    return path.with_name(path.name + ending)


# Behind Whodid's back.


@contextmanager
def old_copy(url: str, folder: Path) -> Iterator[None]:
    """Copies a store that nobody uses, and puts the copy back in its place at the end of the block."""
    if is_postgres(url):
        copy = copy_database(url)
        yield
        drop_database(url)
        copy_database(copy, database_of(url))
        drop_database(copy)
        return
    path = sqlite_path(url)
    assert not list(path.parent.glob(f"{path.name}-wal"))
    shutil.copy(path, folder / "copy.db")
    yield
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    shutil.copy(folder / "copy.db", path)


def overwrite(url: str, column: str, value: bytes, seq: int) -> None:
    """Somebody who can write the store gives the entries of this number another value."""
    if is_postgres(url):
        statement = sql.SQL("UPDATE entry SET {} = %s WHERE seq = %s").format(sql.Identifier(column))
        with psycopg.connect(url, autocommit=True) as changing:
            assert changing.execute(statement, (value, seq)).rowcount == 1
        return
    connection = apsw.Connection(str(sqlite_path(url)))
    connection.execute(f"UPDATE entry SET {column} = ? WHERE seq = ?", (value, seq))
    assert connection.changes() == 1
    connection.close()


def spoil_search(url: str) -> None:
    """Entries are not found any more, or not by what they say."""
    if is_postgres(url):
        overwrite(url, "type", b"spoilt", 2)
        return
    connection = apsw.Connection(str(sqlite_path(url)))
    connection.execute("INSERT INTO search (search) VALUES ('delete-all')")
    connection.close()


def let_leases_end(url: str) -> None:
    """The time passes for which a server that is gone had taken some work upon itself."""
    if is_postgres(url):
        with psycopg.connect(url, autocommit=True) as changing:
            changing.execute("UPDATE lease SET until = now()")


def bytes_of(url: str) -> bytes:
    """All that is in a store, as it is written: whoever has its disk may find it."""
    if not is_postgres(url):
        path = sqlite_path(url)
        return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")) if file.is_file())
    with psycopg.connect(url, autocommit=True) as reading:
        tables = reading.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        return b"".join(_table(reading, name) for (name,) in tables)


def _table(reading: psycopg.Connection[Any], name: str) -> bytes:
    # Of a partitioned table only a query can be copied out.
    query = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT (FORMAT BINARY)").format(sql.Identifier(name))
    with reading.cursor().copy(query) as copy:
        return b"".join(bytes(piece) for piece in copy)
