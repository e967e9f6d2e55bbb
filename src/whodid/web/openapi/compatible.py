"""Compatible: the calls of version 1, which record and read; and the paged reading calls."""

from typing import Any, Final

import msgspec

from whodid.auth import READ_LOG, RECORD, SEARCH
from whodid.conditions import FIELDS
from whodid.errors import BodyTooLarge, IdConflict, InvalidEvents, MalformedBody, UnsupportedBody
from whodid.ingest import MAX_BODY_BYTES, MAX_EVENTS
from whodid.query.compatible import DEEPEST, DEFAULT_PAGE_SIZE, FILTER, MOST_RECORDS, PAGED_FILTERS
from whodid.records import MAX_EVENT_BYTES, MODELS, NAME_PATTERN, Event, Kind
from whodid.web.openapi.describing import (
    SCHEMAS,
    Call,
    Described,
    Group,
    Sample,
    fields,
    json_body,
    json_reply,
    parameter,
    whole,
)
from whodid.web.openapi.examples import (
    ACTION,
    NEW_ACTION,
    NEW_TOKEN_USE,
    PIPELINE_ID,
    RECORD_ID,
    SEQ,
    TOKEN_USE,
    USER_ID,
    record,
)

RECORDING: Final = Group("Recording", "Events go into the log: durably, all of a call or none.")
READING: Final = Group("Compatible reading", "As the platform that Whodid is compatible with has it.")

_WHAT: Final = {Kind.ACTION: "actions", Kind.TOKEN: "token uses"}
_PATHS: Final = {Kind.ACTION: "actions", Kind.TOKEN: "tokens"}
_EXAMPLES: Final[dict[Kind, tuple[Event, dict[str, Any]]]] = {
    Kind.ACTION: (ACTION, NEW_ACTION),
    Kind.TOKEN: (TOKEN_USE, NEW_TOKEN_USE),
}

_DAY: Final[Described] = {"type": "string", "format": "date"}
_TIME_OF_DAY: Final[Described] = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$"}
_NAME: Final[Described] = {"type": "string", "pattern": NAME_PATTERN}
_TEXT: Final[Described] = {"type": "string", "minLength": 1, "maxLength": 256}

_KEYS: Final[dict[str, tuple[str, Described, str]]] = {
    "action": ("What was done.", _NAME, "update"),
    "type": ("The area that an action is from.", _NAME, "pipeline"),
    "user_id": ("Who did it.", _TEXT, USER_ID),
    "user_email": ("Who did it, by address.", _TEXT, "ann@acme.example"),
    "target_id": ("What it was done to.", _TEXT, PIPELINE_ID),
    "scope": ("The scope of the token that was used.", _NAME, "pipeline"),
}


def calls() -> dict[str, dict[str, Call]]:
    """The calls, by path and method."""
    return {
        **{
            f"/api/v1/logs/user/{name}": {"post": _recording(kind), "get": _reading(kind)}
            for kind, name in _PATHS.items()
        },
        **{f"/api/v2/logs/user/{name}": {"get": _paged(kind)} for kind, name in _PATHS.items()},
    }


def _recording(kind: Kind) -> Call:
    what, name = _WHAT[kind], MODELS[kind].__name__
    _, new = _EXAMPLES[kind]
    event = {"$ref": f"{SCHEMAS}New{name}"}
    several = {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_EVENTS}
    body = json_body({"anyOf": [event, several]}, {"one": ("One event", new), "several": ("Several", [new, new])})
    lines = (msgspec.json.encode(new).decode() + "\n") * 2
    body["content"]["application/x-ndjson"] = {
        "schema": {"type": "string", "description": "One object a line."},
        "example": lines,
    }
    place = [{"_id": RECORD_ID, "seq": SEQ}]
    return Call(
        name=f"record {what}".replace(" ", "_"),
        group=RECORDING,
        summary=f"Record {what}: one, or several, all of them or none.",
        says=(
            f"At most {MAX_EVENTS} events, {MAX_BODY_BYTES >> 20} MiB, {MAX_EVENT_BYTES >> 10} KiB an event; "
            "the body may be gzipped. An event with an `_id` of its own is recorded once, however often it is sent."
        ),
        by=RECORD,
        body=body,
        replies={
            "201": json_reply("Recorded, durably.", "Receipt", {"count": 1, "duplicates": 0, "data": place}),
            "200": json_reply(
                "All events were recorded before; nothing was stored.",
                "Receipt",
                {"count": 1, "duplicates": 1, "data": place},
            ),
        },
        problems=(MalformedBody, BodyTooLarge, UnsupportedBody, IdConflict, InvalidEvents),
        sample=Sample(path=f"/api/v1/logs/user/{_PATHS[kind]}", method="POST", body=new),
    )


def _reading(kind: Kind) -> Call:
    what, model, key = _WHAT[kind], MODELS[kind].__name__, FILTER[kind]
    age = {"type": "string", "pattern": "^[1-9][0-9]{0,8}[smhdw]$"}
    says, schema, example = _KEYS[key]
    return Call(
        name=f"read {what}".replace(" ", "_"),
        group=READING,
        summary=f"The newest {what} of the token's account, newest first.",
        says=f"At most {MOST_RECORDS}, and no further page: `/api/v2/logs` has pages.",
        by=READ_LOG,
        parameters=[
            parameter("date", "That UTC day. Not together with timescale.", _DAY, "2026-07-30"),
            parameter("timescale", "Since that long ago. Without date and timescale: the last 7 days.", age, "3d"),
            parameter(key, f"Only records with this {key}. {says}", schema, example),
            parameter(
                "count",
                f"At most so many records; more than {MOST_RECORDS} is taken as {MOST_RECORDS}.",
                {"type": "integer", "minimum": 1, "default": MOST_RECORDS},
                50,
            ),
        ],
        replies={"200": json_reply(f"The {what}.", f"{model}Page", _page(kind, count=1))},
        sample=Sample(path=f"/api/v1/logs/user/{_PATHS[kind]}", query=("timescale=3d", f"{key}={example}")),
    )


def _paged(kind: Kind) -> Call:
    what, model = _WHAT[kind], MODELS[kind].__name__
    keys = [name for name in PAGED_FILTERS if kind in FIELDS[name]]
    reach = f"Pages reach {DEEPEST} records deep."
    return Call(
        name=f"page {what}".replace(" ", "_"),
        group=READING,
        summary=f"Pages of {what} with their number in all, newest first.",
        says=(
            f"{reach} Without dates they are of the last 7 days. Records that come between two calls move the pages: "
            "`/api/v2/logs` and the feed have cursors, which don't."
        ),
        by=SEARCH,
        parameters=[
            parameter("page", "Which page, from 1.", whole(1, DEEPEST, 1), 1),
            parameter("page_size", "How many records a page has.", whole(1, MOST_RECORDS, DEFAULT_PAGE_SIZE), 50),
            *(parameter(name, *_KEYS[name]) for name in keys),
            parameter("start_date", "From this UTC day on.", _DAY, "2026-07-01"),
            parameter("start_time", "From this time of that day on, UTC.", _TIME_OF_DAY, "09:30"),
            parameter("end_date", "Up to this UTC day, inclusive.", _DAY, "2026-07-31"),
            parameter("end_time", "Up to this minute of that day, inclusive.", _TIME_OF_DAY, "17:00"),
        ],
        replies={"200": json_reply("A page.", f"Paged{model}s", _page(kind, count=1))},
        sample=Sample(
            path=f"/api/v2/logs/user/{_PATHS[kind]}", query=("page=1", "page_size=50", "start_date=2026-07-01")
        ),
    )


def _page(kind: Kind, *, count: int) -> Described:
    return {"count": count, "data": [record(_EXAMPLES[kind][0])]}


def schemas(components: Described) -> Described:
    """The forms of events and records, and of the pages of these; ``components`` has those of the models."""
    made: Described = {}
    for model in MODELS.values():
        name = model.__name__
        plain = components[name]
        made[f"New{name}"] = plain
        made[name] = plain | {"required": list(model.ALWAYS), "title": name}
        made[f"Numbered{name}"] = _numbered(made[name])
        for page, says, most in (
            (f"{name}Page", "How many records are in data.", MOST_RECORDS),
            (f"Paged{name}s", "How many records there are, on all pages together.", MOST_RECORDS),
        ):
            records = {"type": "array", "items": {"$ref": SCHEMAS + name}, "maxItems": most}
            made[page] = fields(count={"type": "integer", "description": says}, data=records)
    made["Numbered"] = {"anyOf": [{"$ref": f"{SCHEMAS}Numbered{model.__name__}"} for model in MODELS.values()]}
    return made | {"Receipt": _receipt()}


def _numbered(plain: Described) -> Described:
    """A record with its number in front."""
    seq = {"type": "integer", "minimum": 0, "description": "Its number in the account's log."}
    return plain | {
        "title": f"Numbered{plain['title']}",
        "properties": {"seq": seq, **plain["properties"]},
        "required": ["seq", *plain["required"]],
    }


def _receipt() -> Described:
    place = fields(_id={"type": "string"}, seq={"type": "integer", "description": "Its number in the account's log."})
    return fields(
        count={"type": "integer", "description": "How many events are in data."},
        duplicates={"type": "integer", "description": "How many of them were recorded before."},
        data={"type": "array", "items": place, "description": "The request's events, in its order."},
    )
