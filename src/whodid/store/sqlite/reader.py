"""Reading: one connection of several, used by one thread. What comes out are wire bytes."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import apsw
import zstandard

from whodid.errors import InconsistentLog
from whodid.records import Kind
from whodid.store.base import Entry, Found, Head, Numbered, Query, Question, Search, Summary, fitting
from whodid.store.sqlite import searching, summarizing
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.connection import open_reader, telling_errors
from whodid.store.sqlite.search import match_expression
from whodid.store.sqlite.time_keys import TIE_BITS, first_key

CHUNK = 1000
"""How many entries one statement reads: a longer-lived one would keep the write-ahead log from ending."""

_AT_ONCE = 100
"""How many records are made of rows before it is looked how large they are."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_KINDS = {kind.value: kind for kind in Kind}

# The rowids of the index come newest first by themselves. Asking for the account once more costs nothing, and means
# that no flaw of the index could ever show an account another one's records.
_NEWEST = """
    SELECT e.dictionary, e.record
    FROM search s CROSS JOIN entry e ON e.time_key = s.rowid
    WHERE s.search MATCH ? AND s.rowid BETWEEN ? AND ? AND e.account_no = ? AND e.kind = ?
    ORDER BY s.rowid DESC
    LIMIT ?
"""
_COLUMNS = "time_key, seq, kind, salt, commitment, dictionary, record"
_BY_SEQUENCE = f"SELECT {_COLUMNS} FROM entry WHERE account_no = ? AND seq >= ? ORDER BY seq LIMIT {CHUNK}"  # noqa: S608
_BY_TIME = f"""
    SELECT {_COLUMNS} FROM entry
    WHERE time_key BETWEEN ? AND ? AND +account_no = ? AND kind BETWEEN ? AND ?
    ORDER BY time_key
    LIMIT {CHUNK}
"""  # noqa: S608

_LOG = """
    SELECT seq, kind, time_key, dictionary, record FROM entry WHERE account_no = ? AND seq >= ? ORDER BY seq LIMIT ?
"""
_HEADS = "SELECT account_no, size, identity_version, kept_from FROM account WHERE account_no IN carray(?)"
_BY_ID = f"""
    SELECT {_COLUMNS} FROM entry
    WHERE account_no = ? AND seq = (SELECT seq FROM record_id WHERE account_no = ? AND id = ?)
"""  # noqa: S608
_NUMBERS = "SELECT min(seq), max(seq) FROM entry WHERE time_key BETWEEN ? AND ? AND account_no = ?"


class Reader:
    """One thread's way into the store's file. Opens it on first use, and anew after a failure."""

    def __init__(self, path: Path, *, vfs: str | None = None) -> None:
        self._path = path
        self._vfs = vfs
        self._connection: apsw.Connection | None = None

    def run(self, work: Callable[Concatenate[apsw.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Let ``work`` read, with the connection as its first argument."""
        with telling_errors(self._path):
            try:
                return work(self._open(), *args, **kwargs)
            except apsw.Error:
                self.close()
                raise

    def newest(self, query: Query) -> list[bytes]:
        """See ``Store.newest``."""
        return self.run(self._newest, query)

    def search(self, asked: Search) -> Found:
        """See ``Store.search``."""
        return self.run(self._found, asked)

    def summarize(self, question: Question) -> Summary:
        """See ``Store.summarize``."""
        return self.run(self._summary, question)

    def log(self, account_no: int, first: int, limit: int, most_bytes: int) -> list[Numbered]:
        """See ``Store.log``."""
        return self.run(self._log, (account_no, first, limit), most_bytes)

    def heads(self, account_nos: Sequence[int]) -> dict[int, Head]:
        """See ``Store.heads``."""
        return self.run(_heads, account_nos)

    def entries(self, account_no: int, first: int) -> list[Entry]:
        """The next chunk of ``Store.entries``; empty at the end."""
        return [entry for _, entry in self.run(self._entries, _BY_SEQUENCE, (account_no, first))]

    def window(self, account_no: int, first_time_key: int, until_ms: int, kind: Kind | None) -> list[tuple[int, Entry]]:
        """The next chunk of ``Store.window``, each entry with its ``time_key``; empty at the end."""
        kinds = (kind, kind) if kind else (min(Kind), max(Kind))
        return self.run(self._entries, _BY_TIME, (first_time_key, first_key(until_ms) - 1, account_no, *kinds))

    def entry(self, account_no: int, record_id: str) -> Entry | None:
        """See ``Store.entry``."""
        found = self.run(self._entries, _BY_ID, (account_no, account_no, bytes.fromhex(record_id)))
        return found[0][1] if found else None

    def numbers(self, account_no: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        """See ``Store.numbers``."""
        return self.run(_numbers, (first_key(since_ms), first_key(until_ms) - 1, account_no))

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close(True)  # noqa: FBT003 (apsw names it so: whatever statements are open)

    def _open(self) -> apsw.Connection:
        if self._connection is None:
            self._connection = open_reader(self._path, vfs=self._vfs)
            self._decompress = Decompressor(self._connection)
        return self._connection

    def _newest(self, connection: apsw.Connection, query: Query) -> list[bytes]:
        rows: Any = connection.execute(
            _NEWEST,
            (
                match_expression(query.account_no, query.kind, query.equals),
                first_key(query.since_ms),
                first_key(query.until_ms) - 1,
                query.account_no,
                query.kind,
                query.limit,
            ),
        )
        with _telling_damage("a record"):
            return self._decompress.all(rows.fetchall())

    def _found(self, connection: apsw.Connection, asked: Search) -> Found:
        with _snapshot(connection), _telling_damage("a record"):
            return searching.search(connection, self._decompress, asked)

    def _summary(self, connection: apsw.Connection, question: Question) -> Summary:
        with _snapshot(connection), _telling_damage("a record"):
            return summarizing.summarize(connection, self._decompress, question)

    def _log(self, connection: apsw.Connection, bindings: tuple[int, ...], most_bytes: int) -> list[Numbered]:
        found: list[Numbered] = []
        size_bytes = 0
        with closing(connection.execute(_LOG, bindings)) as cursor:
            while rows := list(islice(cursor, _AT_ONCE)):
                with _telling_damage("a record"):
                    records = self._decompress.all([row[3:] for row in rows])
                found += searching.numbered(rows, records)
                size_bytes += sum(map(len, records))
                if size_bytes > most_bytes:
                    return fitting(found, most_bytes)
        return found

    def _entries(
        self, connection: apsw.Connection, statement: str, bindings: tuple[int | bytes, ...]
    ) -> list[tuple[int, Entry]]:
        rows: Any = connection.execute(statement, bindings)
        return [(row[0], self._entry(row)) for row in rows]

    def _entry(self, row: tuple[Any, ...]) -> Entry:
        key, seq, kind, salt, commitment, dictionary, frame = row
        with _telling_damage(f"entry {seq}"):
            return Entry(seq, Kind(kind), key >> TIE_BITS, salt, commitment, self._decompress(dictionary, frame))


@contextmanager
def _snapshot(connection: apsw.Connection) -> Iterator[None]:
    """All statements see the store as it is when the first one begins."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:
            connection.execute("COMMIT")


@contextmanager
def _telling_damage(which: str) -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, ValueError) as error:
        raise InconsistentLog(
            f"{which} can't be read: {error}; 'whodid verify-store' tells what else is wrong with the store"
        ) from error


def _heads(connection: apsw.Connection, account_nos: Sequence[int]) -> dict[int, Head]:
    rows: Any = connection.execute(_HEADS, (apsw.carray(array("q", account_nos)),)) if account_nos else []
    return {row[0]: Head(*row[1:]) for row in rows}


def _numbers(connection: apsw.Connection, bindings: tuple[int, ...]) -> tuple[int, int] | None:
    row = connection.execute(_NUMBERS, bindings).fetchone()
    return None if row is None or row[0] is None else (int(row[0]), int(row[1]))
