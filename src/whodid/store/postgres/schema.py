"""The schema: which version a database has, and how it is brought up to date."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Final

import psycopg

from whodid.errors import StoreUnusable
from whodid.store.postgres.connection import UNHURRIED_HERE, Row, telling_errors
from whodid.store.postgres.filling import FILLING, STEPS

log = logging.getLogger(__name__)

OLDEST_SERVER: Final = 140_000
"""PostgreSQL 14."""

_LOCK: Final = 0x57484F44  # "WHOD"
_SCHEMA_TABLE: Final = "whodid_schema"


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations and their SQL, in order."""
    folder = resources.files("whodid.store") / "sql" / "postgresql"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in files]


def check_schema(dsn: str) -> None:
    """Raise ``StoreUnusable`` unless the database has the schema that is needed; ``StoreUnavailable``, too."""
    with _connected(dsn) as connection:
        version, newest = _version(connection), migrations()[-1][0]
        if version < newest:
            state = "has no schema of Whodid yet" if version == 0 else f"has schema {version}, and {newest} is needed"
            raise StoreUnusable(f"the database {state}; 'whodid db init' brings it up to date")
        if connection.execute("SHOW fsync").fetchone() == ("off",):
            log.warning("the database has fsync = off: what it acknowledges is lost if its machine fails")


def migrate(dsn: str, then: Callable[[psycopg.Connection[Row]], None] | None = None) -> tuple[int, int]:
    """Bring the database's schema up to date, and do ``then``, in one transaction; its version before and after.

    Safe to run twice, and by many processes at once. Raises ``StoreUnusable`` or ``StoreUnavailable``.
    """
    with _connected(dsn) as connection, connection.transaction():
        connection.execute(UNHURRIED_HERE)
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {_SCHEMA_TABLE} "
            "(version int PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())"
        )
        before = _version(connection)
        for number, statements in migrations():
            if number > before:
                _make(connection, number, statements)
                connection.execute(f"INSERT INTO {_SCHEMA_TABLE} (version) VALUES (%s)", (number,))  # noqa: S608
        if then is not None:
            then(connection)
        return before, _version(connection)


def _make(connection: psycopg.Connection[Row], number: int, statements: str) -> None:
    """One migration: its SQL, and what is filled in the midst of it."""
    first, filling, last = statements.partition(FILLING)
    connection.execute(first.encode())
    if filling:
        STEPS[number](connection)
        connection.execute(last.encode())


@contextmanager
def _connected(dsn: str) -> Iterator[psycopg.Connection[Row]]:
    with telling_errors(), psycopg.connect(dsn, autocommit=True) as connection:
        server = connection.info.server_version
        if server < OLDEST_SERVER:
            raise StoreUnusable(f"PostgreSQL 14 or later is needed; this is {server // 10000}")
        if not psycopg.Pipeline.is_supported():
            raise StoreUnusable("the library libpq, which psycopg uses, must be version 14 or later")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreUnusable(
                f"the database must have the encoding UTF8, not {encoding}: "
                "createdb --encoding=UTF8 --template=template0 makes such a one"
            )
        yield connection


def _version(connection: psycopg.Connection[Row]) -> int:
    """The schema's version; 0 where there is none. Raises ``StoreUnusable`` where it is too new."""
    if connection.execute("SELECT to_regclass(%s)", (_SCHEMA_TABLE,)).fetchone() == (None,):
        return 0
    row = connection.execute(f"SELECT coalesce(max(version), 0) FROM {_SCHEMA_TABLE}").fetchone()  # noqa: S608
    assert row is not None
    version, newest = int(row[0]), migrations()[-1][0]
    if version > newest:
        raise StoreUnusable(
            f"the database has schema {version}, of a newer Whodid; this one knows schemas up to {newest}: use a newer "
            "Whodid"
        )
    return version
