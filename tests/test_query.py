"""Queries of the compatible calls: from parameters to windows, limits and filters."""

import calendar
import re
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS

from whodid.errors import InvalidParameter
from whodid.query import DEFAULT_WINDOW_MS, CompatibleQuery, parse_age, parse_compatible, quoted
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
def test_an_age_is_so_many_units(number: int, unit: str) -> None:
    """And never reaches behind 1970."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert parse_age(f"{number}{unit}", "x") == number * seconds * 1000
    assert parse(timescale=f"{number}{unit}").since_ms == max(NOW_MS - number * seconds * 1000, 0)


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


@pytest.mark.parametrize(
    "text", ["", "1", "s", "01s", "1 s", " 1s", "1s\n", "\uff11s", "1y", "-1s", "1.5h", "1234567890s"]
)
def test_any_other_age_is_refused(text: str) -> None:
    """It says what an age looks like."""
    with pytest.raises(InvalidParameter, match="x must be a number and s, m, h, d or w, like 30s"):
        parse_age(text, "x")


def test_what_was_given_is_shortened_in_messages() -> None:
    """Nobody gets back the megabyte that he sent."""
    assert quoted("a" * 60) == '"' + "a" * 60 + '"'
    assert quoted("a" * 61) == '"' + "a" * 60 + '…"'


def test_a_query_is_of_one_account() -> None:
    """All else stays as it was."""
    query = parse(Kind.TOKEN, scope="api", count="3").within(7)
    assert (query.account_no, query.kind, query.limit, query.equals) == (7, Kind.TOKEN, 3, (("scope", "api"),))
