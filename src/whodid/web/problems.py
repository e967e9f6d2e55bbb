"""Problems: errors as ``application/problem+json`` (RFC 9457). The only place that chooses a status for an error."""

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from whodid.errors import (
    BodyTooLarge,
    Conflict,
    Forbidden,
    Gone,
    IdConflict,
    InvalidEvents,
    InvalidRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    StaleIdentity,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UnsupportedBody,
    WhodidError,
)
from whodid.tokens import without_tokens

CONTENT_TYPE = "application/problem+json"

# The status of an error is that of the nearest class above it.
_STATUSES: dict[type[WhodidError], HTTPStatus] = {
    WhodidError: HTTPStatus.INTERNAL_SERVER_ERROR,
    InvalidRequest: HTTPStatus.BAD_REQUEST,
    BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    NotAcceptable: HTTPStatus.NOT_ACCEPTABLE,
    UnsupportedBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    InvalidEvents: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Gone: HTTPStatus.GONE,
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    Conflict: HTTPStatus.CONFLICT,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    StaleIdentity: HTTPStatus.SERVICE_UNAVAILABLE,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


def status_of(error: WhodidError) -> HTTPStatus:
    """The HTTP status of an error."""
    return next(_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES)


def problem(error: WhodidError, detail: str | None = None) -> Response:
    """The answer that tells an error; with ``detail`` in place of its message, where that is not for callers."""
    status = status_of(error)
    content: dict[str, Any] = {
        "status": status.value,
        "title": status.phrase,
        "detail": detail or error.message,
        "code": error.code,
    }
    errors = _errors(error)
    if errors:
        content["errors"] = errors
    body = without_tokens(msgspec.json.encode(content).decode())  # a message may quote what the caller sent
    return Response(body, status, _headers(error), CONTENT_TYPE)


def _errors(error: WhodidError) -> list[dict[str, Any]]:
    if isinstance(error, InvalidEvents):
        return [{"index": fault.index, "field": fault.field, "detail": fault.detail} for fault in error.faults]
    if isinstance(error, IdConflict):
        return [
            {
                "index": error.index,
                "field": "_id",
                "detail": f"{error.record_id} is recorded with other content",
            }
        ]
    return []


def _headers(error: WhodidError) -> dict[str, str]:
    match error:
        case Unauthenticated():
            return {"WWW-Authenticate": 'Bearer realm="whodid"'}
        case Unavailable() | TooManyRequests():
            return {"Retry-After": str(error.retry_after_seconds)}
        case StaleIdentity():
            return {"Retry-After": "1"}
        case MethodNotAllowed():
            return {"Allow": error.allowed}
        case UnsupportedBody():
            return {"Accept-Post": error.accept, "Accept-Encoding": error.accept_encoding}
    return {}
