"""Parameters: times, ages, numbers and ids as callers write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS

from whodid.errors import InvalidParameter
from whodid.query.parameters import (
    END_OF_TIME_MS,
    once_each,
    parse_age,
    parse_choice,
    parse_id,
    parse_moment,
    parse_span,
    parse_whole,
    quoted,
)
from whodid.records import DAY_MS, MAX_TIME_MS, render_time

DAY_IN_2026_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""


@given(st.integers(1, 999_999_999), st.sampled_from("smhdw"))
def test_an_age_is_so_many_units(number: int, unit: str) -> None:
    """In milliseconds."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert parse_age(f"{number}{unit}", "x") == number * seconds * 1000


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


def test_a_message_can_always_be_sent() -> None:
    """Half of a surrogate pair, as a command's argument may have it, has no UTF-8."""
    assert quoted("a\udcff") == '"a?"'


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("2026-01-01", DAY_IN_2026_MS),
        ("2026-01-01T00:00:00Z", DAY_IN_2026_MS),
        ("2026-01-01t02:00:00.0019+02:00", DAY_IN_2026_MS + 1),
        ("1767225600000", DAY_IN_2026_MS),
        ("100000000000", 100_000_000_000),
        (str(MAX_TIME_MS), MAX_TIME_MS),
        ("1970-01-01", 0),
        ("7d", NOW_MS - 7 * DAY_MS),
        ("999999999w", 0),
    ],
)
def test_a_moment_is_a_time_a_day_milliseconds_or_an_age(text: str, moment_ms: int) -> None:
    """Each is told from the others by its form alone; none is before 1970."""
    assert parse_moment(text, "since", NOW_MS) == moment_ms


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "1627661632", "16276616321", "16276616321090", str(END_OF_TIME_MS), "2026-02-30", "2026-1-1",
        "1969-12-31", "2110-01-01", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "7", "d", "7y", "-7d", "now",
        "\uff11627661632109", "2026-01-01\n", "\0", "\ud800", "9" * 5000,
    ],
)  # fmt: skip
def test_any_other_moment_is_refused(text: str) -> None:
    """Seconds, too: they would be taken for January 1970; and the message can be sent."""
    with pytest.raises(InvalidParameter, match=r"since must be a (time|day) like 2021-07-30") as refused:
        parse_moment(text, "since", NOW_MS)
    assert len(refused.value.message.encode()) < 400


def test_a_plus_that_became_a_space_is_explained() -> None:
    """What an unescaped + in a URL is, few know by heart."""
    with pytest.raises(InvalidParameter, match="'\\+' is written %2B"):
        parse_moment("2026-01-01T00:00:00 02:00", "since", NOW_MS)


@given(st.integers(0, MAX_TIME_MS))
def test_a_day_is_long_and_a_time_is_not(time_ms: int) -> None:
    """A day ends with the next one, but for the last one that there is; a time after one millisecond."""
    assert parse_span(render_time(time_ms), "x", NOW_MS) == (time_ms, time_ms + 1)
    first_ms, end_ms = parse_span(render_time(time_ms)[:10], "x", NOW_MS)
    assert first_ms <= time_ms < end_ms <= END_OF_TIME_MS
    assert first_ms % DAY_MS == 0
    assert end_ms in (first_ms + DAY_MS, END_OF_TIME_MS)


@given(st.one_of(st.text(), st.from_regex(r"[0-9]{1,14}"), st.from_regex(r"\d{4}-\d\d-\d\d")))
def test_any_text_is_a_span_of_recordable_time_or_refused(text: str) -> None:
    """Nothing else is raised."""
    try:
        first_ms, end_ms = parse_span(text, "x", NOW_MS)
    except InvalidParameter:
        return
    assert 0 <= first_ms < end_ms <= END_OF_TIME_MS


@given(st.integers(-5, 200))
def test_a_whole_number_is_within_its_limits(number: int) -> None:
    """Both included."""
    if 1 <= number <= 100:
        assert parse_whole(str(number), "top", 1, 100) == number
    else:
        with pytest.raises(InvalidParameter, match=f'top must be a whole number from 1 to 100, not "{number}"'):
            parse_whole(str(number), "top", 1, 100)


@pytest.mark.parametrize("text", ["", "ten", "01", "+1", "1.0", "1e1", " 1", "1\n", "\u0661", "9" * 5000])
def test_any_other_number_is_refused(text: str) -> None:
    """However long it is."""
    with pytest.raises(InvalidParameter, match="top must be a whole number from 1 to 100"):
        parse_whole(text, "top", 1, 100)


def test_a_choice_is_one_of_those_there_are() -> None:
    """The error names them."""
    assert parse_choice("asc", "order", ("desc", "asc")) == "asc"
    with pytest.raises(InvalidParameter, match='order must be one of desc, asc, not "up"'):
        parse_choice("up", "order", ("desc", "asc"))


def test_a_parameter_is_known_and_given_once() -> None:
    """Else the error names it, and those there are."""
    assert once_each([("a", "1"), ("b", "")], ("a", "b")) == {"a": "1", "b": ""}
    with pytest.raises(InvalidParameter, match='there is no parameter "c" here; there are a, b'):
        once_each([("c", "1")], ("a", "b"))
    with pytest.raises(InvalidParameter, match="a is given more than once; give it once"):
        once_each([("a", "1"), ("a", "1")], ("a", "b"))


def test_an_id_in_a_path_is_not_repeated() -> None:
    """It may be a token that went astray."""
    assert parse_id("61042540e1d666c9ded178c4") == "61042540e1d666c9ded178c4"
    with pytest.raises(InvalidParameter) as refused:
        parse_id("whodid_pat_x")
    assert "whodid_pat" not in refused.value.message
