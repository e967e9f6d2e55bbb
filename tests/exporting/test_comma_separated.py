"""CSV: what any program reads out of it, and what no spreadsheet does with it."""

import codecs
import csv
import io
import json
import re
import time
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.building import USER_ID
from tests.exporting.records import evil, hostile, numbered, recorded
from tests.exporting.test_formats import made

from whodid.exporting.comma_separated import guarded
from whodid.exporting.rows import COLUMNS, JSON_KEYS
from whodid.records import Kind
from whodid.store.base import Numbered

API = (Path(__file__).parent.parent.parent / "docs" / "API.md").read_text("utf-8")
FORMULA = set("=+-@\uff1d\uff0b\uff0d\uff20")
PASSED_OVER = ' "\u00a0\ufeff\x1f\x7f\u2028\t\r\n'
"""Of what ``EVIL`` has."""

csv.field_size_limit(1 << 20)


def undoing() -> CodeType:
    """How guards are undone, as the documentation has it."""
    (shown,) = re.findall(r"^```python\n(passed_over.*?)^```", API, re.MULTILINE | re.DOTALL)
    return compile(shown, "docs/API.md", "exec")


UNDOING = undoing()


def unguarded(cell: str) -> str:
    """A cell as it was, by the very lines that the documentation shows."""
    names: dict[str, Any] = {"re": re, "cell": cell}
    exec(UNDOING, names)
    return str(names["value"])


def read(data: bytes, **dialect: Any) -> list[list[str]]:
    """What Python's own reader finds."""
    return list(csv.reader(io.StringIO(data.decode(), newline=""), **dialect))


def expected(record: Numbered) -> list[str]:
    """What should be in the cells of a record, before anything is guarded."""
    values = json.loads(record.record) | {"seq": str(record.seq), "kind": record.kind.name.lower()}
    for key in JSON_KEYS:
        if key in values:
            values[key] = json.dumps(values[key], separators=(",", ":"), ensure_ascii=False)
    return [values.get(column) or "" for column in COLUMNS]


def same(cells: list[str], wanted: list[str]) -> bool:
    """Whether cells say what they should; JSON may be written in several ways."""
    plain = len(COLUMNS) - len(JSON_KEYS)
    return cells[:plain] == wanted[:plain] and [json.loads(cell) if cell else "" for cell in cells[plain:]] == [
        json.loads(cell) if cell else "" for cell in wanted[plain:]
    ]


@given(hostile)
def test_what_is_read_back_is_what_was_there(records: list[Numbered]) -> None:
    """Cell by cell, once the guards are undone as documented, whatever people wrote."""
    header, *lines = read(made("csv", records), strict=True)
    assert header == list(COLUMNS)
    for cells, record in zip(lines, records, strict=True):
        assert same(list(map(unguarded, cells)), expected(record))


@given(hostile, st.sampled_from(",;\t"))
def test_no_cell_begins_like_a_formula(records: list[Numbered], delimiter: str) -> None:
    """Nor does any that a program finds that separates by something else, or leaves out what stands in front."""
    for line in read(made("csv", records), delimiter=delimiter):
        for cell in line:
            assert cell.lstrip(PASSED_OVER)[:1] not in FORMULA
            assert delimiter != "," or cell[:1] not in {"\t", "\r", "\n"}


@given(evil, evil)
@example("=1", "'=1")
@example("'", "")
@example("''=", "'=")
@example(";'=", ";=")
@example("' '=", "''=")
def test_guards_are_undone_exactly_and_tell_texts_apart(one: str, other: str) -> None:
    """Of a text that has guards already, or what looks like them, too."""
    assert unguarded(guarded(one)) == one
    assert (guarded(one) == guarded(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("\uff1d1+1", "'\uff1d1+1"),
        (' "=1"', '\' "=1"'),
        ("'=1", "''=1"),
        ("'quoted'", "'quoted'"),
        ("a;=1", "a;'=1"),
        ("a; b", "a; b"),
        ("a=1", "a=1"),
        ("\t=1", "'\t'=1"),
        ("a\r\n- b\r\n\r\nc", "a\r\n'- b\r\n\r\nc"),
    ],
)
def test_guards_are_where_a_formula_would_begin(text: str, cell: str) -> None:
    """And nowhere else: most cells are as they were."""
    assert guarded(text) == cell
    event = recorded({"user_id": USER_ID, "type": "a", "action": "b", "reason": text}, Kind.ACTION)
    (line,) = read(made("csv", [numbered(0, event)]))[1:]
    assert line[COLUMNS.index("reason")] == cell


@pytest.mark.parametrize("unit", ["\n", ";", "' ", ' "', ";'", "\n;"])
def test_a_long_text_of_nothing_but_beginnings_takes_no_time(unit: str) -> None:
    """As long as a record may be: nobody can keep an export from going on."""
    text = unit * 60_000
    began = time.process_time()
    assert unguarded(guarded(text)) == text
    assert time.process_time() - began < 2


def test_a_line_is_as_documented() -> None:
    """Commas, CRLF, quotes where they are needed, nothing where there is nothing."""
    given = {"user_id": USER_ID, "type": "task", "action": "update", "target_name": "a,b", "reason": 'x\r\n"y"'}
    event = recorded(given | {"metadata": {"n": 1}, "ip_address": "::1"}, Kind.ACTION)
    record_id = json.loads(event.record)["_id"]
    assert made("csv", [numbered(7, event)]).split(b"\r\n", 1)[1].decode() == (
        f"7,action,{record_id},2021-07-30T16:13:52.109Z,2021-07-30T16:13:52.109Z,{USER_ID},,task,update,,,,,,"
        '"a,b",,"x\r\n""y""","::1",,,,,"{""n"":1}"\r\n'
    )


def test_nul_stays_what_it_is() -> None:
    """No record has one; if one had, it would be read back."""
    event = recorded({"user_id": USER_ID, "type": "a", "action": "b", "reason": "a\0=b"}, Kind.ACTION)
    (line,) = read(made("csv", [numbered(0, event)]))[1:]
    assert line[COLUMNS.index("reason")] == "a\0=b"


def test_a_mark_stands_in_front_if_asked_for() -> None:
    """Once, before all else."""
    assert made("csv", [], mark=True) == codecs.BOM_UTF8 + made("csv")
