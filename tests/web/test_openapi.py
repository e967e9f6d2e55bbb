"""The OpenAPI document: that it has all there is, and that its examples are what it says."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from tests.building import NOW_MS

from whodid.bundle.lines import render_proof
from whodid.checkpoint import Checkpoint
from whodid.config import load_settings
from whodid.errors import InvalidParameter
from whodid.merkle import hash_node
from whodid.notes import Note, Verifier
from whodid.proofs import check_consistency
from whodid.query.compatible import parse_compatible, parse_paged
from whodid.query.pages import parse_activity, parse_export, parse_feed, parse_search, parse_summary
from whodid.query.parameters import Parameters
from whodid.records import Kind
from whodid.service import start_service
from whodid.verify.proof import verify_proof, verify_proof_file
from whodid.verify.steps import Verdict
from whodid.verify.trust import Trust
from whodid.web.app import MOVED, build_app
from whodid.web.openapi import openapi_document
from whodid.web.openapi.evidence import GROWTH, PROOF
from whodid.web.openapi.examples import ACCOUNT, TOKEN_ID
from whodid.web.openapi.problems import EXAMPLES, SAYS

DOCUMENT = json.loads(openapi_document())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}

PARSERS: dict[str, Callable[[Parameters], object]] = {
    "search": lambda given: parse_search(given, NOW_MS, ACCOUNT),
    "follow": lambda given: parse_feed(given, NOW_MS, ACCOUNT),
    "summarize": lambda given: parse_summary(given, NOW_MS),
    "export": lambda given: parse_export(given, NOW_MS, ACCOUNT),
    "token_activity": lambda given: parse_activity(given, ACCOUNT, TOKEN_ID),
    "read_actions": lambda given: parse_compatible(given, Kind.ACTION, NOW_MS),
    "read_token_uses": lambda given: parse_compatible(given, Kind.TOKEN, NOW_MS),
    "page_actions": lambda given: parse_paged(given, Kind.ACTION, NOW_MS),
    "page_token_uses": lambda given: parse_paged(given, Kind.TOKEN, NOW_MS),
}
"""What takes the parameters of an operation apart."""

NEEDS = {"start_time": ("start_date", "2026-07-01"), "end_time": ("end_date", "2026-07-31")}
"""Parameters that stand for nothing without another one."""


def resolved(piece: dict[str, Any]) -> dict[str, Any]:
    """The piece of the document, or that which it refers to."""
    found: Any = DOCUMENT
    for step in piece.get("$ref", "").split("/")[1:]:
        found = found[step]
    return piece if found is DOCUMENT else found


def parameters_of(operation: dict[str, Any], place: str = "query") -> list[dict[str, Any]]:
    """The parameters that an operation has there."""
    every = [resolved(one) for one in operation.get("parameters", ())]
    return [one for one in every if one["in"] == place]


def examples_of(piece: dict[str, Any]) -> list[Any]:
    """The examples of a parameter, or of one form of a body."""
    several = [resolved(one)["value"] for one in piece.get("examples", {}).values()]
    return [*several, piece["example"]] if "example" in piece else several


def contents_of(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that is sent or answered, with its media type."""
    for piece in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from piece.get("content", {}).items()


def check(schema: dict[str, Any], value: Any) -> None:
    """Hold a value against a schema of the document."""
    whole = schema | {"components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


@pytest.fixture
def routes(tmp_path: Path) -> dict[str, set[str]]:
    """The application's routes, and the methods of each."""

    async def walk() -> dict[str, set[str]]:
        settings = load_settings({"store": f"sqlite:///{tmp_path / 'whodid.db'}"}, environ={})
        service = await start_service(settings)
        try:
            pages: Any = build_app(service)._app  # type: ignore[attr-defined]
            every = [*pages._pages.values(), *(page for _, page in pages._patterns)]
            return {page.route: set(page._handlers) - {"HEAD"} for page in every if page.route not in MOVED}
        finally:
            await service.close()

    return asyncio.run(walk())


def test_the_document_has_every_route_of_the_application_and_no_other(routes: dict[str, set[str]]) -> None:
    """With its methods. One route leads to full and to partial tiles, which the document tells apart."""
    documented: dict[str, set[str]] = {}
    for method, path, _ in OPERATIONS.values():
        documented.setdefault(path.removesuffix(".p/{width}"), set()).add(method)
    assert documented == routes


def test_every_operation_says_all_that_it_should() -> None:
    """A summary, a group that there is, a sample, answers; what takes a token, who may call and what may go wrong."""
    groups = {tag["name"] for tag in DOCUMENT["tags"]}
    assert groups == {operation["tags"][0] for _, _, operation in OPERATIONS.values()}
    for method, path, operation in OPERATIONS.values():
        assert operation["summary"].endswith(".")
        assert operation["x-codeSamples"][0]["source"].startswith("curl ")
        assert {one["name"] for one in parameters_of(operation, "path")} == set(re.findall(r"\{(\w+)\}", path))
        assert operation["responses"].keys() & {"200", "201"}
        if path.startswith(("/api/", "/log/")):
            assert operation["security"] == [{"token": []}]
            assert operation["x-scopes"]
            assert operation["x-roles"]
            assert operation["responses"].keys() >= {"400", "401", "403", "429", "503"}
        if "requestBody" in operation:
            assert method != "GET"
            assert operation["responses"].keys() >= {"413", "415"}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_example_is_what_its_schema_says(name: str) -> None:
    """Of parameters, bodies, answers and problems; and each of JSON there has one, but for the document itself."""
    _, path, operation = OPERATIONS[name]
    for place in ("query", "path", "header"):
        for parameter in parameters_of(operation, place):
            for example in examples_of(parameter):
                check(parameter["schema"], example)
    for media_type, content in contents_of(operation):
        if media_type.endswith("json"):
            assert examples_of(content) or path == "/openapi.json"
            for example in examples_of(content):
                check(content["schema"], example)


def test_every_problem_is_told_of_as_the_server_tells_it() -> None:
    """Each has an example of its code and its status; and the document says what each means."""
    assert [type(example) for example in EXAMPLES] == sorted({type(one) for one in EXAMPLES}, key=list(SAYS).index)
    for name, (_, _, operation) in OPERATIONS.items():
        for status, reply in operation["responses"].items():
            for media_type, content in reply.get("content", {}).items():
                assert (media_type == "application/problem+json") == (status >= "300"), name
                if status >= "300":
                    assert {str(example["status"]) for example in examples_of(content)} == {status}


def test_examples_of_lines_are_records() -> None:
    """Streams and files of them too are what the document says of records."""
    for name, schema in (("follow", "Numbered"), ("export", "Numbered"), ("record_actions", "NewAction")):
        lines = [content for kind, content in contents_of(OPERATIONS[name][2]) if kind == "application/x-ndjson"]
        records = [json.loads(line) for line in lines[0]["example"].splitlines()]
        assert len(records) == 2
        for record in records:
            check({"$ref": f"#/components/schemas/{schema}"}, record)


@pytest.mark.parametrize("name", PARSERS)
def test_the_parameters_are_those_that_are_taken(name: str) -> None:
    """All that the call knows, and no other: it names them itself where one is not known."""
    with pytest.raises(InvalidParameter) as refused:
        PARSERS[name]([("no-such", "x")])
    known = refused.value.message.partition("there are ")[2].split(", ")
    assert {one["name"] for one in parameters_of(OPERATIONS[name][2])} == set(known)


@pytest.mark.parametrize("name", PARSERS)
def test_the_examples_of_parameters_are_taken(name: str) -> None:
    """Each by itself; with what it needs, where it needs another one."""
    for parameter in parameters_of(OPERATIONS[name][2]):
        for example in examples_of(parameter):
            values = example if isinstance(example, list) else [example]
            given = [(parameter["name"], str(value)) for value in values]
            more = [NEEDS[parameter["name"]]] if parameter["name"] in NEEDS else []
            PARSERS[name]([*given, *more])


def test_the_examples_of_proofs_hold() -> None:
    """In all their forms; so whoever tries a verifier on it is not led astray."""
    assert isinstance(PROOF.key, str)
    trust = Trust((Verifier.parse(PROOF.key),))
    assert verify_proof(render_proof(PROOF), trust).verdict == Verdict.VERIFIED
    root = Checkpoint.parse(Note.parse(PROOF.checkpoint).text).root
    first_four, fifth = GROWTH.proof[3], GROWTH.proof[0]
    check_consistency(5, 8, hash_node(first_four, fifth), root, GROWTH.proof)
    text = OPERATIONS["prove_record"][2]["responses"]["200"]["content"]["text/plain"]["example"]
    assert verify_proof_file(text.encode(), PROOF.record.encode(), PROOF.salt, trust).verdict == Verdict.VERIFIED


def test_a_public_log_needs_no_token_in_the_document() -> None:
    """For checkpoints and tiles, and for nothing else; and then nobody is refused one."""
    paths = json.loads(openapi_document(public_log=True))["paths"]
    opened = {
        operation["operationId"]
        for path, methods in paths.items()
        for method, operation in methods.items()
        if operation != DOCUMENT["paths"][path][method]
    }
    assert opened == {"read_checkpoint", "read_tile", "read_partial_tile"}
    for name in opened:
        operation = paths[OPERATIONS[name][1]]["get"]
        assert not operation.keys() & {"security", "x-scopes", "x-roles"}
        assert not operation["responses"].keys() & {"401", "403", "429"}
        assert "WHODID_TOKEN" not in operation["x-codeSamples"][0]["source"]
