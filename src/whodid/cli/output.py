"""What commands print: tables and lines for people, JSON for programs, complaints on standard error."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from whodid.records import render_time

_UNBOUNDED = 100_000
"""How wide a table may be that goes into a file or a pipe: nothing is wrapped or cut there."""


class UsageError(Exception):
    """A value on the command line that can't be meant."""


def complain(message: str) -> None:
    """Say on standard error what is wrong."""
    note(f"whodid: {message}")


def note(message: str) -> None:
    """Say something beside the result, on standard error."""
    print(message, file=sys.stderr)


def say(message: str) -> None:
    """Print a result for people."""
    print(message)


def show_json(value: Any) -> None:
    """Print a result for programs."""
    print(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: framed on a terminal, and bare columns, a row a line, elsewhere."""
    terminal = sys.stdout.isatty()
    table = Table(box=box.SIMPLE_HEAD if terminal else None, pad_edge=terminal, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if terminal else _UNBOUNDED, highlight=False).print(table)


def show_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """Print rows of the same keys as a table, or as a JSON array; ``empty`` is said where there are none."""
    if as_json:
        show_json(rows)
    elif rows:
        show_table(
            [key.replace("_", " ") for key in rows[0]], [[_plain(cell) for cell in row.values()] for row in rows]
        )
    else:
        note(empty)


def _plain(cell: Any) -> str:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return "-" if cell in (None, "") else str(cell)


def time_or_none(time_ms: int | None) -> str | None:
    """A time in the wire's form."""
    return None if time_ms is None else render_time(time_ms)
