"""What operators see: health, readiness, metrics, logs, request ids, headers; and the OpenAPI document."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.acceptance.proving import json_proof, record
from tests.acceptance.running import ACTIONS, TOKEN_USES, Running, Tenant, problem, read_answer, tenant_of
from tests.building import action, token_use
from tests.stores import bytes_of

from whodid.store.base import Role, Scope
from whodid.tokens import PREFIX, make_token


def test_health_and_readiness_are_told_to_anybody(server: Running) -> None:
    """For whoever restarts or balances servers."""
    assert server.get("/health").json == {"status": "ok"}
    assert server.get("/ready").json == {"status": "ready"}


def test_metrics_count_what_happened(tmp_path: Path, store_url: str) -> None:
    """Events and batches, requests by route and status; each exactly."""
    with Running(tmp_path, store_url) as server, tenant_of(server) as tenant:
        text = tenant.token()
        assert server.post(ACTIONS, text, [action()] * 5).status == 201
        assert server.post(ACTIONS, text, [{}]).status == 422
        for _ in range(3):
            assert server.get(ACTIONS, text).status == 200
        assert server.get(TOKEN_USES).status == 401
        assert server.get(f"/api/v1/{tenant.name}", text).status == 404
        assert server.get("/nowhere").status == 404
        counted = server.metrics()
        answer = server.get("/metrics")
    uses = 1 + 1 + 3 + 1
    assert counted["whodid_events_appended_total"] == 5 + uses
    assert counted["whodid_batch_events_sum"] == 5 + uses
    assert counted["whodid_batch_events_count"] == counted["whodid_commit_seconds_count"] == uses
    assert counted["whodid_failed_commits_total"] == 0
    assert counted["whodid_queue_events"] == 0
    requests = {key: value for key, value in counted.items() if key.startswith("whodid_requests_total")}
    assert requests == {
        f'whodid_requests_total{{method="POST",route="{ACTIONS}",status="201"}}': 1,
        f'whodid_requests_total{{method="POST",route="{ACTIONS}",status="422"}}': 1,
        f'whodid_requests_total{{method="GET",route="{ACTIONS}",status="200"}}': 3,
        f'whodid_requests_total{{method="GET",route="{TOKEN_USES}",status="401"}}': 1,
        'whodid_requests_total{method="GET",route="unknown",status="404"}': 2,
    }
    assert counted[f'whodid_request_seconds_count{{route="{ACTIONS}"}}'] == 5
    assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    page = answer.body.decode()
    assert not [word for word in (tenant.name, text, PREFIX, "acme", tenant.user().id) if word in page]
    for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE):
        assert f"# HELP {name} " in page


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
@pytest.mark.parametrize("given", ["abc", "a" * 128, "1b4e28ba-2fa1-11d2-883f-0016d3cca427", "A.b_c:d/e+f=g"])
def test_a_sane_request_id_is_kept(tenant: Tenant, given: str) -> None:
    """In the answer and in the token use."""
    answer = tenant.server.call("GET", ACTIONS, tenant.token(), headers={"X-Request-Id": given})
    assert answer.header("x-request-id") == given
    assert tenant.last_use()["request_id"] == given


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
@pytest.mark.parametrize("given", ["", " ", "a b", "a" * 129, "<script>", "é", "a\tb", '"', "a;b", "{}"])
def test_any_other_request_id_is_replaced(tenant: Tenant, given: str) -> None:
    """By one that nobody else has."""
    answers = [tenant.server.call("GET", ACTIONS, tenant.token(), headers={"X-Request-Id": given}) for _ in range(3)]
    made = [answer.header("x-request-id") for answer in answers]
    assert all(re.fullmatch("[0-9a-f]{16,64}", one or "") for one in made)
    assert len(set(made)) == 3
    assert tenant.last_use()["request_id"] == made[-1]


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
def test_every_answer_has_a_request_id_and_forbids_what_browsers_might_do(tenant: Tenant) -> None:
    """Errors too, and those of pages that are not there."""
    text = tenant.token()
    for method, path in (
        ("GET", ACTIONS), ("HEAD", ACTIONS), ("POST", ACTIONS), ("PUT", ACTIONS), ("GET", f"{ACTIONS}?x=y"),
        ("GET", "/nowhere"), ("GET", "/api/"), ("GET", "/health"), ("GET", "/ready"), ("GET", "/metrics"),
        ("GET", "/openapi.json"),
    ):  # fmt: skip
        for token in (text, None):
            answer = tenant.server.call(method, path, token)
            assert answer.header("x-request-id")
            assert answer.header("x-content-type-options") == "nosniff"
            assert answer.header("cache-control") == "no-store"
            assert answer.header("content-security-policy") == "default-src 'none'; frame-ancestors 'none'"
            assert answer.header("server") is None
            assert answer.header("content-type") in (
                "application/json", "application/problem+json", "text/plain; version=0.0.4; charset=utf-8",
            )  # fmt: skip


def test_logs_are_json_lines_and_no_token_is_ever_in_them(tmp_path: Path, store_url: str) -> None:
    """At the most talkative level, whatever the callers did; nor in an answer, nor in metrics, nor in the store."""
    with Running(tmp_path, store_url, log_level="debug") as server, tenant_of(server) as tenant:
        texts = [tenant.token(scope, role) for scope in (Scope.API, Scope.LOGS_WRITE) for role in Role]
        texts += [tenant.new_token(tenant.user(), life_ms=1000)[1], make_token(os.urandom)]
        server.issued += texts
        said = b""
        for text in texts:
            for answer in (
                server.get(ACTIONS, text),
                server.get(f"{TOKEN_USES}?{text}=1&token={text}", text),
                server.get(f"/api/{text}", text),
                server.get(f"/{text}"),
                server.post(ACTIONS, text, action()),
                server.post(ACTIONS, text, b"\xff" + text.encode()),
                server.call("GET", "/health", headers={"User-Agent": text, "X-Request-Id": text, "Cookie": text}),
            ):
                said += str(answer.headers).encode() + answer.body
        server.say(f"GET /api HTTP/9.9\r\nAuthorization: Bearer {texts[0]}\r\n\r\n".encode(), finish=True)
        said += server.get("/metrics").body
        log = server.log
        assert {"answered", "serving"} <= {line["message"] for line in log}
        store = bytes_of(server.url)
        for text in texts:
            assert text.encode() not in said
            assert text.encode() not in store
    # Running itself has looked through the log, when the server had ended.
    assert [line for line in log if line["level"] == "error"] == []


def test_a_quiet_server_logs_no_requests(tmp_path: Path, store_url: str) -> None:
    """At the usual level, the token log is the log of requests."""
    with Running(tmp_path, store_url, log_level="info") as server, tenant_of(server) as tenant:
        server.get(ACTIONS, tenant.token())
        server.get(ACTIONS)
        server.say(b"nonsense\r\n\r\n", finish=True)
    assert [line["message"] for line in server.log] == ["serving", "stopping: answering what was taken", "stopped"]


def test_a_proxy_is_believed_only_where_it_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Or any caller could write any address into the log."""
    for proxies, expected in (("", "127.0.0.1"), ("127.0.0.1", "2001:db8::7"), ("192.0.2.1", "127.0.0.1")):
        folder = tmp_path_factory.mktemp("proxied")
        with Running(folder, forwarded_by=proxies) as server, tenant_of(server) as tenant:
            headers = {"X-Forwarded-For": "2001:db8::7"}
            assert server.call("GET", ACTIONS, tenant.token(), headers=headers).status == 200
            assert tenant.last_use()["ip_address"] == expected
            headers = {"X-Forwarded-For": "<script>"}
            assert server.call("GET", ACTIONS, tenant.token(), headers=headers).status == 200
            assert tenant.last_use().get("ip_address") == (None if proxies == "127.0.0.1" else "127.0.0.1")
            assert tenant.check() == []


def test_a_server_starts_on_nothing(tmp_path: Path) -> None:
    """The folders of a SQLite store are made, and only the owner may read them."""
    path = tmp_path / "not" / "yet" / "there.db"
    with Running(tmp_path, f"sqlite:///{path}") as server, tenant_of(server) as tenant:
        assert server.post(ACTIONS, tenant.token(), action()).status == 201
        for file in (path, path.parent):
            assert file.stat().st_mode & 0o077 == 0


def test_a_server_starts_again_on_what_it_left(tmp_path: Path, store_url: str) -> None:
    """All that was recorded is there the next time, and so is the key that signs."""
    with Running(tmp_path, store_url) as server, tenant_of(server) as tenant:
        record_id = record(tenant, type="kept")
        text, key = tenant.token(), json_proof(tenant, record_id)["key"]
    with Running(tmp_path, store_url) as server, tenant_of(server, tenant.name) as tenant:
        assert len(server.get(f"{ACTIONS}?type=kept", text).records) == 1
        assert json_proof(tenant, record_id)["key"] == key


@pytest.fixture
def document(server: Running) -> dict[str, Any]:
    """The OpenAPI document, as the server gives it."""
    answer = server.get("/openapi.json")
    assert answer.header("content-type") == "application/json"
    return dict(answer.json)


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a document."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from parts(inner)


@pytest.mark.on_sqlite_only("no store is asked for the document")
def test_the_openapi_document_is_whole(server: Running, document: dict[str, Any]) -> None:
    """OpenAPI 3.1; every reference leads somewhere, every schema is one, every operation has a name of its own."""
    assert document["openapi"].startswith("3.1.")
    for reference in [part["$ref"] for part in parts(document) if "$ref" in part]:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    operations = [operation for page in document["paths"].values() for operation in page.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    for path in document["paths"]:
        assert server.get(path).status in (200, 401)


def against(document: dict[str, Any], name: str, value: Any) -> None:
    """Hold a value against a schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


def test_real_answers_are_what_the_document_says(tenant: Tenant, document: dict[str, Any]) -> None:
    """Pages with every field there is, receipts, and problems of every kind."""
    server, text = tenant.server, tenant.token()
    full = action(
        target_name="x", outcome="success", reason="r", ip_address="192.0.2.1", user_agent="u", request_id="r",
        session_id="s", changes={"a": {"old": 1, "new": None}}, metadata={"a": [1]}, user_email=None,
    )  # fmt: skip
    against(document, "NewAction", full)
    against(document, "NewTokenUse", token_use())
    against(document, "Receipt", server.post(ACTIONS, text, [full, action()]).json)
    against(document, "Receipt", server.post(TOKEN_USES, text, token_use(method="GET")).json)
    against(document, "ActionPage", server.get(ACTIONS, text).json)
    against(document, "TokenUsePage", server.get(TOKEN_USES, text).json)
    for answer in (
        server.get(ACTIONS), server.post(ACTIONS, text, {}), server.post(ACTIONS, text, [1]), server.get("/nowhere"),
        server.post(ACTIONS, text, b"["), server.call("PUT", ACTIONS, text),
    ):  # fmt: skip
        against(document, "Problem", problem(answer, answer.status))


def test_the_document_refuses_what_the_server_refuses(tenant: Tenant, document: dict[str, Any]) -> None:
    """It is made of the types that validate; here, a few events that neither takes."""
    for event in (action(type="Big"), action(colour=1), action(changes={"a": {"old": 1}}), {}):
        with pytest.raises(jsonschema.ValidationError):
            against(document, "NewAction", event)
        assert tenant.server.post(ACTIONS, tenant.token(), event).status == 422


def test_the_documented_patterns_are_those_of_the_parameters(tenant: Tenant, document: dict[str, Any]) -> None:
    """What a parameter's schema takes, the server takes; what it does not, is 400."""
    by_name = {one["name"]: one["schema"] for one in document["paths"][ACTIONS]["get"]["parameters"]}
    assert list(by_name) == ["date", "timescale", "type", "count"]
    for name, good, bad in (("timescale", "999999999w", "1y"), ("type", "a_-9", "A"), ("type", "a" * 64, "a" * 65)):
        for value, status in ((good, 200), (bad, 400)):
            assert bool(re.search(by_name[name]["pattern"], value)) == (status == 200)
            assert tenant.server.get(f"{ACTIONS}?{name}={value}", tenant.token()).status == status


@pytest.mark.on_sqlite_only("HTTP has nothing to do with the store")
def test_a_server_speaks_http_1_0_too(tenant: Tenant) -> None:
    """One call a connection, for the simplest of monitors."""
    with tenant.server.connect() as connection:
        connection.sendall(f"GET {ACTIONS} HTTP/1.0\r\nAuthorization: Bearer {tenant.token()}\r\n\r\n".encode())
        answer = read_answer(connection)
        assert json.loads(answer.body)["count"] == 3
        assert connection.recv(1) == b""
