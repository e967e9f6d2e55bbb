"""Exchanges: a request taken apart; what is told of the server's own faults; which answers caches may keep."""

import asyncio
import json
import logging
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from whodid.errors import InconsistentLog, InvalidSetting, NotFound, StoreUnavailable, Unauthenticated, WhodidError
from whodid.metrics import Metrics
from whodid.tokens import PREFIX
from whodid.web.exchange import Exchange, Exchanges
from whodid.web.streaming import ABORT

SECRET = "aB3" * 15 + "x"
TOKEN = PREFIX + SECRET


def scope_of(path: str, **more: Any) -> Scope:
    """A request's scope, as the server makes it."""
    return {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"", "headers": [],
        "client": None, "whodid.request_id": "id-7", **more,
    }  # fmt: skip


async def nothing() -> Message:
    """No body."""
    raise AssertionError("nobody asks for a body here")


def answered(answer: Response | Exception) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """What an application that answers so, or fails so, comes to: status, headers, body."""
    sent: list[Message] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if isinstance(answer, Exception):
            raise answer
        await answer(scope, receive, send)

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(Exchanges(app, Metrics())(scope_of("/"), nothing, send))
    return sent[0]["status"], sent[0]["headers"], sent[1]["body"]


def encoded(text: str) -> str:
    """Every character percent-encoded."""
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.parametrize(
    "written",
    [
        TOKEN, encoded(TOKEN), TOKEN.replace("_", "%5F"), TOKEN.replace("_", "%5f"), quote(encoded(TOKEN)),
        quote(quote(encoded(TOKEN))), TOKEN.replace("w", "%2577"), f"%20{TOKEN}", f"%FF{TOKEN}", f"%252F{TOKEN}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("parts", [{}, {"_id": "x"}])
def test_a_path_never_holds_a_token(written: str, parts: dict[str, str]) -> None:
    """However it is encoded, and whether the path leads anywhere or not."""
    exchange = Exchange(scope_of(f"/api/v2/logs/{written}/proof", **{"whodid.parts": parts}), nothing)
    for told in (exchange.path, exchange.target, exchange.call.target):
        assert SECRET not in told
        assert PREFIX in told
        assert told.removeprefix("/api").startswith("/v2/logs/")


@given(st.text(st.characters(codec="ascii", exclude_characters="%")))
def test_a_path_without_tokens_and_encoding_is_told_as_it_came(text: str) -> None:
    """What led nowhere is of interest as it was tried."""
    exchange = Exchange(scope_of(f"/log/{text}"), nothing)
    assert exchange.path == f"/log/{text}"
    assert exchange.target == f"/log/{text}"[:2048]


def test_a_page_has_its_own_path_and_with_variable_parts_the_one_that_came() -> None:
    """Without ``/api`` as a target."""
    exact = Exchange(scope_of("/api/v1/%61", **{"whodid.route": "/api/v1/a"}), nothing)
    assert (exact.path, exact.target) == ("/api/v1/a", "/v1/a")
    varied = {"whodid.route": "/log/{account}/checkpoint", "whodid.parts": {"account": "acme"}}
    assert Exchange(scope_of("/log/acme/checkpoint", **varied), nothing).target == "/log/acme/checkpoint"


@pytest.mark.parametrize("error", [InconsistentLog, InvalidSetting, WhodidError])
def test_a_fault_of_the_server_is_told_without_its_details(
    error: type[WhodidError], caplog: pytest.LogCaptureFixture
) -> None:
    """Those are in the log, as an error, with the request's id that the answer names."""
    with caplog.at_level(logging.ERROR):
        status, headers, body = answered(error(f"/var/lib/whodid.db lacks entries; {TOKEN}"))
    told = json.loads(body)
    request_id = dict(headers)[b"x-request-id"].decode()
    assert (status, told["status"], told["code"]) == (500, 500, error.code)
    assert "/var/lib" not in told["detail"]
    assert request_id in told["detail"]
    (logged, _) = caplog.records
    assert "/var/lib/whodid.db lacks entries" in logged.getMessage()
    assert SECRET not in logged.getMessage()
    assert vars(logged)["request_id"] == request_id


@pytest.mark.parametrize("given_", [None, "no-store", "private, max-age=1"])
def test_an_answer_is_not_kept_unless_its_page_says_so(given_: str | None) -> None:
    """There is one ``Cache-Control``."""
    _, headers, _ = answered(Response(b"x", headers={} if given_ is None else {"Cache-Control": given_}))
    assert [value for name, value in headers if name == b"cache-control"] == [(given_ or "no-store").encode()]


@pytest.mark.parametrize("error", [NotFound("no such tile"), InconsistentLog("x"), ZeroDivisionError()])
def test_an_error_is_never_kept(error: Exception) -> None:
    """What is not there now may be there in a second."""
    _, headers, _ = answered(error)
    assert [value for name, value in headers if name == b"cache-control"] == [b"no-store"]


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("x"), 503), (Unauthenticated(), 401), (ZeroDivisionError(), 500)]
)
def test_an_answer_that_fails_after_it_began_is_cut_off(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not begin again, nor end as if it were whole; and it counts as what it failed with."""
    sent: list[Message] = []
    cut: list[bool] = []
    metrics = Metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    scope = scope_of("/", **{ABORT: lambda: cut.append(True), "whodid.route": "/here"})
    asyncio.run(Exchanges(app, metrics)(scope, nothing, send))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert cut == [True]
    assert f'route="/here",status="{status}"}} 1.0'.encode() in metrics.render()
    request_id = scope["whodid.request_id"]
    assert [one for one in caplog.records if vars(one).get("request_id") == request_id]
