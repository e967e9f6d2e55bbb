"""Calls that don't go well: what is tried again, after which pauses, and what the caller is told in the end."""

import logging
import random
import ssl
import traceback
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS, ManualClock
from tests.client.driving import TOKEN, Clients
from tests.client.misbehaving import Doing, between, hang_up, refuse, say
from tests.verify.test_log import certificate

from whodid import Client
from whodid.client import ApiError, InvalidAnswer, NoAnswer
from whodid.client.calls import Answer
from whodid.client.retrying import LONGEST_ASKED_SECONDS, LONGEST_PAUSE_SECONDS, Patience, log_trouble
from whodid.errors import Fault, InvalidParameter

ME = say(200, {"account": "org-acme-acc0", "user": {}, "token": {}}, content_type="application/json")


def cut_off(handler: object) -> None:
    """An answer of which the end is missing."""
    handler.send(200, {}, b'{"account":"org-acme-acc0"}', 5)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "fault",
    [hang_up, cut_off, say(429), say(502), say(503), say(504), refuse(503, "overloaded")],
    ids=["hang up", "cut off", "429", "502", "503", "504", "overloaded"],
)
def test_what_may_pass_is_tried_again(clients: Clients, fault: Doing) -> None:
    """A connection that breaks, and a server or proxy that is busy."""
    with between(fault, fault, ME) as server:
        assert clients(server.url).me()["account"] == "org-acme-acc0"
    assert len(server.asked) == 3
    assert len(clients.pauses) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 422, 500])
def test_a_refusal_is_told_at_once(clients: Clients, status: int) -> None:
    """It would be the same the next time. The error has all that the server said."""
    with (
        between(refuse(status, "some_code", "what would be right")) as server,
        pytest.raises(ApiError, match="what would be right") as told,
    ):
        clients(server.url).me()
    assert len(server.asked) == 1
    error = told.value
    assert (error.status, error.code, error.detail) == (status, "some_code", "what would be right")
    assert error.request_id == "r-1"
    assert "r-1" in error.message


def test_attempts_have_an_end(clients: Clients) -> None:
    """As many as were asked for; then the last answer is the error."""
    with between(*[refuse(503, "overloaded")] * 10) as server, pytest.raises(ApiError) as told:
        clients(server.url, attempts=3).me()
    assert (told.value.status, told.value.code) == (503, "overloaded")
    assert len(server.asked) == 3


def test_where_nobody_answers_that_is_the_error(clients: Clients) -> None:
    """With the URL that was tried."""
    with between() as server:
        url = server.url
    with pytest.raises(NoAnswer, match=f"no answer from {url}, 4 times: "):
        clients(url, attempts=4).me()
    assert len(clients.pauses) == 3


def test_a_call_is_tried_for_as_long_as_it_has_time(clients: Clients) -> None:
    """However often that is: a server that is started anew is back long before."""
    with between(*[hang_up] * 99) as server, pytest.raises(NoAnswer):
        clients(server.url).me()
    assert 105 < sum(clients.pauses) <= 120
    assert len(server.asked) > 8


def test_trouble_is_told_once_and_its_end_too(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    """To the program's logs, or to whom it says."""
    with between(hang_up, say(503), hang_up, ME, ME) as server:
        client = clients(server.url)
        client.me()
        client.me()
    told = [record.getMessage() for record in caplog.records if record.name == "whodid.client"]
    assert [line.partition(": ")[0] for line in told] == [f"no answer from {server.url}", f"{server.url} answers again"]
    assert told[0].endswith("; trying again")
    lines: list[str] = []
    with between(say(502), ME) as server:
        clients(server.url, tell=lines.append).me()
    assert lines[0] == f"{server.url} is too busy, or is not reached (502); trying again"
    assert len(lines) == 2


def test_the_time_has_an_end_too(clients: Clients) -> None:
    """No pause is begun that would end after the deadline."""
    with between(*[say(503, retry_after="50")] * 10) as server, pytest.raises(ApiError):
        clients(server.url, attempts=9, deadline_seconds=120).me()
    assert len(server.asked) == 3
    assert sum(clients.pauses) <= 120


def test_the_server_says_how_long_to_wait(clients: Clients, clock: ManualClock) -> None:
    """In seconds or as a date; but it can't make a client wait for ever."""
    later = datetime.fromtimestamp(NOW_MS / 1000 + 20, UTC)
    asked = [say(429, retry_after="7"), say(503, retry_after="999999"), ME]
    with between(*asked) as server:
        clients(server.url).me()
    first, second = clients.pauses
    assert 7 <= first < 7.5
    assert LONGEST_ASKED_SECONDS <= second <= LONGEST_ASKED_SECONDS + 1
    clients.pauses.clear()
    with between(say(503, retry_after=format_datetime(later, usegmt=True)), ME) as server:
        clients(server.url, clock=lambda: NOW_MS).me()
    assert 19 <= clients.pauses[0] < 20.6


@given(st.integers(1, 10_000), st.text(max_size=40), st.integers(0, 1 << 32))
def test_pauses_are_random_and_bounded(attempt: int, asked: str, seed: int) -> None:
    """Whatever the server says, and however often it did."""
    patience = Patience(
        attempts=5,
        deadline_seconds=9,
        monotonic=lambda: 0,
        clock=lambda: NOW_MS,
        random=random.Random(seed),
        tell=log_trouble,
    )
    pause = patience.pause(Answer(503, {"retry-after": asked}), attempt).seconds
    assert 0 <= pause <= LONGEST_ASKED_SECONDS + LONGEST_PAUSE_SECONDS
    if attempt == 1 and not asked.strip():
        assert pause <= 0.5


def test_many_clients_do_not_come_back_together(clients: Clients) -> None:
    """Full jitter: the same trouble, and each waits another while."""
    with between(*[say(503), ME] * 20) as server:
        for seed in range(20):
            clients(server.url, chance=random.Random(seed)).me()
    assert len(set(clients.pauses)) == 20
    assert max(clients.pauses) - min(clients.pauses) > 0.25


def test_what_is_not_whodid_is_told_as_that(clients: Clients) -> None:
    """A web page, another JSON, an error page, a redirection: which is not followed, and the token not sent on."""
    for doing in (say(200, b"<html>"), say(200, [1])):
        with between(doing) as server, pytest.raises(InvalidAnswer, match=server.url):
            clients(server.url).me()
    with (
        between(say(404, b"<html>", content_type="text/html")) as server,
        pytest.raises(ApiError, match="not answered by Whodid") as told,
    ):
        clients(server.url).me()
    assert told.value.code == "http_error"
    with (
        between(say(302, location="https://elsewhere.example/x")) as server,
        pytest.raises(ApiError, match=r"leads on to 'https://elsewhere\.example/x', which is not followed"),
    ):
        clients(server.url).me()
    assert len(server.asked) == 1


def test_a_problem_that_is_malformed_is_an_error_all_the_same(clients: Clients) -> None:
    """Not a crash of the client's."""
    for content in (b"{", {"code": 5}, {"code": "x", "errors": [{"index": "one"}]}):
        with (
            between(say(422, content, content_type="application/problem+json")) as server,
            pytest.raises(ApiError) as told,
        ):
            clients(server.url).me()
        assert (told.value.status, told.value.code) == (422, "http_error")


def test_faults_of_events_are_told(clients: Clients) -> None:
    """With their places; the first of them in the message."""
    errors = [{"index": 3, "field": "type", "detail": "type must be given"}]
    with (
        between(refuse(422, "invalid_events", "1 event is not valid", errors=errors)) as server,
        pytest.raises(ApiError, match="event 3: type must be given") as told,
    ):
        clients(server.url).me()
    assert told.value.errors == (Fault(3, "type", "type must be given"),)


def test_the_token_is_nowhere(clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
    """It is sent, and shown in no error, no trace, no log and not as the client's name."""
    caplog.set_level(logging.DEBUG)
    with between(hang_up, say(503), refuse(403, "forbidden")) as server:
        client = clients(server.url, TOKEN)
        with pytest.raises(ApiError) as told:
            client.me()
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Bearer {TOKEN}"] * 3
    shown = "".join(traceback.format_exception(told.value))
    assert TOKEN not in shown + repr(client) + caplog.text
    assert repr(client) == f"Client('{server.url}')"
    assert caplog.text  # so it was looked for in something


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "umläut", "nul\0"])
def test_what_can_be_no_token_is_refused_unseen(token: str) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidParameter) as told:
        Client("http://127.0.0.1:1", token)
    assert not token or token not in told.value.message


@pytest.mark.parametrize(
    "url",
    [
        "",
        "audit.example.com",
        "ftp://a.example",
        "http://",
        "http://u:secret@a.example",
        "http://a.example/?x=1",
        "http://a b",
    ],
)
def test_what_can_be_no_url_is_refused(url: str) -> None:
    """And says what one is like; a password in it is not repeated."""
    with pytest.raises(InvalidParameter, match="URL") as told:
        Client(url, TOKEN)
    assert "secret" not in told.value.message


def test_a_server_that_can_not_show_who_it_is_gets_no_token(clients: Clients, tmp_path: Path) -> None:
    """Nor a second attempt. With its authority named, it does."""
    file = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(file)
    with between(ME, tls=tls) as server:
        with pytest.raises(NoAnswer, match=r"can't show who it is.*SSL_CERT_FILE"):
            clients(server.url).me()
        assert server.asked == []
        assert clients.pauses == []
        client = clients(server.url, ssl_context=ssl.create_default_context(cafile=file))
        assert client.me()["account"] == "org-acme-acc0"


def test_at_least_one_attempt_is_needed() -> None:
    """Less would be none."""
    with pytest.raises(InvalidParameter, match="attempts must be at least 1"):
        Client("http://a.example", TOKEN, attempts=0)


def test_a_server_below_a_path_is_found(clients: Clients) -> None:
    """As a proxy may have it."""
    with between(ME) as server:
        clients(f"{server.url}/audit/").me()
    assert server.asked[0].path == "/audit/api/v2/me"
