"""Statements that may take too long: each has its time, and the connection is as good as before when that is over."""

from collections.abc import Sequence
from typing import Any

import psycopg

from whodid.store.postgres.connection import Connection, Row

_LIMIT = "SELECT set_config('statement_timeout', %s, true)"


async def fetch_within(
    connection: Connection, seconds: float, statement: str, values: Sequence[Any], *, without: str | None = None
) -> list[Row] | None:
    """The rows of a statement; None where it takes longer. ``without`` names a way that the planner may not take.

    It is planned anew each time: the best way for a frequent value is not the best one for a rare value.
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
