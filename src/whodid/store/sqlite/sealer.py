"""Sealing: what an event needs before it is written, and what no lock is needed for.

A store seals submissions as they come in, while its writer commits the batch before: so the two share the work.
What is sealed is small and plain, so that it can also be handed to a writer in another process.
"""

import threading
from collections.abc import Callable
from typing import TypeAlias

from msgspec import Struct

from whodid.commitment import SALT_BYTES, commit
from whodid.records import Event
from whodid.store.base import IdentityChange, Submission
from whodid.store.sqlite.compression import Compressor
from whodid.store.sqlite.search import TermMaker
from whodid.store.sqlite.tally import counted

Given: TypeAlias = tuple[bytes, tuple[str, ...]]
"""Of an event with an ``_id`` of its own: the record, and the keys that the log filled in."""

# A plain tuple: there are a hundred thousand of them a second.
Sealed: TypeAlias = tuple[int, bytes, int, bytes, bytes, int, bytes, str, str, Given | None]
"""An event's kind, id, time in ms, salt, commitment, the version of the dictionary, the record compressed with it, the
search terms, what is counted of it, and what is needed to tell whether it is a duplicate."""


class SealedSubmission(Struct, frozen=True, array_like=True):
    """A submission with its events sealed."""

    account_no: int
    events: list[Sealed]
    changes: tuple[IdentityChange, ...] = ()
    identity_version: int | None = None


_SALTS_DRAWN = 512


class Sealer:
    """Seals events. Any thread may use it, one at a time."""

    def __init__(self, random_bytes: Callable[[int], bytes], version: int, dictionary: bytes) -> None:
        self._random_bytes = random_bytes
        self._terms = TermMaker()
        self._lock = threading.Lock()
        self._salts: list[bytes] = []
        self.learn(version, dictionary)

    def learn(self, version: int, dictionary: bytes) -> None:
        """Compress with this dictionary from now on."""
        with self._lock:
            self._version = version
            self._compress_all = Compressor(dictionary).all

    def seal(self, submission: Submission) -> SealedSubmission:
        """A submission, sealed."""
        events = self.seal_events(submission.account_no, submission.events)
        return SealedSubmission(submission.account_no, events, submission.changes, submission.identity_version)

    def seal_events(self, account_no: int, events: list[Event]) -> list[Sealed]:
        """The events of one account, sealed, in order."""
        with self._lock:
            salts = self._take_salts(len(events))
            frames = self._compress_all([event.record for event in events])
            terms = [self._terms.terms(account_no, event.body) for event in events]
            version = self._version
        return [
            (
                event.kind.value,
                event.id,
                event.created_ms,
                salt,
                commit(salt, event.record),
                version,
                frame,
                words,
                counted(event.body),
                None if event.filled is None else (event.record, event.filled),
            )
            for event, salt, frame, words in zip(events, salts, frames, terms, strict=True)
        ]

    def _take_salts(self, count: int) -> list[bytes]:
        """Fresh salts. They are drawn many at a time, since each draw is a call of the kernel."""
        while len(self._salts) < count:
            drawn = self._random_bytes(SALT_BYTES * _SALTS_DRAWN)
            self._salts += [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
        left = len(self._salts) - count
        taken = self._salts[left:]
        del self._salts[left:]
        return taken
