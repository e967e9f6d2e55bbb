"""All that is derived from the records for searching (the index, the tally, words of addresses), made anew.

New tables are filled beside the old ones, in many short transactions, with what was in the log at the beginning, while
appends go on. Then what was appended meanwhile is added, until little is left; the last transaction adds that, and puts
the new tables in the place of the old ones.
"""

from typing import Any, Final

import apsw

from whodid.records import Kind, parse_record
from whodid.store.base import Progress
from whodid.store.sqlite.bulk import BulkInsert
from whodid.store.sqlite.compression import Decompressor
from whodid.store.sqlite.connection import transaction
from whodid.store.sqlite.search import TermMaker
from whodid.store.sqlite.tally import Addresses, Counts, counted
from whodid.store.sqlite.time_keys import TIE_BITS

_CHUNK: Final = 5000
_COLUMNS: Final = "time_key, account_no, seq, kind, dictionary, record"
_TABLES: Final = ("search", "tally", "address_word")
_INSERT: Final = BulkInsert("search_new (rowid, terms)", 2)


def rebuild(connection: apsw.Connection, progress: Progress) -> int:
    """Make it anew with a connection that writes; the number of entries indexed."""
    with transaction(connection):
        run = _Rebuild(connection)
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
        run.replace()
    return run.indexed


def rebuild_within(connection: apsw.Connection, progress: Progress) -> None:
    """The same, inside a transaction: nothing is appended meanwhile."""
    run = _Rebuild(connection)
    total = sum(_sizes(connection).values())
    after = -1
    while rows := _rows_after(connection, after):
        run.index(rows)
        after = rows[-1][0]
        progress(run.indexed, total)
    run.replace()


def _sizes(connection: apsw.Connection) -> dict[int, int]:
    rows: list[Any] = connection.execute("SELECT account_no, size FROM account").fetchall()
    return dict(rows)


def _rows_after(connection: apsw.Connection, time_key: int) -> list[Any]:
    statement = f"SELECT {_COLUMNS} FROM entry WHERE time_key > ? ORDER BY time_key LIMIT {_CHUNK}"  # noqa: S608
    return connection.execute(statement, (time_key,)).fetchall()


class _Rebuild:
    """One rebuild while it runs. Begun inside a transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self.indexed = 0
        self._connection = connection
        self._read = Decompressor(connection)
        self._terms = TermMaker()
        self._addresses = Addresses("address_word_new")
        for table in _TABLES:
            connection.execute(f"DROP TABLE IF EXISTS {table}_new")  # what an interrupted run left
            sql: Any = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).get
            connection.execute(_renamed(sql, table))

    def index(self, rows: list[tuple[Any, ...]]) -> None:
        """Add rows of ``entry``, which are in order of time; inside a transaction."""
        values: list[Any] = []
        counts = Counts()
        for time_key, account_no, _, kind, dictionary, frame in rows:
            body = parse_record(Kind(kind), self._read(dictionary, frame))
            values += (time_key, self._terms.terms(account_no, body))
            counts.add(account_no, kind, time_key >> TIE_BITS, counted(body))
        _INSERT(self._connection, values)
        counts.write(self._connection, self._addresses, "tally_new")
        self._addresses.committed()  # else the whole run fails
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

    def replace(self) -> None:
        """Put the new tables in the place of the old ones; inside a transaction."""
        for table in _TABLES:
            self._connection.execute(f"DROP TABLE {table}")
            self._connection.execute(f"ALTER TABLE {table}_new RENAME TO {table}")


def _renamed(sql: str, table: str) -> str:
    """The definition of a table, under its new name; a renamed table's name is in quotation marks."""
    before, _, after = sql.partition(" TABLE ")
    return f'{before} TABLE "{table}_new"' + after.removeprefix(f'"{table}"').removeprefix(table)
