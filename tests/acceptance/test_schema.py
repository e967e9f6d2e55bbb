"""Schemathesis: calls made up from the server's own OpenAPI document, and answers held against it."""

from collections.abc import Iterator
from typing import Any

import hypothesis
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
from tests.acceptance.running import ACTIONS, TOKEN_USES, Running, Tenant, tenant_of
from tests.building import USER_ID, action


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
