"""Searching: a page of the records of an account that a condition holds for, by whatever index is best.

Three ways, in this order:

1. As the database thinks best: by the inverted index where few records match, along the index by time where many do.
2. By the inverted index, where the database was wrong: of conditions that each hold often, but never together.
3. Along the index by time, stretch by stretch, until the time is over: then it is known how far it was looked.

The first two have a part of the time each; most searches take a thousandth of it. A stretch ends with an entry, not
with a millisecond, of which there may be any number.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from whodid.conditions import EVERYTHING, Condition
from whodid.errors import InvalidParameter
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import AFTER_ALL, BEFORE_ALL, UNBOUNDED, Found, Numbered, Position, Search, fitting
from whodid.store.postgres.asking import NOTHING, can_be_looked_up, holding, narrowed
from whodid.store.postgres.connection import Connection, Row
from whodid.store.postgres.limiting import fetch_within
from whodid.store.postgres.reader import since_recorded

_PART: Final = 0.3
"""How much of the time each of the first two ways has."""

_SHORT_STRETCH: Final = 2000
_LONG_STRETCH: Final = 64_000
SPARE_SECONDS: Final = 4.0
"""How much longer than it should a search may take as a whole: then it is broken off in the midst of a stretch."""

TOO_FAR: Final = Position(-1, BEFORE_ALL)
"""Instead of a place that takes too long to be found."""

# The page, up to the first record that no longer fits: so that it is known that there is more.
_MEASURED: Final = """
    SELECT seq, kind, created_ms, record
    FROM (SELECT *, sum(octet_length(record)) OVER ({order}) AS size_bytes FROM ({page}) AS page) AS measured
    WHERE size_bytes - octet_length(record) <= %s
"""

_KINDS: Final = {kind.value: kind for kind in Kind}


async def search(connection: Connection, search: Search) -> Found:
    """See ``Store.search``."""
    by_kind = narrowed_by_kind(search.condition)
    if not by_kind or search.since_ms >= search.until_ms:
        return Found([], None)
    stop = time.monotonic() + search.seconds
    for without in (None, "enable_indexscan"):
        rows = await _page(connection, search, by_kind, search.seconds * _PART, without=without)
        if rows is not None:
            return _found(search, rows)
        if not all(map(can_be_looked_up, by_kind.values())):
            break
    return await _walk(connection, search, by_kind, stop)


def narrowed_by_kind(condition: Condition) -> dict[Kind, Condition]:
    """What a condition comes to for the records of each kind; without kinds of which there are none."""
    by_kind = {kind: narrowed(condition, kind) for kind in Kind}
    return {kind: condition for kind, condition in by_kind.items() if condition != NOTHING}


async def _page(
    connection: Connection,
    search: Search,
    by_kind: dict[Kind, Condition],
    seconds: float,
    *,
    without: str | None,
    end: Position | None = None,
) -> list[Row] | None:
    """Rows of the page, up to ``end``, and of one more record if there is one; None where it takes too long."""
    branches, values = [], list[Any]()
    for kind, condition in by_kind.items():
        branch, its_values = _branch(search, kind, condition, end)
        branches.append(branch)
        values += its_values
    page = f"{_together(branches)} {_order(search)} OFFSET %s LIMIT %s"
    statement = f"{_MEASURED.format(page=page, order=_order(search))} {_order(search)}"
    values += [search.skip, search.limit + 1, search.most_bytes]
    return await fetch_within(connection, seconds, statement, values, without=without)


def _branch(search: Search, kind: Kind, condition: Condition, end: Position | None) -> tuple[str, list[Any]]:
    """The statement for the records of one kind: each by itself, so that an index has them in order."""
    statement, values = _window(search, kind, "seq, kind, created_ms, record", end)
    if condition != EVERYTHING:
        expression, its_values = holding(search.account_no, kind, condition)
        statement += f" AND {expression}"
        values += its_values
    return f"({statement} {_order(search)} LIMIT %s)", [*values, search.skip + search.limit + 1]


def _window(search: Search, kind: Kind, columns: str, end: Position | None = None) -> tuple[str, list[Any]]:
    """The statement for all records of a kind that are searched, up to and including ``end``.

    At each end one comparison: of two, PostgreSQL begins at either one in the index, and passes all that is in between.
    Both with what they name, since it takes the records of one time for none where they are compared without.
    """
    low = Position(search.since_ms, BEFORE_ALL)
    high = Position(min(search.until_ms, MAX_TIME_MS + 1), BEFORE_ALL - 1)
    after = search.after
    if search.newest_first:
        low = max(low, end) if end else low
        high = min(high, Position(after.created_ms, after.seq - 1)) if after else high
    else:
        low = max(low, Position(after.created_ms, min(after.seq, AFTER_ALL - 1) + 1)) if after else low
        high = min(high, end) if end else high
    statement = (
        f"SELECT {columns} FROM entry WHERE account_no = %s AND kind = %s "  # noqa: S608
        "AND (created_ms, seq) >= (%s, %s) AND (created_ms, seq) <= (%s, %s) AND recorded_ms >= %s"
    )
    return statement, [search.account_no, kind.value, *low, *high, since_recorded(low.created_ms)]


def _together(branches: list[str]) -> str:
    return f"SELECT * FROM ({' UNION ALL '.join(branches)}) AS found"  # noqa: S608


def _order(search: Search) -> str:
    direction = "DESC" if search.newest_first else "ASC"
    return f"ORDER BY created_ms {direction}, seq {direction}"


def _found(search: Search, rows: Sequence[Row]) -> Found:
    records = [Numbered(seq, _KINDS[kind], created_ms, record) for seq, kind, created_ms, record in rows]
    page = fitting(records[: search.limit], search.most_bytes)
    if len(page) == len(records) and _size_bytes(rows) <= search.most_bytes:
        return Found(page, None)
    return Found(page, Position(page[-1].created_ms, page[-1].seq))


def _size_bytes(rows: Sequence[Row]) -> int:
    return sum(len(row[3]) for row in rows)


# The third way.


async def _walk(connection: Connection, search: Search, by_kind: dict[Kind, Condition], stop: float) -> Found:
    rows: list[Row] = []
    wanted, size, rest = search.skip + search.limit + 1, _SHORT_STRETCH, replace(search, skip=0)
    if search.skip:  # what is left out may be of any size
        rest = replace(rest, most_bytes=UNBOUNDED)
    give_up = stop + SPARE_SECONDS
    while True:
        stretch = replace(rest, limit=wanted - len(rows) - 1)
        found, end = await _stretch(connection, stretch, by_kind, size, give_up)
        if found is None:
            return _so_far(search, rows, rest.after)
        rows += found
        if len(rows) >= wanted or end is None or _size_bytes(rows) > rest.most_bytes:
            return _found(search, rows[search.skip :])
        rest = replace(rest, after=end)
        if time.monotonic() >= stop:
            return _so_far(search, rows, rest.after)
        size = min(2 * size, _LONG_STRETCH)


async def _stretch(
    connection: Connection, search: Search, by_kind: dict[Kind, Condition], size: int, give_up: float
) -> tuple[list[Row] | None, Position | None]:
    """What is found in the next so many entries, and where they end; rows None where it takes too long."""
    end = await place_ahead(connection, search, by_kind, size, give_up - time.monotonic())
    if end is TOO_FAR:
        return None, None
    seconds = give_up - time.monotonic()
    return await _page(connection, search, by_kind, seconds, without="enable_bitmapscan", end=end), end


async def place_ahead(
    connection: Connection, search: Search, by_kind: dict[Kind, Condition], size: int, seconds: float
) -> Position | None:
    """The place of the entry that many places ahead; None where there are not so many; ``TOO_FAR``."""
    branches, values = [], list[Any]()
    for kind in by_kind:
        statement, its_values = _window(search, kind, "created_ms, seq")
        branches.append(f"({statement} {_order(search)} LIMIT %s)")
        values += [*its_values, size]
    statement = f"{_together(branches)} {_order(search)} OFFSET %s LIMIT 1"
    rows = await fetch_within(connection, seconds, statement, [*values, size - 1])
    if rows is None:
        return TOO_FAR
    return Position(*rows[0]) if rows else None


def _so_far(search: Search, rows: list[Row], after: Position | None) -> Found:
    """What was found when the time was over."""
    if search.skip or after == search.after:  # whoever went on from there would come no further
        raise InvalidParameter(
            "this search takes too long: narrow it, with 'since' and 'until' closer together, or ask for a rarer value"
        )
    return Found(_found(search, rows).records, after)
