"""Request bodies: fetched piece by piece, within bounds of size, time and memory, and unpacked."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.types import Message, Receive

from whodid.errors import MalformedBody, Overloaded, UnsupportedBody
from whodid.ingest import MAX_BODY_BYTES, Inflater, body_too_large
from whodid.query import quoted
from whodid.recording import Content

ACCEPT = "application/json, application/x-ndjson"
ACCEPT_ENCODING = "gzip, identity"

_LINES = {"application/json": False, "application/x-ndjson": True, "application/ndjson": True}
_PIECE_SECONDS = 30.0
"""How long the next piece of a body may take to come."""


class BodyBudget:
    """How much memory all bodies together may take at once."""

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes = limit_bytes

    @contextmanager
    def reserve(self) -> Iterator["Reservation"]:
        """Room for one body, given back at the end of the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self._free_bytes += reservation.taken_bytes

    def take(self, size_bytes: int) -> None:
        """Take some. Raises ``Overloaded`` where there is not enough."""
        if size_bytes > self._free_bytes:
            raise Overloaded("the server holds as many request bodies as it can; try again")
        self._free_bytes -= size_bytes


class Reservation:
    """One body's part of the budget; grows with the body."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.taken_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Have at least this much. Raises ``Overloaded``."""
        if size_bytes > self.taken_bytes:
            self._budget.take(size_bytes - self.taken_bytes)
            self.taken_bytes = size_bytes


async def read_content(headers: Mapping[str, str], receive: Receive, reservation: Reservation) -> Content:
    """The body of a request of events, unpacked.

    Raises ``UnsupportedBody``, ``BodyTooLarge``, ``MalformedBody`` or ``Overloaded``.
    """
    lines = _is_lines(headers)
    packed = _is_packed(headers)
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > MAX_BODY_BYTES:
        raise body_too_large()
    if packed:
        return Content(await _read_packed(receive, reservation), lines)
    return Content(await _read_plain(receive, reservation), lines)


async def _read_plain(receive: Receive, reservation: Reservation) -> bytes:
    piece, more = _piece(await receive())  # as a rule the whole body, and here already
    if not more:
        reservation.hold(len(piece))
        return _bounded(piece)
    pieces = [piece]
    size_bytes = len(piece)
    while more:
        reservation.hold(2 * size_bytes)  # the pieces, and the whole that they are joined to
        piece, more = await _next_piece(receive)
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise body_too_large()
    return b"".join(pieces)


async def _read_packed(receive: Receive, reservation: Reservation) -> bytes:
    inflater = Inflater()
    size_bytes = 0
    more = True
    while more:
        piece, more = await _next_piece(receive)
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise body_too_large()
        inflater.feed(piece)
        reservation.hold(2 * inflater.size_bytes)
    return inflater.finish()


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY_BYTES:
        raise body_too_large()
    return body


async def _next_piece(receive: Receive) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(_PIECE_SECONDS):
            message = await receive()
    except TimeoutError as error:
        raise MalformedBody(f"the body stopped coming for {_PIECE_SECONDS:.0f} seconds") from error
    return _piece(message)


def _piece(message: Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise MalformedBody("the body is cut off: the connection ended before it did")
    return message.get("body", b""), message.get("more_body", False)


def _is_lines(headers: Mapping[str, str]) -> bool:
    content_type, _, parameters = headers.get("content-type", "application/json").partition(";")
    lines = _LINES.get(content_type.strip().lower())
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if lines is None or charset not in ("", "charset=utf-8", "charset=utf8"):
        given = quoted(headers.get("content-type", ""))
        raise _unsupported(f"the content type must be one of {ACCEPT}, in UTF-8, not {given}")
    return lines


def _is_packed(headers: Mapping[str, str]) -> bool:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise _unsupported(f"the content encoding must be one of {ACCEPT_ENCODING}, not {quoted(encoding)}")
    return encoding.endswith("gzip")


def _unsupported(message: str) -> UnsupportedBody:
    return UnsupportedBody(message, accept=ACCEPT, accept_encoding=ACCEPT_ENCODING)
