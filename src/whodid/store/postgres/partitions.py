"""Partitions of ``entry``: one a month of recording, made ahead, so that what is old can be dropped as a whole."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from whodid.errors import StoreUnavailable
from whodid.store.postgres.connection import Connection, Pool

log = logging.getLogger(__name__)

MONTHS_AHEAD: Final = 2
_LOCK: Final = 0x57484F45
_PAUSE_MS: Final = 60_000


class Partitions:
    """Sees to it that there is a partition for now, and for the months to come."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: set[int] = set()
        """The months that are known to have a partition, by their beginning."""
        self._try_at_ms = 0
        """When it is tried again to make those of the months to come."""

    async def ensure(self, now_ms: int, others_ms: Iterable[int] = ()) -> None:
        """Make the partitions that are missing of now and the months to come, and of other times of recording.

        Raises ``StoreUnavailable``; but not where only one of the months to come can't be made: it has time.
        """
        needed = {_after(now_ms, 0)} | {_after(one, 0) for one in others_ms}
        ahead = {_after(now_ms, months) for months in range(1, MONTHS_AHEAD + 1)} - needed
        await self._make(needed - self._made)
        if ahead - self._made and now_ms >= self._try_at_ms:
            try:
                await self._make(ahead - self._made)
            except StoreUnavailable as error:
                self._try_at_ms = now_ms + _PAUSE_MS
                log.warning("the partitions of the months to come can't be made yet: %s", error.message)

    def forget(self) -> None:
        """Look anew for what there is: a partition was not there that should be."""
        self._made.clear()

    async def _make(self, months: set[int]) -> None:
        if not months:
            return
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SET LOCAL lock_timeout = '3s'")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for begins_ms in sorted(months):
                await _make(connection, begins_ms, _after(begins_ms, 1))
        self._made |= months


def partition_name(begins_ms: int) -> str:
    """``entry_2026_11`` for the partition that begins with November 2026."""
    return datetime.fromtimestamp(begins_ms / 1000, UTC).strftime("entry_%Y_%m")


async def _make(connection: Connection, begins_ms: int, ends_ms: int) -> None:
    """Made beside, then attached: so it waits for nobody who reads, a dump or a check for hours, and nobody for it."""
    name = partition_name(begins_ms)
    found = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))
    if await found.fetchone() == (True,):
        return
    await connection.execute(f"CREATE TABLE {name} (LIKE entry INCLUDING ALL)")
    await connection.execute(f"ALTER TABLE entry ATTACH PARTITION {name} FOR VALUES FROM ({begins_ms}) TO ({ends_ms})")


def _after(now_ms: int, months: int) -> int:
    """The beginning (UTC) of the month that comes so many months after the one of ``now_ms``."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    years, month = divmod(now.month - 1 + months, 12)
    return int(datetime(now.year + years, month + 1, 1, tzinfo=UTC).timestamp() * 1000)
