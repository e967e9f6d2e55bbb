"""Hearing of what other servers changed, by PostgreSQL's LISTEN and NOTIFY.

Nothing depends on it: a commit is refused by the database itself if users and tokens were changed since its caller was
checked. It only spares the vain attempt, and is for whoever makes no commit. So a server that can't listen, behind a
pooler say, works all the same.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeAlias

import psycopg
from psycopg import AsyncConnection

from whodid.store.postgres.connection import Connection

log = logging.getLogger(__name__)

CHANNEL: Final = "whodid_identity"
"""Its messages are numbers of accounts whose users or tokens have changed."""

_LOOK_SECONDS: Final = 10.0
"""After so long without a message it is seen to that the connection still works."""

_PAUSE_SECONDS: Final = 1.0

Changed: TypeAlias = Callable[[int | None], None]


async def notify(connection: Connection, account_no: int) -> None:
    """Tell all servers, when this transaction commits, that users or tokens of an account have changed."""
    await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, str(account_no)))


async def listen(dsn: str, changed: Changed) -> None:
    """Tell of changes until cancelled: the account's number; None where changes may have been missed."""
    told = False
    while True:
        try:
            async with await AsyncConnection.connect(dsn, autocommit=True) as connection:
                await connection.execute(f"LISTEN {CHANNEL}")
                told = False
                changed(None)
                await _hear(connection, changed)
        except psycopg.Error as error:
            if not told:
                log.warning("changes by other servers are not heard of now: %s", type(error).__name__)
            told = True
        await asyncio.sleep(_PAUSE_SECONDS)


async def _hear(connection: Connection, changed: Changed) -> None:
    while True:
        async for message in connection.notifies(timeout=_LOOK_SECONDS):
            changed(int(message.payload) if message.payload.isdecimal() else None)
        await connection.execute("SELECT 1")
