"""Problems: every error there is has a status, and is told in one form."""

import json
from collections.abc import Iterator

import pytest

from whodid import errors
from whodid.errors import Fault, WhodidError
from whodid.web.problems import CONTENT_TYPE, problem, status_of

STATUSES = {
    "InvalidRequest": 400, "InvalidParameter": 400, "MalformedBody": 400, "BodyTooLarge": 413, "UnsupportedBody": 415,
    "NotAcceptable": 406, "InvalidCursor": 400, "Gone": 410, "TooManyRequests": 429,
    "InvalidEvents": 422, "Unauthenticated": 401, "Forbidden": 403, "NotFound": 404, "MethodNotAllowed": 405,
    "Conflict": 409, "IdConflict": 409, "NameTaken": 409, "StaleIdentity": 503, "Unavailable": 503, "Overloaded": 503,
    "StoreUnavailable": 503, "InvalidEvidence": 500, "InconsistentLog": 500, "StoreUnusable": 500,
    "InvalidSetting": 500, "WhodidError": 500,
}  # fmt: skip


def tree(kind: type[WhodidError] = WhodidError) -> Iterator[type[WhodidError]]:
    """Every class of errors.py."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


def made(kind: type[WhodidError]) -> WhodidError:
    """An error of this class."""
    match kind.__name__:
        case "InvalidEvents":
            return errors.InvalidEvents([Fault(3, "type", "must be given"), Fault(3, None, "too large")])
        case "IdConflict":
            return errors.IdConflict(2, "61042540e1d666c9ded178c4")
        case "MethodNotAllowed":
            return errors.MethodNotAllowed("PUT", "GET")
        case "UnsupportedBody":
            return errors.UnsupportedBody("no", accept="application/json", accept_encoding="gzip")
        case "Unauthenticated" | "StaleIdentity":
            return kind()  # type: ignore[call-arg]
    return kind("what was wrong")


@pytest.mark.parametrize("kind", [*tree()])
def test_every_error_is_told_in_one_form(kind: type[WhodidError]) -> None:
    """RFC 9457, with the status that its class has; a new class is given one here on purpose."""
    error = made(kind)
    answer = problem(error)
    assert answer.status_code == status_of(error) == STATUSES[kind.__name__]
    assert answer.headers["content-type"] == CONTENT_TYPE
    told = json.loads(bytes(answer.body))
    assert list(told)[:4] == ["status", "title", "detail", "code"]
    assert (told["status"], told["detail"], told["code"]) == (answer.status_code, error.message, kind.code)
    assert ("errors" in told) == (kind.__name__ in ("InvalidEvents", "IdConflict"))


def test_a_detail_can_be_told_in_place_of_the_message() -> None:
    """The message of a server's own fault may name its files; status and code stay."""
    error = errors.InconsistentLog("/var/lib/whodid/whodid.db lacks entries")
    answer = problem(error, "the server's log tells more")
    assert b"/var/lib" not in bytes(answer.body)
    told = json.loads(bytes(answer.body))
    assert (told["status"], told["code"]) == (500, "inconsistent_log")
    assert told["detail"] == "the server's log tells more"


def test_every_code_names_one_kind_of_error() -> None:
    """Programs tell errors apart by it."""
    codes = [kind.code for kind in tree()]
    assert len(codes) == len(set(codes)) == len(STATUSES)


def test_an_error_never_repeats_a_token() -> None:
    """Its message may quote what the caller sent."""
    text = "whodid_pat_" + "a" * 46
    answer = problem(errors.InvalidEvents([Fault(0, text, f"{text} is not known")]))
    assert text not in bytes(answer.body).decode()
    assert json.loads(bytes(answer.body))["errors"][0]["field"] == "whodid_pat_…"
