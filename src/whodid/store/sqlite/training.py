"""Dictionaries trained from the store's own records, as it grows: the same records then take less space.

A dictionary holds pieces of the records that it was trained from; it never leaves the store's file.
"""

from typing import Any

import apsw
import zstandard

from whodid.store.sqlite.compression import Compressor, Decompressor

FIRST_ENTRIES = 10_000
"""How many entries a store has before its first own dictionary; ten times as many for each following one."""

DICTIONARY_BYTES = 32 * 1024

_RECENT = 40_000
_EVERY = 10
_HELD_BACK = 5
_WORTHWHILE = 0.97


def next_training(entries_at_last: int) -> int:
    """How many entries the store must have for the next training."""
    return max(FIRST_ENTRIES, 10 * entries_at_last)


def state(connection: apsw.Connection) -> tuple[int, int]:
    """How many entries the store has now, and had when a dictionary was last trained."""
    row = connection.execute(
        "SELECT (SELECT coalesce(sum(size), 0) FROM account), (SELECT coalesce(max(entries), 0) FROM dictionary)"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def train(connection: apsw.Connection) -> bytes | None:
    """A dictionary that compresses the recent records at least 3 % better than today's; None if there is none.

    Trained on some recent records, and judged by others.
    """
    read = Decompressor(connection)
    rows: list[Any] = connection.execute(
        "SELECT dictionary, record FROM entry ORDER BY time_key DESC LIMIT ?", (_RECENT,)
    ).fetchall()
    records = read.all(rows[::_EVERY])
    held_back = records[::_HELD_BACK]
    samples: list[Any] = [record for at, record in enumerate(records) if at % _HELD_BACK]
    try:
        trained = zstandard.train_dictionary(DICTIONARY_BYTES, samples).as_bytes()
    except zstandard.ZstdError:
        return None  # too few samples, or all alike: nothing to learn
    current = connection.execute("SELECT bytes FROM dictionary ORDER BY version DESC LIMIT 1").get
    return trained if _size(trained, held_back) < _WORTHWHILE * _size(current, held_back) else None


def _size(dictionary: bytes, records: list[bytes]) -> int:
    return sum(map(len, Compressor(dictionary).all(records)))
