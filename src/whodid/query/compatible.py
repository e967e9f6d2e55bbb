"""The compatible calls, plain and paged, and the call for consistency: their parameters, defaults and limits.

What each asks for is what the platform that Whodid is compatible with has; the calls of our own are in ``pages``.
"""

import re
from dataclasses import dataclass
from typing import Final

from whodid.conditions import FIELDS, KIND_NAMES, Condition
from whodid.errors import InvalidParameter
from whodid.query.fields import all_of, field_is
from whodid.query.parameters import (
    END_OF_TIME_MS,
    Parameters,
    once_each,
    parse_age,
    parse_day,
    parse_whole,
    quoted,
)
from whodid.records import DAY_MS, Kind, is_name
from whodid.store.base import Query, Search

DEFAULT_WINDOW_MS = 7 * DAY_MS
MOST_RECORDS = 1000

FILTER = {Kind.ACTION: "type", Kind.TOKEN: "scope"}
"""The one key that each plain call filters by."""

PAGED_FILTERS: Final = ("action", "type", "user_id", "user_email", "target_id", "scope")
"""What the paged calls filter by, each by those that its records have."""

DEFAULT_PAGE_SIZE: Final = 100

DEEPEST: Final = 100_000
"""The last record that pages reach: to skip records is work that nobody sees."""

_DATES = ("start_date", "start_time", "end_date", "end_time")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII).fullmatch
_COUNT = re.compile(r"0*[1-9][0-9]*", re.ASCII).fullmatch
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


@dataclass(frozen=True, slots=True)
class PagedQuery:
    """What one of the two paged compatible calls asks for, whoever asks."""

    condition: Condition
    since_ms: int
    until_ms: int
    page: int
    page_size: int

    def within(self, account_no: int) -> Search:
        """The page, of one account; the newest records first."""
        skip = (self.page - 1) * self.page_size
        return Search(account_no, self.condition, self.since_ms, self.until_ms, limit=self.page_size, skip=skip)


def parse_compatible(parameters: Parameters, kind: Kind, now_ms: int) -> CompatibleQuery:
    """The query that a call's parameters (name and value, as decoded from the URL) stand for.

    Raises ``InvalidParameter``.
    """
    filter_name = FILTER[kind]
    given = once_each(parameters, ("date", "timescale", filter_name, "count"))
    if "date" in given and "timescale" in given:
        raise InvalidParameter("date and timescale exclude each other; give one of them")
    since_ms, until_ms = now_ms - DEFAULT_WINDOW_MS, END_OF_TIME_MS
    if "date" in given:
        since_ms, until_ms = _parse_day(given["date"], "date")
    elif "timescale" in given:
        since_ms = now_ms - parse_age(given["timescale"], "timescale")
    limit = _parse_count(given["count"]) if "count" in given else MOST_RECORDS
    equals = ((filter_name, _parse_name(filter_name, given[filter_name])),) if filter_name in given else ()
    return CompatibleQuery(kind, max(since_ms, 0), until_ms, limit, equals)


def parse_paged(parameters: Parameters, kind: Kind, now_ms: int) -> PagedQuery:
    """The page of a compatible call's records that its parameters stand for. Raises ``InvalidParameter``.

    Without dates it is of the last 7 days; ``end_date`` includes the whole day, ``end_time`` the whole minute.
    """
    filters = tuple(name for name in PAGED_FILTERS if kind in FIELDS[name])
    given = once_each(parameters, ("page", "page_size", *filters, *_DATES))
    page = parse_whole(given.get("page", "1"), "page", 1, DEEPEST)
    page_size = parse_whole(given.get("page_size", str(DEFAULT_PAGE_SIZE)), "page_size", 1, MOST_RECORDS)
    if page * page_size > DEEPEST:
        raise InvalidParameter(
            f"page and page_size must not reach beyond {DEEPEST} records; narrow the dates, or use /api/v2/logs, "
            "which goes on without end"
        )
    name = next(name for name, one in KIND_NAMES.items() if one == kind)
    conditions = [field_is("kind", name), *(field_is(key, given[key]) for key in filters if key in given)]
    return PagedQuery(all_of([*conditions]), *_parse_dates(given, now_ms), page, page_size)


def parse_sizes(parameters: Parameters) -> tuple[int, int | None]:
    """The sizes of a log, ``from`` and ``to``, that a consistency proof is asked for; None where ``to`` is left out.

    Raises ``InvalidParameter``.
    """
    given = once_each(parameters, ("from", "to"))
    if "from" not in given:
        raise InvalidParameter("from must be given: how many entries the log had, as far as is known")
    return _parse_size(given["from"], "from"), _parse_size(given["to"], "to") if "to" in given else None


def _parse_day(text: str, name: str) -> tuple[int, int]:
    """The beginning and end of a day."""
    since_ms = parse_day(text, name)
    return since_ms, min(since_ms + DAY_MS, END_OF_TIME_MS)


def _parse_dates(given: dict[str, str], now_ms: int) -> tuple[int, int]:
    """The window of start and end; what is not given has none, but without both it is the last 7 days."""
    for which in ("start", "end"):
        if f"{which}_time" in given and f"{which}_date" not in given:
            raise InvalidParameter(f"{which}_time needs a day: give {which}_date as well")
    if "start_date" not in given and "end_date" not in given:
        return max(now_ms - DEFAULT_WINDOW_MS, 0), END_OF_TIME_MS
    since_ms = _parse_bound(given, "start")[0] if "start_date" in given else 0
    until_ms = _parse_bound(given, "end")[1] if "end_date" in given else END_OF_TIME_MS
    if since_ms >= until_ms:
        raise InvalidParameter("start_date and start_time must not be after end_date and end_time")
    return since_ms, until_ms


def _parse_bound(given: dict[str, str], which: str) -> tuple[int, int]:
    """The beginning and end of the day, or of the minute, at which a window starts or ends."""
    day = _parse_day(given[f"{which}_date"], f"{which}_date")
    text = given.get(f"{which}_time")
    if text is None:
        return day
    match = _TIME(text)
    if match is None:
        raise InvalidParameter(f"{which}_time must be a time of day like 09:30 (HH:mm, in UTC), not {quoted(text)}")
    since_ms = day[0] + (int(match[1]) * 60 + int(match[2])) * 60_000
    return since_ms, since_ms + 60_000


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
