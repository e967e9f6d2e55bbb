"""Partitions of ``entry``: one a month of recording, made ahead, so that what is old can be dropped as a whole."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from whodid.store.postgres.connection import Connection, Pool

MONTHS_AHEAD: Final = 2
_LOCK: Final = 0x57484F45


class Partitions:
    """Sees to it that there is a partition for now, and for the months to come."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: set[int] = set()
        """The months that are known to have a partition, by their beginning."""

    async def ensure(self, now_ms: int, others_ms: Iterable[int] = ()) -> None:
        """Make the partitions that are missing of now and the months to come, and of other times of recording."""
        wanted = {_after(now_ms, ahead) for ahead in range(MONTHS_AHEAD + 1)} | {_after(one, 0) for one in others_ms}
        missing = sorted(wanted - self._made)
        if not missing:
            return
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            for begins_ms in missing:
                await _make(connection, begins_ms, _after(begins_ms, 1))
        self._made |= wanted


def partition_name(begins_ms: int) -> str:
    """``entry_2026_11`` for the partition that begins with November 2026."""
    return datetime.fromtimestamp(begins_ms / 1000, UTC).strftime("entry_%Y_%m")


async def _make(connection: Connection, begins_ms: int, ends_ms: int) -> None:
    await connection.execute(
        f"CREATE TABLE IF NOT EXISTS {partition_name(begins_ms)} "
        f"PARTITION OF entry FOR VALUES FROM ({begins_ms}) TO ({ends_ms})"
    )


def _after(now_ms: int, months: int) -> int:
    """The beginning (UTC) of the month that comes so many months after the one of ``now_ms``."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    years, month = divmod(now.month - 1 + months, 12)
    return int(datetime(now.year + years, month + 1, 1, tzinfo=UTC).timestamp() * 1000)
