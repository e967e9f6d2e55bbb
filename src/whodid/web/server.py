"""The server process: a listening socket, uvicorn, signals, and an orderly end."""

import asyncio
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from whodid.config import Settings
from whodid.errors import InvalidSetting
from whodid.logs import set_up_logs
from whodid.service import Service, start_service
from whodid.web.app import build_app

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 64 * 1024
"""How long a request's line and headers may be together."""

_HEAD_SECONDS = 30
"""How long a new connection may take to send the first request's head."""

_KEEP_ALIVE_SECONDS = 65
_SWITCH_SECONDS = 0.001
"""How long a busy thread keeps the interpreter from the writer, which waits for it several times a batch."""


def serve(settings: Settings, announce: Callable[[str], None] = print) -> int:
    """Serve until a signal says to stop; the exit status. ``announce`` is told when, and where, all is ready.

    Raises ``StoreUnusable``, ``StoreUnavailable`` or ``InvalidSetting``.
    """
    set_up_logs(settings.log_level)
    sys.setswitchinterval(_SWITCH_SECONDS)
    listening = _listen(settings)
    with contextlib.closing(listening):
        service = start_service(settings)
        uvloop.run(_serve(service, listening, announce))
    return 0


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidSetting(f"can't listen on {settings.host} port {settings.port}: {reason}") from error


async def _serve(service: Service, listening: socket.socket, announce: Callable[[str], None]) -> None:
    settings = service.settings
    server = _Server(
        uvicorn.Config(
            build_app(service),
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
        lambda: announce(f"Whodid serves {settings.store} at {_url(listening)} (Ctrl-C stops it)"),
    )
    try:
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

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        log.info("serving")
        self._ready()

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
    """Uvicorn's HTTP protocol, with bounds on the size of a request's head and on the time the first may take."""

    _head_bytes = 0
    _in_head = True
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(_HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """A client is gone."""
        self._no_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes arrived."""
        super().data_received(data)
        if not self._in_head:
            self._head_bytes = 0
        elif (size := self._head_bytes + len(data)) <= MAX_HEAD_BYTES:
            self._head_bytes = size
        elif not self.transport.is_closing():
            self.send_400_response("The request's line and headers are too long.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head is whole."""
        self._in_head = False
        self._no_deadline()
        super().on_headers_complete()

    def _no_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
