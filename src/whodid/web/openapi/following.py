"""Following: the feed and the export, which give a log as a whole."""

from typing import Final

import msgspec

from whodid.auth import SEARCH
from whodid.errors import Gone, InvalidCursor, NotAcceptable
from whodid.exporting.comma_separated import CommaSeparated
from whodid.exporting.compressing import open_compression
from whodid.exporting.parquet import Parquet
from whodid.query.pages import COMPRESSIONS, DEFAULT_FED, END, FORMATS, LONGEST_WAIT_SECONDS, MOST_FED
from whodid.store.base import Numbered
from whodid.web.feeding import EVENTS, HEARTBEAT_SECONDS, LINES
from whodid.web.openapi.describing import (
    JSON,
    SCHEMAS,
    Call,
    Described,
    Group,
    Sample,
    choice,
    fields,
    header,
    json_reply,
    parameter,
    whole,
)
from whodid.web.openapi.examples import (
    ACCOUNT,
    ACTION,
    EXPORT_CURSOR,
    FEED_CURSOR,
    SEQ,
    TOKEN_USE,
    numbered,
)
from whodid.web.openapi.filtering import FILTERS_SAY, filters
from whodid.web.openapi.searching import AFTER_SAYS, CURSOR, limit

GROUP: Final = Group(
    "Feed and export",
    "The whole log, by number: every entry exactly once, in order, also those that come with earlier times. "
    "And files of any part of it.",
)

_EXAMPLE: Final = [numbered(SEQ, ACTION), numbered(SEQ + 1, TOKEN_USE)]
_LINES: Final = "".join(msgspec.json.encode(one).decode() + "\n" for one in _EXAMPLE)


def calls() -> dict[str, dict[str, Call]]:
    """The calls, by path and method."""
    return {"/api/v2/logs/feed": {"get": _feed()}, "/api/v2/logs/export": {"get": _export()}}


def _feed() -> Call:
    page = json_reply("The log from there on, in the form that Accept prefers.", "FeedPage", _page())
    page["content"] |= {LINES: _text("A record a line.", _LINES), EVENTS: _text("An event for each record.", _events())}
    return Call(
        name="follow",
        group=GROUP,
        summary="Follow the log: every entry exactly once, in order.",
        says=(
            f"{FILTERS_SAY}\n\nWhoever follows `next` misses nothing and gets nothing twice. `next` is always there; "
            "`head` is how many entries the log has. A page may have fewer records than `limit` before the end is "
            "reached. Calls of the feed are entries, too.\n\n"
            f"`Accept` chooses the form. `{JSON}`: a page. `{LINES}`: a stream of lines up to the head, and on for as "
            f"long as something new comes within `wait` seconds. `{EVENTS}`: a live tail, which goes on for as long as "
            f"the token is good; a heartbeat comes every {HEARTBEAT_SECONDS:.0f} seconds."
        ),
        by=SEARCH,
        parameters=[
            *filters(),
            limit(MOST_FED, DEFAULT_FED),
            parameter(
                "wait",
                "Where there is nothing new: wait so many seconds for it.",
                whole(0, LONGEST_WAIT_SECONDS, 0),
                30,
            ),
            parameter(
                "after",
                f"{AFTER_SAYS} Without it, from the beginning (events: from now on); `{END}`: from now on.",
                CURSOR,
                FEED_CURSOR,
            ),
            header("Last-Event-ID", f"With `{EVENTS}`: stands above `after`. Browsers send it.", CURSOR, FEED_CURSOR),
        ],
        replies={"200": page},
        headers=("Link", "Vary"),
        problems=(InvalidCursor, NotAcceptable, Gone),
        sample=Sample(path="/api/v2/logs/feed", query=("kind=action", "after=0", "limit=100")),
    )


def _page() -> Described:
    return {"data": _EXAMPLE, "next": FEED_CURSOR, "head": SEQ + 2}


def _text(says: str, example: str) -> Described:
    return {"schema": {"type": "string", "description": says}, "example": example}


def _events() -> str:
    data = [msgspec.json.encode(one).decode() for one in _EXAMPLE[-1:]]
    return "retry: 2000\n\n" + "".join(f"id: {FEED_CURSOR}\ndata: {one}\n\n" for one in data)


def _export() -> Call:
    disposition = {"description": "A name for the file.", "schema": {"type": "string"}}
    binary = {"schema": {"type": "string", "format": "binary"}}
    file = {
        "description": "The file, made while it is sent.",
        "headers": {"Content-Disposition": disposition},
        "content": {
            LINES: _text("A record a line.", _LINES),
            _type(CommaSeparated): _text("A record a row, under a line of names.", _rows()),
            _type(Parquet): binary,
            **{kind: binary for name in COMPRESSIONS if (kind := open_compression(name).media_type)},
        },
    }
    return Call(
        name="export",
        group=GROUP,
        summary="Export records as a file, the oldest first.",
        says=(
            f"{FILTERS_SAY}\n\nAny number of records. The log tells of the export before it begins. In CSV, what a "
            "spreadsheet would take for a formula is guarded. Parquet is compressed inside: with it, `compression` "
            "must be `none`.\n\nAfter a break, go on with the number of the last whole record: with `after`, a file of "
            "any format begins behind that. Plain lines and rows can be appended to those that there are; of CSV, "
            "leave out the first line of the new file, the names. What is compressed, and Parquet, stays a file of "
            "its own."
        ),
        by=SEARCH,
        parameters=[
            *filters(),
            parameter("format", "What kind of file.", choice(FORMATS, FORMATS[0]), FORMATS[1]),
            parameter("compression", "How it is compressed.", choice(COMPRESSIONS, COMPRESSIONS[0]), COMPRESSIONS[1]),
            parameter("after", AFTER_SAYS, CURSOR, EXPORT_CURSOR),
        ],
        replies={"200": file},
        problems=(InvalidCursor,),
        sample=Sample(
            path="/api/v2/logs/export",
            query=("format=csv", "compression=gzip", "since=30d"),
            more=("--fail", f"-o {ACCOUNT}.csv.gz"),
        ),
    )


def _type(form: type[CommaSeparated | Parquet]) -> str:
    """A format's media type, without parameters."""
    return form.media_type.partition(";")[0]


def _rows() -> str:
    """The example as CSV."""
    form = CommaSeparated()
    records = [
        Numbered(seq, one.kind, one.created_ms, one.record) for seq, one in ((SEQ, ACTION), (SEQ + 1, TOKEN_USE))
    ]
    return (form.begin() + form.rows(records) + form.end()).decode()


def schemas() -> Described:
    """The forms of replies."""
    records = {"type": "array", "items": {"$ref": SCHEMAS + "Numbered"}, "maxItems": MOST_FED}
    return {
        "FeedPage": fields(
            data=records,
            next=CURSOR | {"description": "For `after` of the next call; always there."},
            head={"type": "integer", "minimum": 0, "description": "How many entries the log has."},
        )
    }
