"""Parquet: records as columns of real types, for analysis. Owns the schema and the size of row groups.

``pyarrow``, an extra, is imported only once a file is really to be written.
"""

from collections.abc import Sequence
from itertools import starmap
from typing import Any, Final

from msgspec.structs import astuple

from whodid.errors import InvalidParameter
from whodid.exporting.rows import JSON_KEYS, KEYS, KIND_OF, rows_of
from whodid.store.base import Numbered

GROUP_ROWS: Final = 50_000
"""How many rows a row group has: so many records are in memory …"""

GROUP_BYTES: Final = 32 * 1024 * 1024
"""… but about so many bytes of them at most."""

_TIMES = ("createdAt", "updatedAt")
_ALL_DIFFERENT = ("seq", "_id", *_TIMES, "request_id", *JSON_KEYS)
"""Columns in which a dictionary of values would be no smaller than the values."""

_COMPRESSION = "zstd"
_COMPRESSION_LEVEL = 1


class Parquet:
    """Records as one Parquet file, row group by row group; a value that is not there is null.

    Not for several threads at the same time. Raises ``InvalidParameter`` where ``pyarrow`` is not installed.
    """

    media_type: Final = "application/vnd.apache.parquet"
    suffix: Final = ".parquet"
    packed: Final = True

    def __init__(self, *, group_rows: int = GROUP_ROWS, group_bytes: int = GROUP_BYTES) -> None:
        self._arrow, self._parquet = _load()
        self._schema = _schema(self._arrow)
        self._group_rows = group_rows
        self._group_bytes = group_bytes
        self._batches: list[Any] = []
        self._waiting_rows = 0
        self._waiting_bytes = 0
        self._sink = _Sink()

    def begin(self) -> bytes:
        """The file's first bytes."""
        self._writer = self._parquet.ParquetWriter(
            self._sink,
            self._schema,
            use_dictionary=[name for name in self._schema.names if name not in _ALL_DIFFERENT],
            compression=_COMPRESSION,
            compression_level=_COMPRESSION_LEVEL,
        )
        return self._sink.taken()

    def rows(self, records: Sequence[Numbered]) -> bytes:
        """A row for each record: nothing, until there are enough for a row group."""
        if records:
            self._batches.append(_batch(self._arrow, self._schema, records))
            self._waiting_rows += len(records)
            self._waiting_bytes += sum(len(record.record) for record in records)
        if self._waiting_rows >= self._group_rows or self._waiting_bytes >= self._group_bytes:
            self._write_group()
        return self._sink.taken()

    def end(self) -> bytes:
        """The last row group, and what says where all of it is."""
        self._write_group()
        self._writer.close()
        return self._sink.taken()

    def _write_group(self) -> None:
        if self._batches:
            table = self._arrow.Table.from_batches(self._batches, self._schema)
            self._writer.write_table(table, self._group_rows)
        self._batches = []
        self._waiting_rows = self._waiting_bytes = 0


class _Sink:
    """A file that only takes: what was written is taken out of it, piece by piece."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def taken(self) -> bytes:
        """All that was written since this was called last."""
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _load() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 (few need it, and it takes its time)
        import pyarrow.parquet as pq  # type: ignore[import-untyped] # noqa: PLC0415
    except ImportError as error:
        raise InvalidParameter(
            "the format parquet needs pyarrow, which is not installed: pip install pyarrow; ndjson and csv need nothing"
        ) from error
    return pa, pq


def _schema(arrow: Any) -> Any:
    types = {"seq": arrow.int64()} | dict.fromkeys(_TIMES, arrow.timestamp("ms", tz="UTC"))
    always = ("seq", "kind", "_id", *_TIMES, "user_id")
    fields = [(name, types.get(name, arrow.string()), name not in always) for name in ("seq", "kind", *KEYS)]
    return arrow.schema(list(starmap(arrow.field, fields)))


def _batch(arrow: Any, schema: Any, records: Sequence[Numbered]) -> Any:
    columns: dict[str, Sequence[Any]] = dict(zip(KEYS, zip(*map(astuple, rows_of(records)), strict=True), strict=True))
    columns["seq"] = [record.seq for record in records]
    columns["kind"] = [KIND_OF[record.kind] for record in records]
    for key in JSON_KEYS:
        columns[key] = [str(value, "utf-8") if value else None for value in columns[key]]
    arrays = []
    for field in schema:
        values = columns[field.name]
        if field.name in _TIMES:
            arrays.append(arrow.array(values, arrow.string()).cast(field.type))
        else:
            arrays.append(arrow.array(values, field.type))
    return arrow.record_batch(arrays, schema=schema)
