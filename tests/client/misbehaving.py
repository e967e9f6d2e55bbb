"""What may stand between a client and its server: a real HTTP server that passes on, loses, cuts off, or says no."""

import contextlib
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeAlias

Doing: TypeAlias = Callable[["Handler"], None]
"""What is done with one request."""


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Between(ThreadingHTTPServer):
    """Does with each request what comes next in ``doings``, and then passes all on."""

    daemon_threads = True

    def __init__(self, *doings: Doing, port: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        """``port`` is that of the server behind it, if there is one."""
        super().__init__(("127.0.0.1", 0), Handler)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.doings = list(doings)
        self.behind = port
        self.asked: list[Asked] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{self._scheme}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up, as they may."""


@contextlib.contextmanager
def between(*doings: Doing, port: int | None = None, tls: ssl.SSLContext | None = None) -> Iterator[Between]:
    """It runs within the block."""
    with Between(*doings, port=port, tls=tls) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 20
    disable_nagle_algorithm = True
    server: Between

    def do_GET(self) -> None:
        """Whatever is asked."""
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked = Asked(self.command, self.path, headers, body)
        self.server.asked.append(self.asked)
        doing = self.server.doings.pop(0) if self.server.doings else pass_on
        doing(self)

    do_POST = do_GET  # noqa: N815 (its name is http.server's)

    def ask(self) -> tuple[int, dict[str, str], bytes]:
        """The answer of the server behind."""
        assert self.server.behind is not None
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=20)
        with contextlib.closing(connection):
            headers = {name: value for name, value in self.asked.headers.items() if name != "content-length"}
            connection.request(self.asked.method, self.asked.path, self.asked.body or None, headers)
            response = connection.getresponse()
            passed = {name.lower(): value for name, value in response.getheaders()}
            body = response.read()
            for name in ("transfer-encoding", "connection", "content-length"):
                passed.pop(name, None)
            return response.status, passed, body

    def send(self, status: int, headers: dict[str, str], body: bytes, most: int | None = None) -> None:
        """An answer, or the beginning of one."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:most])
        self.close_connection |= most is not None

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


def pass_on(handler: Handler) -> None:
    """As if nothing were between."""
    handler.send(*handler.ask())


def hang_up(handler: Handler) -> None:
    """The connection ends without an answer; the server behind never hears of it."""
    handler.close_connection = True


def lose_the_answer(handler: Handler) -> None:
    """The server behind does what it was asked to, and nobody hears of that."""
    handler.ask()
    handler.close_connection = True


def cut_after(size_bytes: int) -> Doing:
    """The connection ends after so much of the body."""

    def cut(handler: Handler) -> None:
        handler.send(*handler.ask(), size_bytes)

    return cut


def say(status: int, content: Any = b"", **headers: str) -> Doing:
    """This answer, whatever is asked: bytes, or something as JSON. Underscores in names stand for hyphens."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def send(handler: Handler) -> None:
        handler.send(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)

    return send


def refuse(status: int, code: str, detail: str = "no", **more: Any) -> Doing:
    """A problem as the server tells it."""
    problem = {"status": status, "title": "?", "detail": detail, "code": code, **more}
    return say(status, problem, content_type="application/problem+json", x_request_id="r-1")
