"""Streaming: answers that are sent piece by piece, for as long as there is something to send and somebody who takes it.

A piece waits until the one before has left for the network: so a slow reader costs one piece of memory, and after a
while the connection is cut. A reader that has gone is noticed at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

ABORT: Final = "whodid.abort"
"""In a request's scope: what cuts its connection, whatever is still to be sent."""

STALLED_SECONDS: Final = 30.0
"""How long a reader may take for one piece."""


class Stream(Response):
    """An answer of bytes that are made while it is sent.

    ``meanwhile`` is entered when it begins. It is left, and ``pieces`` closed, however it ends.
    """

    def __init__(
        self,
        pieces: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        *,
        meanwhile: AbstractContextManager[None] | None = None,
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
        sending = asyncio.create_task(self._send(send), name="stream")
        leaving = asyncio.create_task(_disconnected(receive), name="stream's reader")
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.wait([sending, leaving])
            close = getattr(self._pieces, "aclose", None)
            if close is not None:
                await close()
        if not sending.cancelled() and (error := sending.exception()) is not None:
            _abort(scope)
            if not isinstance(error, TimeoutError):
                raise error

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for piece in self._pieces:
            if piece:
                async with asyncio.timeout(self._stalled_seconds):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _abort(scope: Scope) -> None:
    abort: Callable[[], None] | None = scope.get(ABORT)
    if abort is not None:
        with contextlib.suppress(OSError):
            abort()


async def ahead(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces; the next one is made while one is sent."""
    coming = asyncio.ensure_future(anext(pieces, None))
    try:
        while (piece := await coming) is not None:
            coming = asyncio.ensure_future(anext(pieces, None))
            yield piece
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()
