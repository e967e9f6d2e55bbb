"""Summarizing: how many records there are, of the tally where it can tell, else counted.

The tally knows whole hours, of everything or of a value of some fields; what is left of an hour at either end is
counted. One statement does it all, so that no append comes in between.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from whodid.conditions import EVERYTHING, FIELDS, KIND_NAMES, AnyOf, Condition, Is
from whodid.errors import InvalidParameter
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import TALLIED, Question, Summary
from whodid.store.postgres.asking import holding
from whodid.store.postgres.connection import Connection, Row
from whodid.store.postgres.limiting import fetch_within
from whodid.store.postgres.reader import since_recorded
from whodid.store.postgres.searching import SPARE_SECONDS, TOO_FAR, narrowed_by_kind, place_ahead
from whodid.store.postgres.tally import HOUR_MS

_NEWEST: Final = (300_000, 30_000)
"""How many of the newest entries are looked at where all of them are too many; in what time is spare then."""

_IDS: Final = ("user_id", "token_id")
_KIND_VALUES: Final = {kind: name.encode() for name, kind in KIND_NAMES.items()}

# What is 'of' says of a row whether it counts for the total, for the values, or for both.
_STATEMENT: Final = """
    WITH counted (is_of, bucket, value, count) AS MATERIALIZED ({})
    (SELECT bucket, NULL::bytea, sum(count)::bigint FROM counted WHERE is_of <> 'value' GROUP BY bucket)
    UNION ALL
    (SELECT NULL, value, sum(count)::bigint FROM counted WHERE is_of <> 'total' AND value IS NOT NULL
     GROUP BY value ORDER BY 3 DESC, 2 LIMIT %s)
"""


@dataclass(slots=True)
class _Parts:
    """The statements whose rows are added up."""

    question: Question
    statements: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, statement: str, *values: Any) -> None:
        """One more."""
        self.statements.append(statement)
        self.values += values


async def summarize(connection: Connection, question: Question) -> Summary:
    """See ``Store.summarize``."""
    assert question.by is None or question.by in FIELDS, "fields are ours, and become part of the statement"
    search = question.search
    by_kind = narrowed_by_kind(search.condition)
    since_ms, until_ms = max(search.since_ms, 0), min(search.until_ms, MAX_TIME_MS + 1)
    if not by_kind or since_ms >= until_ms:
        return Summary(0, {}, [], search.since_ms)
    window = replace(search, since_ms=since_ms, until_ms=until_ms, after=None, newest_first=True)
    rows = await _count(connection, replace(question, search=window), by_kind, search.seconds)
    part_seconds = SPARE_SECONDS / (2 * len(_NEWEST))
    for newest in _NEWEST:
        if rows is not None:
            break
        begin = await place_ahead(connection, window, by_kind, newest, part_seconds)
        if begin is TOO_FAR:
            continue
        begin_ms = max(begin.created_ms, window.since_ms) if begin else window.since_ms
        window = replace(window, since_ms=_aligned(begin_ms, question.interval_ms, until_ms))
        rows = await _count(connection, replace(question, search=window), by_kind, part_seconds)
    if rows is None:
        raise InvalidParameter(
            "these are too many to count: narrow the search, with 'since' and 'until' closer together"
        )
    return _summary(question, rows, search.since_ms if window.since_ms == since_ms else window.since_ms)


def _aligned(since_ms: int, interval_ms: int | None, until_ms: int) -> int:
    """The beginning of the first whole interval, so that what comes first is not less because it is cut off."""
    aligned = -(-since_ms // interval_ms) * interval_ms if interval_ms else since_ms
    return aligned if aligned < until_ms else since_ms


async def _count(
    connection: Connection, question: Question, by_kind: dict[Kind, Condition], seconds: float
) -> list[Row] | None:
    parts = _Parts(question)
    for kind, condition in by_kind.items():
        _add_kind(parts, kind, condition)
    statement = _STATEMENT.format(" UNION ALL ".join(parts.statements))
    top = question.top if question.by else 0
    return await fetch_within(connection, seconds, statement, [*parts.values, top])


def _add_kind(parts: _Parts, kind: Kind, condition: Condition) -> None:
    """Whole hours by the tally, if it can tell, and what is left at both ends by the entries."""
    search = parts.question.search
    first_hour, end_hour = -(-search.since_ms // HOUR_MS), search.until_ms // HOUR_MS
    tallied = _tallied(parts.question, condition)
    if tallied is None or first_hour >= end_hour:
        _add_entries(parts, kind, condition, search.since_ms, search.until_ms)
        return
    _add_tally(parts, kind, tallied, (first_hour, end_hour))
    for since_ms, until_ms in ((search.since_ms, first_hour * HOUR_MS), (end_hour * HOUR_MS, search.until_ms)):
        if since_ms < until_ms:
            _add_entries(parts, kind, condition, since_ms, until_ms)


def _tallied(question: Question, condition: Condition) -> tuple[str, list[bytes]] | None:
    """The field and its values by which the tally knows how many there are; None if it does not."""
    if (question.interval_ms or HOUR_MS) % HOUR_MS:
        return None
    if condition == EVERYTHING:
        return ("", [b""]) if question.by in (None, "kind", *TALLIED) else None
    parts = condition.parts if isinstance(condition, AnyOf) else (condition,)
    fields = {part.field if isinstance(part, Is) else None for part in parts}
    (one, *others) = fields
    if others or one not in TALLIED or question.by not in (None, "kind", one):
        return None
    return one, [part.value.encode() for part in parts if isinstance(part, Is)]


def _add_tally(parts: _Parts, kind: Kind, tallied: tuple[str, list[bytes]], hours: tuple[int, int]) -> None:
    key, values = tallied
    by, interval_ms = parts.question.by, parts.question.interval_ms
    where = "account_no = %s AND kind = %s AND key = %s AND hour >= %s AND hour < %s"
    account = parts.question.search.account_no, kind.value
    is_of, value = ("both", _KIND_VALUES[kind]) if by == "kind" else ("total", None)
    bucket = f"hour::bigint * {HOUR_MS} / {interval_ms} * {interval_ms}" if interval_ms else "0::bigint"
    parts.add(
        f"SELECT '{is_of}', {bucket}, %s::bytea, sum(count) FROM tally WHERE {where} AND value = ANY(%s::bytea[]) "  # noqa: S608
        "GROUP BY 2",
        *(value, *account, key, *hours, values),
    )
    if by in TALLIED:
        only = "AND value = ANY(%s::bytea[]) " if key else ""
        parts.add(
            f"SELECT 'value', 0, value, sum(count) FROM tally WHERE {where} {only}GROUP BY value",  # noqa: S608
            *(*account, by, *hours),
            *([values] if key else []),
        )


def _add_entries(parts: _Parts, kind: Kind, condition: Condition, since_ms: int, until_ms: int) -> None:
    by, interval_ms = parts.question.by, parts.question.interval_ms
    bucket = f"created_ms / {interval_ms} * {interval_ms}" if interval_ms else "0::bigint"
    column, shown = ("%s::bytea", [_KIND_VALUES[kind]]) if by == "kind" else (by or "NULL::bytea", [])
    statement = (
        f"SELECT 'both', {bucket}, {column}, count(*) FROM entry WHERE account_no = %s AND kind = %s "  # noqa: S608
        "AND created_ms >= %s AND created_ms < %s AND recorded_ms >= %s"
    )
    values = [*shown, parts.question.search.account_no, kind.value, since_ms, until_ms, since_recorded(since_ms)]
    if condition != EVERYTHING:
        expression, its_values = holding(parts.question.search.account_no, kind, condition)
        statement += f" AND {expression}"
        values += its_values
    parts.add(f"{statement} GROUP BY 2, 3", *values)


def _summary(question: Question, rows: list[Row], since_ms: int) -> Summary:
    buckets = {bucket: count for bucket, _, count in rows if bucket is not None}
    values = [(_shown(question.by, value), count) for bucket, value, count in rows if bucket is None]
    return Summary(sum(buckets.values()), buckets if question.interval_ms else {}, values, since_ms)


def _shown(by: str | None, value: bytes) -> str:
    return value.hex() if by in _IDS else value.decode()
