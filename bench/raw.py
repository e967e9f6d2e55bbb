"""The raw limit: finished rows of a real store, inserted straight into empty ones. ``python -m bench.raw``.

The rows are those that a server has just written. They are read and made ready in memory, and only their insertion is
timed: the same schema, the same pragmas, the same bulk statements, one durable transaction a batch; no hashing, no
compression, no checks, and no other thread that wants the interpreter. A process of its own, for the same reason.
"""

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import msgspec

from bench.places import RawResult
from whodid.records import Kind, parse_record
from whodid.store.sqlite.bulk import BulkInsert
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.connection import make_file, open_reader, open_writer, transaction
from whodid.store.sqlite.schema import prepare_file
from whodid.store.sqlite.search import TermMaker

_ROOT = Path(__file__).parent.parent
_PREPARED = 100_000
"""How many rows are made ready at a time, so that any number fits into memory."""

_COLUMNS = ("time_key", "account_no", "seq", "kind", "dictionary", "salt", "commitment", "record")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM entry WHERE time_key > ? ORDER BY time_key LIMIT {_PREPARED}"
_INSERT_ENTRY = BulkInsert(f"entry ({', '.join(_COLUMNS)})", len(_COLUMNS))
_INSERT_ID = BulkInsert("record_id (account_no, id, seq)", 3)
_INSERT_TERMS = BulkInsert("search (rowid, terms)", 2)


class _Rows(NamedTuple):
    """Finished rows of three tables, in order of time."""

    entries: list[tuple[Any, ...]]
    ids: list[tuple[int, bytes, int]]
    terms: list[tuple[int, str]]
    record_bytes: int


def measure_raw(source: Path, batch_rows: list[int]) -> RawResult:
    """Insert the rows of ``source`` into empty stores beside it, one for each number of rows a transaction."""
    arguments = [sys.executable, "-m", "bench.raw", str(source.absolute()), *map(str, batch_rows)]
    done = subprocess.run(arguments, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=RawResult)


class _Target:
    """One empty store that rows are inserted into."""

    def __init__(self, file: Path, batch_rows: int) -> None:
        make_file(file)
        prepare_file(file)
        self.seconds = 0.0
        self._file = file
        self._batch_rows = batch_rows
        self._connection = open_writer(file)

    def insert(self, rows: _Rows) -> None:
        """Insert rows, so many a transaction."""
        batches = [
            (_values(rows.entries[batch]), _values(rows.ids[batch]), _values(rows.terms[batch]))
            for first in range(0, len(rows.entries), self._batch_rows)
            for batch in (slice(first, first + self._batch_rows),)
        ]
        began = time.perf_counter()
        for entries, ids, terms in batches:
            with transaction(self._connection):
                _INSERT_ENTRY(self._connection, entries)
                _INSERT_ID(self._connection, ids)
                _INSERT_TERMS(self._connection, terms)
        self.seconds += time.perf_counter() - began

    def remove(self) -> None:
        """Leave nothing on the disk."""
        self._connection.close()
        self._file.unlink()


def _values(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return list(itertools.chain.from_iterable(rows))


def _prepared(connection: apsw.Connection) -> Iterator[_Rows]:
    read, maker = Decompressor(connection), TermMaker()
    time_key = -1
    while entries := connection.execute(_SELECT, (time_key,)).fetchall():
        time_key = int(entries[-1][0])  # type: ignore[arg-type]
        yield _finish(entries, read, maker)


def _finish(entries: list[Any], read: Decompressor, maker: TermMaker) -> _Rows:
    rows = _Rows(entries, [], [], 0)
    size_bytes = 0
    for key, account_no, seq, kind, dictionary, _, _, frame in entries:
        record = read(dictionary, frame)
        body = parse_record(Kind(kind), record)
        size_bytes += len(record)
        rows.ids.append((account_no, bytes.fromhex(str(body.id)), seq))
        rows.terms.append((key, maker.terms(account_no, body)))
    return rows._replace(record_bytes=size_bytes)


def main() -> int:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.raw")
    parser.add_argument("source", type=Path)
    parser.add_argument("batch_rows", type=int, nargs="+")
    given = parser.parse_args()
    targets = [
        _Target(given.source.with_name(f"{given.source.name}.raw{at}"), batch)
        for at, batch in enumerate(given.batch_rows)
    ]
    count = record_bytes = 0
    for rows in _prepared(open_reader(given.source)):
        count += len(rows.entries)
        record_bytes += rows.record_bytes
        for target in targets:
            target.insert(rows)
    for target in targets:
        target.remove()
    result = RawResult(count, record_bytes, [target.seconds for target in targets])
    print(msgspec.json.encode(result).decode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
