"""What all formats have in common, and NDJSON."""

import json
import tracemalloc

import pytest
from hypothesis import given
from tests.exporting.records import hostile, ordinary

from whodid.errors import InvalidParameter
from whodid.exporting import COMPRESSIONS, FORMATS, compressed, open_format
from whodid.exporting.rows import COLUMNS, KEYS
from whodid.records import Action, TokenUse
from whodid.store.base import Numbered

FLAT_BYTES = 8 * 1024 * 1024
"""What an export may have in memory at the same time, beside what Arrow has."""


def made(name: str, *chunks: list[Numbered], **options: bool) -> bytes:
    """The file of these records."""
    form = open_format(name, **options)
    return b"".join([form.begin(), *map(form.rows, chunks), form.end()])


@given(hostile)
def test_a_line_is_the_record_with_its_number_in_front(records: list[Numbered]) -> None:
    """Its bytes are the record's own behind that; a parser finds ``seq`` and all that the record has."""
    lines = made("ndjson", records).split(b"\n")
    assert lines.pop() == b""
    assert lines == [b'{"seq":%d,' % record.seq + record.record[1:] for record in records]
    expected = [{"seq": record.seq} | json.loads(record.record) for record in records]
    assert list(map(json.loads, lines)) == expected


@given(hostile)
def test_without_numbers_a_line_is_the_record(records: list[Numbered]) -> None:
    """Byte for byte."""
    assert made("ndjson", records, numbered=False) == b"".join(record.record + b"\n" for record in records)


@given(hostile, hostile)
def test_a_file_is_the_same_however_its_records_come(first: list[Numbered], second: list[Numbered]) -> None:
    """In one chunk, in several, with empty ones between."""
    for name in ("ndjson", "csv"):
        assert made(name, first + second) == made(name, [], first, [], second)


def test_columns_are_all_that_records_have() -> None:
    """But the account, which they have in common, and the version. None is there twice."""
    known = set(Action.__struct_encode_fields__) | set(TokenUse.__struct_encode_fields__)
    assert set(KEYS) == known - {"account", "__v"}
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_a_format_that_is_not_known_is_refused_with_those_that_are() -> None:
    """Nothing is guessed."""
    with pytest.raises(InvalidParameter, match='format must be ndjson, csv or parquet, not "xml"'):
        open_format("xml")


def test_formats_say_what_their_files_are() -> None:
    """For HTTP, and for the names of files."""
    assert [open_format(name).media_type.partition(";")[0] for name in FORMATS] == [
        "application/x-ndjson",
        "text/csv",
        "application/vnd.apache.parquet",
    ]
    assert [open_format(name).suffix for name in FORMATS] == [".ndjson", ".csv", ".parquet"]


@pytest.mark.parametrize(
    ("name", "compression"),
    [*[(name, "none") for name in FORMATS], *[("ndjson", compression) for compression in COMPRESSIONS[1:]]],
)
def test_memory_does_not_grow_with_the_file(name: str, compression: str) -> None:
    """200,000 records take no more than a few thousand."""
    form = compressed(open_format(name), compression)
    tracemalloc.start()
    try:
        form.begin()
        size = sum(len(form.rows(chunk)) for chunk in ordinary(200_000)) + len(form.end())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 100_000
    assert peak < FLAT_BYTES
