"""Admission: which events of a submission are new, and which numbers they get. What every store decides alike; pure.

Called inside the transaction that has the account's head, whoever else may be appending.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from whodid.errors import IdConflict
from whodid.records import same_content

Recorded: TypeAlias = tuple[int, bytes]
"""An entry that an ``_id`` stands for already: its number and its record. A number below zero stands for a place in the
submission that is being admitted."""

Brought: TypeAlias = tuple[int, bytes, bytes, tuple[str, ...]]
"""An event with an ``_id`` of its own: its place in the submission, the id, the record, the keys that the log added."""


def find_duplicates(brought: Iterable[Brought], recorded: Callable[[bytes], Recorded | None]) -> dict[int, int]:
    """The places of duplicates, with the numbers of what they repeat. Raises ``IdConflict``.

    ``recorded`` tells what an id stands for, in the log or earlier in the batch. A number below zero stands for a
    place: the event repeats one of the same submission.
    """
    mine: dict[bytes, Recorded] = {}
    known: dict[int, int] = {}
    for place, record_id, record, filled in brought:
        earlier = recorded(record_id) or mine.get(record_id)
        if earlier is None:
            mine[record_id] = -1 - place, record
        elif same_content(record, earlier[1], filled):
            known[place] = earlier[0]
        else:
            raise IdConflict(place, record_id.hex())
    return known


def number(known: Mapping[int, int], next_seq: int, count: int) -> list[int]:
    """The numbers of a submission's events, the first new one being ``next_seq``; duplicates have those they repeat."""
    if not known:
        return list(range(next_seq, next_seq + count))
    seqs: list[int] = []
    for place in range(count):
        seq = known.get(place)
        if seq is None:
            seqs.append(next_seq)
            next_seq += 1
        else:
            seqs.append(seq if seq >= 0 else seqs[-1 - seq])
    return seqs
