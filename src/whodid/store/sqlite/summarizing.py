"""Summaries: how many of an account's records a condition holds for, over time and by value.

How many there are, and how many of each value, are counted apart. The tally answers what it can: whole hours of all
records, or of those with one value. Everything else, and what is left of the window at its ends, is counted out of the
search index, or record by record, the newest first, as long as there is time.
"""

import time
from collections import Counter
from contextlib import closing
from typing import Any, Final, Generic, NamedTuple, TypeVar

import apsw
from msgspec.structs import replace

from whodid.conditions import KIND_NAMES, All, Condition, Is, matches, value_of
from whodid.records import Body, Kind, parse_record
from whodid.store.base import Question, Summary
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.expressions import ByValue, express
from whodid.store.sqlite.searching import KnownValues, Slices, key_bounds
from whodid.store.sqlite.tally import FIELDS, HOUR_MS
from whodid.store.sqlite.time_keys import LAST_KEY, TIE_BITS, first_key

_FIRST_PART: Final = 64
"""The first slice is so small a part of what is counted in the index; of what is read record by record, less."""

_FIRST_PART_READ: Final = 1024
_QUICK_SECONDS: Final = 0.25
_MOST_VALUES: Final = 1000
"""How many values are counted by asking the index for each by each."""

_MOST_TEXT: Final = 4_000_000
"""How long the expressions for all values may be together, in characters: longer ones take longer than reading."""

_ATTEMPTS: Final = 4
"""How often it is begun anew with a shorter window, where one of the two takes too long."""

_KINDS: Final = {kind: name for name, kind in KIND_NAMES.items()}

_Key = TypeVar("_Key")

_TALLY: Final = """
    SELECT hour, kind, value, count FROM tally WHERE account_no = ? AND field = ? AND hour >= ? AND hour < ?
"""
_VALUES: Final = """
    SELECT DISTINCT value FROM tally WHERE account_no = ? AND field = ? AND hour BETWEEN ? AND ? LIMIT ?
"""
_ADDRESSES: Final = "SELECT DISTINCT email FROM address_word WHERE account_no = ? LIMIT ?"
_COUNT: Final = "SELECT count(*) FROM search WHERE search MATCH ? AND rowid BETWEEN ? AND ?"
_MOST_COUNTS: Final = 1000
_BY_TIME: Final = f"""
    SELECT (rowid >> {TIE_BITS}) / ? AS bucket, count(*) FROM search WHERE search MATCH ? AND rowid BETWEEN ? AND ?
    GROUP BY bucket
"""  # noqa: S608
_ENTRIES: Final = """
    SELECT s.rowid, e.kind, e.dictionary, e.record FROM search s CROSS JOIN entry e ON e.time_key = s.rowid
    WHERE s.search MATCH ? AND s.rowid BETWEEN ? AND ? AND e.account_no = ?
    ORDER BY s.rowid
"""


def summarize(connection: apsw.Connection, read: Decompressor, question: Question) -> Summary:
    """See ``Store.summarize``."""
    since_ms, seconds = question.search.since_ms, question.search.seconds
    for _ in range(_ATTEMPTS):
        now = time.monotonic()
        values = _values(_Looking(connection, read, question, since_ms, now + seconds / 2))
        totals = _totals(_Looking(connection, read, question, values.since_ms, now + seconds))
        if totals.since_ms == values.since_ms:
            return _told(question, totals, values)
        since_ms, seconds = totals.since_ms, seconds / 2
    return Summary(0, {}, [], question.search.until_ms)


def _told(question: Question, totals: "_Totals", values: "_Values") -> Summary:
    ranked = sorted(values.counts.items(), key=lambda item: (-item[1], item[0]))[: question.top]
    size = question.interval_ms
    buckets = {bucket * size: count for bucket, count in sorted(totals.counts.items())} if size else {}
    return Summary(totals.counts.total(), buckets, ranked, totals.since_ms)


class _Plan(NamedTuple):
    """What the tally knows of a condition: records of a kind (None: of both) with a value of a field (empty: all)."""

    kind: Kind | None
    field: str
    value: str


def _plan(condition: Condition) -> _Plan | None:
    """None: the tally does not know it."""
    kind: Kind | None = None
    field = value = ""
    for part in condition.parts if isinstance(condition, All) else (condition,):
        if isinstance(part, Is) and part.field == "kind" and kind is None and part.value in KIND_NAMES:
            kind = KIND_NAMES[part.value]
        elif isinstance(part, Is) and part.field in FIELDS and not field:
            field, value = part.field, part.value
        else:
            return None
    return _Plan(kind, field, value)


class _Looking(NamedTuple):
    """What is counted, since when, and until when there is time for it."""

    connection: apsw.Connection
    read: Decompressor
    question: Question
    since_ms: int
    until: float


def _values(looking: _Looking) -> "_Values":
    """How many records there are of each value."""
    counting, question = _Values(looking), looking.question
    plan = _plan(question.search.condition)
    if question.by is None:
        return counting
    if plan is not None and (question.by in {"kind", plan.field} or (question.by in FIELDS and not plan.field)):
        counting.with_tally(plan, question.by if not plan.field else plan.field)
    else:
        counting.count(looking.since_ms, question.search.until_ms)
    return counting


def _totals(looking: _Looking) -> "_Totals":
    """How many records there are, over time."""
    counting, question = _Totals(looking), looking.question
    plan = _plan(question.search.condition)
    if plan is not None and not (question.interval_ms or HOUR_MS) % HOUR_MS:
        counting.with_tally(plan, plan.field)
    else:
        counting.count(looking.since_ms, question.search.until_ms)
    return counting


class _Counting(Generic[_Key]):
    """Counts the records of a window by a key that each has, the newest first, until the time is up."""

    def __init__(self, looking: _Looking) -> None:
        self.counts: Counter[_Key] = Counter()
        self.since_ms = looking.since_ms
        """From when on was counted."""
        self._connection = looking.connection
        self._read = looking.read
        self._asked = looking.question.search
        self._by = looking.question.by
        self._interval_ms = looking.question.interval_ms
        self._until = looking.until
        self._known = KnownValues(looking.connection)
        self._broken_off = False

    def with_tally(self, plan: _Plan, field: str) -> None:
        """Count whole hours by the tally of a field, and what is left at the ends otherwise."""
        until_ms = self._asked.until_ms
        first, end = -(-max(self.since_ms, 0) // HOUR_MS), until_ms // HOUR_MS
        if first >= end:
            self.count(self.since_ms, until_ms)
            return
        self.count(end * HOUR_MS, until_ms)
        if self._broken_off:
            return
        rows: Any = self._connection.execute(_TALLY, (self._asked.account_no, field.replace("kind", ""), first, end))
        for hour, kind, value, count in rows:
            if plan.kind in (None, kind) and plan.value in ("", value):
                key = self.key_of(hour * HOUR_MS, Kind(kind), value)
                if key is not None:
                    self.counts[key] += count
        self.count(self.since_ms, first * HOUR_MS)

    def count(self, since_ms: int, until_ms: int) -> None:
        """Count what the index has in a window."""
        if since_ms >= until_ms or self._broken_off:
            return
        bounds = key_bounds(self._connection, replace(self._asked, since_ms=since_ms, until_ms=until_ms))
        text, exact = express(self._asked.condition, self._asked.account_no, self._known)
        if bounds is None or text is None:
            return
        by_index = exact and self.prepare(*bounds)
        first_part = _FIRST_PART if by_index else _FIRST_PART_READ
        slices = Slices(
            *bounds, descending=True, until=self._until, first_part=first_part, quick_seconds=_QUICK_SECONDS
        )
        for begin, end in slices:
            counted = self.count_index(text, begin, end) if by_index else self._count_records(text, begin, end)
            if counted is None:  # only what comes after this slice is known
                self._break_off((end >> TIE_BITS) + 1)
                return
            self.counts.update(counted)
        if slices.rest is not None:
            self._break_off(slices.rest.created_ms)

    def _break_off(self, since_ms: int) -> None:
        self._broken_off = True
        self.since_ms = since_ms

    @property
    def time_is_up(self) -> bool:
        """Whether counting should be broken off."""
        return time.monotonic() > self._until

    def _count_records(self, text: str, begin: int, end: int) -> "Counter[_Key] | None":
        """Count a slice record by record; None where there is no time for it."""
        counted: Counter[_Key] = Counter()
        with closing(self._connection.execute(_ENTRIES, (text, begin, end, self._asked.account_no))) as rows:
            for key, kind, dictionary, frame in rows:
                body: Body = parse_record(Kind(kind), self._read(dictionary, frame))
                if matches(self._asked.condition, body):
                    value = None if self._by is None else value_of(body, self._by)
                    its = self.key_of(key >> TIE_BITS, Kind(kind), value)
                    if its is not None:
                        counted[its] += 1
                if self.time_is_up:
                    return None
        return counted

    def _one(self, text: str, begin: int, end: int) -> int:
        found: Any = self._connection.execute(_COUNT, (text, begin, end)).get
        return int(found)

    def key_of(self, time_ms: int, kind: Kind, value: str | None) -> _Key | None:
        """What a record of a time, a kind and a value counts for; None: for nothing."""
        raise NotImplementedError

    def prepare(self, low: int, high: int) -> bool:
        """Make ready to count between two keys; whether the index alone can tell."""
        raise NotImplementedError

    def count_index(self, text: str, begin: int, end: int) -> "Counter[_Key] | None":
        """Count a slice by what the index says alone; None where there is no time for it."""
        raise NotImplementedError


class _Totals(_Counting[int]):
    """How many records there are in each interval."""

    def key_of(self, time_ms: int, kind: Kind, value: str | None) -> int | None:  # noqa: ARG002
        """The interval; it is always the same one where there are none."""
        return 0 if self._interval_ms is None else time_ms // self._interval_ms

    def prepare(self, low: int, high: int) -> bool:  # noqa: ARG002
        """Nothing is needed."""
        return True

    def count_index(self, text: str, begin: int, end: int) -> Counter[int] | None:
        """Count a slice by what the index says alone."""
        if self._interval_ms is None:
            return Counter({0: self._one(text, begin, end)})
        counted: Counter[int] = Counter()
        first, last = ((key >> TIE_BITS) // self._interval_ms for key in (begin, end))
        if " AND " in text or " NOT " in text or last - first > _MOST_COUNTS:
            rows: Any = self._connection.execute(_BY_TIME, (self._interval_ms, text, begin, end))
            counted.update(dict(rows))
            return counted
        for bucket in range(first, last + 1):  # three times as fast, unless there is much to look through for little
            low, high = first_key(bucket * self._interval_ms), first_key((bucket + 1) * self._interval_ms) - 1
            if count := self._one(text, max(low, begin), min(high, end)):
                counted[bucket] = count
            if self.time_is_up:
                return None
        return counted


class _Values(_Counting[str]):
    """How many records there are of each value."""

    def __init__(self, looking: _Looking) -> None:
        super().__init__(looking)
        self._values: list[str] = []
        """Those that there may be."""
        self._expressions: ByValue | None = None

    def key_of(self, time_ms: int, kind: Kind, value: str | None) -> str | None:  # noqa: ARG002
        """The value."""
        return _KINDS[kind] if self._by == "kind" else value

    def prepare(self, low: int, high: int) -> bool:
        """Find out which values there may be; False where they are too many, or can't be told."""
        values = self._possible(low, high)
        if self._by is None or values is None or len(values) > _MOST_VALUES:
            return False
        self._values = values
        self._expressions = ByValue(self._asked.condition, self._asked.account_no, self._by, self._known)
        return self._expressions.exact and len(values) * self._expressions.size < _MOST_TEXT

    def _possible(self, low: int, high: int) -> list[str] | None:
        parts = self._asked.condition.parts if isinstance(self._asked.condition, All) else (self._asked.condition,)
        said = [part.value for part in parts if isinstance(part, Is) and part.field == self._by]
        if said:
            return said[:1]
        if self._by == "kind":
            return list(KIND_NAMES)
        if self._by in FIELDS:
            hours = [(key >> TIE_BITS) // HOUR_MS for key in (low, min(high, LAST_KEY))]
            return self._column(_VALUES, (self._asked.account_no, self._by, *hours, _MOST_VALUES + 1))
        if self._by == "user_email":
            return self._column(_ADDRESSES, (self._asked.account_no, _MOST_VALUES + 1))
        return None

    def _column(self, statement: str, bindings: tuple[int | str, ...]) -> list[str]:
        rows: Any = self._connection.execute(statement, bindings).fetchall()
        return [value for (value,) in rows]

    def count_index(self, text: str, begin: int, end: int) -> Counter[str] | None:  # noqa: ARG002
        """Count a slice by what the index says alone."""
        counted: Counter[str] = Counter()
        for value in self._values if self._expressions else ():
            its = self._expressions.of(value) if self._expressions else None
            if its is not None and (count := self._one(its, begin, end)):
                counted[value] = count
            if self.time_is_up:
                return None
        return counted
