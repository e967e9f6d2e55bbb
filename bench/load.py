"""The load: requests that were built beforehand, sent over keep-alive connections as fast as they are answered.

Server and load share the machine, so this does as little as can be done: bytes out, bytes in, and of an answer only
its status and its length are looked at.
"""

import asyncio
import gc
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import uvloop

from bench.report import percentile


class UnexpectedAnswer(Exception):
    """The server answered something else than success; the measurement would be of nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a load met."""

    seconds: float
    """From the first request to the last answer."""
    latencies_seconds: list[float]
    cpu_seconds: float
    """What this process, the load generator, needed itself."""

    @property
    def requests(self) -> int:
        """How many were answered."""
        return len(self.latencies_seconds)

    @property
    def per_second(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    def percentile_ms(self, percent: float) -> float:
        """Of the time from a request to its answer."""
        return percentile(self.latencies_seconds, percent) * 1000


def request_bytes(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """One HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    if method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def answer_bytes(head: bytes) -> int:
    """How long the body of an answer with this head is. Raises ``UnexpectedAnswer`` where it is not a success."""
    if not head.startswith(b"HTTP/1.1 2"):
        raise UnexpectedAnswer(head.decode("latin-1"))
    at = head.index(b"content-length: ") + 16
    end = head.find(b"\r\n", at)
    return int(head[at : len(head) if end < 0 else end])


class Lane(NamedTuple):
    """What is sent to one server."""

    port: int
    requests: Iterator[bytes]


def run_load(port: int, requests: Iterable[bytes], *, connections: int, seconds: float | None = None) -> Outcome:
    """Send ``requests`` until they, or the ``seconds``, are over. Raises ``UnexpectedAnswer``."""
    return run_lanes([Lane(port, iter(requests))], connections=connections, seconds=seconds)


def run_lanes(lanes: Sequence[Lane], *, connections: int, seconds: float | None = None) -> Outcome:
    """The same to several servers at once, over so many ``connections`` to each."""
    gc.collect()
    gc.disable()
    try:
        return uvloop.run(_Load(seconds).run(lanes, connections))
    finally:
        gc.enable()


class _Load:
    """One load while it runs."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._stop_at = float("inf")
        self._active = 0
        self.latencies: list[float] = []
        self.done: asyncio.Future[None]

    async def run(self, lanes: Sequence[Lane], connections: int) -> Outcome:
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        clients: list[_Client] = []
        for lane in lanes:
            for _ in range(connections):
                client = _Client(self, lane.requests)
                await loop.create_connection(lambda client=client: client, "127.0.0.1", lane.port)  # type: ignore[misc]
                clients.append(client)
        self._active = len(clients)
        cpu, began = time.process_time(), time.perf_counter()
        if self._seconds is not None:
            self._stop_at = began + self._seconds
        for client in clients:
            client.send_next()
        await self.done
        return Outcome(time.perf_counter() - began, self.latencies, time.process_time() - cpu)

    def goes_on(self, now: float) -> bool:
        """Whether there is time left."""
        return now < self._stop_at

    def finish(self) -> None:
        """One connection has nothing more to do."""
        self._active -= 1
        if self._active == 0 and not self.done.done():
            self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        """Give the whole load up."""
        if not self.done.done():
            self.done.set_exception(error)


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: _Load, requests: Iterator[bytes]) -> None:
        self._load = load
        self._requests = requests
        self._transport: asyncio.Transport | None = None
        self._sent = 0.0
        self._left = -1
        """How many bytes of the answer are still to come; below zero: its head is not whole."""
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own kind, which does not say so

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(UnexpectedAnswer(f"the server closed a connection: {exc}"))

    def send_next(self) -> None:
        """Send the next request."""
        assert self._transport is not None
        now = time.perf_counter()
        request = next(self._requests, None) if self._load.goes_on(now) else None
        if request is None:
            self._load.finish()
            return
        self._sent = now
        self._left = -1
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            data = self._head + data if self._head else data
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._head = data
                return
            self._head = b""
            try:
                self._left = end + 4 + answer_bytes(data[:end])
            except UnexpectedAnswer:
                self._load.fail(UnexpectedAnswer(data.decode("utf-8", "replace")))
                return
        self._left -= len(data)
        if self._left == 0:
            self._load.latencies.append(time.perf_counter() - self._sent)
            self.send_next()
