"""What may take long has its bounds: each statement its time, and all of them together so many connections."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from whodid.errors import Overloaded
from whodid.store.postgres.connection import Connection, Row

_LIMIT = "SELECT set_config('statement_timeout', %s, true)"


class Places:
    """So many may search at once; who comes then waits in line, but not for long. Used in one event loop."""

    def __init__(self, count: int, patience_seconds: float) -> None:
        self._count = count
        self._patience_seconds = patience_seconds
        self._free = asyncio.Semaphore(count)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Have one of the places. Raises ``Overloaded``."""
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._free.acquire()
        except TimeoutError as error:
            raise Overloaded(
                f"{self._count} searches that take long are running, which is as many as this server does at once; "
                "try again",
                retry_after_seconds=2,
            ) from error
        try:
            yield
        finally:
            self._free.release()


async def fetch_within(
    connection: Connection, seconds: float, statement: str, values: Sequence[Any], *, without: str | None = None
) -> list[Row] | None:
    """The rows of a statement; None where it takes longer. ``without`` names a way that the planner may not take.

    The connection is as good as before when the time is over. It is planned anew each time: the best way for a frequent
    value is not the best one for a rare value.
    """
    try:
        async with connection.pipeline():
            await connection.execute("BEGIN READ ONLY", prepare=False)
            if without is not None:
                await connection.execute(f"SET LOCAL {without} = off", prepare=False)
            await connection.execute(_LIMIT, (str(max(round(seconds * 1000), 1)),), prepare=False)
            found = await connection.execute(statement, values, binary=True, prepare=False)
            await connection.execute("COMMIT", prepare=False)
    except psycopg.errors.QueryCanceled:
        await connection.execute("ROLLBACK", prepare=False)
        return None
    return await found.fetchall()
