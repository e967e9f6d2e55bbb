"""Filling: what a migration adds to entries that are there already, made from their records.

Runs inside the migration's transaction, while nobody else can use the database.
"""

import logging
from collections.abc import Callable
from typing import Any, Final

import psycopg

from whodid.records import MAX_TIME_MS, Kind, parse_record
from whodid.store.postgres.connection import Row, TextVector, register_types
from whodid.store.postgres.tally import RECOUNT
from whodid.store.postgres.terms import lexemes

log = logging.getLogger(__name__)

_CHUNK: Final = 5000
_ENTRIES: Final = f"""
    SELECT account_no, seq, recorded_ms, kind, record FROM entry
    WHERE (account_no, seq) > (%s, %s) ORDER BY account_no, seq LIMIT {_CHUNK}
"""  # noqa: S608
_FILL: Final = "UPDATE entry SET words = %b WHERE account_no = %b AND seq = %b AND recorded_ms = %b"


def fill_search(connection: psycopg.Connection[Row]) -> None:
    """The words of all entries, and the tally of all accounts."""
    register_types(connection)
    after, done = (-1, -1), 0
    while rows := connection.execute(_ENTRIES, after, binary=True).fetchall():
        with connection.cursor() as cursor:
            cursor.executemany(_FILL, [_filled(row) for row in rows])
        after, done = (rows[-1][0], rows[-1][1]), done + len(rows)
        log.info("entries made searchable", extra={"entries": done})
    kinds = [kind.value for kind in Kind]
    for (account_no,) in connection.execute("SELECT account_no FROM head").fetchall():
        connection.execute(RECOUNT, (account_no, kinds, 0, MAX_TIME_MS + 1))


def _filled(row: tuple[Any, ...]) -> tuple[Any, ...]:
    account_no, seq, recorded_ms, kind, record = row
    return TextVector(lexemes(account_no, parse_record(Kind(kind), record))), account_no, seq, recorded_ms


STEPS: Final[dict[int, Callable[[psycopg.Connection[Row]], None]]] = {3: fill_search}
"""What is done in the midst of a migration's SQL, where it has the line ``FILLING``, by the migration's number."""

FILLING: Final = "\n-- filling.py\n"
