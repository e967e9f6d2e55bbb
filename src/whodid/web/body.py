"""Request bodies: fetched piece by piece, within bounds of size, time and memory, and unpacked."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from starlette.types import Message, Receive

from whodid.errors import MalformedBody, Overloaded, UnsupportedBody
from whodid.ingest import MAX_BODY_BYTES, Inflater, body_too_large
from whodid.query.parameters import quoted
from whodid.recording import Content

ACCEPT = "application/json, application/x-ndjson"
ACCEPT_ENCODING = "gzip, identity"

_LINES = {"application/json": False, "application/x-ndjson": True, "application/ndjson": True}
_BODY_SECONDS = 120.0
"""How long a body may take to come, all of it."""


class BodyBudget:
    """How much memory all bodies together may take at once; and each account no more than half of it."""

    def __init__(self, limit_bytes: int) -> None:
        self._free_bytes = limit_bytes
        self._share_bytes = limit_bytes // 2
        self._taken_bytes: Counter[int] = Counter()

    @contextmanager
    def reserve(self) -> Iterator["Reservation"]:
        """Room for one body, given back at the end of the block."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            if reservation.taken_bytes:
                self.take(reservation.account_no, -reservation.taken_bytes)

    def take(self, account_no: int, size_bytes: int) -> None:
        """Take some for an account, or give it back. Raises ``Overloaded`` where there is not enough."""
        if size_bytes > self._free_bytes:
            raise Overloaded("the server holds as many request bodies as it can; try again")
        if self._taken_bytes[account_no] + size_bytes > self._share_bytes:
            raise Overloaded("the server holds as many request bodies of the account as it can; try again")
        self._free_bytes -= size_bytes
        self._taken_bytes[account_no] += size_bytes
        if not self._taken_bytes[account_no]:
            del self._taken_bytes[account_no]


class Reservation:
    """One body's part of the budget; grows with the body."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.account_no = 0
        """Whose body it is; known before anything is taken."""
        self.taken_bytes = 0

    def hold(self, size_bytes: int) -> None:
        """Have at least this much. Raises ``Overloaded``."""
        if size_bytes > self.taken_bytes:
            self._budget.take(self.account_no, size_bytes - self.taken_bytes)
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
    read = _read_packed if packed else _read_plain
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return Content(await read(receive, reservation), lines)
    except TimeoutError as error:
        raise MalformedBody(f"the body took more than {_BODY_SECONDS:.0f} seconds to come") from error


async def _read_plain(receive: Receive, reservation: Reservation) -> bytes:
    pieces: list[bytes] = []
    size_bytes = 0
    more = True
    while more:
        piece, more = _piece(await receive())
        pieces.append(piece)
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise body_too_large()
        reservation.hold(2 * size_bytes if more else size_bytes)  # the pieces, and the whole that they are joined to
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def _read_packed(receive: Receive, reservation: Reservation) -> bytes:
    inflater = Inflater()
    size_bytes = 0
    more = True
    while more:
        piece, more = _piece(await receive())
        size_bytes += len(piece)
        if size_bytes > MAX_BODY_BYTES:
            raise body_too_large()
        inflater.feed(piece)
        reservation.hold(2 * inflater.size_bytes)
    return inflater.finish()


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
        raise _unsupported(
            f"the content type must be one of {ACCEPT}, in UTF-8, not {given}; "
            "with curl, add -H 'Content-Type: application/json'"
        )
    return lines


def _is_packed(headers: Mapping[str, str]) -> bool:
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise _unsupported(f"the content encoding must be one of {ACCEPT_ENCODING}, not {quoted(encoding)}")
    return encoding.endswith("gzip")


def _unsupported(message: str) -> UnsupportedBody:
    return UnsupportedBody(message, accept=ACCEPT, accept_encoding=ACCEPT_ENCODING)
