"""The server itself: whether it runs, its metrics, and what it says about the API."""

from typing import Any, Final

from whodid.errors import Overloaded, StoreUnavailable
from whodid.web.openapi.describing import JSON, Call, Described, Group, Sample

GROUP: Final = Group("The server itself", "Whether it runs and how it does; and this description. Without a token.")


def calls() -> dict[str, dict[str, Call]]:
    """The calls, by path and method."""
    return {
        "/health": {"get": _call("health", "/health", "The process runs.", _object({"status": "ok"}))},
        "/ready": {
            "get": _call(
                "ready",
                "/ready",
                "The server takes appends.",
                _object({"status": "ready"}),
                problems=(Overloaded, StoreUnavailable),
            )
        },
        "/metrics": {"get": _call("metrics", "/metrics", "Metrics for Prometheus.", _text("text/plain"))},
        "/openapi.json": {"get": _call("openapi", "/openapi.json", "This API, for machines.", _object(None))},
        "/docs": {"get": _call("docs", "/docs", "This API, for people: a page for browsers.", _text("text/html"))},
        "/docs/docs.css": {"get": _call("docs_style", "/docs/docs.css", "How that page looks.", _text("text/css"))},
        "/docs/docs.js": {"get": _call("docs_script", "/docs/docs.js", "Its search.", _text("text/javascript"))},
    }


def _object(example: Any) -> Described:
    content: Described = {"schema": {"type": "object"}}
    return {JSON: content if example is None else content | {"example": example}}


def _text(media_type: str) -> Described:
    return {media_type: {"schema": {"type": "string"}}}


def _call(name: str, path: str, says: str, content: Described, problems: tuple[type[Exception], ...] = ()) -> Call:
    return Call(
        name=name,
        group=GROUP,
        summary=says,
        replies={"200": {"description": says, "content": content}},
        problems=problems,
        sample=Sample(path=path),
    )
