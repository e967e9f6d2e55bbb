"""Bulk inserts: many rows in one statement.

A statement gives up the interpreter's lock while SQLite works, and must wait for it afterwards: up to a whole switch
interval when another thread is busy. With a statement a row, a busy server would append some hundred rows a second.
"""

from typing import Any

import apsw

_MOST_ROWS = 512
"""Keeps a statement's text below 16 KiB, beyond which apsw does not cache it, and its values below SQLite's limit."""


class BulkInsert:
    """``INSERT INTO <table> VALUES …`` for any number of rows, in as few statements as can be kept prepared."""

    def __init__(self, table: str, columns: int) -> None:
        row = f"({','.join('?' * columns)})"
        sizes = [_MOST_ROWS >> shift for shift in range(_MOST_ROWS.bit_length())]
        self._statements = [
            (size * columns, f"INSERT INTO {table} VALUES {','.join([row] * size)}")  # noqa: S608
            for size in sizes
        ]

    def __call__(self, connection: apsw.Connection, values: list[Any]) -> None:
        """Insert rows, in order; ``values`` has the columns of the first row, then of the second, and so on."""
        done = 0
        for size, statement in self._statements:
            while len(values) - done >= size:
                connection.execute(statement, values[done : done + size])
                done += size
