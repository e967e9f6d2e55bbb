"""Exchange: one request and its answer, and what every one of them has: an id, its place in metrics and in logs."""

import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl, quote, unquote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whodid.auth import Call
from whodid.errors import InconsistentLog, InvalidParameter, MethodNotAllowed, StoreUnavailable, WhodidError
from whodid.metrics import Metrics
from whodid.tokens import PREFIX, without_tokens
from whodid.web.problems import problem, status_of
from whodid.web.streaming import cut

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII).fullmatch
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\xff]+")
_LONGEST_AGENT = 512
_LONGEST_TARGET = 2048
_MOST_PARAMETERS = 100
_MOST_ENCODED = 3
_TOLD_AGAIN_SECONDS = 60.0
_MOST_TROUBLES = 16
_STORE_UNAVAILABLE = (
    "the store can't take this now (its disk may be full, or it can't be reached); the server's log tells more"
)

_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
"""Unless a page says otherwise: no error does, so a tile that is not there yet is not taken for missing for long."""


class _Random:
    """Random bytes, drawn many at a time, since each draw is a call of the kernel."""

    def __init__(self) -> None:
        self._drawn = b""
        self._used = 0

    def read(self, size_bytes: int) -> bytes:
        if self._used + size_bytes > len(self._drawn):
            self._drawn, self._used = secrets.token_bytes(4096), 0
        self._used += size_bytes
        return self._drawn[self._used - size_bytes : self._used]


_RANDOM = _Random()


class Exchange:
    """A request, taken apart as far as handlers need it."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope = scope
        self.receive = receive
        self.headers = _headers(scope["headers"])
        """By name, in lower case; a header that came more than once has its values with commas between them."""
        self.request_id: str = scope["whodid.request_id"]
        self.parts: dict[str, str] = scope.get("whodid.parts", {})
        """The variable parts of the page's path, by name."""

    @property
    def bearer(self) -> str | None:
        """The bearer token, if the request has exactly one."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The query's parameters, decoded, in order. Raises ``InvalidParameter``."""
        query = self.scope["query_string"]
        if not query:
            return []
        try:
            return parse_qsl(
                query.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_MOST_PARAMETERS,
            )
        except ValueError as error:
            raise InvalidParameter("the query must be like name=value&name=value, in percent-encoded UTF-8") from error

    @property
    def path(self) -> str:
        """The path: a page's own, however the caller wrote it; else as it came, but for what looks like a token.

        A page's path with variable parts is as it came, too: it leads to the page in that one spelling only.
        """
        route: str | None = None if self.parts else self.scope.get("whodid.route")
        path: str = route or self.scope["raw_path"].decode("ascii", "replace")
        return without_hidden_tokens(path)

    @property
    def wants_head(self) -> bool:
        """Whether the answer's headers alone are asked for."""
        return bool(self.scope["method"] == "HEAD")

    @property
    def target(self) -> str:
        """The path without ``/api``, as a token use has it."""
        return self.path.removeprefix("/api")[:_LONGEST_TARGET] or "/"

    @property
    def call(self) -> Call:
        """The request, as a token use tells of it."""
        client = self.scope.get("client")
        return Call(
            method=self.scope["method"],
            target=self.target,
            request_id=self.request_id,
            ip_address=_address(client[0]) if client else None,
            user_agent=_agent(self.headers.get("user-agent", "")),
        )


def without_hidden_tokens(text: str) -> str:
    """The text with what looks like a token cut short, also where it is percent-encoded, or that once more."""
    decoded = text
    for _ in range(_MOST_ENCODED):
        if "%" not in decoded:
            break
        decoded = unquote(decoded)
        if PREFIX in decoded:
            return quote(without_tokens(decoded))
    return without_tokens(text)


@lru_cache(maxsize=1024)
def _address(host: str) -> str | None:
    """The address, if it is one: a proxy may pass on anything."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return str(address).partition("%")[0]


@lru_cache(maxsize=1024)
def _agent(text: str) -> str | None:
    return without_tokens(_UNPRINTABLE.sub(" ", text).strip()[:_LONGEST_AGENT]) or None


def _headers(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


Handler = Callable[[Exchange], Awaitable[Response]]


class Page:
    """One path's handlers, by method. An ASGI application."""

    def __init__(self, route: str, **handlers: Handler) -> None:
        """``handlers`` are named by method; a page that can be got has a ``HEAD`` too."""
        self.route = route
        self._handlers = handlers | ({"HEAD": handlers["GET"]} if "GET" in handlers else {})
        self._allowed = ", ".join(sorted(self._handlers))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope["whodid.route"] = self.route
        handler = self._handlers.get(scope["method"], self.refuse)
        response = await handler(Exchange(scope, receive))
        await response(scope, receive, send)

    async def refuse(self, exchange: Exchange) -> Response:
        """Answer a method that the page does not have."""
        raise self.not_allowed(exchange)

    def not_allowed(self, exchange: Exchange) -> MethodNotAllowed:
        """The error that tells which methods the page has."""
        return MethodNotAllowed(exchange.scope["method"], self._allowed)


class _Troubles:
    """Troubles of the store, each logged once a minute while it lasts, however many requests meet it."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    def log(self, trouble: str, request_id: str) -> None:
        """Log it, unless that was done, or there are too many others already: each account may have one of its own."""
        now = time.monotonic()
        self._logged_at = {one: at for one, at in self._logged_at.items() if now - at < _TOLD_AGAIN_SECONDS}
        if trouble not in self._logged_at and len(self._logged_at) < _MOST_TROUBLES:
            self._logged_at[trouble] = now
            log.error("requests fail: %s", trouble, extra={"request_id": request_id})


class Exchanges:
    """Around the whole application: request ids, the headers that every answer has, errors, metrics, logs."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._troubles = _Troubles()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        began = time.perf_counter()
        request_id = scope["whodid.request_id"] = _request_id(scope)
        headers = [*_ALWAYS, (b"x-request-id", request_id.encode())]
        status = 0

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in headers if one[0] not in given)]
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        except WhodidError as error:
            if status:
                status = self._break_off(error, scope)
            else:
                await _told(error, request_id, self._troubles)(scope, receive, send_more)
        except Exception:
            log.exception("a request failed", extra={"request_id": request_id})
            if status:
                cut(scope)
                status = HTTPStatus.INTERNAL_SERVER_ERROR.value
            else:
                await problem(WhodidError(_see_log("an internal error", request_id)))(scope, receive, send_more)
        seconds = time.perf_counter() - began
        route = scope.get("whodid.route", "unknown")
        self._metrics.answered(scope["method"], route, status, seconds)
        if log.isEnabledFor(logging.DEBUG) or status >= 500:
            _log(scope, route, status, seconds)

    def _break_off(self, error: WhodidError, scope: Scope) -> int:
        """End an answer that has begun, so that it is not taken for whole; the status that the error would have had."""
        request_id = scope["whodid.request_id"]
        told = without_tokens(error.message)
        if isinstance(error, StoreUnavailable):
            self._troubles.log(told, request_id)
        log.warning("an answer broke off: %s", told, extra={"request_id": request_id})
        cut(scope)
        return status_of(error).value


def _told(error: WhodidError, request_id: str, troubles: _Troubles) -> Response:
    """The answer that tells an error; what is the server's own fault, in the log alone: it may name files."""
    if isinstance(error, StoreUnavailable):
        troubles.log(without_tokens(error.message), request_id)
        return problem(error, _STORE_UNAVAILABLE)
    if status_of(error) != HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(error)
    told = without_tokens(error.message)
    flaw = type(error) is WhodidError  # which nobody foresaw: so where it came from matters
    log.error("a request failed: %s", told, extra={"request_id": request_id}, exc_info=error if flaw else None)
    what = "the log contradicts what was signed of it" if isinstance(error, InconsistentLog) else "an internal error"
    return problem(error, _see_log(what, request_id))


def _see_log(what: str, request_id: str) -> str:
    return f"{what}; the server's log tells more, under request id {request_id}"


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given: str = value.decode("latin-1")
            if _REQUEST_ID(given) and PREFIX not in given:
                return given
    return _RANDOM.read(12).hex()


def _log(scope: Scope, route: str, status: int, seconds: float) -> None:
    details = {
        "request_id": scope["whodid.request_id"],
        "method": scope["method"],
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
    }
    log.log(
        logging.ERROR if status == 500 else logging.INFO if status >= 500 else logging.DEBUG,
        "answered",
        extra=details,
    )
