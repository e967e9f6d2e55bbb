"""The OpenAPI document, generated from the very types that validate, so that it can't say anything else."""

from typing import Any

import msgspec

from whodid import __version__
from whodid.auth import READ_EVIDENCE, READ_LOG, RECORD, Operation
from whodid.bundle.lines import SingleProof
from whodid.errors import Fault
from whodid.ingest import MAX_BODY_BYTES, MAX_EVENTS
from whodid.query import MOST_RECORDS
from whodid.records import MAX_EVENT_BYTES, NAME_PATTERN, Action, Body, Change, Id, TokenUse, pattern_of
from whodid.web.evidence import SALT_HEADER, Growth

_SCHEMAS = "#/components/schemas/"


def openapi_document(*, public_log: bool = False) -> bytes:
    """The document, as JSON; ``public_log`` as in the settings."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Whodid",
                "version": __version__,
                "summary": "An audit log: who did what, and which access token was used for what.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": {**_record_paths(), **_proof_paths(), **_log_paths(public=public_log), **_server_paths()},
            "components": {
                "schemas": _schemas(),
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An access token, as 'whodid token create' makes it.",
                    }
                },
            },
        }
    )


def _record_paths() -> dict[str, Any]:
    return {
        "/api/v1/logs/user/actions": {
            "get": _reading("actions", "Action", "type", "the area that a record is from"),
            "post": _recording("actions", "Action"),
        },
        "/api/v1/logs/user/tokens": {
            "get": _reading("token uses", "TokenUse", "scope", "the scope of the token that was used"),
            "post": _recording("token uses", "TokenUse"),
        },
    }


def _proof_paths() -> dict[str, Any]:
    proof = {
        "operationId": "prove_record",
        "summary": "That a record is in the account's log: a proof file, or all that it takes as JSON.",
        "description": _who(READ_EVIDENCE),
        "security": [{"token": []}],
        "parameters": [_part("_id", "The record's _id.", _pattern(Id))],
        "responses": {"200": _proof_answer(), **_problems(400, 401, 403, 404, 406, 500, 503)},
    }
    size = {"type": "integer", "minimum": 0, "maximum": 10**19 - 1}
    consistency = {
        "operationId": "prove_consistency",
        "summary": "That the log of one size begins with the log of another one: that it only grew.",
        "description": _who(READ_EVIDENCE),
        "security": [{"token": []}],
        "parameters": [
            _parameter("from", "The smaller size, in entries.", size, None) | {"required": True},
            _parameter("to", "The larger size. Without it: that of the newest checkpoint.", size, None),
        ],
        "responses": {"200": _json("The proof.", "Growth"), **_problems(400, 401, 403, 500, 503)},
    }
    return {"/api/v2/logs/{_id}/proof": {"get": proof}, "/api/v2/log/consistency": {"get": consistency}}


def _proof_answer() -> dict[str, Any]:
    return {
        "description": "The proof, in the form that Accept prefers; without preference as text.",
        "headers": {
            SALT_HEADER: {"description": "With text: the entry's salt, base64.", "schema": {"type": "string"}},
            "Vary": {"description": "Accept", "schema": {"type": "string"}},
        },
        "content": {
            "text/plain": {"schema": {"type": "string", "description": "A file as c2sp.org/tlog-proof has it."}},
            "application/json": {"schema": {"$ref": _SCHEMAS + SingleProof.__name__}},
        },
    }


def _log_paths(*, public: bool) -> dict[str, Any]:
    level = _part(
        "level",
        "From 0, where hashes are of leaves, to 63; or entries.",
        {"type": "string", "pattern": "^(entries|[0-9]|[1-5][0-9]|6[0-3])$"},
    )
    number = _part(
        "number",
        "The tile's number in groups of three digits, all but the last with x in front: 1234067 is x001/x234/067. "
        "The slashes are the path's: they are not encoded.",
        {"type": "string", "pattern": "^(x[0-9]{3}/){0,6}[0-9]{3}$"},
    )
    width = _part("width", "How many hashes or entries.", {"type": "integer", "minimum": 1, "maximum": 255})
    tile = "/log/{account}/tile/{level}/{number}"
    checkpoint = {"text/plain": {"schema": {"type": "string", "description": "A signed note."}}}
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {
        "/log/{account}/checkpoint": _of_log(
            "read_checkpoint", "The newest published checkpoint of a log.", [], checkpoint, public=public
        ),
        tile: _of_log("read_tile", "A full tile of a log.", [level, number], content, public=public),
        tile + ".p/{width}": _of_log(
            "read_partial_tile", "The beginning of a tile.", [level, number, width], content, public=public
        ),
    }


def _of_log(
    operation: str, says: str, parts: list[dict[str, Any]], content: dict[str, Any], *, public: bool
) -> dict[str, Any]:
    account = _part("account", "The account's name.", {"type": "string", "pattern": NAME_PATTERN})
    cached = {"description": "Tiles never change.", "schema": {"type": "string"}}
    made: dict[str, Any] = {
        "operationId": operation,
        "summary": says,
        "parameters": [account, *parts],
        "responses": {
            "200": {"description": says, "headers": {"Cache-Control": cached}, "content": content},
            **_problems(400, *(() if public else (401, 403)), 404, 500, 503),
        },
    }
    if not public:
        made |= {"description": f"Of the token's own account. {_who(READ_EVIDENCE)}", "security": [{"token": []}]}
    return {"get": made}


def _server_paths() -> dict[str, Any]:
    return {
        "/health": {"get": _plain("health", "The process runs.", {})},
        "/ready": {"get": _plain("ready", "The server takes appends.", _problems(503))},
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics for Prometheus.",
                "responses": {
                    "200": {
                        "description": "Metrics.",
                        "content": {"text/plain": {"schema": {"type": "string"}}},
                    }
                },
            }
        },
        "/openapi.json": {"get": _plain("openapi", "This document.", {})},
    }


def _reading(what: str, model: str, key: str, says: str) -> dict[str, Any]:
    parameters = [
        _parameter(
            "date",
            "That UTC day. Not together with timescale.",
            {"type": "string", "format": "date"},
            "2021-07-30",
        ),
        _parameter(
            "timescale",
            "Since that long ago. Without date and timescale: the last 7 days.",
            {"type": "string", "pattern": "^[1-9][0-9]{0,8}[smhdw]$"},
            "3d",
        ),
        _parameter(key, f"Only records with this {key}: {says}.", {"type": "string", "pattern": NAME_PATTERN}, None),
        _parameter(
            "count",
            f"At most so many records; more than {MOST_RECORDS} is taken as {MOST_RECORDS}.",
            {"type": "integer", "minimum": 1, "default": MOST_RECORDS},
            None,
        ),
    ]
    return {
        "operationId": f"read {what}".replace(" ", "_"),
        "summary": f"The newest {what} of the token's account, newest first.",
        "description": _who(READ_LOG),
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {
            "200": _json(f"The {what}.", f"{model}Page"),
            **_problems(400, 401, 403, 503),
        },
    }


def _recording(what: str, model: str) -> dict[str, Any]:
    event = {"$ref": f"{_SCHEMAS}New{model}"}
    several = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS}
    return {
        "operationId": f"record {what}".replace(" ", "_"),
        "summary": f"Record {what}: one, or several, all of them or none.",
        "description": (
            f"{_who(RECORD)} "
            f"At most {MAX_EVENTS} events, {MAX_BODY_BYTES >> 20} MiB, {MAX_EVENT_BYTES >> 10} KiB an event; "
            "the body may be gzipped. An event with an _id of its own is recorded once, however often it is sent."
        ),
        "security": [{"token": []}],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"anyOf": [event, several]}},
                "application/x-ndjson": {"schema": {"type": "string", "description": "One object a line."}},
            },
        },
        "responses": {
            "200": _json("All events were recorded before; nothing was stored.", "Receipt"),
            "201": _json("Recorded, durably.", "Receipt"),
            **_problems(400, 401, 403, 409, 413, 415, 422, 503),
        },
    }


def _parameter(name: str, says: str, schema: dict[str, Any], example: str | None) -> dict[str, Any]:
    made = {"name": name, "in": "query", "required": False, "description": says, "schema": schema}
    return made if example is None else made | {"example": example}


def _part(name: str, says: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": says, "schema": schema}


def _pattern(rule: Any) -> dict[str, Any]:
    pattern = pattern_of(rule)
    assert pattern is not None
    return {"type": "string", "pattern": f"^{pattern.pattern}$"}


def _who(operation: Operation) -> str:
    """Whom an operation is open to."""
    return f"Scopes: {', '.join(sorted(operation.scopes))}. Roles: {', '.join(sorted(operation.roles))}."


def _plain(operation: str, says: str, problems: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": operation,
        "summary": says,
        "responses": {"200": {"description": says, "content": content}, **problems},
    }


def _json(says: str, schema: str) -> dict[str, Any]:
    return {"description": says, "content": {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}}


_PROBLEMS = {
    400: "The request is malformed; it says what would be right.",
    401: "No valid token.",
    403: "The token's scope or its owner's role does not allow this.",
    404: "There is no such record, tile or log; or it is not that of the token's account.",
    406: "Accept takes no form that the answer has.",
    409: "An event has the _id of a recorded one, but other content; nothing was stored.",
    413: "Too large; nothing was stored.",
    415: "The content type or encoding is not taken.",
    422: "Events are not valid; errors lists every fault, and nothing was stored.",
    500: "A fault of the server, or its store contradicts what was signed; its log tells more.",
    503: "Not now; nothing was stored. Try again after Retry-After seconds.",
}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses}


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components(
        [Action, TokenUse, Change, Fault, SingleProof, Growth], ref_template=_SCHEMAS + "{name}"
    )
    made: dict[str, Any] = {
        "SingleProof": components["SingleProof"],
        "Growth": components["Growth"],
        "Change": components["Change"],
        "Fault": components["Fault"],
        "Problem": _problem(),
    }
    models: tuple[type[Body], ...] = (Action, TokenUse)
    for model in models:
        name = model.__name__
        made[f"New{name}"] = components[name]
        made[name] = components[name] | {"required": list(model.ALWAYS), "title": name}
        made[f"{name}Page"] = _object(
            count={"type": "integer", "description": "How many records are in data."},
            data={"type": "array", "items": {"$ref": _SCHEMAS + name}, "maxItems": MOST_RECORDS},
        )
    place = _object(_id={"type": "string"}, seq={"type": "integer", "description": "Its number in the account's log."})
    made["Receipt"] = _object(
        count={"type": "integer", "description": "How many events are in data."},
        duplicates={"type": "integer", "description": "How many of them were recorded before."},
        data={"type": "array", "items": place, "description": "The request's events, in its order."},
    )
    return made


def _problem() -> dict[str, Any]:
    problem = _object(
        status={"type": "integer"},
        title={"type": "string"},
        detail={"type": "string"},
        code={"type": "string"},
    )
    problem["properties"]["errors"] = {"type": "array", "items": {"$ref": _SCHEMAS + "Fault"}}
    return problem


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}
