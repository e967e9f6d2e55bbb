"""Pages: what the calls of version 2 ask for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS, TOKEN_ID

from whodid.conditions import EVERYTHING, FIELDS, All, Is
from whodid.errors import InvalidCursor, InvalidParameter
from whodid.query.cursors import FeedCursor, SearchCursor, render
from whodid.query.pages import (
    ExportPage,
    FeedPage,
    SearchPage,
    SummaryPage,
    parse_activity,
    parse_export,
    parse_feed,
    parse_search,
    parse_summary,
)
from whodid.query.parameters import END_OF_TIME_MS
from whodid.records import DAY_MS
from whodid.store.base import AFTER_ALL, Position

ACCOUNT = "org-acme-acc0"
A = Is("type", "a")
PLACE = Position(NOW_MS - 5, 2043)
SINCE_MS, UNTIL_MS = NOW_MS - 9 * DAY_MS, NOW_MS - 2 * DAY_MS

DOWN = render(SearchCursor(PLACE, SINCE_MS, UNTIL_MS, newest_first=True), ACCOUNT)
UP = render(SearchCursor(PLACE, SINCE_MS, UNTIL_MS, newest_first=False), ACCOUNT)
FEED = render(FeedCursor(2044), ACCOUNT)
FOREIGN = render(SearchCursor(PLACE, SINCE_MS, UNTIL_MS, newest_first=True), "org-acme-acc1")


def search(**given: str) -> SearchPage:
    """A page of a search, now being NOW_MS."""
    return parse_search([*given.items()], NOW_MS, ACCOUNT)


def feed(*, last_event_id: str | None = None, from_now: bool = False, **given: str) -> FeedPage:
    """A page of a feed."""
    return parse_feed([*given.items()], NOW_MS, ACCOUNT, last_event_id=last_event_id, from_now=from_now)


def summary(**given: str) -> SummaryPage:
    """What is to be counted."""
    return parse_summary([*given.items()], NOW_MS)


def export(**given: str) -> ExportPage:
    """What is to be exported."""
    return parse_export([*given.items()], NOW_MS, ACCOUNT)


def activity(**given: str) -> SearchPage:
    """A page of a token's activity."""
    return parse_activity([*given.items()], ACCOUNT, TOKEN_ID)


def test_without_parameters_there_are_defaults() -> None:
    """Everything, the newest first; a feed from the beginning; a summary of 7 days."""
    assert search() == SearchPage(EVERYTHING, 0, END_OF_TIME_MS, newest_first=True, limit=100)
    assert feed() == FeedPage(EVERYTHING, 0, END_OF_TIME_MS, 1000, 0, 0)
    assert summary() == SummaryPage(EVERYTHING, NOW_MS - 7 * DAY_MS, END_OF_TIME_MS, None, None, 20)
    assert export() == ExportPage(EVERYTHING, 0, END_OF_TIME_MS, "ndjson", "none")
    uses = All((Is("kind", "token"), Is("token_id", TOKEN_ID)))
    assert activity() == SearchPage(uses, 0, END_OF_TIME_MS, newest_first=True, limit=100)


def test_every_parameter_is_taken() -> None:
    """Filters and window as everywhere."""
    window = {"type": "a", "since": "9d", "until": "2d"}
    assert search(**window, order="asc", limit="1000") == SearchPage(
        A, SINCE_MS, UNTIL_MS, newest_first=False, limit=1000
    )
    fed = FeedPage(A, SINCE_MS, UNTIL_MS, 10_000, 60, 0)
    assert parse_feed([*window.items(), ("limit", "10000"), ("wait", "60")], NOW_MS, ACCOUNT) == fed
    counted = SummaryPage(A, SINCE_MS, UNTIL_MS, "user_email", 3_600_000, 100)
    assert summary(**window, by="user_email", interval="hour", top="100") == counted
    assert export(**window, format="csv", compression="zstd") == ExportPage(A, SINCE_MS, UNTIL_MS, "csv", "zstd")
    assert activity(limit="7").limit == 7


@pytest.mark.parametrize("order", [{}, {"order": "desc"}])
def test_a_cursor_of_a_search_brings_its_window_and_order(order: dict[str, str]) -> None:
    """So "9 days ago" does not move from page to page; the condition is given again."""
    page = search(type="a", since="1d", after=DOWN, limit="5", **order)
    assert page == SearchPage(A, SINCE_MS, UNTIL_MS, newest_first=True, limit=5, after=PLACE)
    assert search(after=UP) == SearchPage(EVERYTHING, SINCE_MS, UNTIL_MS, newest_first=False, limit=100, after=PLACE)


def test_an_order_that_is_not_the_cursors_is_refused() -> None:
    """It says which is."""
    with pytest.raises(InvalidParameter, match="order must be desc or left out"):
        search(after=DOWN, order="asc")
    with pytest.raises(InvalidParameter, match="order must be asc or left out"):
        search(after=UP, order="desc")


def test_an_export_and_an_activity_go_on_with_a_cursor_of_their_order() -> None:
    """An export is the oldest first, an activity the newest."""
    assert export(after=UP).after == activity(after=DOWN).after == PLACE
    assert (export(after=UP).since_ms, activity(after=DOWN).until_ms) == (SINCE_MS, UNTIL_MS)
    with pytest.raises(InvalidCursor, match="order=desc, and an export has the oldest first"):
        export(after=DOWN)
    with pytest.raises(InvalidCursor, match="order=asc, and this call has the newest first"):
        activity(after=UP)


def test_a_number_is_the_last_entry_that_was_received() -> None:
    """Where in time it is, only the store knows; a feed begins with the next one."""
    for page in (search(after="2043"), export(after="2043"), activity(after="2043")):
        assert (page.after, page.after_seq) == (None, 2043)
    assert feed(after="2043").first_seq == 2044
    assert feed(after=str(AFTER_ALL - 2)).first_seq == AFTER_ALL - 1


def test_a_feed_begins_where_it_is_told() -> None:
    """The header of a stream that broke stands above the parameter; a live tail without either begins now."""
    assert feed(after=FEED).first_seq == 2044
    assert feed(after="end").first_seq is None
    assert feed(from_now=True).first_seq is None
    assert feed(from_now=True, after="7").first_seq == 8
    assert feed(last_event_id=FEED, after="end", from_now=True).first_seq == 2044
    with pytest.raises(InvalidCursor):
        feed(last_event_id="", after="7")


@pytest.mark.parametrize(
    ("until", "since_ms"),
    [("1d", NOW_MS - 8 * DAY_MS), ("1970-01-03", 0), ("2030-01-01", NOW_MS - 7 * DAY_MS)],
)
def test_a_summary_without_beginning_has_7_days_before_its_end(until: str, since_ms: int) -> None:
    """Before now, where the end is later."""
    assert summary(until=until).since_ms == since_ms
    assert summary(q=f"created:<{until}").since_ms == since_ms


def test_a_summary_from_1970_on_is_one() -> None:
    """It is not taken for one without beginning."""
    assert summary(since="1970-01-01").since_ms == 0
    assert summary(q="created:>=1970-01-01").since_ms == 0


@pytest.mark.parametrize(
    ("interval", "fits", "too_long"),
    [("minute", "1999m", "2001m"), ("hour", "1999h", "2001h"), ("day", "1999d", "2001d")],
)
def test_a_summary_has_at_most_2000_intervals(interval: str, fits: str, too_long: str) -> None:
    """More than anybody looks at."""
    assert summary(interval=interval, since=fits).interval_ms in (60_000, 3_600_000, DAY_MS)
    with pytest.raises(InvalidParameter, match=r"interval must be longer, or the time shorter: 200[12] intervals are"):
        summary(interval=interval, since=too_long)
    assert summary(interval=interval, since="2030-01-01").since_ms > NOW_MS


@pytest.mark.parametrize(
    ("parse", "given", "message"),
    [
        (search, {"order": "up"}, 'order must be one of desc, asc, not "up"'),
        (search, {"limit": "1001"}, "limit must be a whole number from 1 to 1000"),
        (search, {"limit": "0"}, "limit must be a whole number from 1 to 1000"),
        (search, {"wait": "1"}, 'no parameter "wait" here; there are .*, q, order, limit, after$'),
        (search, {"after": str(AFTER_ALL)}, "after, where it is the number of an entry, must be a whole number from 0"),
        (search, {"after": "007"}, "after, where it is the number of an entry, must be"),
        (search, {"after": "\u0663"}, "after, where it is the number of an entry, must be"),
        (feed, {"limit": "10001"}, "limit must be a whole number from 1 to 10000"),
        (feed, {"wait": "61"}, "wait must be a whole number from 0 to 60"),
        (feed, {"order": "asc"}, 'no parameter "order" here'),
        (summary, {"by": "reason"}, "by must be one of kind, type, .*, ip_address, not"),
        (summary, {"interval": "week"}, 'interval must be one of minute, hour, day, not "week"'),
        (summary, {"top": "101"}, "top must be a whole number from 1 to 100"),
        (summary, {"after": "7"}, 'no parameter "after" here'),
        (export, {"format": "xlsx"}, 'format must be one of ndjson, csv, parquet, not "xlsx"'),
        (export, {"compression": "lz4"}, 'compression must be one of none, gzip, zstd, not "lz4"'),
        (activity, {"type": "a"}, 'no parameter "type" here; there are limit, after$'),
    ],
)
def test_what_a_call_has_not_is_refused(parse: Any, given: dict[str, str], message: str) -> None:
    """With what it has."""
    with pytest.raises(InvalidParameter, match=message):
        parse(**given)


@pytest.mark.parametrize(
    ("parse", "after", "message"),
    [
        (search, "end", "not a cursor of ours"),
        (search, "", "not a cursor of ours"),
        (search, "-1", "not a cursor of ours"),
        (search, FEED, "the cursor is of a feed, and this is a search"),
        (search, FOREIGN, "of another account's log"),
        (search, DOWN[:-2], "altered or cut off"),
        (export, FEED, "the cursor is of a feed"),
        (activity, FOREIGN, "of another account's log"),
        (feed, UP, "the cursor is of a search, and this is a feed"),
        (feed, "START", "not a cursor of ours"),
        (feed, FEED + "A", "altered or cut off"),
    ],
)
def test_a_cursor_that_can_not_be_used_is_refused(parse: Any, after: str, message: str) -> None:
    """With the reason."""
    with pytest.raises(InvalidCursor, match=message):
        parse(after=after)


names = st.sampled_from(
    [*FIELDS, "since", "until", "q", "order", "limit", "after", "wait", "by", "interval", "top", "x"]
)
values = st.one_of(
    st.text(max_size=6), st.sampled_from([UP, DOWN, FEED, "7d", "2026-01-01", "asc", "5", "hour", "end"])
)


@given(st.lists(st.tuples(names, values), max_size=4))
def test_any_parameters_are_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    """Nothing else is raised, and windows and limits are within bounds."""
    pages: list[Any] = []
    for parse in (parse_search, parse_feed, parse_export):
        try:
            pages.append(parse(parameters, NOW_MS, ACCOUNT))
        except InvalidParameter:
            continue
    for page in pages:
        assert 0 <= page.since_ms <= page.until_ms <= END_OF_TIME_MS
        assert 1 <= getattr(page, "limit", 1) <= 10_000


@given(st.lists(st.tuples(names, values), max_size=4))
def test_any_summary_is_within_bounds_or_refused(parameters: list[tuple[str, str]]) -> None:
    """Its beginning is never after its end."""
    try:
        page = parse_summary(parameters, NOW_MS)
    except InvalidParameter:
        return
    assert 0 <= page.since_ms <= page.until_ms <= END_OF_TIME_MS
    assert page.interval_ms is None or (min(page.until_ms, NOW_MS) - page.since_ms) // page.interval_ms <= 2000
