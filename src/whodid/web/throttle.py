"""The throttle: where every call with a token passes exactly once, before its page, if there is a rate limit.

A call over the limit is refused, and recorded like any other that is refused, but only one a second of each token.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from whodid.auth import NOTHING, Gate
from whodid.errors import TooManyRequests
from whodid.ratelimit import Grant, RateLimit
from whodid.web.exchange import Exchange

_GRANT = "whodid.grant"


class Throttle:
    """Lets calls pass, or refuses them."""

    def __init__(self, limit: RateLimit, gate: Gate) -> None:
        self._limit = limit
        self._gate = gate

    async def let_pass(self, exchange: Exchange) -> None:
        """Count a call. Raises ``Unauthenticated`` and ``TooManyRequests``."""
        principal = await self._gate.identify(exchange.bearer)
        grant = exchange.scope[_GRANT] = self._limit.take(principal.digest)
        if grant.granted:
            return
        fault = TooManyRequests(
            f"the token has used up its {grant.limit} calls a minute; "
            f"the next one may be made in {grant.retry_after_seconds} s",
            retry_after_seconds=grant.retry_after_seconds,
        )
        if grant.noted:
            await self._gate.admit(exchange.bearer, exchange.call, NOTHING, fault)
        raise fault


class TellGrants:
    """Around the whole application: tells callers what they have left, also with errors. An ASGI application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""

        async def send_more(message: Message) -> None:
            grant: Grant | None = scope.get(_GRANT)
            # Nothing with a 401: all of them are alike, so that nobody learns which tokens there are, or were.
            if grant is not None and message["type"] == "http.response.start" and message["status"] != 401:
                message["headers"] = [*message["headers"], *_headers(grant)]
            await send(message)

        await self._app(scope, receive, send_more)


def _headers(grant: Grant) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit", b"%d" % grant.limit),
        (b"x-ratelimit-remaining", b"%d" % grant.remaining),
        (b"x-ratelimit-reset", b"%d" % grant.reset_seconds),
    ]
