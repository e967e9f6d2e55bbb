"""Rows in bulk: PostgreSQL's binary COPY format, made by hand, since there are a hundred thousand rows a second.

Each column is of one of three types: ``q`` (bigint), ``h`` (smallint), ``b`` (bytea). None is NULL.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

from whodid.store.postgres.connection import Connection

_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_END = struct.pack(">h", -1)
_COUNT = struct.Struct(">h").pack
_LENGTH = struct.Struct(">i").pack
_BIGINT = struct.Struct(">iq").pack
_SMALLINT = struct.Struct(">ih").pack

NULL: Final = _LENGTH(-1)
"""The field of a column that has no value."""


def bytes_field(value: bytes | None) -> bytes:
    """The field of a column of bytes."""
    return NULL if value is None else _LENGTH(len(value)) + value


class BulkCopy:
    """Copies rows of some columns into one table."""

    def __init__(self, table: str, columns: str, types: str) -> None:
        """``types`` has one letter for each column."""
        self._statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()
        self._types = types
        self._count = _COUNT(len(types))

    async def __call__(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Copy rows, inside a transaction."""
        if rows:
            await self.copy_made(connection, self._pieces(rows))

    async def copy_made(self, connection: Connection, pieces: Iterable[bytes]) -> None:
        """Copy rows that are in the format already, inside a transaction."""
        async with connection.cursor() as cursor, cursor.copy(self._statement) as copy:
            await copy.write(b"".join([_HEAD, *pieces, _END]))

    def _pieces(self, rows: Iterable[Sequence[Any]]) -> list[bytes]:
        pieces: list[bytes] = []
        add, types, count = pieces.append, self._types, self._count
        for row in rows:
            add(count)
            for kind, value in zip(types, row, strict=True):
                if value is None:
                    add(NULL)
                elif kind == "b":
                    add(bytes_field(value))
                elif kind == "q":
                    add(_BIGINT(8, value))
                else:
                    add(_SMALLINT(2, value))
        return pieces
