"""Connections to the database: how they are made, the pool, and how PostgreSQL's errors are told."""

import asyncio
import select
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Concatenate, Final, ParamSpec, TypeAlias, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict, make_conninfo, timeout_from_conninfo
from psycopg.pq import Format
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from whodid.errors import InvalidSetting, StoreUnavailable, WhodidError

_P = ParamSpec("_P")
_T = TypeVar("_T")

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = AsyncConnection[Row]

CONNECTIONS: Final = 12
"""How many connections a process has at most: appends of that many accounts at once, and readers."""

PATIENCE_SECONDS: Final = 5.0
"""How long an operation waits for a connection, while the database is down or restarting."""

_DOWN_SECONDS: Final = 1.0
_SHORT_PATIENCE_SECONDS: Final = 0.2
"""How long those wait who ask right after somebody has waited in vain: a call asks more than once."""

# Everything that runs is short; what takes longer than this hangs, and holds an account's head.
_OPTIONS: Final = (
    "-c statement_timeout=60s -c idle_in_transaction_session_timeout=15s -c lock_timeout=5s "
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
)


_UNHURRIED: Final = (
    "SELECT set_config(name, '0', {}) FROM pg_settings "
    "WHERE name IN ('statement_timeout', 'transaction_timeout', 'lock_timeout')"
)
UNHURRIED_HERE: Final = _UNHURRIED.format("true")
"""In a transaction that looks at whole tables, which may be large."""

UNHURRIED: Final = _UNHURRIED.format("false")
"""For the rest of a connection's life."""

_DEFAULTS: Final = {
    "application_name": "whodid",
    "client_encoding": "UTF8",
    "connect_timeout": "3",
    "target_session_attrs": "read-write",  # never a standby: whoever reads leaves a token use
    # A database that is gone without a word is noticed within half a minute.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


_CONFIGURE: Final = """
    SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'on' ELSE '30s' END, false) FROM pg_settings
    WHERE name = 'synchronous_commit' AND setting = 'off' OR name = 'transaction_timeout' AND setting = '0'
"""
"""A commit is durable when it returns, whatever the database's default is; what is stricter, stays. And no server that
stands still holds an account's head for long (PostgreSQL 17 and later): a pipeline ends with a Flush, after which the
clock of ``idle_in_transaction_session_timeout`` does not run."""


class TextVector(bytes):
    """A value for a column of type ``tsvector``, in PostgreSQL's binary form."""


class _TextVectorDumper(Dumper):
    format = Format.BINARY
    oid = 3614

    def dump(self, obj: TextVector) -> bytes:
        return obj


def register_types(connection: psycopg.Connection[Row] | Connection) -> None:
    """Let the connection know how our own types are sent."""
    connection.adapters.register_dumper(TextVector, _TextVectorDumper)


class ConnectionLost(StoreUnavailable):
    """The connection broke under an operation: another one may do better."""


def parse_dsn(url: str) -> str:
    """The connection string for ``postgresql://…``. Raises ``InvalidSetting``, which shows no password."""
    wrong = InvalidSetting(
        "a PostgreSQL store is named like postgresql://user@host:5432/database?sslmode=verify-full; "
        "what is special in a name or password is written like %40"
    )
    try:
        given = conninfo_to_dict(url)
        timeout_from_conninfo(given)
    except (psycopg.Error, UnicodeError):
        raise wrong from None  # the reason may hold the password
    ports = str(given.get("port") or "").split(",")
    if not _is_clear(url) or not all(port.isdecimal() for port in ports if port):
        raise wrong
    options = f"{_OPTIONS} {given.pop('options', '') or ''}".strip()
    return make_conninfo("", **{**_DEFAULTS, **given, "options": options})


def _is_clear(url: str) -> bool:
    """Whether no part of a password can be taken for another part of the URL, which errors would show."""
    address, _, rest = url.partition("://")[2].partition("/")
    return not set("?#@") & set(address.rpartition("@")[0]) and "@" not in rest.partition("?")[0] and "#" not in rest


class Pool:
    """The connections of a process. Opened on first use, in the event loop that uses it."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._opening = asyncio.Lock()
        self._down_until = 0.0
        """Until when nobody is kept waiting long, since somebody was, in vain."""
        self._lent = 0

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection, in autocommit mode, given back afterwards. Raises ``StoreUnavailable``."""
        pool = await self._opened()
        down = time.monotonic() < self._down_until
        with telling_errors():
            try:
                async with _taken(pool, _SHORT_PATIENCE_SECONDS if down else PATIENCE_SECONDS) as connection:
                    self._down_until = 0.0
                    self._lent += 1
                    try:
                        async with _ending_what_failed(connection):
                            yield connection
                    finally:
                        self._lent -= 1
            except PoolTimeout as error:
                if self._lent >= CONNECTIONS:
                    raise StoreUnavailable(
                        f"all {CONNECTIONS} connections to the database are in use", retry_after_seconds=1
                    ) from error
                self._down_until = time.monotonic() + _DOWN_SECONDS
                raise

    async def run(
        self, work: Callable[Concatenate[Connection, _P], Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Do some work that changes nothing; once more where the connection breaks. Raises ``StoreUnavailable``."""
        try:
            async with self.connection() as connection:
                return await work(connection, *args, **kwargs)
        except ConnectionLost:
            async with self.connection() as connection:
                return await work(connection, *args, **kwargs)

    async def close(self) -> None:
        """Close all connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def _opened(self) -> "AsyncConnectionPool[Connection]":
        if self._pool is None:
            async with self._opening:
                if self._pool is None:
                    pool = self._make()
                    await pool.open()
                    self._pool = pool
        return self._pool

    def _make(self) -> "AsyncConnectionPool[Connection]":
        return AsyncConnectionPool(
            self._dsn,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            kwargs={"autocommit": True, "prepare_threshold": 2},
            configure=_configure,
            reconnect_timeout=PATIENCE_SECONDS,
            open=False,
            name="whodid",
        )


@asynccontextmanager
async def _ending_what_failed(connection: Connection) -> AsyncIterator[None]:
    """Let nobody have a connection after something failed on it, or was cancelled; tell its end as ``ConnectionLost``.

    Of a pipeline that did not come to its end, psycopg takes statements for prepared that never were. And what could
    not write may be a primary that is one no longer: the next connection looks for the one that is.
    """
    try:
        yield
    except (WhodidError, psycopg.errors.UniqueViolation):
        raise  # the connection did what it should
    except BaseException as error:
        is_lost = connection.broken or connection.closed
        await connection.close()
        if is_lost and isinstance(error, psycopg.Error):
            raise ConnectionLost(_reason(error), retry_after_seconds=5) from error
        raise


async def _configure(connection: Connection) -> None:
    register_types(connection)
    await connection.execute(_CONFIGURE)


@asynccontextmanager
async def _taken(pool: "AsyncConnectionPool[Connection]", patience_seconds: float) -> AsyncIterator[Connection]:
    """A sound connection of the pool. The broken ones that are met on the way are replaced at once.

    The pool's own ``check`` would rest after each of them, for seconds, though all of them broke at the same time.
    """
    give_up = time.monotonic() + patience_seconds
    while True:
        connection = await pool.getconn(max(give_up - time.monotonic(), 0.001))
        try:
            if await _is_sound(connection):
                yield connection
                return
            await connection.close()
        finally:
            await pool.putconn(connection)


async def _is_sound(connection: Connection) -> bool:
    """Whether an idle connection was not closed by the other side.

    A socket that has nothing to say is taken to be sound: so no answer has to be waited for before each operation.
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        try:
            await AsyncConnectionPool.check_connection(connection)
        except psycopg.Error:
            return False
    return True


@contextmanager
def telling_errors() -> Iterator[None]:
    """Tell PostgreSQL's errors of the environment (down, full, in recovery, out of locks) as ``StoreUnavailable``."""
    try:
        yield
    except (PoolTimeout, PoolClosed) as error:
        raise StoreUnavailable("the database can't be reached", retry_after_seconds=5) from error
    except _ENVIRONMENT as error:
        raise StoreUnavailable(_reason(error), retry_after_seconds=5) from error


_ENVIRONMENT: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.InternalError,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.UndefinedTable,
    psycopg.errors.InvalidSqlStatementName,
    psycopg.errors.DuplicatePreparedStatement,
)
"""What is not the fault of whoever asks."""


def _reason(error: psycopg.Error) -> str:
    reason = error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__
    return f"the database can't be used: {reason[:500]}"
