"""The OpenAPI document, generated from the very types that validate, so that it can't say anything else."""

from typing import Any

import msgspec

from whodid import __version__
from whodid.errors import Fault
from whodid.ingest import MAX_BODY_BYTES, MAX_EVENTS
from whodid.query import MOST_RECORDS
from whodid.records import MAX_EVENT_BYTES, NAME_PATTERN, Action, Body, Change, TokenUse

_SCHEMAS = "#/components/schemas/"


def openapi_document() -> bytes:
    """The document, as JSON."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Whodid",
                "version": __version__,
                "summary": "An audit log: who did what, and which access token was used for what.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": _paths(),
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


def _paths() -> dict[str, Any]:
    return {
        "/api/v1/logs/user/actions": {
            "get": _reading("actions", "Action", "type", "the area that a record is from"),
            "post": _recording("actions", "Action"),
        },
        "/api/v1/logs/user/tokens": {
            "get": _reading("token uses", "TokenUse", "scope", "the scope of the token that was used"),
            "post": _recording("token uses", "TokenUse"),
        },
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
        "description": "Scopes: api, security-logs. Roles: administrator, power_user.",
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
            "Scopes: api, logs-write. Roles: administrator, power_user, service. "
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
    409: "An event has the _id of a recorded one, but other content; nothing was stored.",
    413: "Too large; nothing was stored.",
    415: "The content type or encoding is not taken.",
    422: "Events are not valid; errors lists every fault, and nothing was stored.",
    503: "Not now; nothing was stored. Try again after Retry-After seconds.",
}


def _problems(*statuses: int) -> dict[str, Any]:
    content = {"application/problem+json": {"schema": {"$ref": _SCHEMAS + "Problem"}}}
    return {str(status): {"description": _PROBLEMS[status], "content": content} for status in statuses}


def _schemas() -> dict[str, Any]:
    _, components = msgspec.json.schema_components([Action, TokenUse, Change, Fault], ref_template=_SCHEMAS + "{name}")
    made: dict[str, Any] = {
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
