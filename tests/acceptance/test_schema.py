"""Schemathesis: calls made up from the server's own OpenAPI document, and answers held against it."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import hypothesis
import jsonschema  # type: ignore[import-untyped]
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)
from tests.acceptance.running import ACTIONS, TOKEN_USES, Answer, Running, Tenant, problem, tenant_of
from tests.building import USER_ID, action

from whodid.store.base import Role, Scope
from whodid.web.openapi import openapi_document
from whodid.web.openapi.examples import ACCOUNT, ADDED_USER, RECORD_ID, TOKEN_ID


def forbidden_data_is_refused(context: Any, response: Any, case: Any) -> Any:
    """As schemathesis has it; but it does not know that too many events are refused with 413."""
    return None if response.status_code == 413 else negative_data_rejection(context, response, case)


SEED = 11
MANY = hypothesis.settings(max_examples=100, database=None, phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink])
SOME = hypothesis.settings(MANY, max_examples=40)

PROOF = "/api/v2/logs/{_id}/proof"
CONSISTENCY = "/api/v2/log/consistency"
CHECKPOINT = "/log/{account}/checkpoint"
TILE = "/log/{account}/tile/{level}/{number}"
PARTIAL_TILE = TILE + ".p/{width}"

DOCUMENT = json.loads(openapi_document())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
GUARDED = {name: one for name, one in OPERATIONS.items() if "security" in one[2]}
NEWER = [
    name for name, (_, path, _) in GUARDED.items() if path.startswith("/api/v2/") and path not in (PROOF, CONSISTENCY)
]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """An account on a server of its own: what is made up here is not to fill another's log."""
    with Running(tmp_path_factory.mktemp("schema")) as server, tenant_of(server) as tenant:
        yield tenant


@pytest.fixture(scope="module")
def api(caller: Tenant) -> Any:
    """The document, as schemathesis reads it."""
    return schemathesis.openapi.from_url(f"http://127.0.0.1:{caller.server.port}/openapi.json")


def mend(body: Any) -> None:
    """Put right in events what no schema can say: most of what is made up would be refused for nothing but that."""
    for event in body if isinstance(body, list) else [body]:
        if isinstance(event, dict):
            event["user_id"] = USER_ID
            for name in ("_id", "account", "createdAt", "updatedAt"):
                event.pop(name, None)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", [ACTIONS, TOKEN_USES])
def test_whatever_the_document_allows_is_answered_as_it_says(caller: Tenant, api: Any, path: str, method: str) -> None:
    """No call ends in a 5xx, and every answer has a status, a type and a form that the document names."""
    text, statuses = caller.token(), set()

    @hypothesis.seed(SEED)
    @hypothesis.given(case=api[path][method].as_strategy(), mended=st.booleans())
    @MANY
    def call(case: Any, mended: bool) -> None:
        if mended:
            mend(case.body)
        response = case.call_and_validate(headers={"Authorization": f"Bearer {text}"}, checks=CHECKS)
        statuses.add(response.status_code)

    call()
    assert statuses & {200, 201}, "nothing that was made up was right"


@pytest.mark.parametrize("path", [PROOF, CONSISTENCY, CHECKPOINT, TILE, PARTIAL_TILE])
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_calls_for_evidence_are_answered_as_the_document_says(
    caller: Tenant, api: Any, path: str, mode: GenerationMode
) -> None:
    """Of any log, entry and size, in any form; among them, again and again, those that there are."""
    text, statuses = caller.token(), set()
    recorded = caller.server.post(ACTIONS, text, [action()] * 256).json["data"]
    there = {"account": caller.name, "_id": recorded[0]["_id"], "level": "0", "number": "000", "width": 2}
    accepts = st.sampled_from([None, "*/*", "application/json", "text/plain;q=0.1, application/json", "image/png"])

    @hypothesis.seed(SEED)
    @hypothesis.given(case=api[path]["GET"].as_strategy(generation_mode=mode), real=st.booleans(), accept=accepts)
    @SOME
    def call(case: Any, real: bool, accept: str | None) -> None:
        if real and mode == GenerationMode.POSITIVE:
            case.path_parameters = {name: there[name] for name in case.path_parameters or {}}
        headers = {"Authorization": f"Bearer {text}"} | ({} if accept is None else {"Accept": accept})
        statuses.add(case.call_and_validate(headers=headers, checks=CHECKS).status_code)

    call()
    assert statuses & {400, 404}
    assert 200 in statuses or mode == GenerationMode.NEGATIVE


@dataclass
class Things:
    """What there is in an account, of which calls can tell something; and nobody's own, that may be changed."""

    record_id: str
    user_id: str
    token_id: str

    def parts(self, path: str) -> dict[str, Any]:
        """The variable parts of a path, such that they lead to these."""
        owned = self.user_id if "/users/" in path else self.token_id
        return {name: self.record_id if name == "_id" else owned for name in re.findall(r"\{(\w+)\}", path)}


@pytest.fixture(scope="module")
def things(caller: Tenant) -> Things:
    """Of the account for which calls are made up."""
    return things_of(caller)


@pytest.fixture(scope="module")
def orderly(caller: Tenant) -> Iterator[Tenant]:
    """Another account on that server, for which nothing is made up."""
    with tenant_of(caller.server) as tenant:
        yield tenant


@pytest.fixture(scope="module")
def orderly_things(orderly: Tenant) -> Things:
    """Of that other account."""
    return things_of(orderly)


def things_of(tenant: Tenant) -> Things:
    """A log with a full tile, and somebody with a token."""
    recorded = tenant.server.post(ACTIONS, tenant.token(), [action()] * 300).json["data"]
    somebody = tenant.add_user("somebody@acme.example")
    token, _ = tenant.new_token(somebody)
    return Things(recorded[0]["_id"], somebody.id, token.id)


def at_once(case: Any) -> None:
    """Have a call not wait for what comes: for a time that is right, none."""
    query = case.query or {}
    if re.fullmatch("[0-9]{1,2}", str(query.get("wait", ""))):
        query["wait"] = 0


@pytest.mark.parametrize("name", NEWER)
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_calls_of_version_2_are_answered_as_the_document_says(
    caller: Tenant, api: Any, things: Things, name: str, mode: GenerationMode
) -> None:
    """Whatever parameters and bodies they have; those that the document allows lead to something, again and again."""
    method, path, operation = OPERATIONS[name]
    if mode == GenerationMode.NEGATIVE and not operation.keys() & {"parameters", "requestBody"}:
        return  # nothing can be wrong with it
    text, statuses = caller.token(), set()
    accepts = st.sampled_from([None, "application/json", "application/x-ndjson;q=0.5, image/png", "image/png"])

    @hypothesis.seed(SEED)
    @hypothesis.given(
        case=api[path][method].as_strategy(generation_mode=mode),
        real=st.booleans(),
        accept=accepts,
        plain=st.booleans(),
    )
    @SOME
    def call(case: Any, real: bool, accept: str | None, plain: bool) -> None:
        at_once(case)
        if mode == GenerationMode.POSITIVE:
            if real:
                case.path_parameters = things.parts(path)
            if plain:
                for one in ("q", "after", "since", "until", "user_id", "start_date", "end_date"):
                    (case.query or {}).pop(one, None)
            if name == "create_token" and isinstance(case.body, dict):
                case.body["expires"] = "1d"
                case.body.pop("user_id", None)
        headers = {"Authorization": f"Bearer {text}"} | ({} if accept is None else {"Accept": accept})
        statuses.add(case.call_and_validate(headers=headers, checks=CHECKS).status_code)

    call()
    if mode == GenerationMode.POSITIVE:
        assert statuses & {200, 201}, "nothing that was made up was right"
    else:
        assert statuses & {400, 404, 413, 415}


@dataclass
class Command:
    """A call of curl, taken apart."""

    method: str = ""
    target: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    query: list[tuple[str, str]] = field(default_factory=list)
    body: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Command":
        """What a command line says; fails at anything that is not known here."""
        program, *words = shlex.split(text.replace("\\\n", ""))
        assert program == "curl"
        made, plain = cls(), "GET"
        while words:
            match words.pop(0):
                case "-G":
                    plain = "GET"
                case "--fail":
                    pass
                case "-X":
                    made.method = words.pop(0)
                case "-H":
                    name, _, value = words.pop(0).partition(": ")
                    made.headers[name] = value
                case "-d":
                    made.body, plain = words.pop(0), "POST"
                case "--data-urlencode":
                    name, _, value = words.pop(0).partition("=")
                    made.query.append((name, value))
                case "-o":
                    assert words.pop(0)
                case url:
                    assert url.startswith("$WHODID_URL/")
                    made.target = url.removeprefix("$WHODID_URL")
        made.method = made.method or plain
        return made

    def run(self, server: Running, token: str, change: dict[str, str]) -> Answer:
        """Make the call, with what the example has in place of what is there changed."""
        target, headers = self.target, dict(self.headers)
        for old, new in change.items():
            target = target.replace(old, new)
        if "Authorization" in headers:
            headers["Authorization"] = headers["Authorization"].replace("$WHODID_TOKEN", token)
        return server.call(
            self.method, target + (f"?{urlencode(self.query)}" if self.query else ""), None, self.body, headers
        )


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_sample_works_as_it_stands(orderly: Tenant, orderly_things: Things, name: str) -> None:
    """Each command of the document, against a server; and what comes is one of the answers that it promises."""
    method, _, operation = OPERATIONS[name]
    command = Command.parse(operation["x-codeSamples"][0]["source"])
    assert command.method == method
    change = {
        RECORD_ID: orderly_things.record_id,
        ADDED_USER.id: orderly_things.user_id,
        TOKEN_ID: orderly_things.token_id,
    }
    answer = command.run(orderly.server, orderly.token(), change | {f"/log/{ACCOUNT}/": f"/log/{orderly.name}/"})
    assert answer.status in (200, 201), answer.body
    promised = operation["responses"][str(answer.status)]["content"]
    kind = (answer.header("content-type") or "").partition(";")[0]
    assert kind in promised
    if kind == "application/json":
        schema = promised[kind]["schema"] | {"components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(schema).validate(answer.json)


@pytest.mark.parametrize("name", GUARDED)
def test_who_may_call_is_who_the_document_says(orderly: Tenant, orderly_things: Things, name: str) -> None:
    """Every scope and every role that it does not name is refused, and no other."""
    method, path, operation = GUARDED[name]
    target = re.sub(r"\{(\w+)\}", lambda part: orderly_things.parts(path).get(part[1], "0"), path)
    if path.startswith("/log/"):
        target = Command.parse(operation["x-codeSamples"][0]["source"]).target.replace(ACCOUNT, orderly.name)
    scope, role = Scope(operation["x-scopes"][0]), Role(operation["x-roles"][0])
    for one, is_named in [
        *(((other, role), other in operation["x-scopes"]) for other in Scope),
        *(((scope, other), other in operation["x-roles"]) for other in Role),
    ]:
        answer = orderly.server.call(method, target, orderly.token(*one), headers={"Content-Type": "text/plain"})
        if is_named:
            assert answer.status != 403 or "others" in answer.json["detail"], (one, answer.body)
        else:
            problem(answer, 403)


@pytest.mark.parametrize("path", [ACTIONS, TOKEN_USES])
def test_whatever_the_document_forbids_is_refused_as_it_says(caller: Tenant, api: Any, path: str) -> None:
    """Events that break the document's rules: 4xx, each with the documented form; none is taken."""
    text = caller.token()

    @hypothesis.seed(SEED)
    @hypothesis.given(case=api[path]["POST"].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    @MANY
    def call(case: Any) -> None:
        case.call_and_validate(headers={"Authorization": f"Bearer {text}"}, checks=[*CHECKS, forbidden_data_is_refused])

    call()


def test_what_was_made_up_left_the_store_sound(caller: Tenant) -> None:
    """After all of it, in the order of this file: the check finds nothing."""
    assert caller.size() > 100
    assert caller.check() == []
