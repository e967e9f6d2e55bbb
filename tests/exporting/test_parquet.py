"""Parquet: what Arrow reads out of it, how it is divided, and what is said where Arrow is missing."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from tests.exporting.records import hostile, ordinary
from tests.exporting.test_formats import made

from whodid.errors import InvalidParameter
from whodid.exporting import open_format
from whodid.exporting.parquet import Parquet
from whodid.exporting.rows import COLUMNS, JSON_KEYS
from whodid.records import parse_time
from whodid.store.base import Numbered

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def opened(data: bytes) -> Any:
    """The file, as Arrow sees it."""
    return pq.ParquetFile(io.BytesIO(data))


def moment(text: str) -> datetime:
    """A time of the wire's form."""
    return EPOCH + timedelta(milliseconds=parse_time(text))


def expected(record: Numbered) -> dict[str, Any]:
    """The row of a record."""
    values = json.loads(record.record) | {"seq": record.seq, "kind": record.kind.name.lower()}
    for key in ("createdAt", "updatedAt"):
        values[key] = moment(values[key])
    return {column: values.get(column) for column in COLUMNS}


@settings(max_examples=50)
@given(hostile)
def test_what_is_read_back_is_what_was_there(records: list[Numbered]) -> None:
    """Value by value, whatever people wrote; ``changes`` and ``metadata`` are JSON of the same."""
    rows = opened(made("parquet", records)).read().to_pylist()
    for row in rows:
        for key in JSON_KEYS:
            row[key] = None if row[key] is None else json.loads(row[key])
    assert rows == list(map(expected, records))


def test_types_are_real() -> None:
    """Numbers, times and strings; what a record always has is never null."""
    schema = opened(made("parquet")).schema_arrow
    assert tuple(schema.names) == COLUMNS
    for field in schema:
        if field.name == "seq":
            assert field.type == pa.int64()
        elif field.name in ("createdAt", "updatedAt"):
            assert field.type == pa.timestamp("ms", tz="UTC")
        else:
            assert field.type == pa.string()
    required = [field.name for field in schema if not field.nullable]
    assert required == ["seq", "kind", "_id", "createdAt", "updatedAt", "user_id"]


def test_a_file_of_nothing_is_a_file() -> None:
    """With all columns and no row."""
    assert opened(made("parquet")).metadata.num_rows == 0


def test_row_groups_are_of_bounded_size_and_come_out_as_soon_as_they_are_full() -> None:
    """Whatever the size of chunks."""
    form = Parquet(group_rows=2500)
    out = [form.begin(), *map(form.rows, ordinary(6500)), form.end()]
    groups = opened(b"".join(out)).metadata
    sizes = [groups.row_group(at).num_rows for at in range(groups.num_row_groups)]
    assert sum(sizes) == 6500
    assert max(sizes) <= 2500
    assert len(out[3]) > 0
    assert out[1] == out[2] == b""


def test_long_records_make_row_groups_of_fewer_rows() -> None:
    """So that a row group of them is not in memory with thousands."""
    form = Parquet(group_bytes=4_000_000)
    out = [form.begin(), *map(form.rows, ordinary(4000, reason="x" * 2000)), form.end()]
    groups = opened(b"".join(out)).metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [2000, 2000]


def test_what_arrow_holds_does_not_grow_with_the_file() -> None:
    """A row group at most is kept, and let go."""
    form = open_format("parquet")
    form.begin()
    pool = pa.default_memory_pool()
    before, most = pool.bytes_allocated(), 0
    for chunk in ordinary(200_000):
        form.rows(chunk)
        most = max(most, pool.bytes_allocated() - before)
    form.end()
    assert 0 < most < 40 * 1024 * 1024


def test_without_arrow_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other formats don't need it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidParameter, match="pip install pyarrow"):
        open_format("parquet")
    assert [open_format(name).suffix for name in ("csv", "ndjson")] == [".csv", ".ndjson"]
