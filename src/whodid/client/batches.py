"""Batches: many events become requests that a server takes; each event has an ``_id``, and so may be sent again."""

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from whodid.errors import InvalidParameter
from whodid.records import IdMaker, parse_time

MOST_EVENTS: Final = 10_000
MOST_BYTES: Final = 15 * 1024 * 1024
"""A server takes 16 MiB."""


class Batch(NamedTuple):
    """Events that go into one request."""

    first: int
    """The place of the first of them among all that were given."""
    lines: list[bytes]
    """Each as JSON."""

    @property
    def body(self) -> bytes:
        """As NDJSON."""
        return b"\n".join(self.lines) + b"\n"

    def halves(self) -> "tuple[Batch, Batch]":
        """Two requests in place of one."""
        middle = len(self.lines) // 2
        return Batch(self.first, self.lines[:middle]), Batch(self.first + middle, self.lines[middle:])


class Ids:
    """Makes ids, for all threads and, after a fork, for each process others."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._lock = threading.Lock()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._maker = IdMaker(self._random_bytes)

    def make(self, created_ms: int) -> str:
        """The next id, of an event that occurred at this time."""
        with self._lock:
            if self._process != os.getpid():
                self._begin()
            return self._maker(created_ms)


def batches(events: Iterable[Mapping[str, Any]], ids: Ids, clock: Callable[[], int]) -> Iterator[Batch]:
    """The events in as few requests as may be, in order. They are looked at as they are needed."""
    lines: list[bytes] = []
    first = size_bytes = 0
    for event in events:
        line = _line(event, ids, clock)
        if lines and (len(lines) == MOST_EVENTS or size_bytes + len(line) + 1 > MOST_BYTES):
            yield Batch(first, lines)
            first += len(lines)
            lines, size_bytes = [], 0
        lines.append(line)
        size_bytes += len(line) + 1
    if lines:
        yield Batch(first, lines)


def check_named(unnamed: tuple[object, ...]) -> None:
    """Refuse an event that was given as a whole where its keys belong. Raises ``TypeError``."""
    if unnamed:
        raise TypeError(
            "record_action takes the keys of one event as named arguments: record_action(**event), or "
            "record_actions([event])"
        )


def _line(event: Mapping[str, Any], ids: Ids, clock: Callable[[], int]) -> bytes:
    if not isinstance(event, Mapping):
        raise InvalidParameter(
            f"an event must be a dict, not {type(event).__name__}; one alone goes in a list: [event]"
        )
    if "_id" not in event:
        event = {"_id": ids.make(_created_ms(event.get("createdAt"), clock)), **event}
    try:
        return msgspec.json.encode(event)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidParameter(f"an event must be a dict of what JSON can tell: {error}") from error


def _created_ms(created_at: Any, clock: Callable[[], int]) -> int:
    """When an event occurred, for its id; whether that is a time, the server says."""
    try:
        if isinstance(created_at, datetime):
            created_at = created_at.isoformat()
        return parse_time(created_at) if isinstance(created_at, str) else clock()
    except ValueError:
        return clock()
