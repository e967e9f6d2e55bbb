"""The exception tree. Every error that a person or a program may see is one of these.

::

    WhodidError
    ├── InvalidRequest             the request itself is wrong
    │   ├── InvalidParameter         a query parameter or a command's argument
    │   │   └── InvalidCursor          a cursor that is broken, or of another log or call
    │   ├── MalformedBody            a body that is not what its type says
    │   ├── BodyTooLarge             a body, an event or a batch over its limit
    │   ├── NotAcceptable            no form of the answer is one that the caller takes
    │   ├── UnsupportedBody          a content type or encoding that is not taken
    │   └── InvalidEvents            events that are JSON, but not valid events
    ├── Unauthenticated            no valid token
    ├── Forbidden                  a valid token that may not do this
    ├── NotFound                   no such account, user, token, page
    ├── Gone                       a part of the log that is no longer kept
    ├── MethodNotAllowed           the page exists, the method does not
    ├── Conflict                   the store holds something that contradicts the request
    │   ├── IdConflict               the same ``_id`` with other content
    │   └── NameTaken                an account, an address or a token's name is in use
    ├── TooManyRequests            more calls than are granted to a token
    ├── StaleIdentity              users or tokens changed since the caller was checked; check again
    ├── Unavailable                not now: try again later
    │   ├── Overloaded               a queue or a budget is full
    │   └── StoreUnavailable         the store can't take anything now (disk full, broken, locked)
    ├── InvalidEvidence            a note, proof, tile or bundle that is malformed, or does not hold
    ├── InconsistentLog            the store contradicts what was signed; nothing more is signed
    ├── StoreUnusable              the store can't be opened at all
    └── InvalidSetting             a setting is wrong

``code`` names the kind of error for programs and never changes; the message is for people: what was wrong,
where, and what would be right. Which HTTP status an error has is decided in ``web/problems.py`` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class WhodidError(Exception):
    """Something that Whodid refuses or can't do; the message says what would be right."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with one event: its place in the request (from 0), the field, what would be right."""

    index: int
    field: str | None
    detail: str


class InvalidRequest(WhodidError):
    """The request itself is wrong; sending it again unchanged can't succeed."""

    code = "invalid_request"


class InvalidParameter(InvalidRequest):
    """A query parameter or a command's argument is unknown, repeated or has a wrong value."""

    code = "invalid_parameter"


class InvalidCursor(InvalidParameter):
    """A cursor is broken or altered, or was made for another account's log or another call."""

    code = "invalid_cursor"


class MalformedBody(InvalidRequest):
    """The body is cut off, not UTF-8, not JSON, or not what its content type says."""

    code = "malformed_body"


class BodyTooLarge(InvalidRequest):
    """The body, one event of it, or the number of its events is over the limit."""

    code = "body_too_large"


class NotAcceptable(InvalidRequest):
    """The answer has no form that the request's ``Accept`` takes."""

    code = "not_acceptable"


class UnsupportedBody(InvalidRequest):
    """The body's content type or encoding is not one that is taken."""

    code = "unsupported_body"

    def __init__(self, message: str, *, accept: str, accept_encoding: str) -> None:
        super().__init__(message)
        self.accept = accept
        self.accept_encoding = accept_encoding


class InvalidEvents(InvalidRequest):
    """Events of the request break the rules; ``faults`` lists every breach. Nothing was stored."""

    code = "invalid_events"

    def __init__(self, faults: list[Fault], sound: Sequence[tuple[int, object]] = ()) -> None:
        """``sound`` are the events without a fault so far, with their places, for whoever looks further."""
        events = len({fault.index for fault in faults})
        wrong = "event is" if events == 1 else "events are"
        super().__init__(f"{events} {wrong} not valid; nothing was stored. See errors.")
        self.faults = faults
        self.sound = sound


class Unauthenticated(WhodidError):
    """The call carries no valid access token. It never says why, so that nobody can learn which tokens exist."""

    code = "unauthenticated"

    def __init__(self) -> None:
        super().__init__(
            "A valid access token is needed: send it as 'Authorization: Bearer <token>'. "
            "It may be missing, mistyped, expired, or its owner deactivated."
        )


class Forbidden(WhodidError):
    """The token is valid, but its scope or its owner's role does not allow the operation."""

    code = "forbidden"


class NotFound(WhodidError):
    """There is no such account, user, token or page."""

    code = "not_found"


class Gone(WhodidError):
    """A cursor leads to a part of the log that is no longer kept; the message says from where it can go on."""

    code = "gone"


class MethodNotAllowed(WhodidError):
    """The page exists, but not for this method."""

    code = "method_not_allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not possible here; possible: {allowed}")
        self.allowed = allowed


class Conflict(WhodidError):
    """What is stored contradicts the request."""

    code = "conflict"


class IdConflict(Conflict):
    """An event has the ``_id`` of a recorded event, but other content. ``index`` is its place in the request."""

    code = "id_conflict"

    def __init__(self, index: int, record_id: str) -> None:
        super().__init__(
            f"event {index}: _id {record_id} is recorded already, with other content; nothing was stored. "
            "Give a new event a new _id, or leave _id out"
        )
        self.index = index
        self.record_id = record_id


class NameTaken(Conflict):
    """An account's name, a user's address or a token's name is in use already."""

    code = "name_taken"


class StaleIdentity(WhodidError):
    """Users or tokens of the account changed after the caller was checked. The check must be made again."""

    code = "stale_identity"

    def __init__(self) -> None:
        super().__init__("users or tokens of the account are changing; try again")


class TooManyRequests(WhodidError):
    """The token made more calls than it is granted; the next one may be made after ``retry_after_seconds``."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(WhodidError):
    """Not now. Nothing was stored; the same request may succeed after ``retry_after_seconds``."""

    code = "unavailable"

    def __init__(self, message: str, *, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(Unavailable):
    """More is waiting than the server is willing to hold in memory."""

    code = "overloaded"


class StoreUnavailable(Unavailable):
    """The store can't take anything now: the disk is full or broken, or another process holds the store."""

    code = "store_unavailable"


class InvalidEvidence(WhodidError):
    """A signed note, a proof, a tile or an evidence bundle is malformed, or does not prove what it should."""

    code = "invalid_evidence"


class InconsistentLog(WhodidError):
    """The store contradicts a checkpoint that was signed: entries are missing or changed. Nothing more is signed."""

    code = "inconsistent_log"


class StoreUnusable(WhodidError):
    """The store can't be opened: not there, not a store, too new or too old, or in use by another server."""

    code = "store_unusable"


class InvalidSetting(WhodidError):
    """A setting is unknown or has a wrong value."""

    code = "invalid_setting"
