"""Queries of the compatible calls: from parameters to windows, limits and filters."""

import calendar
import re
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS

from whodid.conditions import All, Is
from whodid.errors import InvalidParameter
from whodid.query.compatible import (
    DEEPEST,
    DEFAULT_WINDOW_MS,
    CompatibleQuery,
    PagedQuery,
    parse_compatible,
    parse_paged,
)
from whodid.query.parameters import parse_age
from whodid.records import DAY_MS, MAX_TIME_MS, Kind

kinds = st.sampled_from(Kind)
values = st.one_of(
    st.text(max_size=12), st.from_regex(r"[0-9]{1,4}[smhdw]?"), st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
)
names = st.one_of(st.sampled_from(["date", "timescale", "type", "scope", "count"]), st.text(max_size=5))


def parse(kind: Kind = Kind.ACTION, **parameters: str) -> CompatibleQuery:
    """The query of these parameters, now being NOW_MS."""
    return parse_compatible(list(parameters.items()), kind, NOW_MS)


def test_without_parameters_it_is_the_last_7_days_and_at_most_1000() -> None:
    """Up to the end of time: a producer's clock may be some minutes ahead."""
    assert parse() == CompatibleQuery(Kind.ACTION, NOW_MS - DEFAULT_WINDOW_MS, MAX_TIME_MS + 1, 1000, ())


@given(st.dates(min_value=date(1970, 1, 1), max_value=date(2109, 5, 13)))
def test_a_date_is_a_day_of_utc(day: date) -> None:
    """From its midnight to the next."""
    query = parse(date=str(day))

    assert query.since_ms == calendar.timegm(day.timetuple()) * 1000
    assert query.until_ms == query.since_ms + DAY_MS


@given(st.integers(1, 999_999_999), st.sampled_from("smhdw"))
def test_a_timescale_reaches_so_far_back(number: int, unit: str) -> None:
    """And never reaches behind 1970."""
    age_ms = parse_age(f"{number}{unit}", "x")
    assert parse(timescale=f"{number}{unit}").since_ms == max(NOW_MS - age_ms, 0)


@given(st.integers(1, 10**30))
def test_a_count_is_cut_to_1000(count: int) -> None:
    """More is no error."""
    assert parse(count=str(count)).limit == min(count, 1000)


@given(kinds, st.lists(st.tuples(names, values), max_size=4))
def test_any_parameters_make_a_query_within_bounds_or_are_refused(kind: Kind, given_: list[tuple[str, str]]) -> None:
    """Nothing else is raised, and what is taken is what was meant: each name known, and given once."""
    try:
        query = parse_compatible(given_, kind, NOW_MS)
    except InvalidParameter:
        return
    known = {"date", "timescale", "count", "type" if kind == Kind.ACTION else "scope"}
    assert {name for name, _ in given_} <= known
    assert len({name for name, _ in given_}) == len(given_)
    assert 0 <= query.since_ms < query.until_ms <= MAX_TIME_MS + 1
    assert 1 <= query.limit <= 1000
    assert all(re.fullmatch("[a-z0-9_-]{1,64}", value) for _, value in query.equals)


def test_a_query_is_of_one_account() -> None:
    """All else stays as it was."""
    query = parse(Kind.TOKEN, scope="api", count="3").within(7)
    assert (query.account_no, query.kind, query.limit, query.equals) == (7, Kind.TOKEN, 3, (("scope", "api"),))


# Paged.

ACTIONS = Is("kind", "action")
DAYS = st.dates(min_value=date(1970, 1, 1), max_value=date(2109, 5, 13))


def paged(kind: Kind = Kind.ACTION, **parameters: Any) -> PagedQuery:
    """The page of these parameters, now being NOW_MS."""
    return parse_paged([(name, str(value)) for name, value in parameters.items()], kind, NOW_MS)


def midnight_ms(day: date) -> int:
    """When a day begins."""
    return calendar.timegm(day.timetuple()) * 1000


def test_without_parameters_it_is_the_first_100_of_the_last_7_days() -> None:
    """Of the call's kind alone."""
    assert paged() == PagedQuery(ACTIONS, NOW_MS - DEFAULT_WINDOW_MS, MAX_TIME_MS + 1, 1, 100)
    assert paged(Kind.TOKEN).condition == Is("kind", "token")


def test_a_paged_call_filters_by_what_its_records_have() -> None:
    """All at once; another kind's key would match nothing, so it is refused."""
    asked = All((ACTIONS, Is("type", "task"), Is("user_id", "ab" * 12)))
    assert paged(type="task", user_id="AB" * 12).condition == asked
    assert paged(Kind.TOKEN, scope="api").condition == All((Is("kind", "token"), Is("scope", "api")))
    with pytest.raises(InvalidParameter, match='no parameter "scope" here; there are page, page_size, action, type'):
        paged(scope="api")
    with pytest.raises(InvalidParameter, match='no parameter "type" here'):
        paged(Kind.TOKEN, type="task")
    with pytest.raises(InvalidParameter, match="type must be 1 to 64 lower-case letters"):
        paged(type="Task")
    with pytest.raises(InvalidParameter, match="user_email must have a value"):
        paged(user_email="")


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_page_leaves_out_those_before(page: int, page_size: int) -> None:
    """Newest first; far down, it says what to do instead."""
    if page * page_size > DEEPEST:
        with pytest.raises(InvalidParameter, match="narrow the dates, or use /api/v2/logs"):
            paged(page=page, page_size=page_size)
        return
    search = paged(page=page, page_size=page_size).within(7)
    assert (search.account_no, search.condition, search.after) == (7, ACTIONS, None)
    assert (search.skip, search.limit, search.newest_first) == ((page - 1) * page_size, page_size, True)


@given(DAYS, DAYS)
def test_dates_include_their_days(start: date, end: date) -> None:
    """Both wholly; and an end before the start is refused."""
    if end < start:
        with pytest.raises(InvalidParameter, match="must not be after end_date"):
            paged(start_date=start, end_date=end)
        return
    page = paged(start_date=start, end_date=end)
    assert (page.since_ms, page.until_ms) == (midnight_ms(start), midnight_ms(end + timedelta(days=1)))


def test_one_date_alone_leaves_the_other_side_open() -> None:
    """From then on, or until then."""
    day = date(2021, 7, 30)
    assert (paged(start_date=day).since_ms, paged(start_date=day).until_ms) == (midnight_ms(day), MAX_TIME_MS + 1)
    assert (paged(end_date=day).since_ms, paged(end_date=day).until_ms) == (0, midnight_ms(day) + DAY_MS)


@given(DAYS, st.integers(0, 23), st.integers(0, 59))
def test_times_include_their_minutes(day: date, hour: int, minute: int) -> None:
    """A window from a minute to the same one is that minute."""
    time = f"{hour:02}:{minute:02}"
    page = paged(start_date=day, start_time=time, end_date=day, end_time=time)
    assert page.since_ms == midnight_ms(day) + (hour * 60 + minute) * 60_000
    assert page.until_ms == page.since_ms + 60_000


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"start_time": "09:30"}, "start_time needs a day: give start_date as well"),
        ({"start_date": "2021-07-30", "end_time": "09:30"}, "end_time needs a day: give end_date as well"),
        ({"start_date": "30.7.2021"}, "start_date must be a day like 2021-07-30"),
        ({"end_date": "2021-02-29"}, "end_date must be a day like 2021-07-30"),
        ({"end_date": "2021-07-30", "end_time": "24:00"}, r"end_time must be a time of day like 09:30 \(HH:mm, in UTC"),
        ({"end_date": "2021-07-30", "end_time": "9:30"}, "end_time must be a time of day"),
        ({"end_date": "2021-07-30", "end_time": "09:30:00"}, "end_time must be a time of day"),
        ({"page": 0}, 'page must be a whole number from 1 to 100000, not "0"'),
        ({"page_size": 1001}, 'page_size must be a whole number from 1 to 1000, not "1001"'),
        ({"count": 5}, 'there is no parameter "count" here'),
    ],
)
def test_what_a_page_can_not_be_is_refused(parameters: dict[str, Any], message: str) -> None:
    """Each says what would be right."""
    with pytest.raises(InvalidParameter, match=message):
        paged(**parameters)
