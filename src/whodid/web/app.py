"""The web application: which page is where."""

from starlette.responses import Response
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

    pages: list[Page] = [
        ApiPage(api, ACTIONS, GET=api.reading(Kind.ACTION), POST=api.recording(Kind.ACTION)),
        ApiPage(api, TOKEN_USES, GET=api.reading(Kind.TOKEN), POST=api.recording(Kind.TOKEN)),
        Page("/health", GET=api.health),
        Page("/ready", GET=api.ready),
        Page("/metrics", GET=api.metrics),
        Page("/openapi.json", GET=openapi),
    ]
    return Exchanges(_Pages(pages, api), service.metrics)


class _Pages:
    """All pages by their paths, none of which has a variable part. An ASGI application."""

    def __init__(self, pages: list[Page], api: Api) -> None:
        self._pages = {page.route: page for page in pages}
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        page = self._pages.get(scope["path"])
        if page is not None:
            await page(scope, receive, send)
        elif scope["path"].startswith("/api/"):
            response = await self._api.nowhere(Exchange(scope, receive))
            await response(scope, receive, send)
        else:
            raise NotFound("there is no such page; /openapi.json lists those there are")
