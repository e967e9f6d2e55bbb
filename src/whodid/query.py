"""Queries: from the parameters of a reading call to what a store is asked for.

Owns the parameters of calls: their names, their values, their defaults and limits. A parameter that is not known, or
given twice, is an error: a typing slip must not widen an answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from whodid.errors import InvalidParameter
from whodid.records import DAY_MS, MAX_TIME_MS, Id, Kind, is_name, pattern_of
from whodid.store.base import Query

DEFAULT_WINDOW_MS = 7 * DAY_MS
MOST_RECORDS = 1000

FILTER = {Kind.ACTION: "type", Kind.TOKEN: "scope"}
"""The one key that each compatible call filters by."""

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_AGE = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII).fullmatch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII).fullmatch
_COUNT = re.compile(r"0*[1-9][0-9]*", re.ASCII).fullmatch
_ID = pattern_of(Id)
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII).fullmatch


@dataclass(frozen=True, slots=True)
class CompatibleQuery:
    """What one of the two compatible calls asks for, whoever asks."""

    kind: Kind
    since_ms: int
    until_ms: int
    limit: int
    equals: tuple[tuple[str, str], ...]

    def within(self, account_no: int) -> Query:
        """The same, of one account."""
        return Query(account_no, self.kind, self.since_ms, self.until_ms, self.limit, self.equals)


def parse_compatible(parameters: Sequence[tuple[str, str]], kind: Kind, now_ms: int) -> CompatibleQuery:
    """The query that a call's parameters (name and value, as decoded from the URL) stand for.

    Raises ``InvalidParameter``.
    """
    filter_name = FILTER[kind]
    given = once_each(parameters, ("date", "timescale", filter_name, "count"))
    if "date" in given and "timescale" in given:
        raise InvalidParameter("date and timescale exclude each other; give one of them")
    since_ms, until_ms = now_ms - DEFAULT_WINDOW_MS, MAX_TIME_MS + 1
    if "date" in given:
        since_ms = _parse_date(given["date"])
        until_ms = since_ms + DAY_MS
    elif "timescale" in given:
        since_ms = now_ms - parse_age(given["timescale"], "timescale")
    limit = _parse_count(given["count"]) if "count" in given else MOST_RECORDS
    equals = ((filter_name, _parse_name(filter_name, given[filter_name])),) if filter_name in given else ()
    return CompatibleQuery(kind, max(since_ms, 0), until_ms, limit, equals)


def parse_sizes(parameters: Sequence[tuple[str, str]]) -> tuple[int, int | None]:
    """The sizes of a log, ``from`` and ``to``, that a consistency proof is asked for; None where ``to`` is left out.

    Raises ``InvalidParameter``.
    """
    given = once_each(parameters, ("from", "to"))
    if "from" not in given:
        raise InvalidParameter("from must be given: how many entries the log had, as far as is known")
    return _parse_size(given["from"], "from"), _parse_size(given["to"], "to") if "to" in given else None


def parse_id(text: str) -> str:
    """The ``_id`` that a path names. Raises ``InvalidParameter``, which does not repeat what the path has instead."""
    assert _ID is not None
    if _ID.fullmatch(text) is None:
        raise InvalidParameter("the _id in the path must be 24 hex digits in lower case")
    return text


def parse_age(text: str, name: str) -> int:
    """Milliseconds of an age like ``30s``, ``13m``, ``1h``, ``3d`` or ``2w``. Raises ``InvalidParameter``."""
    match = _AGE(text)
    if match is None:
        raise InvalidParameter(
            f"{name} must be a number and s, m, h, d or w, like 30s, 13m, 1h, 3d, 2w, not {quoted(text)}"
        )
    return int(match[1]) * _UNITS_MS[match[2]]


def quoted(text: str) -> str:
    """What was given, for an error message: in quotation marks, and shortened."""
    return f'"{text}"' if len(text) <= 60 else f'"{text[:60]}…"'


def once_each(parameters: Sequence[tuple[str, str]], known: tuple[str, ...]) -> dict[str, str]:
    """The parameters by name. Raises ``InvalidParameter`` for one that is not of the ``known``, or given twice."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            there = ", ".join(known) or "none"
            raise InvalidParameter(f"there is no parameter {quoted(name)} here; there are {there}")
        if name in given:
            raise InvalidParameter(f"{name} is given more than once; give it once")
        given[name] = value
    return given


def _parse_date(text: str) -> int:
    if _DATE(text):
        try:
            day = date.fromisoformat(text)
        except ValueError:
            pass  # no such day
        else:
            since_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
            if 0 <= since_ms <= MAX_TIME_MS - DAY_MS:
                return since_ms
    raise InvalidParameter(f"date must be a day like 2021-07-30 (YYYY-MM-DD) between 1970 and 2109, not {quoted(text)}")


def _parse_count(text: str) -> int:
    if _COUNT(text) is None or len(text) > 100:
        raise InvalidParameter(f"count must be a whole number from 1 to {MOST_RECORDS}, not {quoted(text)}")
    return min(int(text), MOST_RECORDS)


def _parse_name(name: str, text: str) -> str:
    if not is_name(text):
        raise InvalidParameter(f"{name} must be 1 to 64 lower-case letters, digits, '_' and '-', not {quoted(text)}")
    return text


def _parse_size(text: str, name: str) -> int:
    if _SIZE(text) is None:
        raise InvalidParameter(
            f"{name} must be a number of entries, like 2043, without sign and leading zeros, not {quoted(text)}"
        )
    return int(text)
