"""The page of the API for people, its style sheet and its script: made once, at the start, of the OpenAPI document.

It takes no token and tells no secret, and has nothing from elsewhere: so it works without a network, and its policy
lets nothing else in. Its script finds calls and opens what a link leads to; the page can be read without it.
"""

import hashlib
import re
from importlib.resources import files
from typing import Final

import msgspec
from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import Response

from whodid.web.exchange import Exchange
from whodid.web.reference import chapters, schemas, shared

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may load for the page: its script and its style sheet."""

_CODE = re.compile(r"`([^`]+)`")
_JSON = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*"(?=:))|(?P<text>"(?:[^"\\]|\\.)*")|(?P<word>\b(?:true|false|null|-?\d[\d.]*)\b)'
)


class DocsPages:
    """The handlers."""

    def __init__(self, document: bytes) -> None:
        """``document`` is the OpenAPI document, as JSON."""
        self._page = render_page(document).encode()
        self._style = _asset("docs.css").encode()
        self._script = _asset("docs.js").encode()

    async def page(self, exchange: Exchange) -> Response:
        """The page."""
        return _answer(exchange, self._page, "text/html", {"Content-Security-Policy": POLICY})

    async def style(self, exchange: Exchange) -> Response:
        """Its style sheet."""
        return _answer(exchange, self._style, "text/css", {})

    async def script(self, exchange: Exchange) -> Response:
        """Its script."""
        return _answer(exchange, self._script, "text/javascript", {})


def render_page(document: bytes) -> str:
    """The page, as HTML, of an OpenAPI document."""
    shown = msgspec.json.decode(document)
    environment = Environment(
        loader=DictLoader({"docs.html": _asset("docs.html")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "coded": _coded, "lit": _lit}
    template = environment.get_template("docs.html")
    return template.render(info=shown["info"], chapters=chapters(shown), shared=shared(shown), schemas=schemas(shown))


def _asset(name: str) -> str:
    return files("whodid.web").joinpath("assets", name).read_text("utf-8")


def _coded(text: str) -> Markup:
    """A text in which what stands between backticks is code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 (it is escaped)


def _prose(text: str) -> Markup:
    """A text of several paragraphs."""
    return Markup("").join(Markup("<p>{}</p>").format(_coded(one)) for one in text.split("\n\n"))


def _lit(text: str) -> Markup:
    """JSON with its keys, texts and numbers in colours; anything else as it is."""
    if not text.startswith(("{", "[")):
        return escape(text)
    pieces, end = [], 0
    for match in _JSON.finditer(text):
        piece = Markup('<span class="{}">{}</span>').format(match.lastgroup, match[0])
        pieces += [escape(text[end : match.start()]), piece]
        end = match.end()
    return Markup("").join([*pieces, escape(text[end:])])


def _answer(exchange: Exchange, content: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """The content, or, to who has it already, that it is still the same."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = headers | {"ETag": tag, "Cache-Control": "no-cache"}
    known = exchange.headers.get("if-none-match", "")
    if tag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
