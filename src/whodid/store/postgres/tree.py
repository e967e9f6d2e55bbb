"""The tree as the database has it: leaves, block roots, and what was signed about them."""

from collections.abc import Mapping, Sequence
from typing import Final

from psycopg import AsyncCursor

from whodid.errors import InconsistentLog
from whodid.merkle import TILE_HEIGHT, hash_leaf
from whodid.proofs import Run
from whodid.store.base import Kept, KeptCheckpoint, Standing, WitnessState
from whodid.store.postgres.connection import Connection, Row

TILE_WIDTH: Final = 1 << TILE_HEIGHT

_COMMITMENTS = "SELECT seq, commitment FROM entry WHERE account_no = %s AND seq BETWEEN %s AND %s ORDER BY seq"
_BLOCK_ROOTS = """
    SELECT position, root FROM block_root WHERE account_no = %s AND level = %s AND position BETWEEN %s AND %s
"""

_KEEP_CHECKPOINT = """
    INSERT INTO checkpoint VALUES (%s, %s, %s, %s)
    ON CONFLICT (account_no, standing) DO UPDATE SET size = excluded.size, note = excluded.note
    WHERE checkpoint.size <= excluded.size
"""
_KEEP_WITNESS = """
    INSERT INTO witness VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT (account_no, witness) DO UPDATE SET size = excluded.size,
        cosigned_ms = excluded.cosigned_ms, error = excluded.error, tried_ms = excluded.tried_ms
"""


async def commitments(connection: Connection, account_no: int, first: int, count: int) -> list[bytes]:
    """See ``Store.commitments``."""
    found = await connection.execute(_COMMITMENTS, (account_no, first, first + count - 1), binary=True)
    return _all(dict(await found.fetchall()), range(first, first + count), f"entries from {first} on")


async def hashes(connection: Connection, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
    """See ``Store.hashes``. What lies in one tile is read at once, and all tiles together: a proof waits once."""
    spans: dict[tuple[int, int], range] = {}
    for run in runs:
        tile, end = (run.level, run.position // TILE_WIDTH), run.position + run.width
        have = spans.get(tile, range(run.position, end))
        spans[tile] = range(min(have.start, run.position), max(have.stop, end))
    async with connection.pipeline():
        reading = {tile: await _read(connection, account_no, tile[0], span) for tile, span in spans.items()}
    found: dict[tuple[int, int], dict[int, bytes]] = {
        tile: dict(await cursor.fetchall()) for tile, cursor in reading.items()
    }
    return {run: _of_run(found[run.level, run.position // TILE_WIDTH], run) for run in runs}


async def _read(connection: Connection, account_no: int, level: int, span: range) -> AsyncCursor[Row]:
    first, last = span.start, span.stop - 1
    if level == 0:
        return await connection.execute(_COMMITMENTS, (account_no, first, last), binary=True)
    return await connection.execute(_BLOCK_ROOTS, (account_no, level, first, last), binary=True)


def _of_run(found: Mapping[int, bytes], run: Run) -> list[bytes]:
    positions = range(run.position, run.position + run.width)
    if run.level == 0:
        return list(map(hash_leaf, _all(found, positions, f"entries from {run.position} on")))
    return _all(found, positions, f"block roots of level {run.level} from {run.position} on")


def _all(found: Mapping[int, bytes], positions: range, which: str) -> list[bytes]:
    missing = sum(position not in found for position in positions)
    if missing:
        raise InconsistentLog(
            f"{missing} of {len(positions)} {which} are missing; "
            "'whodid verify-store' tells what else is wrong with the store"
        )
    return [found[position] for position in positions]


async def keep(connection: Connection, kept: Sequence[Kept]) -> None:
    """See ``Store.keep``; inside a transaction. In one order, so that two servers can't wait for each other."""
    for one in sorted(kept, key=_place):
        if isinstance(one, KeptCheckpoint):
            await connection.execute(_KEEP_CHECKPOINT, (*_place(one), one.size, one.note))
        else:
            await connection.execute(_KEEP_WITNESS, (*_place(one), one.size, one.cosigned_ms, one.error, one.tried_ms))


def _place(kept: Kept) -> tuple[int, str]:
    """The key of its row."""
    return kept.account_no, kept.standing.value if isinstance(kept, KeptCheckpoint) else kept.witness


async def checkpoint(connection: Connection, account_no: int, standing: Standing) -> KeptCheckpoint | None:
    """See ``Store.checkpoint``."""
    found = await connection.execute(
        "SELECT size, note FROM checkpoint WHERE account_no = %s AND standing = %s", (account_no, standing.value)
    )
    row = await found.fetchone()
    return None if row is None else KeptCheckpoint(account_no, standing, *row)


async def witness_states(connection: Connection) -> list[WitnessState]:
    """See ``Store.witness_states``."""
    found = await connection.execute(
        "SELECT account_no, witness, size, cosigned_ms, error, tried_ms FROM witness "
        'ORDER BY account_no, witness COLLATE "C"'
    )
    return [WitnessState(*row) for row in await found.fetchall()]
