"""Connections to the database: the pool, how PostgreSQL's errors are told, and the schema's version."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import resources
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from whodid.errors import InvalidSetting, StoreUnavailable, StoreUnusable

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = AsyncConnection[Row]

OLDEST_SERVER: Final = 140_000
"""PostgreSQL 14."""

CONNECTIONS: Final = 12
"""How many connections a process has at most: appends of that many accounts at once, and readers."""

PATIENCE_SECONDS: Final = 5.0
"""How long an operation waits for a connection, while the database is down or restarting."""

_LOCK: Final = 0x57484F44  # "WHOD"
_SCHEMA_TABLE: Final = "whodid_schema"

# Everything that runs is short; what takes longer than this hangs, and holds an account's head.
_OPTIONS: Final = "-c statement_timeout=60s -c idle_in_transaction_session_timeout=60s -c lock_timeout=20s"


def parse_dsn(url: str) -> str:
    """The connection string for ``postgresql://…``. Raises ``InvalidSetting``, which shows no password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise InvalidSetting(
            "a PostgreSQL store is named like postgresql://user@host:5432/database?sslmode=verify-full"
        ) from error
    options = f"{_OPTIONS} {given.pop('options', '') or ''}".strip()
    return make_conninfo("", **{"application_name": "whodid", "connect_timeout": "5", **given, "options": options})


def shown(url: str) -> str:
    """The URL without its password, for people."""
    return re.sub(r"(://[^:/@?]*):[^@]*@", r"\1:…@", re.sub(r"(password=)[^&\s]*", r"\1…", url))


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations and their SQL, in order."""
    folder = resources.files("whodid.store") / "sql" / "postgresql"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [(int(file.name.partition("_")[0]), file.read_text("utf-8")) for file in files]


def prepare(dsn: str, *, migrate: bool) -> None:
    """See to it that the database has the newest schema; safe to run twice, and by many processes at once.

    Without ``migrate`` an older schema is refused. Raises ``StoreUnusable`` or ``StoreUnavailable``.
    """
    with telling_errors(), psycopg.connect(dsn, autocommit=True) as connection:
        if connection.info.server_version < OLDEST_SERVER:
            raise StoreUnusable(f"PostgreSQL 14 or later is needed; this is {connection.info.server_version // 10000}")
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            _bring_up(connection, migrate=migrate)


def _bring_up(connection: psycopg.Connection[Row], *, migrate: bool) -> None:
    version, newest = _version(connection), migrations()[-1][0]
    if version > newest:
        raise StoreUnusable(
            f"the database has schema {version}, of a newer Whodid; this one knows schemas up to {newest}"
        )
    if version < newest and not migrate:
        state = "has no schema of Whodid yet" if version == 0 else f"has schema {version}, and {newest} is needed"
        raise StoreUnusable(f"the database {state}; 'whodid db init' brings it up to date")
    for number, statements in migrations():
        if number > version:
            connection.execute(statements.encode())
            connection.execute(f"INSERT INTO {_SCHEMA_TABLE} (version) VALUES (%s)", (number,))  # noqa: S608


def _version(connection: psycopg.Connection[Row]) -> int:
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS {_SCHEMA_TABLE} "
        "(version int PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())"
    )
    row = connection.execute(f"SELECT coalesce(max(version), 0) FROM {_SCHEMA_TABLE}").fetchone()  # noqa: S608
    assert row is not None
    return int(row[0])


class Pool:
    """The connections of a process. Opened on first use, in the event loop that uses it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: AsyncConnectionPool[Connection] | None = None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection, in autocommit mode, given back afterwards. Raises ``StoreUnavailable``."""
        with telling_errors():
            async with (await self._opened()).connection() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> "AsyncConnectionPool[Connection]":
        if self._pool is None:
            self._pool = AsyncConnectionPool(
                self._dsn,
                min_size=1,
                max_size=CONNECTIONS,
                timeout=PATIENCE_SECONDS,
                kwargs={"autocommit": True, "prepare_threshold": 2},
                check=AsyncConnectionPool.check_connection,
                reconnect_timeout=PATIENCE_SECONDS,
                open=False,
                name="whodid",
            )
            await self._pool.open()
        return self._pool


@contextmanager
def telling_errors() -> Iterator[None]:
    """Tell PostgreSQL's errors of the environment (down, full, in recovery, out of locks) as ``StoreUnavailable``."""
    try:
        yield
    except (PoolTimeout, PoolClosed) as error:
        raise StoreUnavailable("the database can't be reached", retry_after_seconds=5) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError) as error:
        reason = error.diag.message_primary or type(error).__name__
        raise StoreUnavailable(f"the database can't be used: {reason}", retry_after_seconds=5) from error
