"""Search, one record, summary, paged compatible calls, a token's activity and export, over a socket."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.acceptance.running import ACTIONS, TOKEN_USES, Running, Tenant, problem, tenant_of
from tests.building import action, new_id, token_use

from whodid.clock import wall_clock
from whodid.query.cursors import SearchCursor, render
from whodid.records import render_time
from whodid.store.base import Position, Role, Scope

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
        told = problem(tenant.server.get(f"{path}?q={quote(q)}", tenant.token()), 400, f"character {position}: ")
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


def test_nothing_of_another_account_shows(tenant: Tenant) -> None:
    """Neither in search, one record, feed, summary, paged calls, export, nor a token's activity."""
    with tenant_of(tenant.server) as other:
        (theirs,) = record(other, action(target_name="secretword"))
        token, _ = other.new_token(other.user())
        text = tenant.token()
        get = tenant.server.get
        assert found(tenant, q="secretword") == []
        assert found(other, q="secretword") == [theirs]
        for path in (f"{LOGS}?limit=1000", f"{FEED}?limit=1000", EXPORT, PAGED, f"{SUMMARY}?by=target_id"):
            answer = get(path, text)
            assert answer.status == 200
            assert theirs.encode() not in answer.body
            assert other.name.encode() not in answer.body
        told = problem(get(f"{LOGS}/{theirs}", text), 404)
        assert told["detail"] == f"there is no record {theirs} in the log of {tenant.name}"
        problem(get(f"/api/v2/tokens/{token.id}/activity", text), 404)


def test_one_record_is_404_where_it_is_not_there(tenant: Tenant) -> None:
    """And 400 where it is no id; neither is a success to those who read the log."""
    problem(tenant.server.get(f"{LOGS}/{new_id()}", tenant.token()), 404, tenant.name)
    assert tenant.last_use()["outcome"] == "failure"
    problem(tenant.server.get(f"{LOGS}/nothing", tenant.token()), 400)
    assert tenant.last_use()["outcome"] == "failure"


def test_a_cursor_made_by_hand_is_refused(tenant: Tenant) -> None:
    """One that is well formed, but leads to no entry, or to one with another time: 400, and recorded as a failure."""
    record(tenant, action())
    for position in (Position(1_700_000_000_000, 0), Position(1_700_000_000_000, 4_000_000)):
        after = render(SearchCursor(position, 0, 1_800_000_000_000, newest_first=False), tenant.name)
        for path in (f"{LOGS}?order=asc", f"{EXPORT}?format=csv"):
            told = problem(tenant.server.get(f"{path}&after={after}", tenant.token()), 400)
            assert told["code"] == "invalid_cursor"
            assert tenant.last_use()["outcome"] == "failure"


def test_a_link_that_would_be_too_long_is_left_out(tenant: Tenant) -> None:
    """``next`` is there all the same, and leads on."""
    record(tenant, *(action(action=f"a{number}") for number in range(3)))
    path = f"{LOGS}?q={quote('type:pipeline OR ' + 'é' * 900)}&limit=1"
    answer = tenant.server.get(path, tenant.token())
    assert (answer.status, answer.header("link")) == (200, None)
    following = tenant.server.get(f"{path}&after={answer.json['next']}", tenant.token())
    assert following.json["data"][0]["action"] == "a1"


@pytest.mark.parametrize("start", ["\U0010ffff", "\ud7ff", "a\U0010ffff", "é"])
def test_a_beginning_may_be_of_any_character(tenant: Tenant, start: str) -> None:
    """Also of the last ones that there are."""
    (there,) = record(tenant, action(target_id=f"{start}b"))
    assert found(tenant, q=f'target:"{start}"*') == [there]


def test_a_search_may_be_as_deep_as_the_language_lets_it(tenant: Tenant) -> None:
    """Twenty levels of all that can be in each other."""
    (there,) = record(tenant, action(type="tag"))
    q = "type:tag"
    for level in range(6):
        q = f"(action:x{level} OR -(-{q} OR action:y{level}))" if level % 2 else f"(-action:z{level} ({q}))"
    assert found(tenant, q=q) == [there]


def cursor_of(tenant: Tenant) -> str:
    """A search's cursor, of a search of actions, in the default order."""
    cursor: str = page_of(tenant, f"{LOGS}?limit=1&kind=action")["next"]
    return cursor


BREAKS: list[Callable[[str], str]] = [
    lambda text: text[:-1],
    lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
    lambda text: text[:20] + ("A" if text[20] != "A" else "B") + text[21:],
    lambda text: text + "A",
    lambda text: text + "=",
    lambda text: "BQ" + text[2:],
    lambda _: "AQ",
    lambda _: "nothing",
    lambda _: "",
    lambda _: "A" * 5_000,
    lambda _: "\0",
]


@pytest.mark.parametrize("number", range(len(BREAKS)))
def test_a_broken_cursor_is_told_as_such(tenant: Tenant, number: int) -> None:
    """Cut, altered, of another version, or nothing like one: 400 ``invalid_cursor``, in all calls that take one."""
    good = cursor_of(tenant)
    after = quote(BREAKS[number](good), safe="")
    ours = tenant.new_token(tenant.user())[0].id
    for path in (LOGS, EXPORT, f"/api/v2/tokens/{ours}/activity"):
        assert problem(tenant.server.get(f"{path}?after={after}", tenant.token()), 400)["code"] == "invalid_cursor"
        assert tenant.last_use()["outcome"] == "failure"
    assert tenant.server.get(f"{LOGS}?after={good}", tenant.token()).status == 200


def test_a_cursor_of_elsewhere_is_told_as_such(tenant: Tenant) -> None:
    """That of another account, of the feed, of the other order, or a number that no entry has yet."""
    feeds = page_of(tenant, f"{FEED}?limit=1")["next"]
    ours = cursor_of(tenant)
    with tenant_of(tenant.server) as other:
        theirs = cursor_of(other)
    wrong = {theirs: "another account", feeds: "a feed", "1000000": "1000000"}
    for path in (LOGS, EXPORT):
        for cursor, reason in wrong.items():
            told = problem(tenant.server.get(f"{path}?after={cursor}", tenant.token()), 400, reason)
            assert told["code"] == "invalid_cursor"
    assert problem(tenant.server.get(f"{EXPORT}?after={ours}", tenant.token()), 400)["code"] == "invalid_cursor"
    problem(tenant.server.get(f"{LOGS}?order=asc&after={ours}", tenant.token()), 400, "desc")


@pytest.mark.parametrize("role", Role)
def test_scopes_and_roles_that_may_search(tenant: Tenant, role: Role) -> None:
    """In all calls: success, or 403 and a denied token use."""
    record_id = json.loads(tenant.log()[0].record)["_id"]
    for scope in (Scope.API, Scope.API_READONLY, Scope.SECURITY_LOGS, Scope.LOGS_WRITE, Scope.REGISTRY):
        for path in (LOGS, FEED, SUMMARY, EXPORT, PAGED, PAGED_USES, f"{LOGS}/{record_id}"):
            answer = tenant.server.get(path, tenant.token(scope, role))
            use = next(one for one in reversed(tenant.uses(max(tenant.size() - 5, 0))))
            assert use["target"] == path.removeprefix("/api")
            if scope in SCOPES and role in ROLES:
                assert (answer.status, use["outcome"]) == (200, "success")
            else:
                problem(answer, 403)
                assert use["outcome"] == "denied"


def test_a_summary_counts_what_search_finds(tenant: Tenant) -> None:
    """In all, by value, and by interval, with a zero where there was nothing."""
    events = [action(action=name, createdAt=ago(days * DAY)) for name, days in [("a1", 0), ("a2", 0), ("a1", 3)]]
    record(tenant, *events, action(action="a1", createdAt=ago(30 * DAY)))
    summary = page_of(tenant, f"{SUMMARY}?type=pipeline&by=action&interval=day")
    assert summary["total"] == 3 == len(found(tenant, type="pipeline", since=summary["since"]))
    assert summary["complete"] is True
    assert summary["values"] == [{"value": "a1", "count": 2}, {"value": "a2", "count": 1}]
    counts = {bucket["time"]: bucket["count"] for bucket in summary["buckets"]}
    wanted = dict.fromkeys(counts, 0)
    for event in events:
        wanted[event["createdAt"][:10] + "T00:00:00.000Z"] += 1
    assert counts == wanted
    assert 8 <= len(counts) <= 9
    top = page_of(tenant, f"{SUMMARY}?type=pipeline&by=action&top=1&since=60d")
    assert (top["total"], top["values"]) == (4, [{"value": "a1", "count": 3}])
    assert "buckets" not in top
    problem(tenant.server.get(f"{SUMMARY}?interval=minute&since=60d", tenant.token()), 400, "interval", "2000")


def test_the_paged_compatible_calls_page_by_number(tenant: Tenant) -> None:
    """The newest first; ``count`` is of all pages; records have no number."""
    there = record(tenant, *(action(createdAt=ago(number * SECOND)) for number in range(1, 8)))
    seen: list[str] = []
    for number in (1, 2, 3, 4):
        page = page_of(tenant, f"{PAGED}?type=pipeline&page_size=3&page={number}")
        assert page["count"] == 7
        assert all("seq" not in one for one in page["data"])
        seen += [one["_id"] for one in page["data"]]
    assert seen == there
    (use,) = record(tenant, token_use(scope="registry"), path=TOKEN_USES)
    page = page_of(tenant, f"{PAGED_USES}?scope=registry")
    assert (page["count"], [one["_id"] for one in page["data"]]) == (1, [use])
    problem(tenant.server.get(f"{PAGED}?page=0", tenant.token()), 400, "page")
    problem(tenant.server.get(f"{PAGED}?start_time=10:00", tenant.token()), 400, "start_date")


def test_the_paged_compatible_calls_include_the_whole_end(tenant: Tenant) -> None:
    """``end_date`` the day, ``end_time`` the minute; ``start`` from its beginning."""
    times = ["2021-07-30T09:29:59.999Z", "2021-07-30T09:30:00.000Z", "2021-07-30T09:30:59.999Z", "2021-07-30T09:31:00Z"]
    first, second, third, fourth = record(tenant, *(action(createdAt=time) for time in times))
    within = f"{PAGED}?start_date=2021-07-30&end_date=2021-07-30"
    for more, wanted in [
        ("", [fourth, third, second, first]),
        ("&start_time=09:30&end_time=09:30", [third, second]),
        ("&end_time=09:29", [first]),
    ]:
        assert [one["_id"] for one in page_of(tenant, within + more)["data"]] == wanted


def test_the_activity_of_a_token_is_its_uses(tenant: Tenant) -> None:
    """The newest first, by page; one's own for everybody, another's for those who may see it."""
    ann, bob = (tenant.add_user(f"{name}@acme.example") for name in ("ann", "bob"))
    (token, text), (_, bobs) = tenant.new_token(ann), tenant.new_token(bob)
    for _ in range(3):
        tenant.server.get("/api/v2/me", text)
    path = f"/api/v2/tokens/{token.id}/activity"
    uses = [one for page in pages(tenant_as(tenant, text), f"{path}?limit=2") for one in page]
    assert [one["target"] for one in uses[-3:]] == ["/v2/me"] * 3
    assert {one["token_id"] for one in uses} == {token.id}
    seqs = [one["seq"] for one in uses]
    assert seqs == sorted(set(seqs), reverse=True)
    assert tenant.server.get(path, tenant.token()).json["data"][-1] == uses[-1]
    problem(tenant.server.get(path, bobs), 404, token.id)


def tenant_as(tenant: Tenant, text: str) -> Tenant:
    """The same, reading with this token."""
    texts = {(Role.ADMINISTRATOR, Scope.SECURITY_LOGS): text}
    return Tenant(tenant.server, tenant.store, tenant.identity, tenant.account, tenant.users, texts)


def test_an_export_is_what_search_finds_and_leaves_an_action(tenant: Tenant) -> None:
    """The oldest first, as lines of JSON, as CSV, and the same compressed; the action tells what was asked for."""
    record(tenant, *(action(createdAt=ago(number * SECOND), reason='a,"b"') for number in range(1, 2_005)))
    query = "type=pipeline&action=update"
    expected = [one for page in pages(tenant, f"{LOGS}?{query}&order=asc&limit=1000") for one in page]
    assert len(expected) == 2_004
    size = tenant.size()
    lines = tenant.server.get(f"{EXPORT}?{query}", tenant.token())
    assert [json.loads(line) for line in lines.body.splitlines()] == expected
    left = [json.loads(entry.record) for entry in tenant.log(size)]
    assert [one.get("action") for one in left] == [None, "export"]
    assert (left[1]["type"], left[1]["user_id"]) == ("export", tenant.user().id)
    assert left[1]["metadata"]["selection"] == {"type": "pipeline", "action": "update"}
    packed = tenant.server.get(f"{EXPORT}?{query}&compression=gzip", tenant.token())
    assert gzip.decompress(packed.body) == lines.body
    table = tenant.server.get(f"{EXPORT}?{query}&format=csv", tenant.token())
    assert f'filename="{tenant.name}.csv"' in (table.header("content-disposition") or "")
    rows = list(csv.DictReader(io.StringIO(table.body.decode(), newline="")))
    assert [(int(row["seq"]), row["_id"], row["reason"]) for row in rows] == [
        (one["seq"], one["_id"], 'a,"b"') for one in expected
    ]


def test_an_export_goes_on_after_the_last_entry_that_came(tenant: Tenant) -> None:
    """By its number, or by the cursor of a search of the same order."""
    record(tenant, *(action(createdAt=ago(number * SECOND)) for number in range(1, 30)))
    export = f"{EXPORT}?type=pipeline"
    lines = tenant.server.get(export, tenant.token()).body.splitlines()
    last = json.loads(lines[11])["seq"]
    assert tenant.server.get(f"{export}&after={last}", tenant.token()).body.splitlines() == lines[12:]
    cursor = page_of(tenant, f"{LOGS}?type=pipeline&order=asc&limit=12")["next"]
    assert tenant.server.get(f"{export}&after={cursor}", tenant.token()).body.splitlines() == lines[12:]


def test_an_export_that_is_refused_leaves_no_action(server: Running, tenant: Tenant) -> None:
    """Neither one with a wrong parameter nor one without the right to it."""
    problem(server.get(f"{EXPORT}?format=xml", tenant.token()), 400, "ndjson, csv")
    problem(server.get(EXPORT, tenant.token(Scope.API, Role.USER)), 403)
    assert not [entry for entry in tenant.log() if b'"type":"export"' in entry.record]
