"""The server process: a listening socket, uvicorn, signals, and an orderly end."""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

import httptools
import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from whodid.config import Settings
from whodid.errors import InvalidSetting
from whodid.logs import set_up_logs
from whodid.service import Service, start_service
from whodid.store.urls import shown
from whodid.web.app import build_app
from whodid.web.streaming import ABORT, STALLED_SECONDS

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""How long a request's line and headers may be together."""

_HEAD_SECONDS = 30
"""How long a connection may take to send the head of a request, the first one from its beginning on."""

_KEEP_ALIVE_SECONDS = 65
_LEAST_TAKEN_BYTES = 1024 * 1024
"""How much of an answer, of what is left of it, must be taken in ``STALLED_SECONDS``: as of a stream, a chunk."""

_GC_ALLOCATIONS = 50_000
"""A batch makes some ten thousand short-lived objects, and no cycles: looking for those each 700 is wasted."""

_SWITCH_SECONDS = 0.001
"""How long a busy thread keeps the interpreter from the writer, which waits for it several times a batch."""


def _print_now(text: str) -> None:
    print(text, flush=True)  # whoever started the server may wait for this line through a pipe


def serve(
    settings: Settings,
    announce: Callable[[str], None] = _print_now,
    *,
    start: Callable[[Settings], Awaitable[Service]] = start_service,
    build: Callable[[Service], ASGIApp] = build_app,
) -> int:
    """Serve until a signal says to stop; the exit status. ``announce`` is told when, and where, all is ready.

    ``start`` and ``build`` make the service and its application, where the usual ones won't do (``bench`` sets the
    clock back and adds a page).

    Raises ``StoreUnusable``, ``StoreUnavailable`` or ``InvalidSetting``.
    """
    set_up_logs(settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.set_threshold(_GC_ALLOCATIONS, 20, 100)
    listening = _listen(settings)
    with contextlib.closing(listening):
        uvloop.run(_serve(settings, start, build, listening, announce))
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidSetting(f"can't listen on {settings.host} port {settings.port}: {reason}") from error


async def _serve(
    settings: Settings,
    start: Callable[[Settings], Awaitable[Service]],
    build: Callable[[Service], ASGIApp],
    listening: socket.socket,
    announce: Callable[[str], None],
) -> None:
    service = await start(settings)
    server = _Server(
        uvicorn.Config(
            build(service),
            http=_BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=bool(settings.forwarded_by),
            forwarded_allow_ips=settings.forwarded_by or None,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        ),
        stop=service.feed.stop,
        ready=lambda: announce(f"Whodid serves {shown(settings.store)} at {_url(listening)} (Ctrl-C stops it)"),
    )
    try:
        service.start()
        await server.serve([listening])
    finally:
        log.info("stopping: answering what was taken")
        await service.close()
        log.info("stopped")


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Uvicorn, which tells when it is ready, and leaves it to us how the process ends after a signal."""

    def __init__(
        self, config: uvicorn.Config, *, ready: Callable[[], None], stop: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._stop = stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        log.info("serving")
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was taken, and end; what would go on for as long as the server runs ends at once."""
        await self._stop()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order at SIGINT and SIGTERM; a second SIGINT does not wait for open requests."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGINT, signal.SIGTERM)
        for number in signals:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


class _BoundedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol, with bounds on what it leaves open: how long heads and trailers may be, and take.

    And how long an answer may take to be read, since whoever reads nothing makes the server keep it in memory.

    The parser keeps a line, its headers and the trailers of a chunked body in memory until they are whole. How many of
    the bytes that arrive together belong to them can't be told; but where nothing begins, ends or is body in them,
    all do.
    """

    _open_bytes = 0
    """How many bytes came since something of a request began, was body, or ended."""
    _moved_on = False
    """Whether the bytes that are being looked at did."""
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    """When it is looked next whether what waits to be read becomes less."""
    _answering: RequestResponseCycle | None = None
    """The request that is being answered; others may wait behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client is gone."""
        self._no_deadline()
        self._no_longer_wait_for_reader()
        super().connection_lost(exc)
        if self._answering is not None:  # uvicorn tells the last request that came, which may wait behind this one
            self._answering.disconnected = True
            self._answering.message_event.set()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """The client has read most of what was written."""
        self._no_longer_wait_for_reader()
        super().resume_writing()

    def _wait_for_reader(self) -> None:
        waiting_bytes = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(STALLED_SECONDS, self._look_at_reader, waiting_bytes)

    def _no_longer_wait_for_reader(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look_at_reader(self, waited_bytes: int) -> None:
        if self.transport.get_write_buffer_size() <= waited_bytes - _LEAST_TAKEN_BYTES:
            self._wait_for_reader()
        else:
            log.info("a reader takes next to nothing: its connection is cut")
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        self._moved_on = False
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
        if self.transport.is_closing():
            return
        self._open_bytes = 0 if self._moved_on else self._open_bytes + len(data)
        if self._open_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        elif self._deadline is None and (self._in_head or self.cycle.response_complete):
            self._deadline = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _refuse_head(self) -> None:
        # Uvicorn's cycle is None until there was a request, whatever its type says.
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]
            self.send_400_response("The request's line and headers are too long.")
        else:
            self.transport.close()  # an earlier request is being answered

    def _stay(self, rest: bytes) -> None:
        """Answer in this protocol a request that offered another one: parse it again, without the offer.

        The parser takes what follows such a head for another protocol: so a body would be lost.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("This is no proxy.")
            return
        head = [b"%b %b HTTP/1.1" % (method, self.url)]
        head += [b"%b: %b" % header for header in self.headers if header[0] not in (b"upgrade", b"connection")]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*head, b"", rest]))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = self._moved_on = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._in_head = False
        self._moved_on = True
        self._no_deadline()
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            self.scope[ABORT] = self._abort  # type: ignore[typeddict-unknown-key]

    def _abort(self) -> None:
        """Cut the connection, with which the answer that is being sent is over."""
        if self._answering is not None:
            self._answering.disconnected = True
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._answering = cycle
        super()._start_asgi_task(cycle, app)  # type: ignore[arg-type]

    def on_body(self, body: bytes) -> None:
        """A piece of a body arrived."""
        self._moved_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._moved_on = True
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
