"""The web application: which page is where."""

from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.errors import NotFound
from whodid.records import Kind
from whodid.service import Service
from whodid.web.api import JSON, Api, ApiPage
from whodid.web.exchange import Exchange, Exchanges, Page
from whodid.web.openapi import openapi_document

ACTIONS = "/api/v1/logs/user/actions"
TOKEN_USES = "/api/v1/logs/user/tokens"  # noqa: S105 (a path)


def build_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    api = Api(service)
    document = openapi_document()

    async def openapi(exchange: Exchange) -> Response:  # noqa: ARG001
        return Response(document, media_type=JSON)

    async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotFound("only HTTP is spoken here")
        exchange = Exchange(scope, receive)
        if not scope["path"].startswith("/api/"):
            raise NotFound("there is no such page; /openapi.json lists those there are")
        response = await api.nowhere(exchange)
        await response(scope, receive, send)

    pages: list[Page] = [
        ApiPage(api, ACTIONS, GET=api.reading(Kind.ACTION), POST=api.recording(Kind.ACTION)),
        ApiPage(api, TOKEN_USES, GET=api.reading(Kind.TOKEN), POST=api.recording(Kind.TOKEN)),
        Page("/health", GET=api.health),
        Page("/ready", GET=api.ready),
        Page("/metrics", GET=api.metrics),
        Page("/openapi.json", GET=openapi),
    ]
    routes = [Route(page.route, page, include_in_schema=False) for page in pages]
    return Exchanges(Router(routes, redirect_slashes=False, default=nowhere), service.metrics)
