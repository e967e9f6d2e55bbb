"""Describing: what the descriptions of operations are put together of: parameters, replies, problems, samples."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgspec

from whodid.auth import Operation
from whodid.records import pattern_of
from whodid.web.openapi.problems import GUARDED, SAYS, responses

JSON: Final = "application/json"
SCHEMAS: Final = "#/components/schemas/"
HEADERS: Final = "#/components/headers/"

Described: TypeAlias = dict[str, Any]
"""A piece of the document."""


@dataclass(frozen=True, slots=True)
class Group:
    """Operations that belong together."""

    name: str
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A call as somebody makes it, who has ``WHODID_URL`` and ``WHODID_TOKEN``."""

    path: str
    query: tuple[str, ...] = ()
    """Parameters, like ``limit=10``, as they are before they are encoded."""
    method: str = "GET"
    body: Any = None
    more: tuple[str, ...] = ()
    """Further options of curl."""

    def curl(self, *, token: bool) -> str:
        """The call as a command, of a line or several."""
        plain = "GET" if self.body is None else "POST"
        how = "-G " if self.query else "" if self.method == plain else f"-X {self.method} "
        lines = [f'curl {how}"$WHODID_URL{self.path}"']
        if token:
            lines.append('-H "Authorization: Bearer $WHODID_TOKEN"')
        if self.query:
            lines += [f"--data-urlencode {shlex.quote(one)}" for one in self.query]
        if self.body is not None:
            lines += [f"-H 'Content-Type: {JSON}'", f"-d {shlex.quote(msgspec.json.encode(self.body).decode())}"]
        return " \\\n  ".join([*lines, *self.more])


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An operation of the API, in all that is said about it."""

    name: str
    group: Group
    summary: str
    says: str = ""
    by: Operation | None = None
    """Whom it is open to; None: everyone."""
    parameters: Sequence[Described] = ()
    body: Described | None = None
    replies: Mapping[str, Described]
    problems: Sequence[type[Exception]] = ()
    """The errors that it may end with, beside those that every call with a token may."""
    sample: Sample
    headers: Sequence[str] = field(default=())
    """Of ``components/headers``, those that its replies have."""

    def described(self) -> Described:
        """The operation, for the document."""
        guarded = self.by is not None
        problems = [one for one in SAYS if one in {*self.problems, *(GUARDED if guarded else ())}]
        limits = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset") if guarded else ()
        headers = {name: {"$ref": HEADERS + name} for name in (*self.headers, *limits)}
        made: Described = {"operationId": self.name, "tags": [self.group.name], "summary": self.summary}
        if says := "\n\n".join(filter(None, (self.says, _who(self.by)))):
            made["description"] = says
        if self.by is not None:
            made |= {
                "security": [{"token": []}],
                "x-scopes": _sorted(self.by.scopes),
                "x-roles": _sorted(self.by.roles),
            }
        if self.parameters:
            made["parameters"] = list(self.parameters)
        if self.body is not None:
            made["requestBody"] = self.body
        made["responses"] = {status: _with_headers(reply, headers) for status, reply in self.replies.items()}
        made["responses"] |= responses(problems)
        made["x-codeSamples"] = [{"lang": "curl", "source": self.sample.curl(token=guarded)}]
        return made


def _who(by: Operation | None) -> str:
    if by is None:
        return ""
    return f"Scopes: {', '.join(_sorted(by.scopes))}. Roles: {', '.join(_sorted(by.roles))}."


def _sorted(names: frozenset[Any]) -> list[str]:
    return sorted(str(name.value) for name in names)


def _with_headers(reply: Described, headers: Described) -> Described:
    together = {**reply.get("headers", {}), **headers}
    return reply | {"headers": together} if together else reply


def parameter(name: str, says: str, schema: Described, example: Any = None) -> Described:
    """A parameter in the query."""
    made = {"name": name, "in": "query", "required": False, "description": says, "schema": schema}
    return made if example is None else made | {"example": example}


def repeated(name: str, says: str, item: Described, example: Sequence[str], *, most: int) -> Described:
    """A parameter in the query that may be there several times."""
    schema = {"type": "array", "items": item, "maxItems": most}
    return parameter(name, says, schema, list(example)) | {"style": "form", "explode": True}


def part(name: str, says: str, schema: Described, example: Any) -> Described:
    """A variable part of the path."""
    made = {"name": name, "in": "path", "required": True, "description": says, "schema": schema}
    return made | {"example": example}


def header(name: str, says: str, schema: Described, example: str) -> Described:
    """A header of the request."""
    made = {"name": name, "in": "header", "required": False, "description": says, "schema": schema}
    return made | {"example": example}


def whole(least: int, most: int, otherwise: int | None = None) -> Described:
    """The schema of a whole number within limits, with what it is where it is not given."""
    made: Described = {"type": "integer", "minimum": least, "maximum": most}
    return made if otherwise is None else made | {"default": otherwise}


def choice(names: Sequence[str], otherwise: str | None = None) -> Described:
    """The schema of one of these names."""
    made: Described = {"type": "string", "enum": list(names)}
    return made if otherwise is None else made | {"default": otherwise}


def pattern(rule: Any) -> Described:
    """The schema of strings of a type that has a pattern."""
    compiled = pattern_of(rule)
    assert compiled is not None
    return {"type": "string", "pattern": f"^{compiled.pattern}$"}


def json_reply(says: str, schema: str, example: Any) -> Described:
    """A reply of JSON, after one of the document's schemas."""
    content = {"schema": {"$ref": SCHEMAS + schema}, "example": msgspec.to_builtins(example)}
    return {"description": says, "content": {JSON: content}}


def json_body(schema: Described, examples: Mapping[str, tuple[str, Any]], *, required: bool = True) -> Described:
    """A body of JSON; ``examples`` have a summary each."""
    shown = {
        name: {"summary": summary, "value": msgspec.to_builtins(value)} for name, (summary, value) in examples.items()
    }
    return {"required": required, "content": {JSON: {"schema": schema, "examples": shown}}}


def fields(**properties: Any) -> Described:
    """The schema of an object that has all of these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}
