"""The server process that is measured: Whodid's own, with a page ``/echo`` and a clock that can be set back.

The echo goes through everything that a page of Whodid's goes through (uvicorn, request ids, headers, metrics, routing,
request and response objects) and does nothing besides: what a page can do at best.
"""

import argparse
import functools

from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.clock import wall_clock
from whodid.config import Settings
from whodid.service import Service, start_service
from whodid.web.app import build_app
from whodid.web.exchange import Exchange, Exchanges, Page
from whodid.web.server import serve

ECHO = "/echo"


async def _echo(exchange: Exchange) -> Response:
    body = b""
    more = True
    while more:
        message = await exchange.receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return Response(body, media_type="application/json")


def build_app_with_echo(service: Service) -> ASGIApp:
    """The application of a service, and the echo beside it."""
    app = build_app(service)
    echo = Exchanges(Router([Route(ECHO, Page(ECHO, POST=_echo))], redirect_slashes=False), service.metrics)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        await (echo if scope["path"] == ECHO else app)(scope, receive, send)

    return either


def main() -> int:
    """Serve one store until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m bench.server")
    parser.add_argument("--store", required=True)
    parser.add_argument("--signing-key", default="", help="else it is beside the store")
    parser.add_argument("--signed-dir", default="", help="else it is beside the store")
    parser.add_argument("--behind-ms", type=int, default=0, help="how far the server's clock is behind")
    parser.add_argument("--public-log", action="store_true", help="checkpoints and tiles are open to everyone")
    given = parser.parse_args()
    settings = Settings(
        store=given.store,
        signing_key=given.signing_key,
        signed_dir=given.signed_dir,
        port=0,
        log_level="warning",
        public_log=given.public_log,
    )

    def clock() -> int:
        return wall_clock() - int(given.behind_ms)

    return serve(
        settings,
        functools.partial(print, flush=True),
        start=functools.partial(start_service, clock=clock if given.behind_ms else wall_clock),
        build=build_app_with_echo,
    )


if __name__ == "__main__":
    raise SystemExit(main())
