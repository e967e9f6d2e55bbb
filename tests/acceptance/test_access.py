"""Who may do what, over a socket: the five checks of a token, and the token use that every identified call leaves."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.acceptance.proving import check, checkpoint_page, consistency_page, json_proof, proof_page, record, trace_of
from tests.acceptance.running import (
    ACTIONS,
    TOKEN_USES,
    Answer,
    Running,
    Tenant,
    eventually,
    head,
    problem,
    read_answer,
    tenant_of,
)
from tests.building import action, token_use

from whodid.records import DAY_MS
from whodid.store.base import Role, Scope
from whodid.tokens import PREFIX, make_token

# DESIGN.md §6, written out once more: which scopes and roles open what.
READING = ({"api", "security-logs"}, {"administrator", "power_user"})
RECORDING = ({"api", "logs-write"}, {"administrator", "power_user", "service"})
EVIDENCE = ({"api", "api-readonly", "security-logs"}, {"administrator", "power_user", "auditor", "security_manager"})


def shape(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """An answer without what differs each time."""
    return answer.status, [one for one in answer.headers if one[0] not in ("date", "x-request-id")], answer.body


def test_every_kind_of_bad_token_gets_the_same_401(tenant: Tenant) -> None:
    """Missing, mistyped, unknown, expired, deactivated: same body, same headers; and no token use anywhere."""
    good = tenant.token()
    gone = tenant.add_user("gone@acme.example", Role.ADMINISTRATOR)
    expired, expired_text = tenant.new_token(gone)
    deactivated = tenant.new_token(gone)[1]
    by_time = tenant.new_token(tenant.user(), life_ms=1000)[1]
    eventually("it to expire", lambda: tenant.server.get(ACTIONS, by_time).status == 401)
    tenant.expire(expired)
    tenant.update(gone, active=False)
    flipped = good[:-1] + ("A" if good[-1] != "A" else "B")
    size = tenant.size()
    bearers: list[dict[str, str]] = [
        {},
        *({"Authorization": f"Bearer {text}"} for text in (
            "", "garbage", "é", "a b", flipped, good[:-1], good + "A", good.lower(), good.removeprefix(PREFIX),
            make_token(os.urandom), expired_text, deactivated, by_time, f"{good},{good}", f'"{good}"', "x" * 9000,
        )),
        {"Authorization": good}, {"Authorization": f"Basic {good}"}, {"Authorization": f"Token {good}"},
        {"Authorization": f"Bearer{good}"}, {"X-Authorization": f"Bearer {good}"}, {"Cookie": f"token={good}"},
    ]  # fmt: skip
    calls: list[tuple[str, str, bytes | None]] = [
        ("GET", ACTIONS, None), ("GET", f"{TOKEN_USES}?count=ten", None), ("GET", f"{ACTIONS}?token={good}", None),
        ("POST", ACTIONS, b"not JSON"), ("POST", TOKEN_USES, b"{}"), ("PUT", ACTIONS, b""), ("GET", "/api/x", None),
        ("GET", checkpoint_page(tenant), None), ("GET", "/log/nobody/checkpoint", None), ("GET", "/log/", None),
        ("GET", f"/log/{tenant.name}/tile/0/000.p/1", None), ("PUT", checkpoint_page(tenant), b""),
        ("GET", proof_page("f" * 24), None), ("GET", proof_page("x"), None), ("GET", consistency_page(1), None),
    ]  # fmt: skip
    answers = [tenant.server.call(m, path, None, body, bearer) for bearer in bearers for m, path, body in calls]
    first = answers[0]
    problem(first, 401, "Authorization: Bearer <token>")
    assert first.header("www-authenticate") == 'Bearer realm="whodid"'
    assert [answer for answer in answers if shape(answer) != shape(first)] == []
    assert tenant.size() == size
    assert tenant.server.get(ACTIONS, good).status == 200


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
def test_two_authorization_headers_are_no_token(tenant: Tenant) -> None:
    """Which of them would hold, a proxy and the server might see differently."""
    good, size = tenant.token(), tenant.size()
    lines = f"GET {ACTIONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n\r\n"
    with tenant.server.connect() as connection:
        connection.sendall(lines.encode())
        problem(read_answer(connection), 401)
    assert tenant.size() == size


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
def test_the_scheme_is_told_apart_from_the_token_as_rfc_9110_says(tenant: Tenant) -> None:
    """Its case does not matter, nor does more than one space."""
    for scheme in ("bearer ", "BEARER ", "Bearer   "):
        headers = {"Authorization": scheme + tenant.token()}
        assert tenant.server.call("GET", ACTIONS, headers=headers).status == 200


@pytest.mark.parametrize("role", Role)
def test_scopes_and_roles_open_what_the_design_says(tenant: Tenant, role: Role) -> None:
    """All scopes with all operations, for each role: 200 or 201, or 403 and a denied token use."""
    for scope in Scope:
        text = tenant.token(scope, role)
        for path, event in ((ACTIONS, action()), (TOKEN_USES, token_use())):
            for method, (scopes, roles) in (("GET", READING), ("POST", RECORDING)):
                size = tenant.size()
                answer = tenant.server.call(method, path, text, json.dumps(event) if method == "POST" else None)
                if scope in scopes and role in roles:
                    assert answer.status == (200 if method == "GET" else 201), (scope, method, path)
                    continue
                told = problem(answer, 403)
                assert (scope if scope not in scopes else role) in told["detail"]
                assert tenant.size() == size + 1
                use = tenant.last_use()
                assert (use["outcome"], use["method"], use["scope"]) == ("denied", method, scope)


def test_a_refusal_says_which_scope_or_role_would_be_right(tenant: Tenant) -> None:
    """The scope is checked before the role, and both before what the call asks for."""
    told = problem(tenant.server.post(ACTIONS, tenant.token(Scope.SECURITY_LOGS, Role.USER), b"not JSON"), 403)
    assert told["detail"] == "recording events needs a token of scope api, logs-write; this one has security-logs"
    told = problem(tenant.server.get(f"{ACTIONS}?count=ten", tenant.token(Scope.API, Role.USER)), 403)
    assert told["detail"] == "reading the log needs the role administrator, power_user; the token's owner has user"
    assert told["code"] == "forbidden"


def test_a_body_is_not_asked_for_where_the_caller_may_not_record(tenant: Tenant) -> None:
    """A refused caller is told so before it has sent 16 MiB."""
    denied = tenant.token(Scope.SECURITY_LOGS)
    for text, status in ((None, 401), (denied, 403)):
        with tenant.server.connect() as connection:
            connection.sendall(head("POST", ACTIONS, text, Content_Length="9999999", Expect="100-continue"))
            assert read_answer(connection).status == status


def test_every_call_leaves_a_token_use_that_tells_all_of_it(tenant: Tenant) -> None:
    """Before the answer is out, another process finds it in the log: who, what, from where, how it ended."""
    token, text = tenant.new_token(tenant.user(Role.POWER_USER))
    cases: list[tuple[str, str, Any, int, str]] = [
        ("GET", f"{ACTIONS}?type=pipeline", None, 200, "success"),
        ("HEAD", TOKEN_USES, None, 200, "success"),
        ("GET", f"{TOKEN_USES}?count=0", None, 400, "failure"),
        ("POST", TOKEN_USES, b"[", 400, "failure"),
        ("POST", ACTIONS, b"{}", 422, "failure"),
        ("GET", "/api/v1/nothing%20here", None, 404, "failure"),
        ("DELETE", ACTIONS, None, 405, "failure"),
        ("M-SEARCH", ACTIONS, None, 405, "failure"),
    ]
    for method, path, body, status, outcome in cases:
        size = tenant.size()
        answer = tenant.server.call(method, path, text, body, {"User-Agent": "probe/1 \xe9", "X-Request-Id": "id-7"})
        assert answer.status == status
        (entry,) = tenant.log(size)
        use = json.loads(entry.record)
        del use["_id"], use["createdAt"], use["updatedAt"]
        assert use == {
            "token_id": token.id, "scope": "api", "target": path.partition("?")[0].removeprefix("/api"),
            "user_id": tenant.user(Role.POWER_USER).id, "account": tenant.name, "__v": 0, "method": method,
            "outcome": outcome, "ip_address": "127.0.0.1", "user_agent": "probe/1 \xe9", "request_id": "id-7",
        }  # fmt: skip
        assert list(use)[-5:] == ["method", "outcome", "ip_address", "user_agent", "request_id"]
    assert tenant.check() == []


def test_the_newest_token_use_is_the_call_that_reads_it(tenant: Tenant) -> None:
    """Each time, also among other calls of the same millisecond."""
    for _ in range(20):
        tenant.server.get(ACTIONS, tenant.token())
        answer = tenant.server.get(f"{TOKEN_USES}?count=1", tenant.token())
        (use,) = answer.records
        assert use["request_id"] == answer.header("x-request-id")
        assert use["target"] == "/v1/logs/user/tokens"


def test_every_reader_of_many_at_once_finds_its_own_call(tenant: Tenant) -> None:
    """Group commit answers nobody before the use of the own token is in the log."""
    text = tenant.token()

    def read(_: int) -> bool:
        with tenant.server.connect() as connection:
            connection.sendall(head("GET", f"{TOKEN_USES}?count=100", text))
            answer = read_answer(connection)
        return answer.header("x-request-id") in {use["request_id"] for use in answer.records}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(64)))


@pytest.mark.parametrize("path", [ACTIONS, TOKEN_USES])
def test_the_token_use_stands_right_before_the_events_that_it_brought(tenant: Tenant, path: str) -> None:
    """In the sequence: use, events; so the log itself shows which token brought which events."""
    token, text = tenant.new_token(tenant.user(), Scope.LOGS_WRITE)
    one = action() if path == ACTIONS else token_use(request_id="theirs")
    for events in ([one], [one] * 7):
        size = tenant.size()
        answer = tenant.server.post(path, text, events)
        use, *brought = [json.loads(entry.record) for entry in tenant.log(size)]
        assert (use["token_id"], use["request_id"]) == (token.id, answer.header("x-request-id"))
        assert [place["seq"] for place in answer.json["data"]] == list(range(size + 1, size + 1 + len(events)))
        assert [place["_id"] for place in answer.json["data"]] == [event["_id"] for event in brought]


def test_an_expiry_by_another_process_holds_at_once(tenant: Tenant) -> None:
    """For reading and recording, though the server has the token remembered; other tokens go on."""
    good = json.dumps(action())
    for method, path, body in (
        ("GET", ACTIONS, None), ("POST", ACTIONS, good), ("POST", ACTIONS, "not JSON"), ("GET", "/api/nowhere", None),
    ):  # fmt: skip
        token, text = tenant.new_token(tenant.user())
        assert tenant.server.call(method, path, text, body).status != 401
        tenant.expire(token)
        size = tenant.size()
        assert tenant.server.call(method, path, text, body).status == 401
        assert tenant.size() == size
        assert tenant.server.get(ACTIONS, tenant.token()).status == 200


def test_a_deactivation_and_a_change_of_role_hold_at_once(tenant: Tenant) -> None:
    """And so does their being taken back."""
    user = tenant.add_user("ann@acme.example", Role.ADMINISTRATOR)
    text = tenant.new_token(user)[1]

    def statuses() -> tuple[int, int]:
        return tenant.server.get(ACTIONS, text).status, tenant.server.post(ACTIONS, text, action()).status

    assert statuses() == (200, 201)
    user = tenant.update(user, role=Role.SERVICE)
    assert statuses() == (403, 201)
    user = tenant.update(user, role=Role.USER)
    assert statuses() == (403, 403)
    user = tenant.update(user, active=False)
    assert statuses() == (401, 401)
    user = tenant.update(user, active=True, role=Role.POWER_USER)
    assert statuses() == (200, 201)


def test_a_token_that_was_used_stops_at_its_hour(tenant: Tenant) -> None:
    """Being remembered does not make it live longer."""
    text = tenant.new_token(tenant.user(), life_ms=1000)[1]
    assert tenant.server.get(ACTIONS, text).status == 200
    eventually("the token to expire", lambda: tenant.server.get(ACTIONS, text).status == 401)


def test_no_acknowledged_use_comes_after_an_expiry(tenant: Tenant) -> None:
    """With callers at work while the token is expired: in the log, no use of it stands after the expiry."""
    token, text = tenant.new_token(tenant.user())

    def hammer(_: int) -> int:
        used = 0
        with tenant.server.connect() as connection:
            while True:
                connection.sendall(head("GET", f"{ACTIONS}?count=1", text).replace(b"close", b"keep-alive"))
                if read_answer(connection).status == 401:
                    return used
                used += 1

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(hammer, at) for at in range(4)]
        eventually("some uses", lambda: len(tenant.uses()) > 50)
        tenant.expire(token)
        used = sum(count.result() for count in counts)
    records = [json.loads(entry.record) for entry in tenant.log()]
    (expiry,) = [at for at, one in enumerate(records) if one.get("action") == "expire"]
    uses = [at for at, one in enumerate(records) if one.get("token_id") == token.id]
    assert len(uses) == used
    assert max(uses) < expiry


@pytest.mark.parametrize("path", ["/api/", "/api/v1", f"{ACTIONS}/", "/api/v1/logs", "/api//v1/logs/user/actions"])
def test_what_is_not_there_below_api_shows_only_to_those_with_a_token(tenant: Tenant, path: str) -> None:
    """401 without one; 404 and a record of the call with any."""
    problem(tenant.server.get(path), 401)
    problem(tenant.server.get(path, tenant.token(Scope.TASKS, Role.USER)), 404, "/openapi.json")
    use = tenant.last_use()
    assert (use["outcome"], use["target"], use["scope"]) == ("failure", path.removeprefix("/api"), "tasks")


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_method_that_a_page_lacks_is_405_and_names_those_it_has(tenant: Tenant, method: str) -> None:
    """With Allow; below /api only to those with a token."""
    problem(tenant.server.call(method, ACTIONS), 401)
    answer = tenant.server.call(method, ACTIONS, tenant.token())
    problem(answer, 405, method, "GET, HEAD, POST")
    assert answer.header("allow") == "GET, HEAD, POST"
    assert tenant.server.call(method, "/health").header("allow") == "GET, HEAD"


def test_outside_of_api_nobody_is_asked_for_a_token(tenant: Tenant) -> None:
    """And no call is recorded."""
    text, size = tenant.token(), tenant.size()
    for path in ("//", "/api", "/nowhere", "/apiary", "/health/", "/../api/", "/log", "/logs/", "//log/x/checkpoint"):
        problem(tenant.server.get(path, text), 404)
    assert tenant.server.get("/health", text).status == 200
    assert tenant.size() == size


def test_head_is_get_without_a_body(tenant: Tenant) -> None:
    """The same status and headers, length included."""
    for path, text in ((f"{ACTIONS}?count=1", tenant.token()), ("/health", None), (ACTIONS, None)):
        got, headed = (tenant.server.call(method, path, text) for method in ("GET", "HEAD"))
        assert headed.body == b""
        assert shape(got)[:2] == shape(headed)[:2]


def test_a_target_is_written_in_one_way_however_it_was_called(tenant: Tenant) -> None:
    """Or whoever looks for uses of a page would miss those that were percent-encoded."""
    for path in (ACTIONS, ACTIONS.replace("a", "%61"), f"http://whodid.example{ACTIONS}?count=1"):
        assert tenant.server.get(path, tenant.token()).status == 200
        assert tenant.last_use()["target"] == "/v1/logs/user/actions"


def test_a_token_in_the_wrong_place_is_not_written_down(tenant: Tenant) -> None:
    """In a path, a request id or a user agent, it would be in the log for all who may read that."""
    text = tenant.token()
    headers = {"User-Agent": f"app {text}", "X-Request-Id": text}
    answer = tenant.server.call("GET", f"/api/v1/{text}", text, headers=headers)
    assert answer.status == 404
    assert text not in json.dumps(tenant.uses())
    assert PREFIX in tenant.last_use()["target"]
    assert text not in str(answer)


def test_no_role_reads_or_writes_another_account(server: Running) -> None:
    """Two accounts with names alike, the same users, the same ids: each sees its own records only."""
    with tenant_of(server, "org-twin-acc") as one, tenant_of(server, "org-twin-acc0") as other:
        for tenant in (one, other):
            tenant.add_user("ann@acme.example", user_id="5e1cbf251c26d68f7ce6361e")
        event = action(_id="0000000000000000000000aa", type="twin", user_email="ann@acme.example")
        for tenant in (one, other):
            assert server.post(ACTIONS, tenant.token(), event | {"target_name": tenant.name}).status == 201
        for tenant in (one, other):
            for path in (ACTIONS, TOKEN_USES):
                for text in (tenant.token(), tenant.token(Scope.SECURITY_LOGS, Role.POWER_USER)):
                    assert {record["account"] for record in server.get(path, text).records} == {tenant.name}
            (twin,) = server.get(f"{ACTIONS}?type=twin", tenant.token()).records
            assert twin["target_name"] == tenant.name
        before = other.size()
        answer = server.post(ACTIONS, one.token(), [event, action(account=other.name)])
        assert [fault["field"] for fault in problem(answer, 422)["errors"]] == ["account"]
        problem(server.get(f"{ACTIONS}?account={other.name}", one.token()), 400, "there is no parameter")
        assert other.size() == before


def test_a_year_is_the_longest_life_and_it_ends(tenant: Tenant) -> None:
    """The rules of identity hold for tokens that the server is to see."""
    assert tenant.server.get(ACTIONS, tenant.new_token(tenant.user(), life_ms=365 * DAY_MS)[1]).status == 200


# Evidence.


@pytest.mark.parametrize("role", Role)
def test_scopes_and_roles_open_evidence_to_those_who_audit_too(tenant: Tenant, role: Role) -> None:
    """All scopes with all pages of evidence, for each role: 200, or 403 and a denied token use."""
    record_id = record(tenant)
    pages = (checkpoint_page(tenant), f"/log/{tenant.name}/tile/0/000.p/1", proof_page(record_id), consistency_page(1))
    for scope in Scope:
        text = tenant.token(scope, role)
        for page in pages:
            answer = tenant.server.get(page, text)
            use = tenant.last_use()
            assert use["scope"] == scope
            if scope in EVIDENCE[0] and role in EVIDENCE[1]:
                assert (answer.status, use["outcome"]) == (200, "success"), (scope, page)
                continue
            told = problem(answer, 403, "reading evidence needs")
            assert (scope if scope not in EVIDENCE[0] else role) in told["detail"]
            assert use["outcome"] == "denied"


def test_each_call_leaves_a_token_use_with_its_target_and_outcome(tenant: Tenant) -> None:
    """In the token's account, before the answer is out."""
    token, text = tenant.new_token(tenant.user(Role.AUDITOR), Scope.API_READONLY)
    poor = tenant.new_token(tenant.user(Role.AUDITOR), Scope.TASKS)[1]
    record_id = record(tenant)
    cases = [
        ("GET", checkpoint_page(tenant), text, 200, "success"),
        ("HEAD", checkpoint_page(tenant), text, 200, "success"),
        ("GET", checkpoint_page(tenant), poor, 403, "denied"),
        ("POST", checkpoint_page(tenant), text, 405, "failure"),
        ("POST", checkpoint_page(tenant), poor, 405, "failure"),
        ("GET", f"/log/{tenant.name}/tile/0/000.p/3", text, 200, "success"),
        ("GET", f"/log/{tenant.name}/tile/0/x001/234", text, 404, "failure"),
        ("GET", f"/log/{tenant.name}/tile/0/x001/234", poor, 403, "denied"),
        ("GET", f"/log/{tenant.name}/tile/64/000", text, 404, "failure"),
        ("GET", f"/log/{tenant.name}/nothing", text, 404, "failure"),
        ("GET", "/log/", poor, 404, "failure"),
        ("GET", "/log/ACME/checkpoint", text, 404, "failure"),
        ("GET", "/log/nobody/checkpoint", text, 404, "failure"),
        ("DELETE", "/log/nobody/checkpoint", text, 405, "failure"),
        ("GET", "/log/nobody/checkpoint", poor, 404, "failure"),
        ("GET", proof_page(record_id), text, 200, "success"),
        ("HEAD", proof_page(record_id), text, 200, "success"),
        ("GET", proof_page(record_id), poor, 403, "denied"),
        ("GET", proof_page("f" * 24), poor, 403, "denied"),
        ("GET", proof_page("f" * 24), text, 404, "failure"),
        ("PUT", proof_page(record_id), text, 405, "failure"),
        ("GET", consistency_page(1), text, 200, "success"),
        ("GET", consistency_page(1, 2), poor, 403, "denied"),
        ("GET", consistency_page(2, 1), text, 400, "failure"),
    ]
    for method, page, bearer, status, how in cases:
        size = tenant.size()
        answer = tenant.server.call(method, page, bearer)
        assert answer.status == status, (method, page)
        (entry,) = tenant.log(size)
        use = json.loads(entry.record)
        assert (use["method"], use["outcome"]) == (method, how), (method, page)
        assert use["target"] == page.partition("?")[0].removeprefix("/api")
        assert use["request_id"] == answer.header("x-request-id")
        assert (use["token_id"] == token.id) == (bearer == text)
        if status == 405:
            assert answer.header("allow") == "GET, HEAD"
    assert tenant.check() == []


def test_another_account_is_as_one_that_is_not_there(server: Running) -> None:
    """The same answer to the byte, and the same traces: in the caller's log, none in the other's."""
    with tenant_of(server) as mine, tenant_of(server) as other:
        record_id = record(other)
        assert server.get(checkpoint_page(other), other.token()).status == 200
        size = other.size()
        for text in (mine.token(), mine.token(Scope.API_READONLY, Role.AUDITOR), mine.token(Scope.TASKS, Role.USER)):
            for rest in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1", "tile/0/000.p/200", "tile/0/x", "x"):
                for method in ("GET", "HEAD", "POST"):
                    answers = []
                    for name in (other.name, "nobody-0"):
                        answers.append(server.call(method, f"/log/{name}/{rest}", text))
                        assert answers[-1].status in (404, 405)
                        assert trace_of(mine) == (f"/log/{name}/{rest}", "failure")
                    there, not_there = (
                        (one.status, sorted(name for name, _ in one.headers), one.body.replace(name.encode(), b"NAME"))
                        for one, name in zip(answers, (other.name, "nobody-0"), strict=True)
                    )
                    assert there == not_there
            allowed = text != mine.token(Scope.TASKS, Role.USER)
            for page in (proof_page(record_id), proof_page("f" * 24)):
                problem(server.get(page, text), 404 if allowed else 403)
        assert other.size() == size


def test_two_accounts_prove_their_own_record_of_the_same_id(server: Running) -> None:
    """Each by its own salt, in its own log, signed under its own name."""
    with tenant_of(server) as one, tenant_of(server) as other:
        for tenant in (one, other):
            record(tenant, _id="00000000000000000000abcd", target_id=tenant.name)
        proofs = [json_proof(tenant, "00000000000000000000abcd") for tenant in (one, other)]
        for tenant, told in zip((one, other), proofs, strict=True):
            assert json.loads(told["record"])["target_id"] == tenant.name
            assert check(told).checkpoint.origin == f"localhost/log/{tenant.name}"
        assert proofs[0]["salt"] != proofs[1]["salt"]
        assert proofs[0]["key"] != proofs[1]["key"]


def test_nothing_is_signed_for_a_caller_who_may_not_see_it(tenant: Tenant) -> None:
    """A refused call costs no more than its token use."""
    signed = tenant.server.signed_dir / f"{tenant.name}.checkpoint"
    page = checkpoint_page(tenant)
    for text in (None, tenant.token(Scope.TASKS), tenant.token(Scope.API, Role.USER)):
        assert tenant.server.get(page, text).status in (401, 403)
        assert not signed.exists()
    assert tenant.server.get(page, tenant.token()).status == 200
    assert signed.exists()


def test_a_right_that_is_given_or_taken_by_another_process_holds_at_once(tenant: Tenant) -> None:
    """Though the server has the token remembered; nothing is handed out to one that was expired meanwhile."""
    user = tenant.add_user("ann@acme.example", Role.USER)
    token, text = tenant.new_token(user)
    record_id = record(tenant)
    pages = (checkpoint_page(tenant), f"/log/{tenant.name}/tile/0/000.p/2", proof_page(record_id), consistency_page(1))
    for page in pages:
        assert tenant.server.get(page, text).status == 403
        user = tenant.update(user, role=Role.AUDITOR)
        assert tenant.server.get(page, text).status == 200
        assert trace_of(tenant)[1] == "success"
        user = tenant.update(user, role=Role.USER)
        assert tenant.server.get(page, text).status == 403
    tenant.update(user, role=Role.AUDITOR)
    assert tenant.server.get(pages[0], text).status == 200
    tenant.expire(token)
    for page in pages:
        problem(tenant.server.get(page, text), 401)
