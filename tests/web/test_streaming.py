"""Streams: cut off where nobody takes them, at whatever message; made piece by piece; bounded in number."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
from starlette.types import Message

from whodid.errors import Overloaded
from whodid.web.streaming import ABORT, Slots, Stream

LONG_SECONDS = 30.0


class Line:
    """The server's side of a connection, whose reader takes so many messages, and then nothing more."""

    def __init__(self, takes: int, method: str = "GET") -> None:
        self.sent: list[Message] = []
        self.aborted = 0
        self._takes = takes
        self.scope: dict[str, Any] = {"type": "http", "method": method, ABORT: self._abort}

    async def send(self, message: Message) -> None:
        """Waits for ever where the reader takes nothing more."""
        if len(self.sent) == self._takes:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def receive(self) -> Message:
        """The reader stays."""
        await asyncio.Event().wait()
        raise AssertionError

    def _abort(self) -> None:
        self.aborted += 1


async def pieces(made: list[int]) -> AsyncIterator[bytes]:
    """Three of them; notes which were made, and at last that it was closed."""
    try:
        for number in range(3):
            made.append(number)
            yield b"%d" % number
    finally:
        made.append(-1)


@pytest.mark.parametrize("takes", range(5))
async def test_a_stream_is_cut_off_at_whatever_is_not_taken(takes: int) -> None:
    """Be it the first message, a piece, or the end; what makes the pieces is closed."""
    made: list[int] = []
    line = Line(takes)
    began = time.monotonic()
    await Stream(pieces(made), "text/plain", stalled_seconds=0.02)(line.scope, line.receive, line.send)
    assert time.monotonic() - began < LONG_SECONDS
    assert (line.aborted, len(line.sent)) == (1, takes)
    assert made == ([*range(min(takes, 3)), -1] if takes else [])


async def test_a_stream_that_is_taken_is_whole() -> None:
    """With a message for each piece, and the end."""
    line = Line(10)
    await Stream(pieces([]), "text/plain")(line.scope, line.receive, line.send)
    assert b"".join(message.get("body", b"") for message in line.sent) == b"012"
    assert line.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert not line.aborted


async def test_a_large_piece_is_sent_in_parts() -> None:
    """Each has its own time: whoever takes a large one slowly is not cut off."""

    async def large() -> AsyncIterator[bytes]:
        yield bytes(range(256)) * 4096

    line = Line(100)
    await Stream(large(), "text/plain")(line.scope, line.receive, line.send)
    bodies = [message["body"] for message in line.sent[1:]]
    assert b"".join(bodies) == bytes(range(256)) * 4096
    assert max(map(len, bodies)) == 256 * 1024


async def test_no_piece_is_made_for_the_headers_alone() -> None:
    """``HEAD`` ends at once, also where the stream would not."""
    made: list[int] = []
    line = Line(10, "HEAD")
    await Stream(pieces(made), "text/plain")(line.scope, line.receive, line.send)
    assert [message["type"] for message in line.sent] == ["http.response.start", "http.response.body"]
    assert made == []


async def test_a_failure_of_what_makes_the_pieces_is_told() -> None:
    """A time-out of the store's is none of the reader's."""

    async def failing() -> AsyncIterator[bytes]:
        yield b"x"
        raise TimeoutError("the store")

    line = Line(10)
    with pytest.raises(TimeoutError, match="the store"):
        await Stream(failing(), "text/plain")(line.scope, line.receive, line.send)
    assert line.aborted == 1


def test_an_account_has_half_of_the_slots() -> None:
    """The other half is for others; each is given back."""
    slots = Slots(4)
    with ExitStack() as stack:
        for account_no in (1, 1, 2):
            stack.enter_context(slots.take(account_no))
        with pytest.raises(Overloaded, match=r"^2 streams .* of one account"):
            stack.enter_context(slots.take(1))
        stack.enter_context(slots.take(3))
        with pytest.raises(Overloaded, match=r"^4 streams .* this server takes;"):
            stack.enter_context(slots.take(4))
    with slots.take(1), slots.take(1):
        pass


@pytest.mark.parametrize(("most", "taken"), [(0, 0), (1, 1), (2, 1), (3, 1)])
def test_an_account_has_one_slot_if_there_is_any(most: int, taken: int) -> None:
    """However few there are."""
    slots = Slots(most)
    with ExitStack() as stack:
        for _ in range(taken):
            stack.enter_context(slots.take(1))
        with pytest.raises(Overloaded):
            stack.enter_context(slots.take(1))
