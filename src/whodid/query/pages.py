"""Pages: what a call of search, feed, summary, export or a token's activity asks for, as plain values.

Owns the names, defaults and limits of these calls' parameters. Whose log it is, and which entry a number is, are the
caller's to know.
"""

from dataclasses import dataclass
from typing import Final

from whodid.conditions import FIELDS, All, Condition, Is
from whodid.errors import InvalidCursor, InvalidParameter
from whodid.query.cursors import SearchCursor, parse_feed_cursor, parse_search_cursor
from whodid.query.filters import parse_filters
from whodid.query.parameters import END_OF_TIME_MS, Parameters, once_each, parse_choice, parse_whole
from whodid.records import DAY_MS
from whodid.store.base import AFTER_ALL, Position

MOST_FOUND: Final = 1000
"""Records on a page of a search."""
DEFAULT_FOUND: Final = 100

MOST_FED: Final = 10_000
"""Records on a page of a feed."""
DEFAULT_FED: Final = 1000

LONGEST_WAIT_SECONDS: Final = 60

INTERVALS_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": DAY_MS}
MOST_BUCKETS: Final = 2000
MOST_TOP: Final = 100
"""Values that a summary tells."""
DEFAULT_TOP: Final = 20
DEFAULT_WINDOW_MS: Final = 7 * DAY_MS

ORDERS: Final = ("desc", "asc")
FORMATS: Final = ("ndjson", "csv", "parquet")
COMPRESSIONS: Final = ("none", "gzip", "zstd")

END: Final = "end"
"""In the place of a feed's cursor: from now on."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of a search, by time."""

    condition: Condition
    since_ms: int
    until_ms: int
    newest_first: bool
    limit: int
    after: Position | None = None
    """Only what comes after this place."""
    after_seq: int | None = None
    """Only what comes after the entry of this number, wherever in time that is. Never together with ``after``."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A page of a feed, by number."""

    condition: Condition
    since_ms: int
    until_ms: int
    limit: int
    wait_seconds: int
    """How long to wait for an entry where there is none yet."""
    first_seq: int | None
    """The number to begin with, which may be beyond the end of the log; None: that of the next entry to come."""


@dataclass(frozen=True, slots=True)
class SummaryPage:
    """What is to be counted."""

    condition: Condition
    since_ms: int
    until_ms: int
    by: str | None
    interval_ms: int | None
    top: int


@dataclass(frozen=True, slots=True)
class ExportPage:
    """What is exported, the oldest first, and how it is written."""

    condition: Condition
    since_ms: int
    until_ms: int
    format: str
    """Of ``FORMATS``."""
    compression: str
    """Of ``COMPRESSIONS``."""
    after: Position | None = None
    after_seq: int | None = None
    """As in ``SearchPage``."""


def parse_search(parameters: Parameters, now_ms: int, account: str) -> SearchPage:
    """The parameters of a search in this account's log. Raises ``InvalidParameter``, ``InvalidCursor``."""
    asked, given = parse_filters(parameters, now_ms, more=("order", "limit", "after"))
    order = parse_choice(given["order"], "order", ORDERS) if "order" in given else None
    limit = _whole(given, "limit", 1, MOST_FOUND, DEFAULT_FOUND)
    after = _parse_place(given["after"], account) if "after" in given else None
    if not isinstance(after, SearchCursor):
        return SearchPage(asked.condition, asked.since_ms, asked.until_ms, order != "asc", limit, None, after)
    if order is not None and (order == "desc") != after.newest_first:
        there = "desc" if after.newest_first else "asc"
        raise InvalidParameter(f"order must be {there} or left out: that is the order of the cursor in after")
    return SearchPage(asked.condition, after.since_ms, after.until_ms, after.newest_first, limit, after.position)


def parse_activity(parameters: Parameters, account: str, token_id: str) -> SearchPage:
    """The parameters of the activity of a token: its uses, newest first. Raises ``InvalidParameter``."""
    given = once_each(parameters, ("limit", "after"))
    condition = All((Is("kind", "token"), Is("token_id", token_id)))
    limit = _whole(given, "limit", 1, MOST_FOUND, DEFAULT_FOUND)
    after = _parse_place(given["after"], account) if "after" in given else None
    if not isinstance(after, SearchCursor):
        return SearchPage(condition, 0, END_OF_TIME_MS, newest_first=True, limit=limit, after_seq=after)
    if not after.newest_first:
        raise InvalidCursor("the cursor is of a search with order=asc, and this call has the newest first")
    return SearchPage(condition, after.since_ms, after.until_ms, newest_first=True, limit=limit, after=after.position)


def parse_feed(
    parameters: Parameters, now_ms: int, account: str, *, last_event_id: str | None = None, from_now: bool = False
) -> FeedPage:
    """The parameters of a feed of this account's log. Raises ``InvalidParameter``, ``InvalidCursor``.

    ``last_event_id`` (the header) stands above ``after``; without both, a feed begins with the first entry, or, with
    ``from_now``, with the next one to come.
    """
    asked, given = parse_filters(parameters, now_ms, more=("limit", "wait", "after"))
    after = last_event_id if last_event_id is not None else given.get("after", END if from_now else None)
    return FeedPage(
        asked.condition,
        asked.since_ms,
        asked.until_ms,
        _whole(given, "limit", 1, MOST_FED, DEFAULT_FED),
        _whole(given, "wait", 0, LONGEST_WAIT_SECONDS, 0),
        0 if after is None else _parse_first(after, account),
    )


def parse_summary(parameters: Parameters, now_ms: int) -> SummaryPage:
    """The parameters of a summary: without a beginning, of the last 7 days. Raises ``InvalidParameter``."""
    asked, given = parse_filters(parameters, now_ms, more=("by", "interval", "top"))
    by = parse_choice(given["by"], "by", tuple(FIELDS)) if "by" in given else None
    interval = parse_choice(given["interval"], "interval", tuple(INTERVALS_MS)) if "interval" in given else None
    top = _whole(given, "top", 1, MOST_TOP, DEFAULT_TOP)
    end_ms = min(asked.until_ms, now_ms)
    since_ms = asked.since_ms if asked.has_beginning else max(0, end_ms - DEFAULT_WINDOW_MS)
    interval_ms = INTERVALS_MS[interval] if interval else None
    if interval_ms is not None:
        _check_buckets(since_ms, end_ms, interval_ms)
    return SummaryPage(asked.condition, since_ms, asked.until_ms, by, interval_ms, top)


def parse_export(parameters: Parameters, now_ms: int, account: str) -> ExportPage:
    """The parameters of an export of this account's log. Raises ``InvalidParameter``, ``InvalidCursor``."""
    asked, given = parse_filters(parameters, now_ms, more=("format", "compression", "after"))
    form = parse_choice(given.get("format", FORMATS[0]), "format", FORMATS)
    compression = parse_choice(given.get("compression", COMPRESSIONS[0]), "compression", COMPRESSIONS)
    after = _parse_place(given["after"], account) if "after" in given else None
    if not isinstance(after, SearchCursor):
        return ExportPage(asked.condition, asked.since_ms, asked.until_ms, form, compression, after_seq=after)
    if after.newest_first:
        raise InvalidCursor("the cursor is of a search with order=desc, and an export has the oldest first")
    return ExportPage(asked.condition, after.since_ms, after.until_ms, form, compression, after.position)


def _whole(given: dict[str, str], name: str, least: int, most: int, otherwise: int) -> int:
    return parse_whole(given[name], name, least, most) if name in given else otherwise


def _parse_place(text: str, account: str) -> SearchCursor | int:
    """A cursor of a search, or the number of the last entry that was received."""
    return _parse_seq(text) if text.isdecimal() else parse_search_cursor(text, account)


def _parse_first(text: str, account: str) -> int | None:
    """The number of the entry to begin with; None: from the end."""
    if text == END:
        return None
    return _parse_seq(text) + 1 if text.isdecimal() else parse_feed_cursor(text, account).next_seq


def _parse_seq(text: str) -> int:
    return parse_whole(text, "after, where it is the number of an entry,", 0, AFTER_ALL - 2)


def _check_buckets(since_ms: int, end_ms: int, interval_ms: int) -> None:
    """Whether not too many intervals begin or go on between these times."""
    buckets = -(-end_ms // interval_ms) - since_ms // interval_ms
    if buckets > MOST_BUCKETS:
        raise InvalidParameter(
            f"interval must be longer, or the time shorter: {buckets} intervals are too many, {MOST_BUCKETS} the most"
        )
