"""The web application: which page is where."""

import re
from collections.abc import Callable

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from whodid.errors import NotFound
from whodid.records import NAME_PATTERN, Kind
from whodid.service import Service
from whodid.web.api import JSON, Api, GuardedPage
from whodid.web.docs import DocsPages
from whodid.web.evidence import EvidencePages
from whodid.web.exchange import Exchange, Exchanges, Handler, Page
from whodid.web.exports import ExportPages
from whodid.web.feeding import FeedPages
from whodid.web.identity import IdentityPages
from whodid.web.logs import LogPages
from whodid.web.openapi import openapi_document
from whodid.web.streaming import Slots
from whodid.web.throttle import TellGrants, Throttle

ACTIONS = "/api/v1/logs/user/actions"
TOKEN_USES = "/api/v1/logs/user/tokens"  # noqa: S105 (a path)
PROOF = "/api/v2/logs/{_id}/proof"
CONSISTENCY = "/api/v2/log/consistency"
SEARCH = "/api/v2/logs"
FEED = "/api/v2/logs/feed"
SUMMARY = "/api/v2/logs/summary"
EXPORT = "/api/v2/logs/export"
RECORD = "/api/v2/logs/{_id}"
PAGED_ACTIONS = "/api/v2/logs/user/actions"
PAGED_TOKEN_USES = "/api/v2/logs/user/tokens"  # noqa: S105 (a path)
ME = "/api/v2/me"
USERS = "/api/v2/users"
USER = "/api/v2/users/{id}"
TOKENS = "/api/v2/tokens"
ACTIVITY = "/api/v2/tokens/{id}/activity"
EXPIRE_TOKEN = "/api/v2/tokens/{id}/expire"  # noqa: S105 (a path)
CHECKPOINT = "/log/{account}/checkpoint"
TILE = "/log/{account}/tile/{level}/{number}"

MOVED = {"/": "/docs", "/docs/": "/docs", "/api/openapi.json": "/openapi.json"}
"""Where people look for a page, and where it is."""

# What the variable parts of a path may be. No page looks at more than what is matched here, nor is more written down
# as a page's own path; so each page has one spelling. Any id is let through, to be told what is wrong with it.
_PARTS = {
    "account": NAME_PATTERN.strip("^$"),
    "_id": "[^/]*",
    "id": "[^/]*",
    "level": "[a-z0-9]{1,7}",
    "number": "[x0-9/.p]{3,40}",
}


def build_app(service: Service) -> ASGIApp:
    """The ASGI application of a service."""
    api = Api(service)
    evidence = EvidencePages(service)
    identity = IdentityPages(service)
    logs = LogPages(service)
    slots = Slots(service.settings.streams)
    public_log = service.settings.public_log
    document = openapi_document(public_log=public_log)
    docs = DocsPages(document)

    async def openapi(exchange: Exchange) -> Response:  # noqa: ARG001
        return Response(document, media_type=JSON)

    def of_log(route: str, get: Handler) -> Page:
        return Page(route, GET=get) if public_log else GuardedPage(api, route, GET=get)

    pages: list[Page] = [
        GuardedPage(api, ACTIONS, GET=api.reading(Kind.ACTION), POST=api.recording(Kind.ACTION)),
        GuardedPage(api, TOKEN_USES, GET=api.reading(Kind.TOKEN), POST=api.recording(Kind.TOKEN)),
        GuardedPage(api, PROOF, GET=evidence.proof),
        GuardedPage(api, CONSISTENCY, GET=evidence.consistency),
        GuardedPage(api, SEARCH, GET=logs.search),
        GuardedPage(api, FEED, GET=FeedPages(service, slots).feed),
        GuardedPage(api, SUMMARY, GET=logs.summary),
        GuardedPage(api, EXPORT, GET=ExportPages(service, slots).export),
        GuardedPage(api, PAGED_ACTIONS, GET=logs.paged(Kind.ACTION)),
        GuardedPage(api, PAGED_TOKEN_USES, GET=logs.paged(Kind.TOKEN)),
        GuardedPage(api, RECORD, GET=logs.record),
        GuardedPage(api, ME, GET=identity.me),
        GuardedPage(api, USERS, GET=identity.users, POST=identity.add_user),
        GuardedPage(api, USER, PATCH=identity.update_user),
        GuardedPage(api, TOKENS, GET=identity.tokens, POST=identity.create_token),
        GuardedPage(api, ACTIVITY, GET=logs.activity),
        GuardedPage(api, EXPIRE_TOKEN, POST=identity.expire_token),
        of_log(CHECKPOINT, evidence.checkpoint),
        of_log(TILE, evidence.tile),
        Page("/health", GET=api.health),
        Page("/ready", GET=api.ready),
        Page("/metrics", GET=api.metrics),
        Page("/openapi.json", GET=openapi),
        Page("/docs", GET=docs.page),
        Page("/docs/docs.css", GET=docs.style),
        Page("/docs/docs.js", GET=docs.script),
        *(Page(route, GET=_leading_to(there)) for route, there in MOVED.items()),
    ]
    if service.rate_limit is None:
        return Exchanges(_Pages(pages, api), service.metrics)
    throttle = Throttle(service.rate_limit, service.gate)
    return TellGrants(Exchanges(_Pages(pages, api, throttle), service.metrics))


def _leading_to(path: str) -> Handler:
    """What sends a caller on to another page."""

    async def lead(exchange: Exchange) -> Response:  # noqa: ARG001
        return RedirectResponse(path)

    return lead


class _Pages:
    """All pages by their paths. An ASGI application.

    A path without variable parts leads to its page however it is percent-encoded. One with such parts does not: no
    character in it needs that, and an encoded slash would be a part's, not the path's.
    """

    def __init__(self, pages: list[Page], api: Api, throttle: Throttle | None = None) -> None:
        self._pages = {page.route: page for page in pages if "{" not in page.route}
        self._patterns = [(_pattern(page.route), page) for page in pages if "{" in page.route]
        self._api = api
        self._throttle = throttle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope["path"]
        page = self._pages.get(path) or self._find(scope)
        if self._throttle is not None and self._api.guards(path):
            if page is not None:
                scope["whodid.route"] = page.route
            await self._throttle.let_pass(Exchange(scope, receive))
        if page is not None:
            await page(scope, receive, send)
        elif self._api.guards(path):
            response = await self._api.nowhere(Exchange(scope, receive))
            await response(scope, receive, send)
        else:
            raise NotFound("there is no such page; /openapi.json lists those there are")

    def _find(self, scope: Scope) -> Page | None:
        """The page whose path has variable parts that fit; the request then knows these."""
        path = scope["raw_path"].decode("ascii", "replace")
        for matches, page in self._patterns:
            if match := matches(path):
                scope["whodid.parts"] = match.groupdict()
                return page
        return None


def _pattern(route: str) -> Callable[[str], re.Match[str] | None]:
    """What matches the paths of a page, and knows their parts by name."""
    pieces = re.split(r"\{(\w+)\}", route)  # what stands as it is, and names in turn
    made = "".join(f"(?P<{piece}>{_PARTS[piece]})" if at % 2 else re.escape(piece) for at, piece in enumerate(pieces))
    return re.compile(made, re.ASCII).fullmatch
