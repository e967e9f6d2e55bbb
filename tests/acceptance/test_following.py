"""The feed over a socket: whoever follows it has every entry once, in order, and soon."""

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from tests.acceptance.running import ACTIONS, Answer, Running, Tenant, eventually, head, problem, tenant_of
from tests.building import action

from whodid.clock import wall_clock
from whodid.records import render_time
from whodid.store.base import Role, Scope

FEED = "/api/v2/logs/feed"

# A condition that takes a hundredth of a second for each record, and small chunks.
BUSY = """
import time
from whodid import feed
from whodid.web import feeding
def matches(condition, body):
    until = time.monotonic() + 0.01
    while time.monotonic() < until:
        pass
    return False
feed.matches, feed.CHUNK, feeding.CHUNK, feeding._LONGEST_LOOK_SECONDS = matches, 20, 20, 0.1
"""


def page_of(tenant: Tenant, query: str = "") -> dict[str, Any]:
    """A page of the feed."""
    answer = tenant.server.get(f"{FEED}{query}", tenant.token(Scope.SECURITY_LOGS))
    assert answer.status == 200, answer.body
    page: dict[str, Any] = answer.json
    assert f"after={page['next']}" in (answer.header("link") or "")
    return page


def record(tenant: Tenant, **given: Any) -> int:
    """Record an action; its number."""
    answer: Answer = tenant.server.post(ACTIONS, tenant.token(), action(**given))
    assert answer.status == 201, answer.body
    seq: int = answer.json["data"][0]["seq"]
    return seq


def test_following_next_gives_every_entry_once_in_order(tenant: Tenant) -> None:
    """Also while events arrive, late-dated ones among them; and the head says how far there is to go."""
    for _ in range(5):
        record(tenant)
    seqs: list[int] = []
    page = page_of(tenant, "?limit=2")
    while page["data"] and len(seqs) < 20:
        seqs += [one["seq"] for one in page["data"]]
        assert len(page["data"]) <= 2
        assert page["head"] > seqs[-1]
        if len(seqs) < 10:
            record(tenant, createdAt=render_time(wall_clock() - 86_400_000))
        page = page_of(tenant, f"?limit=2&after={page['next']}")
    assert seqs == list(range(len(seqs)))
    assert len(seqs) >= 20


def test_a_filter_leaves_out_and_still_goes_on(tenant: Tenant) -> None:
    """Only actions of a type come; what is passed over is passed over for good."""
    wanted = [record(tenant, type="tag")]
    record(tenant)
    wanted.append(record(tenant, type="tag"))
    page = page_of(tenant, "?type=tag")
    assert [one["seq"] for one in page["data"]] == wanted
    assert page_of(tenant, f"?type=tag&after={page['next']}")["data"] == []


def test_a_wait_ends_when_something_is_recorded(tenant: Tenant) -> None:
    """And not by the record of the waiting call, nor by those of other readers of the feed."""
    record(tenant)  # with a token that is made now: that leaves an action, too
    after = page_of(tenant, "?after=end")["next"]
    size = tenant.size()
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(_page_by_itself, tenant, f"?after={after}&wait=20")
        eventually("the waiting call is recorded", lambda: tenant.size() > size)
        assert page_of(tenant, f"?after={after}")["data"]
        seq = record(tenant, type="tag")
        page = waiting.result(20)
    assert seq in [one["seq"] for one in page["data"]]


def _page_by_itself(tenant: Tenant, query: str) -> dict[str, Any]:
    """A page, by a connection of its own."""
    request = head("GET", f"{FEED}{query}", tenant.token(Scope.SECURITY_LOGS), Connection="close")
    body = tenant.server.say(request).partition(b"\r\n\r\n")[2]
    page: dict[str, Any] = json.loads(body)
    return page


def test_a_wait_in_vain_gives_an_empty_page_that_goes_on(tenant: Tenant) -> None:
    """The record of the call itself comes with it, and is no reason to come sooner."""
    after = page_of(tenant, "?after=end")["next"]
    page = page_of(tenant, f"?after={after}&wait=1&kind=action")
    assert page["data"] == []
    assert page["next"] != after


def test_a_wait_ends_when_its_caller_has_gone(tenant: Tenant) -> None:
    """And not only at its end: nobody is there to be answered."""
    after, size = page_of(tenant, "?after=end")["next"], tenant.size()
    answered = 'whodid_requests_total{method="GET",route="/api/v2/logs/feed",status="200"}'
    before = tenant.server.metrics()[answered]
    with tenant.server.connect() as connection:
        connection.sendall(head("GET", f"{FEED}?after={after}&wait=60", tenant.token(Scope.SECURITY_LOGS)))
        eventually("the waiting call is recorded", lambda: tenant.size() > size)
        assert tenant.server.metrics()[answered] == before
    eventually("the wait is over", lambda: tenant.server.metrics()[answered] > before)


@pytest.mark.parametrize(
    ("accept", "name"),
    [("application/x-ndjson", "limit"), ("text/event-stream", "limit"), ("text/event-stream", "wait")],
)
def test_a_parameter_that_means_nothing_for_a_stream_is_refused(tenant: Tenant, accept: str, name: str) -> None:
    """By its name."""
    answer = tenant.server.get(f"{FEED}?{name}=1", tenant.token(), Accept=accept)
    assert problem(answer, 400, f"{name} means nothing", accept)["code"] == "invalid_parameter"


@pytest.mark.on_sqlite_only("filters are held against records in the server, whatever the store")
def test_a_costly_condition_holds_up_nobody_else(tmp_path: Path) -> None:
    """A page ends when it took long enough, and goes on by ``next``; other calls are answered meanwhile."""
    with Running(tmp_path, before=BUSY) as server, tenant_of(server) as tenant:
        events = [action(metadata={"text": "x" * 5_000}) for _ in range(100)]
        assert server.post(ACTIONS, tenant.token(), events).status == 201
        with ThreadPoolExecutor(1) as threads:
            token = tenant.token()
            request = head("GET", f"{FEED}?q=nowhere", token)
            costly = threads.submit(server.say, request)
            began = monotonic()
            answered = 0
            while not costly.done():
                assert server.get("/health").status == 200
                answered += 1
            seconds = monotonic() - began
        page = json.loads(costly.result().partition(b"\r\n\r\n")[2])
        assert page["data"] == []
        assert answered > 20 * seconds > 2
        following = server.get(f"{FEED}?q=nowhere&after={page['next']}", token).json
        assert following["next"] != page["next"]


def test_places_that_are_none_are_refused(tenant: Tenant) -> None:
    """Broken, altered, of another account, of another call, or beyond the end: 400, and says why."""
    token = tenant.token(Scope.SECURITY_LOGS)
    mine = page_of(tenant)["next"]
    with tenant_of(tenant.server) as other:
        theirs = page_of(other)["next"]
    search = tenant.server.get("/api/v2/logs?limit=1", token).json["next"]
    altered = mine[:-1] + ("A" if mine[-1] != "A" else "B")
    for after in ("x", altered, theirs, search, "99999"):
        told = problem(tenant.server.get(f"{FEED}?after={after}", token), 400)
        assert told["code"] == "invalid_cursor", told


def test_lines_are_a_stream_of_records(tenant: Tenant) -> None:
    """One a line, with its number, up to the end of the log."""
    seq = record(tenant, type="tag")
    token = tenant.token(Scope.SECURITY_LOGS)
    answer = tenant.server.get(f"{FEED}?type=tag", token, Accept="application/x-ndjson")
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[-1]["seq"] == seq
    assert answer.header("content-type") == "application/x-ndjson"


def test_events_are_sent_as_they_come_and_go_on_after_the_last_one(tenant: Tenant) -> None:
    """Each has the cursor after it as its id; with it in Last-Event-ID, a new stream begins with the next one."""
    token = tenant.token(Scope.SECURITY_LOGS)
    seq = record(tenant, type="tag")
    events = _events(tenant, token, **{"Last-Event-ID": str(seq - 1)})
    assert events[0][1]["seq"] == seq
    following = record(tenant, type="tag", action="delete")
    events = _events(tenant, token, **{"Last-Event-ID": events[0][0]})
    assert following in [data["seq"] for _, data in events]
    assert seq not in [data["seq"] for _, data in events]


def _events(tenant: Tenant, token: str, **headers: str) -> list[tuple[str, dict[str, Any]]]:
    """The ids and data of the first events of a stream of actions."""
    with tenant.server.connect() as connection:
        connection.sendall(head("GET", f"{FEED}?kind=action", token, Accept="text/event-stream", **headers))
        seen = b""
        while b"data: " not in seen or not seen.endswith(b"\n\n\r\n"):
            got = connection.recv(65536)
            assert got, seen
            seen += got
    lines = seen.decode().splitlines()
    found: list[tuple[str, dict[str, Any]]] = []
    for at, line in enumerate(lines):
        if line.startswith("data: "):
            found.append((lines[at - 1].removeprefix("id: "), json.loads(line.removeprefix("data: "))))
    return found


def test_a_stream_ends_with_its_token(tenant: Tenant) -> None:
    """Soon after the token was expired, by whoever did it, the server ends the stream."""
    token, text = tenant.new_token(tenant.user(Role.AUDITOR), Scope.SECURITY_LOGS)
    with tenant.server.connect() as connection:
        connection.sendall(head("GET", FEED, text, Accept="text/event-stream"))
        seen = connection.recv(65536)
        tenant.expire(token)
        while not seen.endswith(b"\r\n0\r\n\r\n"):
            got = connection.recv(65536)
            assert got, seen
            seen += got
    problem(tenant.server.get(FEED, text), 401)


def test_only_who_may_search_may_follow(tenant: Tenant) -> None:
    """A plain user may not, whatever the token's scope; nor may a token for recording."""
    problem(tenant.server.get(FEED, tenant.token(Scope.API, Role.USER)), 403)
    problem(tenant.server.get(FEED, tenant.token(Scope.LOGS_WRITE)), 403)
    answer = tenant.server.get(FEED, tenant.token(Scope.API_READONLY, Role.AUDITOR))
    assert answer.status == 200


@pytest.mark.on_sqlite_only("what is said meanwhile does not hang on the store")
def test_a_tail_that_passes_much_over_says_where_it_is(tmp_path: Path) -> None:
    """Heartbeats come in time, with the place to go on from, also while others record what it does not want."""
    patch = "import whodid.web.feeding as feeding; feeding.HEARTBEAT_SECONDS = 0.2"
    with Running(tmp_path, before=patch) as server, tenant_of(server) as tenant:
        record(tenant)
        with server.connect() as connection:
            asking = head(
                "GET", f"{FEED}?type=tag&after=0", tenant.token(Scope.SECURITY_LOGS), Accept="text/event-stream"
            )
            connection.sendall(asking)
            places: list[str] = []
            connection.settimeout(0.05)
            until = monotonic() + 20
            while len(set(places)) < 3 and monotonic() < until:
                record(tenant)
                with contextlib.suppress(TimeoutError):
                    lines = connection.recv(65536).decode().splitlines()
                    places += [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    assert len(set(places)) >= 3
    assert "data: " not in places
