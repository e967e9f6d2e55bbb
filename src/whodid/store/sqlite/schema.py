"""The schema of the store's file: which files are stores, which version one has, and how it is brought up to date."""

import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import apsw

from whodid.errors import StoreUnusable
from whodid.store.sqlite import search_rebuild
from whodid.store.sqlite.compression import BUNDLED_VERSION, bundled_dictionary
from whodid.store.sqlite.connection import (
    BUSY_TIMEOUT_MS,
    PAGE_BYTES,
    ServerLock,
    open_file,
    telling_errors,
    transaction,
)

log = logging.getLogger(__name__)

APPLICATION_ID = 0x57484F44
"""``WHOD``: marks a SQLite file as a store of ours."""

_DERIVED_ANEW: Final = 3
"""The migration with which all that is derived from the records changed."""

_CACHE_KIB: Final = 64 * 1024
_TELL_SECONDS: Final = 2.0
_MB: Final = 1_000_000


def refuse_foreign(path: Path, *, vfs: str | None = None) -> None:
    """Raise ``StoreUnusable`` where the file is not there, or is neither a store nor empty. It is left alone."""
    if not path.is_file():
        raise StoreUnusable(f"there is no store at {path}; 'whodid account add' and 'whodid serve' make one")
    with _briefly_open(path, vfs) as connection:
        _refuse_foreign(connection, path)


def prepare_file(path: Path, *, vfs: str | None = None, lock: ServerLock | None = None) -> None:
    """See to it that the file is a store with the newest schema; an empty file becomes one.

    An older one is brought up to date only while no server serves it: ``lock`` is that of the server that calls, and
    without it the lock is taken meanwhile. Safe to run twice and by two processes at once. Raises ``StoreUnusable`` or
    ``StoreUnavailable``.
    """
    newest = migrations()[-1][0]
    with _briefly_open(path, vfs) as connection:
        _refuse_foreign(connection, path)
        while (version := connection.pragma("user_version")) < newest:
            if version == 0:
                _make(connection)
            else:
                with _alone(path, lock):
                    _bring_up(connection, path, version)
        if version > newest:
            raise StoreUnusable(f"{path} has schema {version}; this Whodid knows {newest} at most: use a newer Whodid")


@contextmanager
def _alone(path: Path, lock: ServerLock | None) -> Iterator[None]:
    """Let no server use the store meanwhile: one of before would fail with what is there afterwards."""
    if lock is not None:
        with lock.migrating():
            yield
        return
    taken = ServerLock(path, to_migrate=True)
    try:
        yield
    finally:
        taken.release()


@contextmanager
def _briefly_open(path: Path, vfs: str | None) -> Iterator[apsw.Connection]:
    with telling_errors(path):
        connection = open_file(path, apsw.SQLITE_OPEN_READWRITE, vfs)
        try:
            yield connection
        finally:
            connection.close()


def _refuse_foreign(connection: apsw.Connection, path: Path) -> None:
    try:
        # In this order: another process may be making the store, which puts tables and mark there at once.
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        application = connection.pragma("application_id")
    except apsw.NotADBError as error:
        raise StoreUnusable(f"{path} is not a SQLite file") from error
    if application != APPLICATION_ID and (application or tables):
        raise StoreUnusable(f"{path} is a SQLite file, but not a store of Whodid")


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations and their SQL, in order."""
    folder = resources.files("whodid.store") / "sql" / "sqlite"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in files]


def _make(connection: apsw.Connection) -> None:
    """Make an empty file a store; does nothing where somebody else was faster."""
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _switch_to_wal(connection)
    with transaction(connection):
        if connection.pragma("user_version") == 0:  # again, now that nobody else can move it
            _apply(connection, 0)


def _bring_up(connection: apsw.Connection, path: Path, version: int) -> None:
    """Bring a store of that version up to date, in one transaction: else a process of before could use what is half.

    Whoever breaks it off, or runs out of disk, has the old store.
    """
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    tell, makes_anew = _Told(), version < _DERIVED_ANEW
    if makes_anew:
        _refuse_without_room(connection, path)
    with transaction(connection):
        if connection.pragma("user_version") != version:
            return  # somebody else was faster
        _apply(connection, version)
        if makes_anew:
            tell.say(f"making the search index of {path.name} anew, since its schema has changed")
            search_rebuild.rebuild_within(connection, tell)
            tell.say("all entries are indexed; writing them")
    if makes_anew:
        tell.say(f"{path.name} is up to date")


def _apply(connection: apsw.Connection, version: int) -> None:
    """The SQL of all migrations after that version, and what marks the file; inside a transaction."""
    for number, sql in migrations():
        if number > version:
            connection.execute(sql)
            connection.execute(f"PRAGMA user_version = {number}")
    connection.execute(
        "INSERT OR IGNORE INTO dictionary (version, entries, bytes) VALUES (?, 0, ?)",
        (BUNDLED_VERSION, bundled_dictionary()),
    )
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")


def _refuse_without_room(connection: apsw.Connection, path: Path) -> None:
    """Raise ``StoreUnusable`` where the disk would be full before the end."""
    size_bytes = connection.pragma("page_count") * connection.pragma("page_size")
    needed, free = size_bytes // 2, shutil.disk_usage(path.resolve().parent).free
    if free < needed:
        raise StoreUnusable(
            f"bringing {path} up to date takes about {needed // _MB + 1} MB of free disk, and there are {free // _MB}; "
            "make space, then run this again. The store is as it was"
        )


class _Told:
    """Tells how far a migration is: in the log; where that is silent, as in a command, to whoever sits before it."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Say that so much is done of all; but seldom."""
        if time.monotonic() - self._told > _TELL_SECONDS:
            self.say(f"indexed {done:,} of {total:,} entries")

    def say(self, text: str) -> None:
        """Say something."""
        self._told = time.monotonic()
        if log.isEnabledFor(logging.INFO):
            log.info(text)
        elif sys.stderr.isatty():
            sys.stderr.write(f"whodid: {text}\n")


def _switch_to_wal(connection: apsw.Connection) -> None:
    """Switch, waiting for others that do the same: here SQLite itself does not wait."""
    give_up = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = wal")
        except apsw.BusyError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.005)
        else:
            return
