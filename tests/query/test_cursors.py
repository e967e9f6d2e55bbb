"""Cursors: what was rendered is read again; what is broken, or in the wrong place, is refused with the reason."""

import base64
import hashlib
import re
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.errors import InvalidCursor
from whodid.query.cursors import (
    Cursor,
    FeedCursor,
    SearchCursor,
    parse_feed_cursor,
    parse_search_cursor,
    render,
)
from whodid.query.parameters import END_OF_TIME_MS
from whodid.store.base import AFTER_ALL, BEFORE_ALL, Position

ACCOUNT = "org-acme-acc0"
TIMES = st.integers(0, END_OF_TIME_MS)
SEQS = st.one_of(st.integers(0, 10**7), st.integers(BEFORE_ALL, AFTER_ALL))

searches = st.builds(
    lambda place, window, newest_first: SearchCursor(place, min(window), max(window), newest_first),
    st.builds(Position, TIMES, SEQS),
    st.tuples(TIMES, TIMES),
    st.booleans(),
)
feeds = st.builds(FeedCursor, st.integers(0, AFTER_ALL - 1))
cursors: st.SearchStrategy[Cursor] = st.one_of(searches, feeds)

SEARCH = SearchCursor(Position(1_627_661_632_109, 2043), 0, END_OF_TIME_MS, newest_first=True)


def parse(text: str, like: Cursor, account: str = ACCOUNT) -> Cursor:
    """A cursor of the same form as another one."""
    return (parse_feed_cursor if isinstance(like, FeedCursor) else parse_search_cursor)(text, account)


def forged(form: int, *numbers: int) -> str:
    """A cursor whose checksum is right, as anybody can make it who has read how."""
    content = struct.pack(">BB4s", 1, form, hashlib.sha256(ACCOUNT.encode()).digest()[:4])
    content += struct.pack(f">{len(numbers)}q", *numbers)
    data = content + hashlib.sha256(b"whodid cursor\n" + content).digest()[:8]
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@given(cursors)
def test_a_cursor_is_read_as_it_was_rendered(cursor: Cursor) -> None:
    """It needs no escaping anywhere, and is never taken for a number."""
    text = render(cursor, ACCOUNT)
    assert parse(text, cursor) == cursor
    assert re.fullmatch("[A-Za-z0-9_-]{1,80}", text)
    assert not text.isdecimal()


def test_a_cursor_has_the_form_that_is_written_down() -> None:
    """Cursors outlive a server's version: a change of the form needs a new version."""
    assert render(FeedCursor(2043), ACCOUNT) == forged(2, 2043)
    assert render(SEARCH, ACCOUNT) == forged(1, 1_627_661_632_109, 2043, 0, END_OF_TIME_MS, 1)


@given(cursors, st.data())
def test_an_altered_cursor_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    """Whatever character is another one."""
    text = render(cursor, ACCOUNT)
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda character: character != text[at]))
    with pytest.raises(InvalidCursor, match=r"not a cursor of ours|altered or cut off"):
        parse(text[:at] + other + text[at + 1 :], cursor)


@given(cursors, st.data())
def test_a_cut_cursor_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    """Wherever it is cut, and also if it goes on."""
    text = render(cursor, ACCOUNT)
    with pytest.raises(InvalidCursor, match="altered or cut off"):
        parse(text[: data.draw(st.integers(3, len(text) - 1))], cursor)
    with pytest.raises(InvalidCursor, match="altered or cut off"):
        parse(text + data.draw(st.sampled_from(["A", "AA", "AAA", "AAAA"])), cursor)


@given(cursors, st.from_regex("[a-z0-9_-]{1,64}", fullmatch=True).filter(lambda name: name != ACCOUNT))
def test_a_cursor_of_another_account_is_refused(cursor: Cursor, other: str) -> None:
    """The reason does not name it."""
    with pytest.raises(InvalidCursor, match="the cursor is of another account's log; begin without one") as refused:
        parse(render(cursor, other), cursor)
    assert other not in refused.value.message.split()


def test_a_cursor_of_another_call_is_refused() -> None:
    """It names both."""
    with pytest.raises(InvalidCursor, match="the cursor is of a search, and this is a feed"):
        parse_feed_cursor(render(SEARCH, ACCOUNT), ACCOUNT)
    with pytest.raises(InvalidCursor, match="the cursor is of a feed, and this is a search"):
        parse_search_cursor(render(FeedCursor(3), ACCOUNT), ACCOUNT)


@pytest.mark.parametrize(
    "text",
    ["", "x", "AQ", "12", "end", "AQ==", "AQI=", "AQ AQ", "AQ\n", "\0", "\ud800", "\uff21", "BQ" * 20, "AQ" * 999],
)
def test_what_never_was_a_cursor_is_refused(text: str) -> None:
    """It says what to give instead."""
    for read in (parse_search_cursor, parse_feed_cursor):
        with pytest.raises(InvalidCursor, match="this is not a cursor of ours; give 'next' of the page before, as it"):
            read(text, ACCOUNT)


@pytest.mark.parametrize(
    "text",
    [
        forged(1, -2, 0, 0, 9, 1),
        forged(1, END_OF_TIME_MS + 1, 0, 0, 9, 1),
        forged(1, 5, -2, 0, 9, 1),
        forged(1, 5, 0, -1, 9, 1),
        forged(1, 5, 0, 9, 8, 1),
        forged(1, 5, 0, 0, END_OF_TIME_MS + 1, 1),
        forged(1, 5, 0, 0, 9, 2),
        forged(1, 5, 0, 0, 9),
        forged(1),
        forged(3, 5),
    ],
)
def test_a_made_up_cursor_has_numbers_that_can_be(text: str) -> None:
    """Its checksum is right; what goes to the store is within bounds all the same."""
    with pytest.raises(InvalidCursor, match="altered or cut off"):
        parse_search_cursor(text, ACCOUNT)


@pytest.mark.parametrize("next_seq", [-1, AFTER_ALL])
def test_a_made_up_number_is_refused(next_seq: int) -> None:
    """Of a feed, too."""
    with pytest.raises(InvalidCursor, match="altered or cut off"):
        parse_feed_cursor(forged(2, next_seq), ACCOUNT)


@given(
    st.one_of(st.text(max_size=80), st.binary(max_size=60).map(lambda data: base64.urlsafe_b64encode(data).decode()))
)
def test_no_text_by_chance_is_a_cursor(text: str) -> None:
    """Nothing else is raised."""
    for read in (parse_search_cursor, parse_feed_cursor):
        with pytest.raises(InvalidCursor):
            read(text, ACCOUNT)
