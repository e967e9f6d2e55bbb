"""The raw limit of PostgreSQL: finished rows of a real store, copied into empty ones. ``python -m bench.raw_postgres``.

The rows are those that a server has just written, with what the database needs to know of them: each is in memory as
binary COPY takes it. Only copying is timed: the same schema with all indexes, one connection, one durable transaction a
batch; nothing is checked, hashed, encoded or locked, no head moves. A process of its own: no other thread wants the
interpreter.
"""

import argparse
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import psycopg

from bench.places import RawResult

_ROOT = Path(__file__).parent.parent
_PREPARED = 100_000
"""How many rows are made ready at a time, so that any number fits into memory."""

_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = b"\xff\xff"
_ENTRY: Final = (
    "account_no, seq, recorded_ms, created_ms, kind, salt, commitment, record, "
    "type, action, user_id, user_email, target_id, token_id, scope, outcome, ip_address, words"
)
_ID: Final = "account_no, id, seq, recorded_ms"


def measure_raw(source: str, targets: list[tuple[str, int]]) -> RawResult:
    """Copy the rows of the database ``source`` into empty ones, each with its number of rows a transaction."""
    pairs = itertools.chain.from_iterable((url, str(rows)) for url, rows in targets)
    arguments = [sys.executable, "-m", "bench.raw_postgres", source, *pairs]
    done = subprocess.run(arguments, cwd=_ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=RawResult)


class _Target:
    """One empty store that rows are copied into."""

    def __init__(self, url: str, batch_rows: int) -> None:
        self.seconds = 0.0
        self._batch_rows = batch_rows
        self._connection = psycopg.connect(url, autocommit=True)

    def make_room(self, partitions: list[tuple[str, str]]) -> None:
        """Make the partitions that the source has."""
        for name, bounds in partitions:
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF entry {bounds}".encode())

    def copy(self, entries: list[bytes], ids: list[bytes]) -> None:
        """Copy rows, so many a transaction."""
        batches = [
            tuple(b"".join([_HEAD, *rows[first : first + self._batch_rows], _END]) for rows in (entries, ids))
            for first in range(0, len(entries), self._batch_rows)
        ]
        began = time.perf_counter()
        for entry_bytes, id_bytes in batches:
            with self._connection.transaction():
                self._copy(f"COPY entry ({_ENTRY}) FROM STDIN (FORMAT BINARY)", entry_bytes)
                self._copy(f"COPY record_id ({_ID}) FROM STDIN (FORMAT BINARY)", id_bytes)
        self.seconds += time.perf_counter() - began

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def _copy(self, statement: str, data: bytes) -> None:
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.write(data)


def _partitions(connection: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The partitions of a store's entries: their names and bounds."""
    return connection.execute(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'entry'::regclass"
    ).fetchall()


def _rows(url: str, table: str, columns: str) -> Iterator[bytes]:
    """A table's rows as binary COPY writes them, in the order in which they were appended."""
    statement = f"COPY (SELECT {columns} FROM {table} ORDER BY account_no, seq) TO STDOUT (FORMAT BINARY)"
    with psycopg.connect(url) as connection, connection.cursor().copy(statement.encode()) as copy:
        pieces = map(bytes, copy)  # PostgreSQL sends a row at a time, the head with the first of them
        first = next(pieces)
        assert first.startswith(_HEAD), first[:32]
        for row in itertools.chain([first[len(_HEAD) :]], pieces):
            if row != _END:
                yield row


def main() -> int:
    """Measure, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.raw_postgres")
    parser.add_argument("source")
    parser.add_argument("targets", nargs="+", metavar="URL ROWS")
    given = parser.parse_args()
    urls, numbers = given.targets[::2], given.targets[1::2]
    targets = [_Target(url, int(rows)) for url, rows in zip(urls, numbers, strict=True)]
    with psycopg.connect(given.source) as connection:
        partitions = _partitions(connection)
        measured = connection.execute("SELECT count(*), sum(octet_length(record)) FROM entry").fetchone()
        assert measured is not None
    for target in targets:
        target.make_room(partitions)
    entries, ids = _rows(given.source, "entry", _ENTRY), _rows(given.source, "record_id", _ID)
    while some := list(itertools.islice(entries, _PREPARED)):
        with_them = list(itertools.islice(ids, _PREPARED))
        assert len(some) == len(with_them)
        for target in targets:
            target.copy(some, with_them)
    for target in targets:
        target.close()
    print(msgspec.json.encode(RawResult(int(measured[0]), int(measured[1]), [one.seconds for one in targets])).decode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
