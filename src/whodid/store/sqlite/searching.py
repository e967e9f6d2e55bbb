"""Searching: pages of an account's records that a condition holds for.

The index is walked in slices of time, from where the search begins: so it can be broken off, and gone on with, whatever
is asked for and however little there is of it.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Final

import apsw

from whodid.conditions import Condition, matches
from whodid.errors import InvalidParameter
from whodid.records import Kind, parse_record
from whodid.store.base import AFTER_ALL, BEFORE_ALL, Found, Numbered, Position, Search, fitting
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.expressions import MOST_VALUES, express
from whodid.store.sqlite.time_keys import LAST_KEY, TIE_BITS, first_key

_SLICES: Final = 16
"""The first slice is so small a part of what there is."""

_QUICK_SECONDS: Final = 0.05
_AT_ONCE: Final = 100
"""How many records are made of rows before it is looked how large they are."""

_KINDS: Final = {kind.value: kind for kind in Kind}

# The rowids of the index come in order by themselves. Asking for the account once more costs nothing, and means that no
# flaw of the index could ever show an account another one's records.
_ENTRIES: Final = """
    SELECT e.seq, e.kind, s.rowid, e.dictionary, e.record
    FROM search s CROSS JOIN entry e ON e.time_key = s.rowid
    WHERE s.search MATCH ? AND s.rowid BETWEEN ? AND ? AND e.account_no = ?
    ORDER BY s.rowid {order} LIMIT ?
"""
_KEYS: Final = """
    SELECT s.rowid, e.account_no FROM search s CROSS JOIN entry e ON e.time_key = s.rowid
    WHERE s.search MATCH ? AND s.rowid BETWEEN ? AND ? AND e.account_no = ?
    ORDER BY s.rowid {order} LIMIT ?
"""


class KnownValues:
    """The values that the index and the store's table of words know. Implements ``Values``."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        connection.execute("CREATE VIRTUAL TABLE IF NOT EXISTS temp.term_of USING fts5vocab(main, search, instance)")

    def beginning(self, start: str) -> list[str] | None:
        """The terms of the index that begin so: each is looked up by itself, however many records have it."""
        found: list[str] = []
        low = start
        while True:
            term: str | None = self._connection.execute(
                "SELECT term FROM temp.term_of WHERE term >= ? LIMIT 1", (low,)
            ).get
            if term is None or not term.startswith(start):
                return found
            if len(found) == MOST_VALUES:
                return None
            found.append(term)
            low = term + "\0"

    def addresses(self, account_no: int, word: str) -> list[str] | None:
        """The addresses with this word."""
        return self._addresses("word = ?", (account_no, word))

    def addresses_beginning(self, account_no: int, start: str) -> list[str] | None:
        """The addresses with a word that begins so."""
        return self._addresses("word >= ? AND word < ?", (account_no, start, start + "\U0010ffff"))

    def _addresses(self, which: str, values: tuple[int | str, ...]) -> list[str] | None:
        rows = self._connection.execute(
            f"SELECT DISTINCT email FROM address_word WHERE account_no = ? AND {which} LIMIT {MOST_VALUES + 1}",  # noqa: S608
            values,
        ).fetchall()
        return None if len(rows) > MOST_VALUES else [str(row[0]) for row in rows]


class Slices:
    """Slices of the keys from ``low`` to ``high``, one after another in either direction, until the time is up.

    They become wider as long as they are quick, and never end within a millisecond. Each slice may be broken off once
    the time is up.
    """

    def __init__(
        self,
        low: int,
        high: int,
        *,
        descending: bool,
        until: float,
        first_part: int = _SLICES,
        quick_seconds: float = _QUICK_SECONDS,
    ) -> None:
        self._low, self._high = low, high
        self._descending = descending
        self._width = max((high - low) // first_part, 1 << TIE_BITS)
        self._until = until
        self._quick_seconds = quick_seconds

    def __iter__(self) -> Iterator[tuple[int, int]]:
        while self._low <= self._high:
            began = time.monotonic()
            yield self._next()
            now = time.monotonic()
            if self.time_is_up:
                return
            if now - began < self._quick_seconds:
                self._width *= 4
            elif now - began > 5 * self._quick_seconds:
                self._width = max(self._width // 4, 1 << TIE_BITS)

    def _next(self) -> tuple[int, int]:
        if self._descending:
            begin = max(self._low, (self._high - self._width) >> TIE_BITS << TIE_BITS)
            end, self._high = self._high, begin - 1
        else:
            end = min(self._high, (self._low + self._width) | ((1 << TIE_BITS) - 1))
            begin, self._low = self._low, end + 1
        return begin, end

    @property
    def time_is_up(self) -> bool:
        """Whether looking should be broken off."""
        return time.monotonic() > self._until

    @property
    def rest(self) -> Position | None:
        """From where on nothing was looked at; None: everything was."""
        if self._low > self._high:
            return None
        if self._descending:
            return Position((self._high + 1) >> TIE_BITS, BEFORE_ALL)
        return Position((self._low - 1) >> TIE_BITS, AFTER_ALL)


def search(connection: apsw.Connection, read: Decompressor, asked: Search) -> Found:
    """See ``Store.search``."""
    until = time.monotonic() + asked.seconds
    text, exact = express(asked.condition, asked.account_no, KnownValues(connection))
    bounds = key_bounds(connection, asked)
    if text is None or bounds is None:
        return Found([], None)
    run = _Run(connection, read, asked, text, None if exact else asked.condition)
    return run.page(Slices(*bounds, descending=asked.newest_first, until=until))


class _Run:
    """One search while it runs."""

    def __init__(
        self, connection: apsw.Connection, read: Decompressor, asked: Search, text: str, condition: Condition | None
    ) -> None:
        self._connection = connection
        self._read = read
        self._asked = asked
        self._text = text
        self._condition = condition
        """What each record must be held against; None: the index says it all."""
        self._skip = asked.skip

    def page(self, slices: Slices) -> Found:
        """The page."""
        return self._by_index(slices) if self._condition is None else self._by_record(self._condition, slices)

    def _by_index(self, slices: Slices) -> Found:
        """The page, where all that the index has is found."""
        records: list[Numbered] = []
        size_bytes, limit, most_bytes = 0, self._asked.limit, self._asked.most_bytes
        for begin, end in slices:
            between = self._past_what_is_left_out(begin, end)
            if between is None:
                continue
            with closing(self._rows(_ENTRIES, *between, limit + 1 - len(records))) as rows:
                while size_bytes <= most_bytes and (some := list(islice(rows, _AT_ONCE))):
                    read = self._read.all([row[3:] for row in some])
                    size_bytes += sum(map(len, read))
                    records += numbered(some, read)
            if len(records) > limit or size_bytes > most_bytes:
                page = records[:limit]
                page = page if size_bytes <= most_bytes else fitting(page, most_bytes)
                return Found(page, _place(page[-1]))
        return self._so_far(records, slices.rest)

    def _past_what_is_left_out(self, begin: int, end: int) -> tuple[int, int] | None:
        """What is left of a slice; None: nothing."""
        if not self._skip:
            return begin, end
        with closing(self._rows(_KEYS, begin, end, self._skip)) as rows:
            keys = rows.fetchall()
        self._skip -= len(keys)
        if self._skip:
            return None
        key = keys[-1][0]
        return (begin, key - 1) if self._asked.newest_first else (key + 1, end)

    def _by_record(self, condition: Condition, slices: Slices) -> Found:
        """The page, where each record that the index has must be held against the condition."""
        records: list[Numbered] = []
        room = self._asked.most_bytes
        for begin, end in slices:
            with closing(self._rows(_ENTRIES, begin, end, -1)) as rows:
                for row in rows:
                    (one,) = numbered([row], [self._read(*row[3:])])
                    if self._is_wanted(condition, one):
                        room -= len(one.record)
                        if len(records) == self._asked.limit or (room < 0 and records):
                            return Found(records, _place(records[-1]))  # for there is more
                        records.append(one)
                    if slices.time_is_up:
                        return self._so_far(records, _place(one))
        return self._so_far(records, slices.rest)

    def _is_wanted(self, condition: Condition, one: Numbered) -> bool:
        """Whether the condition holds, and it is not one of those that are left out."""
        if not matches(condition, parse_record(one.kind, one.record)):
            return False
        if self._skip:
            self._skip -= 1
            return False
        return True

    def _so_far(self, records: list[Numbered], rest: Position | None) -> Found:
        if rest is not None and self._skip:
            raise InvalidParameter("it takes too long to leave out so many records; narrow the time that is asked for")
        return Found(records, rest)

    def _rows(self, statement: str, begin: int, end: int, limit: int) -> Any:
        """Rows as they are asked for, to be closed: whoever stops early has read no more."""
        order = "DESC" if self._asked.newest_first else "ASC"
        bindings = (self._text, begin, end, self._asked.account_no, limit)
        return self._connection.execute(statement.format(order=order), bindings)


def numbered(rows: Sequence[Any], records: Sequence[bytes]) -> list[Numbered]:
    """Records with what stands in front of them in their rows: number, kind and place in time."""
    return [
        Numbered(row[0], _KINDS[row[1]], row[2] >> TIE_BITS, record) for row, record in zip(rows, records, strict=True)
    ]


def _place(one: Numbered) -> Position:
    return Position(one.created_ms, one.seq)


def key_bounds(connection: apsw.Connection, asked: Search) -> tuple[int, int] | None:
    """The lowest and highest key of what is searched; None where there is nothing."""
    ends: Any = connection.execute(
        "SELECT (SELECT min(time_key) FROM entry), (SELECT max(time_key) FROM entry)"
    ).fetchone()
    oldest, newest = ends
    if oldest is None:
        return None
    low = max(first_key(asked.since_ms), oldest)
    high = min(first_key(asked.until_ms) - 1, newest)
    if asked.after is not None:
        key, there = _key_of(connection, asked.account_no, asked.after)
        if asked.newest_first:
            high = min(high, key - 1)
        else:
            low = max(low, key + there)
    return (low, high) if low <= high else None


def _key_of(connection: apsw.Connection, account_no: int, position: Position) -> tuple[int, int]:
    """The key of a place; and 1 if an entry is there, 0 if it is between entries: then, of what comes after it."""
    if position.seq == BEFORE_ALL:
        return first_key(position.created_ms), 0
    if position.seq == AFTER_ALL:
        return first_key(position.created_ms + 1), 0
    key: int | None = connection.execute(
        "SELECT time_key FROM entry WHERE account_no = ? AND seq = ?", (account_no, position.seq)
    ).get
    if key is None or key >> TIE_BITS != position.created_ms:
        raise InvalidParameter("the place to go on from is none of this log; begin again without it")
    return min(key, LAST_KEY), 1
