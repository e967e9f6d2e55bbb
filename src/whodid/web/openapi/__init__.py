"""The OpenAPI document, generated from the very types that validate, so that it can't say anything else.

A module for each group of calls says what there is; ``describing`` is what they say it with.
"""

from typing import Any

import msgspec

from whodid import __version__
from whodid.errors import Fault
from whodid.records import Action, Change, TokenUse
from whodid.web.openapi import compatible, evidence, filtering, following, identity, searching, server
from whodid.web.openapi.describing import SCHEMAS, Call, Described, fields
from whodid.web.openapi.problems import problem_examples

__all__ = ["openapi_document"]

_GROUPS = (
    searching.GROUP,
    following.GROUP,
    compatible.RECORDING,
    compatible.READING,
    identity.GROUP,
    evidence.GROUP,
    server.GROUP,
)

_SAYS = """An audit log: who did what, and which access token was used for what.

Every call takes an access token, as `Authorization: Bearer <token>`, unless it says that it is open to everyone. A
token belongs to a user of one account, has one scope, and shows that account's log, never another's. Every call with a
valid token is recorded in the log before it is answered.

Errors are `application/problem+json` (RFC 9457): `code` is for programs and never changes, `detail` says what would be
right. A parameter or field that is not known is an error: a typing slip must not widen an answer.

The samples take `WHODID_URL`, like `http://127.0.0.1:8600`, and `WHODID_TOKEN` from the environment. Their account is
`org-acme-acc0`, that of `whodid demo`. Ids in them are nobody's: put in one of yours."""


def openapi_document(*, public_log: bool = False) -> bytes:
    """The document, as JSON; ``public_log`` as in the settings."""
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Whodid",
                "version": __version__,
                "summary": "An audit log: who did what, and which access token was used for what.",
                "description": _SAYS,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "tags": [{"name": group.name, "description": group.says} for group in _GROUPS],
            "paths": {
                path: {method: call.described() for method, call in methods.items()}
                for path, methods in _calls(public=public_log).items()
            },
            "components": {
                "schemas": _schemas(),
                "parameters": filtering.components(),
                "x-filters": filtering.FILTERS_SAY,
                "headers": _headers(),
                "examples": problem_examples(),
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "An access token, as 'whodid token create' or POST /api/v2/tokens makes it.",
                    }
                },
            },
        }
    )


def _calls(*, public: bool) -> dict[str, dict[str, Call]]:
    return {
        **searching.calls(),
        **following.calls(),
        **compatible.calls(),
        **identity.calls(),
        **evidence.calls(public=public),
        **server.calls(),
    }


def _schemas() -> Described:
    structs = [Action, TokenUse, Change, Fault, *identity.STRUCTS, *evidence.STRUCTS]
    _, components = msgspec.json.schema_components(structs, ref_template=SCHEMAS + "{name}")
    return {
        **components,
        **compatible.schemas(components),
        **searching.schemas(),
        **following.schemas(),
        "Problem": _problem(),
    }


def _problem() -> Described:
    problem = fields(
        status={"type": "integer", "description": "The HTTP status."},
        title={"type": "string", "description": "The name of that status."},
        detail={"type": "string", "description": "For people: what was wrong, where, and what would be right."},
        code={"type": "string", "description": "For programs; never changes."},
    )
    faults = {"type": "array", "items": {"$ref": f"{SCHEMAS}Fault"}, "description": "What is wrong with which event."}
    problem["properties"]["errors"] = faults
    return problem


def _headers() -> Described:
    def text(says: str) -> dict[str, Any]:
        return {"description": says, "schema": {"type": "string"}}

    def number(says: str) -> dict[str, Any]:
        return {"description": says, "schema": {"type": "integer", "minimum": 0}}

    limited = "Where the server has a rate limit:"
    return {
        "Link": text('Where there is more: the next page, as a relative URL, with rel="next" (RFC 8288).'),
        "Vary": text("Accept"),
        "Cache-Control": text("Tiles never change."),
        "Retry-After": number("After how many seconds to try again."),
        "X-RateLimit-Limit": number(f"{limited} how many calls a minute a token is granted."),
        "X-RateLimit-Remaining": number(f"{limited} how many of them are left now."),
        "X-RateLimit-Reset": number(f"{limited} after how many seconds all of them are there again."),
    }
