"""Reference: what the page of the API shows, taken out of the OpenAPI document, and nothing but that."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

Document = Mapping[str, Any]

_SCHEMAS: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is, in words; ``schema`` is the schema whose name stands behind them."""

    text: str
    schema: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """A parameter, or a field of a schema."""

    name: str
    place: str
    """Where a parameter is: query, path or header; nothing for a field."""
    required: bool
    kind: Kind
    says: str
    examples: Sequence[str]


@dataclass(frozen=True, slots=True)
class Content:
    """What is sent or answered, in one form of it."""

    media_type: str
    schema: str | None
    example: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back, with one status."""

    status: str
    says: str
    contents: Sequence[Content]
    codes: Sequence[str]
    """Of a problem, the codes that it may have."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation."""

    name: str
    method: str
    path: str
    summary: str
    says: str
    scopes: Sequence[str]
    roles: Sequence[str]
    parameters: Sequence[Row]
    """Its own."""
    shared: Sequence[str]
    """The names of those that it has in common with other calls."""
    body: Sequence[Content]
    replies: Sequence[Reply]
    problems: Sequence[Reply]
    sample: str


@dataclass(frozen=True, slots=True)
class Chapter:
    """Operations that belong together."""

    name: str
    says: str
    entries: Sequence[Entry]

    @property
    def anchor(self) -> str:
        """What a link to it has behind the ``#``."""
        return f"group-{self.name.lower().replace(' ', '-')}"


@dataclass(frozen=True, slots=True)
class Schema:
    """What the document has a schema of: fields, or one of several schemas."""

    name: str
    says: str
    rows: Sequence[Row]
    kinds: Sequence[Kind]


@dataclass(frozen=True, slots=True)
class Shared:
    """Parameters that several calls have in common."""

    says: str
    rows: Sequence[Row]


def chapters(document: Document) -> list[Chapter]:
    """All operations, in the order of the document."""
    entries = list(_entries(document))
    return [
        Chapter(tag["name"], tag["description"], [entry for group, entry in entries if group == tag["name"]])
        for tag in document["tags"]
    ]


def shared(document: Document) -> Shared:
    """The parameters that several calls have in common."""
    components = document["components"]
    return Shared(components["x-filters"], [_parameter(one) for one in components["parameters"].values()])


def schemas(document: Document) -> list[Schema]:
    """All schemas, by name."""
    every = document["components"]["schemas"]
    return [_schema(name, every[name]) for name in sorted(every)]


def _entries(document: Document) -> Iterator[tuple[str, Entry]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield operation["tags"][0], _entry(document, path, method, operation)


def _entry(document: Document, path: str, method: str, operation: Document) -> Entry:
    replies = [_reply(document, status, reply) for status, reply in operation["responses"].items()]
    contents = operation.get("requestBody", {}).get("content", {})
    parameters = operation.get("parameters", ())
    return Entry(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        says=_told(document, operation),
        scopes=operation.get("x-scopes", ()),
        roles=operation.get("x-roles", ()),
        parameters=[_parameter(one) for one in parameters if "$ref" not in one],
        shared=[one["$ref"].rpartition("/")[2] for one in parameters if "$ref" in one],
        body=[_content(document, media_type, content) for media_type, content in contents.items()],
        replies=[reply for reply in replies if reply.status < "300"],
        problems=[reply for reply in replies if reply.status >= "300"],
        sample=operation["x-codeSamples"][0]["source"],
    )


def _told(document: Document, operation: Document) -> str:
    """What is said of an operation, but for who may call, and what is said of all shared parameters."""
    paragraphs = operation.get("description", "").split("\n\n")
    common = document["components"]["x-filters"]
    return "\n\n".join(one for one in paragraphs if one != common and not one.startswith("Scopes: "))


def _resolved(document: Document, piece: Document) -> Document:
    """The piece of the document, or that which it refers to."""
    found: Any = document
    for step in piece.get("$ref", "").split("/")[1:]:
        found = found[step]
    return piece if found is document else found


def _parameter(parameter: Document) -> Row:
    schema = parameter["schema"]
    examples = [one["value"] for one in parameter.get("examples", {}).values()]
    if "example" in parameter:
        given = parameter["example"]
        examples = given if isinstance(given, list) else [given]
    return Row(
        name=parameter["name"],
        place=parameter["in"],
        required=parameter["required"],
        kind=Kind(f"{_kind(schema['items']).text}; may be repeated")
        if schema.get("type") == "array"
        else _kind(schema),
        says=parameter["description"],
        examples=[str(one) for one in examples],
    )


def _reply(document: Document, status: str, reply: Document) -> Reply:
    contents = reply.get("content", {})
    return Reply(
        status=status,
        says=reply["description"],
        contents=[_content(document, media_type, content) for media_type, content in contents.items()],
        codes=[code for content in contents.values() for code in content.get("examples", {})],
    )


def _content(document: Document, media_type: str, content: Document) -> Content:
    examples = [_resolved(document, one)["value"] for one in content.get("examples", {}).values()]
    example = content.get("example", examples[0] if examples else None)
    if example is not None and not isinstance(example, str):
        example = json.dumps(example, indent=2, ensure_ascii=False)
    schema = content["schema"]
    kinds = [_kind(one) for one in (schema, *schema.get("anyOf", ()))]
    return Content(media_type, next((kind.schema for kind in kinds if kind.schema), None), example)


def _schema(name: str, schema: Document) -> Schema:
    required = schema.get("required", ())
    rows = [
        Row(field, "", field in required, _kind(one), _says_of(one), [str(given) for given in one.get("examples", ())])
        for field, one in schema.get("properties", {}).items()
    ]
    kinds = [] if "properties" in schema else [_kind(one) for one in schema.get("anyOf", (schema,))]
    return Schema(name, schema.get("description", ""), rows, kinds)


def _says_of(schema: Document) -> str:
    """What a schema says about a value, or what one of those says that it may be instead."""
    options = (schema, *schema.get("anyOf", ()))
    return next((one["description"] for one in options if "description" in one), "")


def _kind(schema: Document) -> Kind:
    """What a value of this schema is."""
    if "$ref" in schema:
        return Kind("", schema["$ref"].removeprefix(_SCHEMAS))
    if "enum" in schema:
        return Kind(f"one of {', '.join(map(str, schema['enum']))}{_default(schema)}")
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"]]
        named = next((kind.schema for kind in kinds if kind.schema), None)
        return Kind(" or ".join(kind.text for kind in kinds if kind.text), named)
    if schema.get("type") == "array":
        item = _kind(schema["items"])
        return Kind(f"list of {item.text}".strip(), item.schema)
    return Kind(f"{_plain(schema)}{_default(schema)}")


def _plain(schema: Document) -> str:
    """What a value is that has no parts."""
    match schema.get("type"):
        case "integer":
            return f"whole number{_limits(schema)}"
        case "string":
            return f"{schema.get('format', 'string')}{_length(schema)}"
        case str(name):
            return name
    return "anything"


def _limits(schema: Document) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if most is None:
        return "" if least is None else f" from {least}"
    return f" from {least} to {most}"


def _length(schema: Document) -> str:
    return f", at most {schema['maxLength']} characters" if "maxLength" in schema else ""


def _default(schema: Document) -> str:
    return f"; {schema['default']} where it is not given" if "default" in schema else ""
