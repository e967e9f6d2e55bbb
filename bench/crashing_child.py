"""The process that appends to a store until it is killed, and writes down what was acknowledged.

``python -m bench.crashing_child FILE ACKNOWLEDGED SEED``. Every event carries a mark, its ``target_id``:
``<submission>.<place>.<events>``; so the log itself tells whether a submission is there as a whole. An
acknowledgement is written only after ``append`` has returned.
"""

import asyncio
import random
import sys
from pathlib import Path
from typing import NamedTuple

import msgspec

from whodid.clock import wall_clock
from whodid.records import Action, Event, IdMaker, Kind, complete
from whodid.store.base import Account, Receipt, Submission
from whodid.store.sqlite import SqliteStore

LATE_MS = 30 * 24 * 60 * 60 * 1000
"""How long ago the latest of late events occurred."""

_SIZES = (1, 1, 2, 7, 30, 200, 1000)


class Place(NamedTuple):
    """Where an event was acknowledged to be. ``mark`` is its ``target_id``."""

    seq: int
    id: str
    mark: str


class Acknowledgement(msgspec.Struct):
    """A line of the child's."""

    account: str
    places: list[Place]
    wal_bytes: int
    """How long the write-ahead log was when ``append`` had returned."""


def wal_of(file: Path) -> Path:
    """The write-ahead log of a store's file."""
    return file.with_name(f"{file.name}-wal")


class Appender:
    """Appends made-up batches to a store."""

    def __init__(self, store: SqliteStore, accounts: list[Account], chance: random.Random) -> None:
        self._store = store
        self._accounts = accounts
        self._random = chance
        self._ids = IdMaker(chance.randbytes)
        self._wal = wal_of(store.path)
        self._own: list[Submission] = []

    async def append(self) -> list[Acknowledgement]:
        """Append one batch; what was acknowledged of it."""
        batch = [self.submission() for _ in range(self._random.randint(1, 3))]
        results = await self._store.append(batch)
        wal_bytes = self._wal.stat().st_size
        return [self._told(*one, wal_bytes) for one in zip(batch, results, strict=True)]

    def _told(self, submission: Submission, result: object, wal_bytes: int) -> Acknowledgement:
        assert isinstance(result, Receipt), result
        places = [
            Place(seq, event.id.hex(), str(getattr(event.body, "target_id", None)))
            for event, seq in zip(submission.events, result.seqs, strict=True)
        ]
        name = next(account.name for account in self._accounts if account.no == submission.account_no)
        return Acknowledgement(name, places, wal_bytes)

    def submission(self) -> Submission:
        """A made-up submission, or one that was made before."""
        if self._own and self._random.random() < 0.1:
            return self._random.choice(self._own)  # a repetition: must get the old numbers
        account, count = self._random.choice(self._accounts), self._random.choice(_SIZES)
        own, name = self._random.random() < 0.4, f"{self._random.getrandbits(64):x}"
        made = Submission(account.no, [self._event(account, f"{name}.{at}.{count}", own=own) for at in range(count)])
        if own:
            self._own.append(made)
        return made

    def _event(self, account: Account, mark: str, *, own: bool) -> Event:
        now_ms = wall_clock()
        created_ms = now_ms - (self._random.randrange(LATE_MS) if self._random.random() < 0.2 else 0)
        return complete(
            Action(user_id="5e1cbf251c26d68f7ce6361e", type="pipeline", action="update", target_id=mark),
            kind=Kind.ACTION,
            record_id=f"{self._random.getrandbits(96):024x}" if own else self._ids(created_ms),
            account=account.name,
            created_ms=created_ms,
            recorded_ms=now_ms,
            filled=("account", "user_email", "createdAt", "__v") if own else None,
        )


async def append_for_ever(file: Path, log: Path, seed: int) -> None:
    """Be the child: append until killed."""
    store = SqliteStore(file)
    accounts = await store.accounts()
    appender = Appender(store, accounts, random.Random(seed))
    with log.open("ab", buffering=0) as out:
        wal = wal_of(file)
        begun = Acknowledgement(accounts[0].name, [], wal.stat().st_size if wal.exists() else 0)
        out.write(msgspec.json.encode(begun) + b"\n")
        print("appending", flush=True)
        while True:
            told = await appender.append()
            out.write(b"".join(msgspec.json.encode(one) + b"\n" for one in told))


if __name__ == "__main__":
    asyncio.run(append_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
