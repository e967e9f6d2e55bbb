"""The tree as the store has it: leaves, block roots, and what was signed about them. Functions of a connection."""

from collections.abc import Sequence
from typing import Any

import apsw

from whodid.errors import InconsistentLog
from whodid.merkle import hash_leaf
from whodid.proofs import Run
from whodid.store.base import Kept, KeptCheckpoint, Standing, WitnessState

_COMMITMENTS = "SELECT commitment FROM entry WHERE account_no = ? AND seq BETWEEN ? AND ? ORDER BY seq"
_BLOCK_ROOTS = """
    SELECT root FROM block_root WHERE account_no = ? AND level = ? AND position BETWEEN ? AND ? ORDER BY position
"""

# Two processes may come in another order than they signed in: the larger one stays.
_KEEP_CHECKPOINT = """
    INSERT INTO checkpoint (account_no, standing, size, note) VALUES (?, ?, ?, ?)
    ON CONFLICT (account_no, standing) DO UPDATE SET size = excluded.size, note = excluded.note
    WHERE excluded.size >= checkpoint.size
"""


def commitments(connection: apsw.Connection, account_no: int, first: int, count: int) -> list[bytes]:
    """See ``Store.commitments``."""
    rows: Any = connection.execute(_COMMITMENTS, (account_no, first, first + count - 1))
    found = [commitment for (commitment,) in rows]
    if len(found) != count:
        raise InconsistentLog(
            f"{count - len(found)} of {count} entries from {first} on are missing; "
            "'whodid verify-store' tells what else is wrong with the store"
        )
    return found


def hashes(connection: apsw.Connection, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
    """See ``Store.hashes``."""
    return {run: _run(connection, account_no, run) for run in runs}


def keep(connection: apsw.Connection, kept: Sequence[Kept]) -> None:
    """See ``Store.keep``; inside a transaction."""
    for one in kept:
        if isinstance(one, KeptCheckpoint):
            connection.execute(
                _KEEP_CHECKPOINT,
                (one.account_no, one.standing.value, one.size, one.note),
            )
        else:
            connection.execute(
                "INSERT OR REPLACE INTO witness (account_no, witness, size, cosigned_ms, error, tried_ms)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (one.account_no, one.witness, one.size, one.cosigned_ms, one.error, one.tried_ms),
            )


def checkpoint(connection: apsw.Connection, account_no: int, standing: Standing) -> KeptCheckpoint | None:
    """See ``Store.checkpoint``."""
    row = connection.execute(
        "SELECT size, note FROM checkpoint WHERE account_no = ? AND standing = ?", (account_no, standing.value)
    ).fetchone()
    return None if row is None else KeptCheckpoint(account_no, standing, *row)


def witness_states(connection: apsw.Connection) -> list[WitnessState]:
    """See ``Store.witness_states``."""
    rows = connection.execute(
        "SELECT account_no, witness, size, cosigned_ms, error, tried_ms FROM witness ORDER BY account_no, witness"
    )
    return [WitnessState(*row) for row in rows]


def _run(connection: apsw.Connection, account_no: int, run: Run) -> list[bytes]:
    if run.level == 0:
        return list(map(hash_leaf, commitments(connection, account_no, run.position, run.width)))
    rows: Any = connection.execute(_BLOCK_ROOTS, (account_no, run.level, run.position, run.position + run.width - 1))
    found = [root for (root,) in rows]
    if len(found) != run.width:
        raise InconsistentLog(
            f"{run.width - len(found)} of {run.width} block roots of level {run.level} from {run.position} on are "
            "missing; 'whodid verify-store' tells what else is wrong with the store"
        )
    return found
