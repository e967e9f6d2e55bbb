"""A log served over HTTP by somebody who may be up to anything: a real server, over a socket."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.verify.building import Log


class Answer(BaseHTTPRequestHandler):
    """Answers one request: as the log would, or as the test has it."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:
        """Files below ``/log/<account>/``."""
        self.server.asked.append((self.path, dict(self.headers)))
        name = self.path.removeprefix(f"/log/{self.server.log.account}/")
        if name in self.server.odd:
            self.server.odd[name](self)
            return
        body = self.server.log.file(name, self.server.size) if name != self.path else None
        self.send(404 if body is None else 200, body or b"no such file")

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_for_ever(self, piece: bytes) -> None:
        """An answer without an end."""
        self.close_connection = True
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(piece)

    def send_raw(self, data: bytes) -> None:
        """Bytes instead of an answer, and no more."""
        self.close_connection = True
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Serves a log of ``size`` entries; ``odd`` has the answers for some paths, ``asked`` what was asked for."""

    daemon_threads = False

    def __init__(self, log: Log, size: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.scheme = "http" if tls is None else "https"
        self.log = log
        self.size = size
        self.odd: dict[str, Callable[[Answer], None]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        """The log's URL."""
        return f"{self.scheme}://127.0.0.1:{self.server_port}/log/{self.log.account}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are no error here."""


@contextlib.contextmanager
def serving(log: Log, size: int | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve a log while the block runs."""
    with Server(log, size, tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
