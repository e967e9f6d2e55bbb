"""Showing records as they come: a line each, for people, in colour on a terminal; or as JSON.

What is in a record was written by users and programs, and must not be obeyed by a terminal: control characters, and
those that turn the direction of writing, are shown by their numbers.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from whodid.cli.sources import Record

Style = Callable[[str, str], str]
"""A text in a colour, or as it is."""

_WHO_WIDTH: Final = 30
_WHAT_WIDTH: Final = 26
_DIM, _CYAN, _BOLD, _RED, _YELLOW = "2", "36", "1", "31", "33"
_OUTCOMES: Final = {"failure": _RED, "denied": _YELLOW}

# C0, DEL and C1; soft hyphen and zero-width characters; directions; separators of lines; halves of pairs.
_obeyed = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)


def show_records(records: Sequence[Record], *, as_json: bool) -> None:
    """Print records, a line each, at once."""
    style = _coloured if _has_colours() else _plain
    lines = [json_line(record) if as_json else text_line(record, style) for record in records]
    if lines:
        sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode())
        sys.stdout.buffer.flush()


def json_line(record: Record) -> str:
    """A record as JSON that no terminal obeys, and that says the same."""
    return _obeyed.sub(lambda found: f"\\u{ord(found[0]):04x}", msgspec.json.encode(record).decode())


def text_line(record: Record, style: Style) -> str:
    """When, who, what, and to what; and how it ended, unless it was a success."""
    if "token_id" in record:
        who, what = record["user_id"], f"token {record['scope']}"
        target = f"{record.get('method', '')} {record['target']}".strip()
    else:
        who, what = record.get("user_email") or record["user_id"], f"{record['type']} {record['action']}"
        target = record.get("target_name") or record.get("target_id") or "-"
    outcome = record.get("outcome", "success")
    cells = [
        style(harmless(record["createdAt"]), _DIM),
        style(harmless(who).ljust(_WHO_WIDTH), _CYAN),
        style(harmless(what).ljust(_WHAT_WIDTH), _BOLD),
        harmless(target),
    ]
    if outcome != "success":
        cells.append(style(f"[{harmless(outcome)}]", _OUTCOMES.get(outcome, _RED)))
    return "  ".join(cells)


def harmless(text: str) -> str:
    r"""A text that no terminal obeys: ``\x1b`` stands for an escape character."""
    return _obeyed.sub(lambda found: _number(ord(found[0])), str(text))


def _number(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _coloured(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def _plain(text: str, _: str) -> str:
    return text
