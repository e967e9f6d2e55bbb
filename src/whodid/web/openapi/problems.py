"""Problems: what the document says about errors. Status, code and form of each are those that the server gives it."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from whodid.errors import (
    BodyTooLarge,
    Fault,
    Forbidden,
    Gone,
    IdConflict,
    InconsistentLog,
    InvalidCursor,
    InvalidEvents,
    InvalidParameter,
    MalformedBody,
    NameTaken,
    NotAcceptable,
    NotFound,
    Overloaded,
    StaleIdentity,
    StoreUnavailable,
    TooManyRequests,
    Unauthenticated,
    UnsupportedBody,
    WhodidError,
)
from whodid.query.pages import MOST_FOUND
from whodid.records import MAX_EVENT_BYTES
from whodid.web.problems import CONTENT_TYPE, problem, status_of

EXAMPLES: Final[tuple[WhodidError, ...]] = (
    InvalidParameter(f'limit must be a whole number from 1 to {MOST_FOUND}, not "ten"'),
    InvalidCursor("the cursor is altered or cut off; give 'next' of the page before, as it is"),
    MalformedBody("the body is not JSON: Expecting ',' delimiter, at character 61"),
    Unauthenticated(),
    Forbidden(
        "searching the log needs the role administrator, auditor, power_user, security_manager; "
        "the token's owner has user"
    ),
    NotFound("there is no record 61042540e1d666c9ded178c4 in the log of org-acme-acc0"),
    NotAcceptable("a proof is text/plain or application/json; Accept must take one of them"),
    IdConflict(0, "61042540e1d666c9ded178c4"),
    NameTaken("the account has a user ann@acme.example already"),
    Gone("entries before 120000 are no longer kept; after=120000 goes on from there"),
    BodyTooLarge(f"event 3 is larger than {MAX_EVENT_BYTES} bytes ({MAX_EVENT_BYTES >> 10} KiB)"),
    UnsupportedBody(
        'the content type must be application/json, in UTF-8, not "text/plain"',
        accept="application/json",
        accept_encoding="identity",
    ),
    InvalidEvents([Fault(0, "user_id", "user_id must be 24 hex digits in lower case")]),
    TooManyRequests(
        "the token has used up its 600 calls a minute; the next one may be made in 1 s", retry_after_seconds=1
    ),
    InconsistentLog("the log contradicts what was signed of it; the server's log tells more, under request id 5f0c"),
    StaleIdentity(),
    Overloaded("too many events wait to be written; try again"),
    StoreUnavailable("the store can't take this now (its disk may be full, or it can't be reached)"),
)
"""One of each kind."""

SAYS: Final[dict[type[Exception], str]] = {
    InvalidParameter: "A parameter or a field is not known, or its value is wrong; it says what would be right.",
    InvalidCursor: "The cursor is broken, or of another log or call.",
    MalformedBody: "The body is not what its content type says.",
    Unauthenticated: "No valid token; always in the same words.",
    Forbidden: "The token's scope or its owner's role does not allow this; it says what would.",
    NotFound: "There is no such thing; or it is another account's, which is the same to the caller.",
    NotAcceptable: "Accept takes no form that the answer has.",
    IdConflict: "An event has the _id of a recorded one, but other content; nothing was stored.",
    NameTaken: "The name or the address is in use.",
    Gone: "The cursor leads to entries that are no longer kept; it says from where it can go on.",
    BodyTooLarge: "Too large; nothing was stored.",
    UnsupportedBody: "The content type or encoding is not taken.",
    InvalidEvents: "Events are not valid; errors lists every fault, and nothing was stored.",
    TooManyRequests: "The token has made more calls than it is granted. Try again after Retry-After seconds.",
    InconsistentLog: "A fault of the server, or its store contradicts what was signed; its log tells more.",
    StaleIdentity: "Users or tokens of the account are changing.",
    Overloaded: "More is waiting than the server holds.",
    StoreUnavailable: "The store can't take it, or can't be reached. Try again after Retry-After seconds.",
}
"""What each means to who calls; in the order in which they are told."""

GUARDED: Final = (
    InvalidParameter,
    Unauthenticated,
    Forbidden,
    TooManyRequests,
    StaleIdentity,
    Overloaded,
    StoreUnavailable,
)
"""What every call with a token may end with."""

FORM: Final = (MalformedBody, BodyTooLarge, UnsupportedBody)
"""What every call with a body may end with, too."""

_LATER: Final = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}


def responses(errors: Iterable[type[Exception]]) -> dict[str, Any]:
    """The responses that tell of these errors, by status."""
    by_status: dict[str, list[WhodidError]] = {}
    wanted = set(errors)
    for example in EXAMPLES:
        if type(example) in wanted:
            by_status.setdefault(str(status_of(example).value), []).append(example)
    return {status: _response(by_status[status]) for status in sorted(by_status)}


def _response(errors: list[WhodidError]) -> dict[str, Any]:
    examples = {error.code: {"$ref": f"#/components/examples/{error.code}"} for error in errors}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}
    made: dict[str, Any] = {
        "description": " ".join(SAYS[type(error)] for error in errors),
        "content": {CONTENT_TYPE: content},
    }
    later = any("retry-after" in problem(error).headers for error in errors)
    return made | {"headers": _LATER} if later else made


def problem_examples() -> dict[str, Any]:
    """One of each kind as the server tells it, by its code."""
    return {
        error.code: {"summary": SAYS[type(error)], "value": msgspec.json.decode(problem(error).body)}
        for error in EXAMPLES
    }
