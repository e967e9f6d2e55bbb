"""Search, one record, summary, paged compatible calls, a token's activity and export, over a socket."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.acceptance.running import ACTIONS, Tenant, problem
from tests.building import action

from whodid.clock import wall_clock
from whodid.records import render_time
from whodid.store.base import Scope

LOGS = "/api/v2/logs"
SUMMARY = f"{LOGS}/summary"
EXPORT = f"{LOGS}/export"
FEED = f"{LOGS}/feed"
PAGED = f"{LOGS}/user/actions"
PAGED_USES = f"{LOGS}/user/tokens"

SECOND, DAY = 1000, 86_400_000

# The contract, written out once more.
SCOPES = {"api", "api-readonly", "security-logs"}
ROLES = {"administrator", "power_user", "auditor", "security_manager"}


def ago(milliseconds: int) -> str:
    """The time so long ago, as on the wire."""
    return render_time(wall_clock() - milliseconds)


def record(tenant: Tenant, *events: dict[str, Any], path: str = ACTIONS) -> list[str]:
    """Record events; their ids."""
    answer = tenant.server.post(path, tenant.token(), list(events))
    assert answer.status == 201, answer.body
    return [place["_id"] for place in answer.json["data"]]


def page_of(tenant: Tenant, path: str) -> dict[str, Any]:
    """A page that must be one."""
    answer = tenant.server.get(path, tenant.token(Scope.SECURITY_LOGS))
    assert answer.status == 200, answer.body
    page: dict[str, Any] = answer.json
    return page


def pages(tenant: Tenant, path: str) -> Iterator[list[dict[str, Any]]]:
    """The pages from this one on, by ``Link``, which must say the same as ``next``."""
    while True:
        answer = tenant.server.get(path, tenant.token(Scope.SECURITY_LOGS))
        assert answer.status == 200, answer.body
        page, link = answer.json, answer.header("link")
        assert page.keys() == {"data", "next"}
        yield page["data"]
        if page["next"] is None:
            assert link is None
            return
        assert link is not None
        path = link.removeprefix("<").removesuffix('>; rel="next"')
        assert f"after={page['next']}" in path
        assert link == f'<{path}>; rel="next"'


def found(tenant: Tenant, path: str = LOGS, **parameters: Any) -> list[str]:
    """The ids that a search finds, on all of its pages."""
    query = f"?{urlencode(parameters, doseq=True)}" if parameters else ""
    return [one["_id"] for page in pages(tenant, f"{path}{query}") for one in page]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_have_each_record_once_also_while_others_are_recorded(tenant: Tenant, order: str) -> None:
    """Those that were there before the first page all come, in order; those of meanwhile at most once, in place."""
    there = record(tenant, *(action(createdAt=ago(100 * SECOND + number // 2)) for number in range(25)))
    seen: list[dict[str, Any]] = []
    meanwhile: list[str] = []
    for page in pages(tenant, f"{LOGS}?type=pipeline&limit=4&order={order}"):
        assert len(page) <= 4
        seen += page
        meanwhile += record(tenant, action(), action(createdAt=ago(DAY)), action(createdAt=ago(100 * SECOND)))
        if len(meanwhile) > 60:
            break
    ids = [one["_id"] for one in seen]
    assert len(ids) == len(set(ids))
    assert set(there) <= set(ids) <= {*there, *meanwhile}
    times = [(one["createdAt"], one["seq"]) for one in seen]
    assert times == sorted(times, reverse=order == "desc")


def test_a_record_on_a_page_is_the_recorded_one_with_its_number_in_front(tenant: Tenant) -> None:
    """Its bytes are those of the log, and also those of the call for one record."""
    record(tenant, action(metadata={"z": [1, {"b": None}], "a": "ü “x” \\"}))
    entry = next(one for one in tenant.log() if b'"pipeline"' in one.record)
    text = b'{"seq":%d,%b' % (entry.seq, entry.record[1:])
    body = tenant.server.get(f"{LOGS}?type=pipeline", tenant.token()).body
    assert body == b'{"data":[%b],"next":null}' % text
    record_id = json.loads(text)["_id"]
    assert tenant.server.get(f"{LOGS}/{record_id}", tenant.token()).body == text


FILTERED = [
    action(type="pipeline", action="create", user_email="ann@example.com", target_id="5fbe589a0fae8b021e137534"),
    action(type="pipeline", action="delete", user_email="bob@example.com", outcome="denied"),
    action(type="registry", action="create", user_email="ann@example.com", ip_address="192.0.2.7"),
    action(type="task", action="run", user_email="cy@example.com", reason="Nightly “déploiement” of payments"),
]
OURS = "type=pipeline&type=registry&type=task"


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("type=pipeline", {0, 1}),
        ("type=pipeline&type=task", {0, 1, 3}),
        (f"{OURS}&action=!create", {1, 3}),
        (f"{OURS}&action=!create&action=!run", {1}),
        ("type=pipeline&type=registry&type=!registry", {0, 1}),
        ("type=!account&type=!user&type=!access_token&kind=action", {0, 1, 2, 3}),
        (f"{OURS}&user_email=ann@example.com&action=create", {0, 2}),
        (f"{OURS}&outcome=denied", {1}),
        (f"{OURS}&ip_address=192.0.2.7", {2}),
        ("target_id=5fbe589a0fae8b021e137534", {0}),
        ("kind=token&type=pipeline", set()),
        (f"{OURS}&q=" + quote("user:ann@example.com -type:registry"), {0}),
        (f"{OURS}&q=" + quote("type:task OR (type:pipeline action:delete)"), {1, 3}),
        (f"{OURS}&q=" + quote("NOT (type:pipeline OR type:task)"), {2}),
        (f"{OURS}&q=" + quote("user:ann*"), {0, 2}),
        (f"{OURS}&q=" + quote("DÉPLOI*"), {3}),
        (f"{OURS}&q=" + quote('"payments nightly"'), {3}),
        (f"{OURS}&q=" + quote("created:>=1d type:pipeline"), {0, 1}),
        (f"{OURS}&q=" + quote("created:<1d"), set()),
        (f"{OURS}&until=1d", set()),
        (f"{OURS}&since=1d&until=2100-01-01", {0, 1, 2, 3}),
    ],
)
def test_filters_and_q_find_what_they_ask_for(tenant: Tenant, query: str, numbers: set[int]) -> None:
    """Repeated, negated, mixed, as parameters and in ``q``; search and summary have the same, and so has the feed."""
    ids = record(tenant, *FILTERED)
    wanted = {ids[number] for number in numbers}
    assert {one["_id"] for one in page_of(tenant, f"{LOGS}?{query}")["data"]} == wanted
    assert page_of(tenant, f"{SUMMARY}?{query}")["total"] == len(wanted)
    assert {one["_id"] for one in page_of(tenant, f"{FEED}?{query}")["data"]} == wanted


@pytest.mark.parametrize(
    ("q", "position"),
    [("type:pipeline )", 15), ("(type:a", 1), ("colour:red", 1), ("ab OR created:>=7d", 7), ("type:", 6), ("ab \0", 4)],
)
def test_a_wrong_q_is_told_with_its_position(tenant: Tenant, q: str, position: int) -> None:
    """400, wherever a ``q`` can be given; and it is in the log as a failure."""
    for path in (LOGS, FEED, SUMMARY, EXPORT):
        told = problem(tenant.server.get(f"{path}?q={quote(q)}", tenant.token()), 400, str(position))
        assert told["code"] == "invalid_parameter"
        assert tenant.last_use()["outcome"] == "failure"


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("colour=red", ["colour", "order", "user_email"]),
        ("type=", ["type"]),
        ("limit=0", ["limit", "1000"]),
        ("limit=1001", ["limit", "1000"]),
        ("limit=1&limit=2", ["limit"]),
        ("order=up", ["order", "asc", "desc"]),
        ("since=2026-02-01&until=2026-01-01", ["since", "until"]),
        ("since=yesterday", ["since"]),
    ],
)
def test_a_wrong_parameter_is_told_with_what_would_be_right(tenant: Tenant, query: str, parts: list[str]) -> None:
    """400; unknown ones with the names of those that there are."""
    problem(tenant.server.get(f"{LOGS}?{query}", tenant.token()), 400, *parts)


@pytest.mark.parametrize(
    "q",
    [
        " ".join(["ab"] * 1_300), " OR ".join(["ab"] * 500), "(" * 2_000, "(" * 2_000 + "ab" + ")" * 2_000,
        "-" * 4_000 + "ab", '"' * 4_001, "ab\0", "*" * 4_000, "created:" * 400, "x" * 5_000,
    ],
)  # fmt: skip
def test_a_hostile_q_is_refused_in_bounds(tenant: Tenant, q: str) -> None:
    """400 at once, with a text of bounded length; the next call is answered."""
    for path in (LOGS, FEED, SUMMARY):
        answer = tenant.server.get(f"{path}?q={quote(q)}", tenant.token())
        problem(answer, 400)
        assert len(answer.body) < 2_000
    assert page_of(tenant, LOGS)["data"]


def test_10000_terms_are_refused(tenant: Tenant) -> None:
    """Already for their length."""
    answer = tenant.server.get(f"{LOGS}?q={'ab+' * 9_999}ab", tenant.token())
    assert answer.status in (400, 414, 431)
    assert tenant.server.get(LOGS, tenant.token()).status == 200
