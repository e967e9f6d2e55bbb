"""The courier: brings requests to a witness over HTTP, and its replies back.

Each request has a thread, which is not waited for: a witness that hangs, or sends for ever, keeps nothing waiting, not
even the end of the process. Redirects are not followed, certificates are checked, nothing is unpacked.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
from http.client import HTTPException
from typing import Final
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, NameResolutionError

from whodid import __version__
from whodid.evidence.witnesses import MOST_REPLY_BYTES, Reply, Undelivered, Witness

_HEADERS: Final = {
    "User-Agent": f"whodid/{__version__}",
    "Content-Type": "text/plain; charset=utf-8",
    "Accept-Encoding": "identity",
}
_PORTS: Final = {"http": 80, "https": 443}


class Courier:
    """Posts to one witness; connections are kept for the next request. Lives in one event loop.

    Whoever waits sets the time limit: a request whose caller no longer waits is broken off.
    """

    def __init__(self, witness: Witness, *, silence_seconds: float) -> None:
        """``silence_seconds`` is how long nothing may happen on a connection before its thread gives it up."""
        parts = urlsplit(witness.url)
        assert parts.hostname
        self._host = parts.hostname
        self._port = parts.port or _PORTS[parts.scheme]
        self._target = f"{parts.path}/add-checkpoint"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._silence_seconds = silence_seconds
        self._lock = threading.Lock()
        """Whoever has it may put into ``_idle``."""
        self._idle: list[HTTPConnection] = []
        self._closed = False

    async def post(self, body: bytes) -> Reply:
        """The reply to a POST of ``body`` to ``add-checkpoint``. Raises ``Undelivered``."""
        loop = asyncio.get_running_loop()
        connection = self._take()
        answer: asyncio.Future[Reply] = loop.create_future()

        carried = threading.Event()  # from then on, the connection may be that of another request

        def carry() -> None:
            reply = self._carry(connection, body, answer)
            carried.set()
            self._put_back(connection)
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, answer, reply)

        threading.Thread(target=carry, name=f"whodid-witness-{self._host}", daemon=True).start()
        try:
            return await answer
        except asyncio.CancelledError:
            if not carried.is_set():
                _hang_up(connection)
            raise

    def close(self) -> None:
        """Let go of the connections that are kept; those of requests that are on their way follow."""
        with self._lock:
            self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _take(self) -> HTTPConnection:
        """A connection that is kept and still good, or one that is yet to be made."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_connected:
                return connection
            connection.close()
        if self._tls is None:
            return HTTPConnection(self._host, self._port, timeout=self._silence_seconds)
        return HTTPSConnection(self._host, self._port, timeout=self._silence_seconds, ssl_context=self._tls)

    def _carry(self, connection: HTTPConnection, body: bytes, answer: "asyncio.Future[Reply]") -> Reply | Undelivered:
        """What came back, or why nothing did; in a thread."""
        try:
            if connection.is_closed:
                connection.connect()
            if answer.cancelled():
                raise TimeoutError
            connection.request("POST", self._target, body, _HEADERS, preload_content=False, decode_content=False)
            response = connection.getresponse()
            reply = Reply(response.status, response.headers.get("Content-Type", ""), _read(response))
        except (OSError, HTTPException, HTTPError, ValueError) as error:
            connection.close()
            undelivered = Undelivered(_reason(error))
            undelivered.__cause__ = error
            return undelivered
        if len(reply.body) > MOST_REPLY_BYTES:
            connection.close()
        return reply

    def _put_back(self, connection: HTTPConnection) -> None:
        """Keep a connection, if it is still there; in a thread."""
        with self._lock:
            if not self._closed and connection.is_connected:
                self._idle.append(connection)
                return
        connection.close()


def _settle(answer: "asyncio.Future[Reply]", reply: Reply | Undelivered) -> None:
    if answer.done():
        return  # nobody waits any more
    if isinstance(reply, Undelivered):
        answer.set_exception(reply)
    else:
        answer.set_result(reply)


def _read(response: BaseHTTPResponse) -> bytes:
    """The body, up to ``MOST_REPLY_BYTES``, or one byte more where there is more."""
    body = b""
    while len(body) <= MOST_REPLY_BYTES and (piece := response.read(MOST_REPLY_BYTES + 1 - len(body))):
        body += piece
    return body


def _hang_up(connection: HTTPConnection) -> None:
    """Wake the thread that waits for the other side; it closes the connection then."""
    line = connection.sock
    if line is not None:
        with contextlib.suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    """Why a request could not be delivered, in a few words."""
    if isinstance(error, NameResolutionError):
        return "can't be reached: its host has no address"
    if isinstance(error, TimeoutError | HTTPError) and "timed out" in str(error):
        return "can't be reached: it does not answer"
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"can't be reached: its certificate is not good: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"can't be reached: {cause.strerror}"
    if isinstance(cause, ConnectionError):
        return "breaks the connection off"
    return f"does not speak HTTP as it should: {type(error).__name__}"
