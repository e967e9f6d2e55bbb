"""Searching: search, one record, summary."""

from typing import Final

from whodid.auth import SEARCH
from whodid.conditions import FIELDS
from whodid.errors import InvalidCursor, NotFound
from whodid.query.pages import DEFAULT_FOUND, DEFAULT_TOP, INTERVALS_MS, MOST_BUCKETS, MOST_FOUND, MOST_TOP, ORDERS
from whodid.records import Id
from whodid.web.logs import PAGE_BYTES
from whodid.web.openapi.describing import (
    SCHEMAS,
    Call,
    Described,
    Group,
    Sample,
    choice,
    fields,
    json_reply,
    parameter,
    part,
    pattern,
    whole,
)
from whodid.web.openapi.examples import (
    ACTION,
    NEW_USER_ACTION,
    RECORD_ID,
    SEARCH_CURSOR,
    SEQ,
    numbered,
    time_ago,
)
from whodid.web.openapi.filtering import FILTERS_SAY, filters

GROUP: Final = Group("Search", "What happened, who did it, how often. By time, the newest first.")

CURSOR: Final[Described] = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,200}$"}

AFTER_SAYS: Final = (
    "Where to go on: `next` of the page before; or the number (`seq`) of the last entry that was received."
)


def calls() -> dict[str, dict[str, Call]]:
    """The calls, by path and method."""
    return {
        "/api/v2/logs": {"get": _search()},
        "/api/v2/logs/summary": {"get": _summary()},
        "/api/v2/logs/{_id}": {"get": _record()},
    }


def _search() -> Call:
    example = {"data": [numbered(SEQ, ACTION), numbered(SEQ - 1, NEW_USER_ACTION)], "next": SEARCH_CURSOR}
    return Call(
        name="search",
        group=GROUP,
        summary="Search the log, the newest records first.",
        says=(
            f"{FILTERS_SAY}\n\nFollow `next` until it is null: a page may have fewer records than `limit`, even none, "
            f"and there may still be more: it ends where it took long, or has {PAGE_BYTES >> 20} MiB of records. The "
            "window of the first page holds for all: `7d` does not move. Records that come later with earlier times "
            "may be missed; for all records, exactly once, follow the feed."
        ),
        by=SEARCH,
        parameters=[
            *filters(),
            parameter("order", "By `createdAt`, from the newest or from the oldest.", choice(ORDERS, ORDERS[0])),
            limit(MOST_FOUND, DEFAULT_FOUND),
            parameter("after", AFTER_SAYS, CURSOR, SEARCH_CURSOR),
        ],
        replies={"200": json_reply("A page of records.", "SearchPage", example)},
        headers=("Link",),
        problems=(InvalidCursor,),
        sample=Sample(path="/api/v2/logs", query=("q=type:pipeline -action:delete", "since=7d", "limit=10")),
    )


def limit(most: int, otherwise: int) -> Described:
    """How many records a page has."""
    return parameter("limit", "At most so many records.", whole(1, most, otherwise), 50)


def _summary() -> Call:
    example = {
        "since": time_ago(120),
        "until": time_ago(),
        "total": 42,
        "complete": True,
        "buckets": [{"time": time_ago(133), "count": 17}, {"time": time_ago(73), "count": 25}],
        "values": [{"value": "pipeline", "count": 40}, {"value": "user", "count": 2}],
    }
    return Call(
        name="summarize",
        group=GROUP,
        summary="Count records: over time, and by the values of a field.",
        says=(
            f"{FILTERS_SAY}\n\nWithout `since` it is of the last 7 days. `complete` is false where there is too much "
            "to count in time: then it is of what came after the `since` in the reply."
        ),
        by=SEARCH,
        parameters=[
            *filters(),
            parameter("by", "Count this field's values.", choice(tuple(FIELDS)), "type"),
            parameter(
                "interval",
                f"Count for each of these; at most {MOST_BUCKETS} of them.",
                choice(tuple(INTERVALS_MS)),
                "hour",
            ),
            parameter("top", "At most so many values, the most frequent first.", whole(1, MOST_TOP, DEFAULT_TOP), 5),
        ],
        replies={"200": json_reply("The counts.", "Summary", example)},
        sample=Sample(path="/api/v2/logs/summary", query=("by=type", "interval=hour", "since=1d")),
    )


def _record() -> Call:
    return Call(
        name="read_record",
        group=GROUP,
        summary="One record.",
        by=SEARCH,
        parameters=[part("_id", "The record's _id.", pattern(Id), RECORD_ID)],
        replies={"200": json_reply("The record, with its number.", "Numbered", numbered(SEQ, ACTION))},
        problems=(NotFound,),
        sample=Sample(path=f"/api/v2/logs/{RECORD_ID}"),
    )


def schemas() -> Described:
    """The forms of replies. ``Numbered`` is of the records' own module."""
    records = {"type": "array", "items": {"$ref": SCHEMAS + "Numbered"}}
    count = {"type": "integer", "minimum": 0}
    time = {"type": "string", "format": "date-time"}
    summary = fields(
        since=time | {"description": "From when on was counted."},
        until=time | {"description": "Up to when, exclusive."},
        total=count | {"description": "How many records there are."},
        complete={"type": "boolean", "description": "Whether all of the time that was asked for was counted."},
    )
    summary["properties"] |= {
        "buckets": {
            "type": "array",
            "items": fields(time=time, count=count),
            "description": "With `interval`: each of them, in order, also those without records.",
        },
        "values": {
            "type": "array",
            "items": fields(value={"type": "string"}, count=count),
            "maxItems": MOST_TOP,
            "description": "With `by`: the values, the most frequent first.",
        },
    }
    return {
        "SearchPage": fields(
            data=records | {"maxItems": MOST_FOUND},
            next={"anyOf": [CURSOR, {"type": "null"}], "description": "For `after` of the next page; null at the end."},
        ),
        "Summary": summary,
    }
