"""The tree as the database has it: leaves, block roots, and what was signed about them."""

from collections.abc import Sequence

from whodid.errors import InconsistentLog
from whodid.merkle import hash_leaf
from whodid.proofs import Run
from whodid.store.base import Kept, KeptCheckpoint, Standing, WitnessState
from whodid.store.postgres.connection import Connection

_COMMITMENTS = "SELECT commitment FROM entry WHERE account_no = %s AND seq BETWEEN %s AND %s ORDER BY seq"
_BLOCK_ROOTS = """
    SELECT root FROM block_root WHERE account_no = %s AND level = %s AND position BETWEEN %s AND %s ORDER BY position
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
    return _all(count, f"entries from {first} on", [row[0] for row in await found.fetchall()])


async def hashes(connection: Connection, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
    """See ``Store.hashes``."""
    return {run: await _run(connection, account_no, run) for run in runs}


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


async def _run(connection: Connection, account_no: int, run: Run) -> list[bytes]:
    if run.level == 0:
        return list(map(hash_leaf, await commitments(connection, account_no, run.position, run.width)))
    found = await connection.execute(
        _BLOCK_ROOTS, (account_no, run.level, run.position, run.position + run.width - 1), binary=True
    )
    which = f"block roots of level {run.level} from {run.position} on"
    return _all(run.width, which, [row[0] for row in await found.fetchall()])


def _all(count: int, which: str, found: list[bytes]) -> list[bytes]:
    if len(found) != count:
        raise InconsistentLog(
            f"{count - len(found)} of {count} {which} are missing; "
            "'whodid verify-store' tells what else is wrong with the store"
        )
    return found
