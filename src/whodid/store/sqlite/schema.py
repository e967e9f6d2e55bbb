"""The schema of the store's file: which files are stores, which version one has, and how it is brought up to date."""

import logging
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
from whodid.store.sqlite.connection import BUSY_TIMEOUT_MS, PAGE_BYTES, open_file, telling_errors, transaction

log = logging.getLogger(__name__)

APPLICATION_ID = 0x57484F44
"""``WHOD``: marks a SQLite file as a store of ours."""

_DERIVED_ANEW: Final = 3
"""The migration with which all that is derived from the records changed."""


def refuse_foreign(path: Path, *, vfs: str | None = None) -> None:
    """Raise ``StoreUnusable`` where the file is not there, or is neither a store nor empty. It is left alone."""
    if not path.is_file():
        raise StoreUnusable(f"there is no store at {path}; 'whodid account add' and 'whodid serve' make one")
    with _briefly_open(path, vfs) as connection:
        _refuse_foreign(connection, path)


def prepare_file(path: Path, *, vfs: str | None = None) -> None:
    """See to it that the file is a store with the newest schema; an empty file becomes one.

    Safe to run twice and by two processes at once. Raises ``StoreUnusable`` or ``StoreUnavailable``.
    """
    with _briefly_open(path, vfs) as connection:
        _refuse_foreign(connection, path)
        _migrate(connection, path)


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


def _migrate(connection: apsw.Connection, path: Path) -> None:
    steps = migrations()
    newest = steps[-1][0]
    version = connection.pragma("user_version")
    if version > newest:
        raise StoreUnusable(f"{path} has schema {version}; this Whodid knows {newest} at most: use a newer Whodid")
    if version == newest:
        return
    if version == 0:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        _switch_to_wal(connection)
    with transaction(connection):
        version = connection.pragma("user_version")  # again, now that nobody else can move it
        for number, sql in steps:
            if number > version:
                connection.execute(sql)
        if 0 < version < _DERIVED_ANEW:
            log.info("making the search index of %s anew: its schema has changed", path.name)
            search_rebuild.rebuild_within(connection, _tell)
        connection.execute(
            "INSERT OR IGNORE INTO dictionary (version, entries, bytes) VALUES (?, 0, ?)",
            (BUNDLED_VERSION, bundled_dictionary()),
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {newest}")


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


def _tell(done: int, total: int) -> None:
    log.info("indexed %d of %d entries", done, total)
