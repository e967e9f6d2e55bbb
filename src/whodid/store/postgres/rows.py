"""Entries as rows: of ``entry``, ``record_id`` and ``block_root``. A few go one by one, many in bulk."""

import struct
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

from whodid.merkle import BlockRoot
from whodid.records import MAX_CLOCK_LEAD_MS, Action, Body, Event
from whodid.store.postgres.connection import Connection, TextVector
from whodid.store.postgres.copying import BulkCopy, bytes_field
from whodid.store.postgres.terms import lexemes

SEARCHED: Final = (
    "type", "action", "user_id", "user_email", "target_id", "token_id", "scope", "outcome", "ip_address",
)  # fmt: skip
"""The columns with what entries are counted and shown by, derived from the record."""

FEW: Final = 8
"""So many entries are inserted one by one, with no answer to wait for in between: faster than two bulk copies."""

_ENTRY = "account_no, seq, recorded_ms, created_ms, kind, salt, commitment, record, " + ", ".join((*SEARCHED, "words"))
_ID = "account_no, id, seq, recorded_ms"
_BLOCK = "account_no, level, position, root"
_COPY_ENTRIES = BulkCopy("entry", _ENTRY, "qqqqh" + "b" * 13)
_COPY_IDS = BulkCopy("record_id", _ID, "qbqq")
_COPY_BLOCKS = BulkCopy("block_root", _BLOCK, "qhqb")
_INSERT_ENTRY = f"INSERT INTO entry ({_ENTRY}) VALUES ({', '.join(['%b'] * 18)})"  # noqa: S608
_INSERT_ID = f"INSERT INTO record_id ({_ID}) VALUES (%b, %b, %b, %b)"  # noqa: S608
_INSERT_BLOCK = f"INSERT INTO block_root ({_BLOCK}) VALUES (%b, %b, %b, %b)"  # noqa: S608

# Rows as COPY wants them: the number of columns, then each with its length before it.
_ENTRY_BEGIN = struct.Struct(">h iq iq iq").pack
_ENTRY_MIDDLE = struct.Struct(">iq ih i16s i32s").pack
_ID_ROW = struct.Struct(">h iq i12s iq iq").pack


class Sealed(Struct, frozen=True):
    """An event with its salt and commitment, and its row without the beginning, which needs a turn in line."""

    event: Event
    salt: bytes
    commitment: bytes
    row_end: bytes
    words: bytes


def seal(account_no: int, event: Event, salt: bytes, commitment: bytes) -> Sealed:
    """Do the work on an event that needs no turn in line, while nobody waits for the account's head."""
    words = lexemes(account_no, event.body)
    fixed = _ENTRY_MIDDLE(8, event.created_ms, 2, event.kind.value, 16, salt, 32, commitment)
    fields = b"".join(map(bytes_field, (event.record, *searched(event.body), words)))
    return Sealed(event, salt, commitment, fixed + fields, words)


def searched(body: Body) -> tuple[bytes | None, ...]:
    """The values of the columns ``SEARCHED``."""
    user_id = bytes.fromhex(str(body.user_id))
    outcome = body.outcome.encode() if body.outcome else None
    address = body.ip_address.encode() if body.ip_address else None
    if isinstance(body, Action):
        email = body.user_email.encode() if body.user_email else None
        target = body.target_id.encode() if body.target_id else None
        return body.type.encode(), body.action.encode(), user_id, email, target, None, None, outcome, address
    return None, None, user_id, None, None, bytes.fromhex(body.token_id), body.scope.encode(), outcome, address


def recorded_at(event: Event, now_ms: int) -> int:
    """The time of recording that says which partition an event is in.

    It is never earlier than an event of that time can be recorded, so that who looks for it there finds it, whatever
    was let in.
    """
    return max(now_ms, event.created_ms - MAX_CLOCK_LEAD_MS)


Entries: TypeAlias = Sequence[tuple[int, Sealed]]
"""Entries in order, each with its time of recording."""


async def copy(connection: Connection, account_no: int, first: int, entries: Entries) -> None:
    """Add many entries, numbered from ``first`` on; inside a transaction."""
    rows: list[bytes] = []
    ids: list[bytes] = []
    for seq, (recorded_ms, one) in enumerate(entries, first):
        rows += (_ENTRY_BEGIN(18, 8, account_no, 8, seq, 8, recorded_ms), one.row_end)
        ids.append(_ID_ROW(4, 8, account_no, 12, one.event.id, 8, seq, 8, recorded_ms))
    await _COPY_ENTRIES.copy_made(connection, rows)
    await _COPY_IDS.copy_made(connection, ids)


async def insert(connection: Connection, account_no: int, first: int, entries: Entries) -> None:
    """Add a few entries, the same; in a pipeline."""
    for seq, (recorded_ms, one) in enumerate(entries, first):
        event = one.event
        values = event.created_ms, event.kind.value, one.salt, one.commitment, event.record, *searched(event.body)
        row = account_no, seq, recorded_ms, *values, TextVector(one.words)
        await connection.execute(_INSERT_ENTRY, row)
        await connection.execute(_INSERT_ID, (account_no, event.id, seq, recorded_ms))


async def copy_blocks(connection: Connection, account_no: int, blocks: Sequence[BlockRoot]) -> None:
    """Add the roots of many blocks, inside a transaction."""
    await _COPY_BLOCKS(connection, [(account_no, *block) for block in blocks])


async def insert_blocks(connection: Connection, account_no: int, blocks: Sequence[BlockRoot]) -> None:
    """Add the roots of a few blocks, in a pipeline."""
    for block in blocks:
        await connection.execute(_INSERT_BLOCK, (account_no, *block))
