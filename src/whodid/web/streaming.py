"""Streaming: answers that are sent piece by piece, for as long as there is something to send and somebody who takes it.

A piece waits until the one before has left for the network: so a slow reader costs the memory of a few pieces (one that
is sent, one that is made meanwhile, and what it is made of), and after a while the connection is cut. A reader that has
gone is noticed at once. How many are read at once is bounded.
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from whodid.errors import Overloaded

log = logging.getLogger(__name__)

ABORT: Final = "whodid.abort"
"""In a request's scope: what cuts its connection, whatever is still to be sent."""

STALLED_SECONDS: Final = 30.0
"""How long a reader may take for what is sent at once."""

_SENT_BYTES: Final = 256 * 1024


class Slots:
    """How many streams and exports may be read at once; by each account half as many, but always one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = max(most // 2, 1)
        self._taken: Counter[int] = Counter()

    @contextmanager
    def take(self, account_no: int) -> Iterator[None]:
        """A slot of an account, given back at the end of the block. Raises ``Overloaded`` where there is none."""
        if self._taken.total() >= self._most:
            raise Overloaded(f"{self._most} streams and exports at once are as many as this server takes; try later")
        if self._taken[account_no] >= self._share:
            raise Overloaded(
                f"{self._share} streams and exports at once are as many as this server takes of one account; try later"
            )
        self._taken[account_no] += 1
        try:
            yield
        finally:
            self._taken[account_no] -= 1
            if not self._taken[account_no]:
                del self._taken[account_no]


class _Stalled(Exception):
    """The reader takes nothing."""


class Stream(Response):
    """An answer of bytes that are made while it is sent.

    ``meanwhile`` is entered when it begins. It is left, and ``pieces`` closed, however it ends. Where ``pieces`` fail,
    the connection is cut, so that nobody takes what was sent for the whole. To ``HEAD``, no piece is made.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        meanwhile: AbstractContextManager[object] | None = None,
        stalled_seconds: float = STALLED_SECONDS,
    ) -> None:
        self._pieces = pieces
        self._meanwhile = meanwhile or nullcontext()
        self._stalled_seconds = stalled_seconds
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(headers)  # without a body, there is no length among them

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; until its end, or until the reader has gone or takes nothing."""
        with self._meanwhile:
            await self._while_taken(scope, receive, send)

    async def _while_taken(self, scope: Scope, receive: Receive, send: Send) -> None:
        sending = asyncio.create_task(self._send(send, whole=scope["method"] != "HEAD"), name="stream")
        leaving = asyncio.create_task(disconnected(receive), name="stream's reader")
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait([sending, leaving])
            await _close(self._pieces)
        if not sending.cancelled() and (error := sending.exception()) is not None:
            cut(scope)
            if not isinstance(error, _Stalled):
                raise error
            request_id = scope.get("whodid.request_id")
            log.info("a reader takes nothing: its stream is cut off", extra={"request_id": request_id})

    async def _send(self, send: Send, *, whole: bool) -> None:
        await self._give(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if whole:
            async for piece in self._pieces:
                for at in range(0, len(piece), _SENT_BYTES):
                    part = piece[at : at + _SENT_BYTES]
                    await self._give(send, {"type": "http.response.body", "body": part, "more_body": True})
        await self._give(send, {"type": "http.response.body", "body": b"", "more_body": False})

    async def _give(self, send: Send, message: Message) -> None:
        """Send a message, which waits until the reader has taken what came before."""
        try:
            async with asyncio.timeout(self._stalled_seconds):
                await send(message)
        except TimeoutError as error:
            raise _Stalled from error


async def disconnected(receive: Receive) -> None:
    """Wait until the caller has gone; what it still sends is thrown away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def cut(scope: Scope) -> None:
    """Cut the connection of a request, whatever is still to be sent: so its reader sees that something is missing."""
    abort: Callable[[], None] | None = scope.get(ABORT)
    if abort is not None:
        with contextlib.suppress(OSError):
            abort()


async def ahead(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same pieces; the next one is made while one is sent."""
    coming = asyncio.ensure_future(anext(pieces, None))
    try:
        while (piece := await coming) is not None:
            coming = asyncio.ensure_future(anext(pieces, None))
            yield piece
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        await _close(pieces)


async def _close(pieces: AsyncIterator[bytes]) -> None:
    close = getattr(pieces, "aclose", None)
    if close is not None:
        await close()
