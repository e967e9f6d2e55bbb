"""The tally: how many entries each hour has, and each value of some fields in it.

Counted up in the transaction that appends the entries, under the lock of the account's head: so it is exact, and two
appends never wait for each other's rows. It is derived: ``RECOUNTED`` says the same of the entries themselves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from operator import attrgetter
from typing import Final, TypeAlias

from whodid.conditions import FIELDS
from whodid.records import Body, Event, Kind
from whodid.store.base import TALLIED
from whodid.store.postgres.connection import Connection

HOUR_MS: Final = 3_600_000

Tally: TypeAlias = Counter[tuple[int, str, int, str]]
"""How many, by kind, field, hour since 1970 and value; of the field ``''``, all."""

_FIELDS: Final = {
    kind: [(field, attrgetter(field)) for field in TALLIED if kind in FIELDS[field]] for kind in Kind
}  # fmt: skip

_ADD: Final = """
    INSERT INTO tally (account_no, kind, key, hour, value, count)
    SELECT %b, kind, key, hour, value, count
    FROM unnest(%b::int[], %b::text[], %b::int[], %b::bytea[], %b::bigint[]) AS new (kind, key, hour, value, count)
    ON CONFLICT (account_no, kind, key, hour, value) DO UPDATE SET count = tally.count + excluded.count
"""

_COUNTED: Final = ", ".join(f"('{field}', {field})" for field in TALLIED)
RECOUNTED: Final = f"""
    SELECT account_no, kind, key, (created_ms / {HOUR_MS})::int AS hour, value, count(*) AS count
    FROM entry CROSS JOIN LATERAL (VALUES ('' COLLATE "C", ''::bytea), {_COUNTED}) AS counted (key, value)
    WHERE account_no = %s AND kind = ANY(%s) AND created_ms >= %s AND created_ms < %s AND value IS NOT NULL
    GROUP BY account_no, kind, key, hour, value
"""  # noqa: S608 (fields are ours)
"""What the tally of an account should be in a window of whole hours, by the columns of its entries."""

RECOUNT: Final = f"INSERT INTO tally (account_no, kind, key, hour, value, count) {RECOUNTED}"


def tally_of(events: Iterable[Event]) -> Tally:
    """What some events add to the tally."""
    tally: Tally = Counter()
    by_hour: defaultdict[tuple[int, int], list[Body]] = defaultdict(list)
    for event in events:
        by_hour[event.kind, event.created_ms // HOUR_MS].append(event.body)
    for (kind, hour), bodies in by_hour.items():
        tally[int(kind), "", hour, ""] = len(bodies)
        for field, value_of in _FIELDS[Kind(kind)]:
            for value, count in Counter(map(value_of, bodies)).items():
                if value:
                    tally[int(kind), field, hour, value] = count
    return tally


async def mend(connection: Connection, account_no: int, since_ms: int, until_ms: int) -> None:
    """Count a window of whole hours anew, inside a transaction that has the account's head locked."""
    await connection.execute(
        "DELETE FROM tally WHERE account_no = %s AND hour >= %s AND hour < %s",
        (account_no, since_ms // HOUR_MS, until_ms // HOUR_MS),
    )
    kinds = [kind.value for kind in Kind]
    await connection.execute(RECOUNT, (account_no, kinds, since_ms, until_ms))


async def add(connection: Connection, account_no: int, tally: Tally) -> None:
    """Count up, inside the transaction that appends; in a pipeline."""
    if tally:
        rows = sorted(tally.items())
        kinds, keys, hours, values = zip(*(row for row, _ in rows), strict=True)
        made = list(kinds), list(keys), list(hours), [value.encode() for value in values], [count for _, count in rows]
        await connection.execute(_ADD, (account_no, *made))
