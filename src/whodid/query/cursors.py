"""Cursors: where a reader goes on, as text that only Whodid reads.

A cursor is base64url without padding, of: its version (1 byte), its form (1), the account that it is for (the first 4
bytes of the SHA-256 of the name), its numbers (8 bytes each, big-endian), and the first 8 bytes of the SHA-256 of
all that. This finds accidents, and cursors in the wrong place. It keeps no secret and grants nothing: whoever makes up
a cursor reads what the token may read anyway.
"""

import base64
import binascii
import hashlib
import re
import struct
from typing import Final, NamedTuple, TypeAlias

from whodid.errors import InvalidCursor
from whodid.query.parameters import END_OF_TIME_MS
from whodid.store.base import AFTER_ALL, BEFORE_ALL, Position


class SearchCursor(NamedTuple):
    """Where a search goes on, and its window: frozen, so that "7 days ago" does not move between pages."""

    position: Position
    since_ms: int
    until_ms: int
    newest_first: bool


class FeedCursor(NamedTuple):
    """Where a feed goes on."""

    next_seq: int


Cursor: TypeAlias = SearchCursor | FeedCursor

_VERSION: Final = 1
_SEARCH, _FEED = 1, 2
_NUMBERS = {_SEARCH: struct.Struct(">5q"), _FEED: struct.Struct(">q")}
_CALLS = {_SEARCH: "a search", _FEED: "a feed"}
_HEAD = struct.Struct(">BB4s")
_CHECKSUM_BYTES = 8
_DOMAIN = b"whodid cursor\n"
_OURS = re.compile(r"AQ[A-Za-z0-9_-]+").fullmatch  # "AQ" is version 1
_LONGEST = 200


def render(cursor: Cursor, account: str) -> str:
    """A cursor as text, for readers of this account's log; URL-safe."""
    if isinstance(cursor, FeedCursor):
        form, numbers = _FEED, [cursor.next_seq]
    else:
        form, numbers = _SEARCH, [*cursor.position, cursor.since_ms, cursor.until_ms, cursor.newest_first]
    content = _HEAD.pack(_VERSION, form, _tag(account)) + _NUMBERS[form].pack(*numbers)
    return _encode(content + _checksum(content))


def parse_search_cursor(text: str, account: str) -> SearchCursor:
    """The cursor of a search in this account's log. Raises ``InvalidCursor``."""
    created_ms, seq, since_ms, until_ms, newest_first = _numbers(text, account, _SEARCH)
    if not (
        -1 <= created_ms <= END_OF_TIME_MS
        and seq >= BEFORE_ALL
        and 0 <= since_ms <= until_ms <= END_OF_TIME_MS
        and newest_first in (0, 1)
    ):
        raise _altered()
    return SearchCursor(Position(created_ms, seq), since_ms, until_ms, bool(newest_first))


def parse_feed_cursor(text: str, account: str) -> FeedCursor:
    """The cursor of a feed of this account's log. Raises ``InvalidCursor``."""
    (next_seq,) = _numbers(text, account, _FEED)
    if not 0 <= next_seq < AFTER_ALL:
        raise _altered()
    return FeedCursor(next_seq)


def _numbers(text: str, account: str, form: int) -> tuple[int, ...]:
    content = _checked(text)
    _, found, tag = _HEAD.unpack_from(content)
    if tag != _tag(account):
        raise InvalidCursor("the cursor is of another account's log; begin without one")
    if found != form:
        raise InvalidCursor(f"the cursor is of {_CALLS[found]}, and this is {_CALLS[form]}; begin without one")
    numbers: tuple[int, ...] = _NUMBERS[form].unpack_from(content, _HEAD.size)
    return numbers


def _checked(text: str) -> bytes:
    """A cursor's bytes without the checksum, which holds, and has the length of its form."""
    if len(text) > _LONGEST or _OURS(text) is None:
        raise InvalidCursor("this is not a cursor of ours; give 'next' of the page before, as it is")
    data = _decode(text)
    content, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    numbers = _NUMBERS.get(content[1]) if len(content) > _HEAD.size else None
    if numbers is None or len(content) != _HEAD.size + numbers.size or checksum != _checksum(content):
        raise _altered()
    return content


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + content).digest()[:_CHECKSUM_BYTES]


def _tag(account: str) -> bytes:
    return hashlib.sha256(account.encode()).digest()[:4]


def _altered() -> InvalidCursor:
    return InvalidCursor("the cursor is altered or cut off; give 'next' of the page before, as it is")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    """The bytes of a base64url text in its one right spelling. Raises ``InvalidCursor``."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise _altered() from None
    if _encode(data) != text:
        raise _altered()
    return data
