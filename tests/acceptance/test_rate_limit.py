"""The rate limit over a socket: what each token may do a minute, what is told of it, and what the log keeps of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import ACTIONS, Answer, Running, Tenant, problem, tenant_of
from tests.building import action

LIMIT = 3
"""So few that none comes back in the time of a test that took many: one in 20 seconds."""

HEADERS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@pytest.fixture
def limited(store_url: str, tmp_path: Path) -> Iterator[Tenant]:
    """An account on a server with a limit."""
    with Running(tmp_path, store_url, rate_limit=LIMIT) as server, tenant_of(server) as tenant:
        yield tenant


def told(answer: Answer) -> list[int]:
    """What an answer tells of the limit."""
    return [int(answer.header(name) or "-1") for name in HEADERS]


def test_each_token_may_make_so_many_calls_and_the_next_one_is_429(limited: Tenant) -> None:
    """Reading, recording and refused calls count alike, once each; other tokens have calls of their own."""
    server, text = limited.server, limited.token()
    answers = [
        server.get(ACTIONS, text),
        server.post(ACTIONS, text, action()),
        server.get(f"{ACTIONS}?count=ten", text),
    ]
    assert [answer.status for answer in answers] == [200, 201, 400]
    assert [told(answer)[:2] for answer in answers] == [[3, 2], [3, 1], [3, 0]]
    assert [told(answer)[2] for answer in answers] == [20, 40, 60]
    size = limited.size()
    answer = server.post(ACTIONS, text, action())
    assert problem(answer, 429, "3 calls a minute", "may be made in")["code"] == "too_many_requests"
    assert told(answer)[:2] == [3, 0]
    assert 15 <= int(answer.header("retry-after") or 0) <= 20
    assert limited.size() == size + 1  # its token use, and no event
    assert server.get(ACTIONS, limited.new_token(limited.user())[1]).status == 200


def test_of_a_flood_the_log_keeps_one_call_a_second(limited: Tenant) -> None:
    """The first one at once, as a failure; whatever the calls ask for."""
    server, text = limited.server, limited.token()
    for _ in range(LIMIT):
        assert server.get(ACTIONS, text).status == 200
    size = limited.size()
    calls = 100
    paths = (ACTIONS, "/api/nowhere", "/api/v2/me", f"/log/{limited.name}/checkpoint")
    assert {server.get(paths[at % 4], text).status for at in range(calls)} == {429}
    uses = limited.uses(size)
    assert 1 <= len(uses) <= calls / 10
    assert (uses[0]["target"], uses[0]["outcome"]) == (ACTIONS.removeprefix("/api"), "failure")
    assert {use["outcome"] for use in uses} == {"failure"}


def test_a_token_that_holds_no_longer_is_401_whatever_it_did(limited: Tenant) -> None:
    """And who has no token learns nothing of limits; nor do they matter where no token is asked for."""
    server = limited.server
    token, text = limited.new_token(limited.user())
    statuses = [server.get(ACTIONS, text).status for _ in range(LIMIT)]
    limited.expire(token)
    answers = [server.get("/api/v2/me", bearer) for bearer in (text, text, None, "garbage")]
    assert statuses == [200] * LIMIT
    assert [answer.status for answer in answers] == [401] * 4
    assert [told(answer) for answer in answers] == [[-1, -1, -1]] * 4
    health = [server.get("/health", text) for _ in range(2 * LIMIT)]
    assert [(answer.status, answer.header(HEADERS[0])) for answer in health] == [(200, None)] * len(health)


@pytest.mark.on_sqlite_only("no store is asked")
def test_without_a_limit_nothing_is_told_of_it(tenant: Tenant) -> None:
    """As it is by default."""
    assert told(tenant.server.get("/api/v2/me", tenant.token())) == [-1, -1, -1]


def test_refused_calls_are_measured_by_their_pages(limited: Tenant) -> None:
    """Metrics tell which page it was that too many calls were for."""
    text = limited.token()
    answers = [limited.server.get("/api/v2/me", text).status for _ in range(LIMIT + 1)]
    assert answers == [200] * LIMIT + [429]
    found = [name for name in limited.server.metrics() if 'status="429"' in name and 'route="/api/v2/me"' in name]
    assert found
