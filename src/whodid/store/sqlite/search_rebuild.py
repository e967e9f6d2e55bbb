"""The search index made anew from the records, while appends go on.

A second index is filled beside the first, in many short transactions, with what was in the log at the beginning.
Then what was appended meanwhile is added, until little is left; the last transaction adds that, and puts the new
index in the place of the old one.
"""

from importlib import resources
from typing import Any

import apsw

from whodid.records import Kind, parse_record
from whodid.store.base import Progress
from whodid.store.sqlite.bulk import BulkInsert
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.connection import transaction
from whodid.store.sqlite.search import TermMaker

_CHUNK = 5000
_COLUMNS = "time_key, account_no, seq, kind, dictionary, record"
_INSERT = BulkInsert("search_new (rowid, terms)", 2)


def rebuild(connection: apsw.Connection, progress: Progress) -> int:
    """Make the index anew with a connection that writes; the number of entries indexed."""
    run = _Rebuild(connection)
    with transaction(connection):
        connection.execute("DROP TABLE IF EXISTS search_new")  # what an interrupted run left
        connection.execute(_definition())
        sizes = _sizes(connection)
    total = sum(sizes.values())
    after = -1
    while rows := _rows_after(connection, after):
        with transaction(connection):
            run.index([row for row in rows if row[2] < sizes.get(row[1], 0)])
        after = rows[-1][0]
        progress(run.indexed, total)
    while run.behind(sizes) > _CHUNK:
        with transaction(connection):
            run.catch_up(sizes)
    with transaction(connection):
        while run.behind(sizes):
            run.catch_up(sizes)
        connection.execute("DROP TABLE search")
        connection.execute("ALTER TABLE search_new RENAME TO search")
    return run.indexed


def _sizes(connection: apsw.Connection) -> dict[int, int]:
    rows: list[Any] = connection.execute("SELECT account_no, size FROM account").fetchall()
    return dict(rows)


def _rows_after(connection: apsw.Connection, time_key: int) -> list[Any]:
    statement = f"SELECT {_COLUMNS} FROM entry WHERE time_key > ? ORDER BY time_key LIMIT {_CHUNK}"  # noqa: S608
    return connection.execute(statement, (time_key,)).fetchall()


def _definition() -> str:
    """The index as the schema defines it, under its new name."""
    schema = (resources.files("whodid.store") / "sql" / "sqlite" / "0001_initial.sql").read_text("utf-8")
    return "CREATE VIRTUAL TABLE search_new" + schema.partition("CREATE VIRTUAL TABLE search")[2]


class _Rebuild:
    """One rebuild while it runs."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.indexed = 0
        self._connection = connection
        self._read = Decompressor(connection)
        self._terms = TermMaker()

    def index(self, rows: list[tuple[Any, ...]]) -> None:
        """Add rows of ``entry``, which are in order of time."""
        _INSERT(self._connection, [value for row in rows for value in (row[0], self._terms_of(*row[1:]))])
        self.indexed += len(rows)

    def behind(self, sizes: dict[int, int]) -> int:
        """How many entries the accounts have that were appended since they had ``sizes``."""
        return sum(size - sizes.get(account_no, 0) for account_no, size in _sizes(self._connection).items())

    def catch_up(self, sizes: dict[int, int]) -> None:
        """Add some of what was appended since the accounts had ``sizes``, and move those on."""
        for account_no, size in _sizes(self._connection).items():
            first = sizes.get(account_no, 0)
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM entry WHERE account_no = ? AND seq >= ? AND seq < ? ORDER BY time_key",  # noqa: S608
                (account_no, first, first + _CHUNK),
            )
            self.index(rows.fetchall())
            sizes[account_no] = min(size, first + _CHUNK)

    def _terms_of(self, account_no: int, _seq: int, kind: int, dictionary: int, frame: bytes) -> str:
        body = parse_record(Kind(kind), self._read(dictionary, frame))
        return self._terms.terms(account_no, body)
