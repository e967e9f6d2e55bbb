"""Reading: statements that look for entries of one account, and for nothing else. What comes out are wire bytes."""

import re
from collections.abc import Sequence
from typing import Any, Final

from whodid.records import MAX_CLOCK_LEAD_MS, MAX_TIME_MS, Kind
from whodid.store.base import Entry, Head, Numbered, Query
from whodid.store.postgres.connection import Connection

CHUNK: Final = 1000
"""How many entries one statement reads."""

_COLUMNS = "seq, kind, created_ms, salt, commitment, record"
_is_id = re.compile(r"[0-9a-f]{24}", re.ASCII).fullmatch
_IDS: Final = ("user_id", "token_id")
_SEARCHED: Final = frozenset(
    ("type", "action", "user_id", "user_email", "target_id", "token_id", "scope", "outcome", "ip_address")
)

_LOG = """
    SELECT seq, kind, created_ms, record
    FROM (
        SELECT seq, kind, created_ms, record, sum(octet_length(record)) OVER (ORDER BY seq) AS size_bytes
        FROM (SELECT * FROM entry WHERE account_no = %s AND seq >= %s ORDER BY seq LIMIT %s) AS first
    ) AS measured
    WHERE size_bytes <= %s OR size_bytes = octet_length(record)
    ORDER BY seq
"""
_HEADS = "SELECT account_no, size, identity_version, kept_from FROM head WHERE account_no = ANY(%s)"
_KINDS: Final = {kind.value: kind for kind in Kind}

_WINDOW = f"""
    (SELECT {_COLUMNS} FROM entry
    WHERE account_no = %s AND kind = %s AND (created_ms, seq) >= (%s, %s) AND created_ms < %s AND recorded_ms >= %s
    ORDER BY created_ms, seq LIMIT {CHUNK})
"""  # noqa: S608
_WINDOW_OF_ALL = f"{' UNION ALL '.join([_WINDOW] * len(Kind))} ORDER BY created_ms, seq LIMIT {CHUNK}"

# OFFSET 0: not from the ends of the log inwards, which may be far away, but what is in the window.
_NUMBERS = """
    SELECT min(seq), max(seq) FROM (
        SELECT seq FROM entry
        WHERE account_no = %s AND kind = ANY(%s) AND created_ms >= %s AND created_ms < %s AND recorded_ms >= %s
        OFFSET 0
    ) AS inside
"""


def since_recorded(since_ms: int) -> int:
    """The earliest time at which something of that time was recorded: older partitions need not be looked at."""
    return since_ms - MAX_CLOCK_LEAD_MS


async def newest(connection: Connection, query: Query) -> list[bytes]:
    """See ``Store.newest``."""
    conditions = ""
    values: list[Any] = [query.account_no, query.kind.value, query.since_ms, query.until_ms]
    for key, value in query.equals:
        assert key in _SEARCHED, "keys are ours, values are not"
        conditions += f" AND {key} = %s"
        values.append(_value(key, value))
    found = await connection.execute(
        f"""
        SELECT record FROM entry
        WHERE account_no = %s AND kind = %s AND created_ms >= %s AND created_ms < %s{conditions}
          AND recorded_ms >= %s
        ORDER BY created_ms DESC, seq DESC
        LIMIT %s
        """,  # noqa: S608 (keys are checked)
        (*values, since_recorded(query.since_ms), query.limit),
        binary=True,
    )
    return [record for (record,) in await found.fetchall()]


async def entries(connection: Connection, account_no: int, first: int) -> list[Entry]:
    """The next chunk of ``Store.entries``; empty at the end."""
    found = await connection.execute(
        f"SELECT {_COLUMNS} FROM entry WHERE account_no = %s AND seq >= %s ORDER BY seq LIMIT {CHUNK}",  # noqa: S608
        (account_no, first),
        binary=True,
    )
    return list(map(_entry, await found.fetchall()))


async def log(connection: Connection, account_no: int, first: int, limit: int, most_bytes: int) -> list[Numbered]:
    """See ``Store.log``."""
    found = await connection.execute(_LOG, (account_no, first, limit, most_bytes), binary=True)
    return [Numbered(seq, _KINDS[kind], created_ms, record) for seq, kind, created_ms, record in await found.fetchall()]


async def heads(connection: Connection, account_nos: Sequence[int]) -> dict[int, Head]:
    """See ``Store.heads``."""
    found = await connection.execute(_HEADS, (list(account_nos),), binary=True)
    return {no: Head(size, version, kept_from) for no, size, version, kept_from in await found.fetchall()}


async def window(
    connection: Connection, account_no: int, after: tuple[int, int], until_ms: int, kind: Kind | None
) -> list[Entry]:
    """The next chunk of ``Store.window``, of what comes after a time and a sequence number; empty at the end.

    Of each kind by itself, so that an index has them in order: else each chunk would sort all that comes after it. With
    the next number, rather than after this one: the planner takes what comes after a time for none of that time.
    """
    values: list[Any] = []
    for one in [kind] if kind else Kind:
        until = min(until_ms, MAX_TIME_MS + 1)
        values += [account_no, one.value, after[0], after[1] + 1, until, since_recorded(after[0])]
    found = await connection.execute(_WINDOW if kind else _WINDOW_OF_ALL, values, binary=True)
    return list(map(_entry, await found.fetchall()))


async def entry(connection: Connection, account_no: int, record_id: str) -> Entry | None:
    """See ``Store.entry``."""
    found = await connection.execute(
        """
        SELECT e.seq, e.kind, e.created_ms, e.salt, e.commitment, e.record
        FROM record_id i
        JOIN entry e ON e.account_no = i.account_no AND e.seq = i.seq AND e.recorded_ms = i.recorded_ms
        WHERE i.account_no = %s AND i.id = %s
        """,
        (account_no, bytes.fromhex(record_id)),
        binary=True,
    )
    row = await found.fetchone()
    return _entry(row) if row else None


async def numbers(connection: Connection, account_no: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
    """See ``Store.numbers``."""
    kinds = [kind.value for kind in Kind]  # all there are: the index has the kind before the time
    found = await connection.execute(_NUMBERS, (account_no, kinds, since_ms, until_ms, since_recorded(since_ms)))
    row = await found.fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))


def _value(key: str, value: str) -> bytes:
    """A value as its column has it; of what can't be an id, something that no column has."""
    return bytes.fromhex(value) if key in _IDS and _is_id(value) else value.encode()


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, kind, created_ms, salt, commitment, record = row
    return Entry(seq, Kind(kind), created_ms, salt, commitment, record)
