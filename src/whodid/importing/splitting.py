"""Records found in a stream of bytes, each as the bytes that it has there. Looks no further into JSON than it must.

A file has one of three forms: NDJSON (a record a line); a JSON array of records; the reply of the compatible
platform's API, an object with such an array under ``data`` and only plain values beside it.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

from whodid.errors import MalformedBody

MAX_RECORD_BYTES = 1024 * 1024
"""The longest record as it may be written in a file: generous, since white space and escapes are written out."""

_SEEN_AT_FIRST = 64 * 1024
_WHITE = b" \t\r\n"

_VALUE = rb'(?:"(?:[^"\\]|\\.)*"|[-+.0-9Ee]+|true|false|null)'
_MEMBER = rb'"(?:[^"\\]|\\.)*"\s*:\s*' + _VALUE
_BEFORE_REPLY = re.compile(rb"\{\s*(?:" + _MEMBER + rb'\s*,\s*)*"data"\s*:\s*\[')
_AFTER_REPLY = re.compile(rb"\](?:\s*,\s*" + _MEMBER + rb")*\s*\}\s*")
_AFTER_ARRAY = re.compile(rb"\]\s*")
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[{}\[\]]|"', re.DOTALL)


class RawRecord(NamedTuple):
    """The bytes of one record, and its number in the file, from 1: that of its line, or its own."""

    number: int
    data: bytes


def split(pieces: Iterator[bytes]) -> tuple[str, Iterator[RawRecord]]:
    """What the numbers count, ``line`` or ``record``, and the records. Reading these raises ``MalformedBody``."""
    head = b""
    for piece in pieces:
        head += piece
        if len(head.lstrip(_WHITE)) >= _SEEN_AT_FIRST:
            break
    start = len(head) - len(head.lstrip(_WHITE))
    if head[start : start + 1] == b"[":
        return "record", _ArraySplitter(head[start + 1 :], _AFTER_ARRAY).split(pieces)
    if reply := _BEFORE_REPLY.match(head, start):
        return "record", _ArraySplitter(head[reply.end() :], _AFTER_REPLY).split(pieces)
    return "line", _split_lines(itertools.chain([head], pieces))


def _split_lines(pieces: Iterator[bytes]) -> Iterator[RawRecord]:
    rest = b""
    number = 0
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for number, line in enumerate(lines, number + 1):  # noqa: B020 (goes on counting)
            if line and not line.isspace():
                yield RawRecord(number, line)
        if len(rest) > MAX_RECORD_BYTES:
            raise _too_long(f"line {number + 1}")
    if rest.strip():
        yield RawRecord(number + 1, rest)


class _ArraySplitter:
    """Finds the elements of an array, which are objects, without parsing them: counts brackets, skips strings."""

    def __init__(self, buffer: bytes, ending: re.Pattern[bytes]) -> None:
        self._buffer = buffer
        self._ending = ending
        self._end = 0
        """Where the last record found ended."""
        self._at = 0
        """How far brackets have been counted."""
        self._depth = 0
        self._start = 0
        self._number = 0
        self._closed = False

    def split(self, pieces: Iterator[bytes]) -> Iterator[RawRecord]:
        """The records in the buffer and in what follows it."""
        yield from self._scan()
        for piece in pieces:
            self._buffer = self._buffer[self._end :] + piece
            self._at -= self._end
            self._start -= self._end
            self._end = 0
            yield from self._scan()
            if len(self._buffer) - self._end > MAX_RECORD_BYTES + len(piece):
                raise _too_long(f"record {self._number + 1}")
        if not self._closed:
            raise MalformedBody(f"the file is cut off after record {self._number}: its array has no end")
        if self._ending.fullmatch(self._buffer, self._end) is None:
            raise MalformedBody("something follows the array of records")

    def _scan(self) -> Iterator[RawRecord]:
        if self._closed:
            return
        for token in _TOKEN.finditer(self._buffer, self._at):
            mark = token[0]
            if mark == b'"':
                self._at = token.start()  # a string that goes on in the next piece
                return
            self._at = token.end()
            if mark in b"{[":
                self._open(token.start(), mark)
            elif mark in b"}]":
                self._depth -= 1
                if self._depth < 0:
                    self._close(token.start(), mark)
                    return
                if self._depth == 0:
                    self._end = self._at
                    yield RawRecord(self._number, self._buffer[self._start : self._end])

    def _open(self, at: int, mark: bytes) -> None:
        self._depth += 1
        if self._depth > 1:
            return
        between = self._buffer[self._end : at].strip(_WHITE)
        self._number += 1
        if mark != b"{" or between != (b"," if self._number > 1 else b""):
            raise MalformedBody(f"there must be objects, with commas between, in the array; see record {self._number}")
        self._start = at

    def _close(self, at: int, mark: bytes) -> None:
        if mark != b"]" or self._buffer[self._end : at].strip(_WHITE):
            raise MalformedBody(f"there must be only ']' after record {self._number}, the last of the array")
        self._end = at
        self._closed = True


def _too_long(where: str) -> MalformedBody:
    return MalformedBody(f"{where} is longer than {MAX_RECORD_BYTES} bytes; no record may be")
