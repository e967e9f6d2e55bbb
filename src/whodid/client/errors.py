"""What can go wrong with a call: a refusal, no answer, or one that is none.

No error holds the access token. What is wrong with what was given is ``InvalidParameter``, as everywhere.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from whodid.client.calls import Answer
from whodid.client.shapes import Exported, Recorded
from whodid.errors import Fault, WhodidError

_PROBLEM = "application/problem+json"
_LONGEST = 300
_REDIRECTS = range(300, 400)


class CallError(WhodidError):
    """A call did not come to a good end."""

    recorded: Sequence[Recorded] = ()
    """Of ``record_actions`` and ``record_token_uses``: what earlier requests of the same call had recorded before."""
    exported: Exported | None = None
    """Of ``export``: what had been written before, which is whole records."""


class ApiError(CallError):
    """The server refused the call, or still could not answer it after all attempts."""

    def __init__(
        self, status: int, code: str, detail: str, *, errors: Sequence[Fault] = (), request_id: str | None = None
    ) -> None:
        """``errors`` are the faults of single events, by their place in what was given."""
        told = f"; event {errors[0].index}: {errors[0].detail}" if errors else ""
        named = f", request {request_id}" if request_id else ""
        super().__init__(f"{detail}{told} ({status} {code}{named})")
        self.status = status
        self.code = code  # type: ignore[misc]  # that of other errors is their class's
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id


class NoAnswer(CallError):
    """No answer came, or it broke off. Whether the call was carried out is not known."""

    code = "no_answer"


class InvalidAnswer(CallError):
    """What came is not an answer of Whodid: the URL may be that of something else."""

    code = "invalid_answer"


def refusal(answer: Answer, url: str, first: int = 0) -> ApiError:
    """The error that an answer tells; of events of which the first has the place ``first``."""
    status, request_id = answer.status, answer.headers.get("x-request-id")
    told = _problem(answer)
    if told is not None:
        faults = [Fault(first + one.index, one.field, one.detail) for one in told.errors]
        return ApiError(status, told.code, told.detail, errors=faults, request_id=request_id)
    if status in _REDIRECTS:
        onward = answer.headers.get("location", "nowhere")[:_LONGEST]
        detail = f"{url} leads on to {onward!r}, which is not followed; if that is the server, give that URL"
    else:
        detail = f"{url} is not answered by Whodid, but by something in between, or something else"
    return ApiError(status, "http_error", detail, request_id=request_id)


class _Problem(msgspec.Struct, frozen=True):
    code: str
    detail: str = ""
    errors: Sequence[Fault] = ()


def _problem(answer: Answer) -> _Problem | None:
    if not answer.headers.get("content-type", "").startswith(_PROBLEM):
        return None
    try:
        return msgspec.json.decode(answer.body, type=_Problem)
    except msgspec.MsgspecError:
        return None


def content(answer: Answer, url: str) -> dict[str, Any]:
    """The JSON object that a good answer is. Raises ``ApiError``, ``InvalidAnswer``."""
    if answer.status not in (200, 201):
        raise refusal(answer, url)
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise InvalidAnswer(f"{url} does not answer with JSON as Whodid does: {error}") from error
