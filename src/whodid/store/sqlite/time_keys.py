"""The time keys of entries: ``createdAt`` in milliseconds, and in the low 21 bits the order among those of one."""

from typing import Final

TIE_BITS: Final = 21

LAST_KEY: Final = (1 << 63) - 1
"""The highest that SQLite can count to; no entry has it."""


def first_key(time_ms: int) -> int:
    """The lowest key of an entry at ``time_ms`` or later."""
    return min(max(time_ms, 0) << TIE_BITS, LAST_KEY)
