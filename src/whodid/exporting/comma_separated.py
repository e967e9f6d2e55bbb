"""CSV: records as lines for spreadsheets, and for programs that have nothing better. RFC 4180, in UTF-8.

What users and programs write into a log is nothing that a spreadsheet may calculate: a cell must not begin like a
formula. docs/API.md says how cells are guarded against that, and how it is undone; it is fixed there.
"""

import codecs
import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from whodid.exporting.rows import COLUMNS, KIND_OF, Row, rows_of
from whodid.store.base import Numbered

# Programs may pass over quotation marks, white space and control characters; and where a file is read with other
# separators than it was written with, each of ; TAB CR LF may end a cell.
_PASSED_OVER = r"'*[\"\x00-\x08\x0b\x0c\x0e-\x20\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f\u3000\ufeff]*"
_FORMULA = r"[=+\-@\uff1d\uff0b\uff0d\uff20]"
_is_dangerous = re.compile(rf"{_PASSED_OVER}(?:{_FORMULA}|[\t\r\n])").match
_dangerous_inside = re.compile(rf"([;\t\r\n])(?={_PASSED_OVER}{_FORMULA})")

_is_plain = re.compile(r'[0-9A-Za-z/][^",;\x00-\x1f\x7f]*').fullmatch


class CommaSeparated:
    """Records as CSV, with a line of the columns' names first; a value that is not there is an empty cell.

    ``mark`` has the file begin with a BOM, from which spreadsheets tell that it is UTF-8. Without ``titled``, the first
    line is left out: for what goes on with another file.
    """

    media_type: Final = "text/csv; charset=utf-8; header=present"
    suffix: Final = ".csv"
    packed: Final = False

    def __init__(self, *, mark: bool = False, titled: bool = True) -> None:
        self._mark = codecs.BOM_UTF8 if mark else b""
        self._titles = ",".join(COLUMNS).encode() + b"\r\n" if titled else b""

    def begin(self) -> bytes:
        """The line of the columns' names."""
        return self._mark + self._titles

    def rows(self, records: Sequence[Numbered]) -> bytes:
        """A line for each record."""
        lines = [_line(record, row) for record, row in zip(records, rows_of(records), strict=True)]
        return "".join(lines).encode()

    def end(self) -> bytes:
        """Nothing more."""
        return b""


def _line(record: Numbered, row: Row) -> str:
    *texts, changes, metadata = astuple(row)
    cells = [_cell(text) if text else "" for text in texts]
    return (
        f"{record.seq},{KIND_OF[record.kind]},{','.join(cells)},"
        f"{_cell(str(changes, 'utf-8')) if changes else ''},{_cell(str(metadata, 'utf-8')) if metadata else ''}\r\n"
    )


def _cell(text: str) -> str:
    if _is_plain(text):
        return text
    return '"' + guarded(text).replace('"', '""') + '"'


def guarded(text: str) -> str:
    """A text that no spreadsheet takes for a formula; what it was can be told from it."""
    guard = "'" if _is_dangerous(text) else ""
    return guard + _dangerous_inside.sub(r"\1'", text)
