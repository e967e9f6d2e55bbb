"""Crashes of a process that appends to a store, and what must hold after each: the judge, and the first two culprits.

Every event that is made here carries a mark, its ``target_id``: ``<submission>.<place>.<events>``. So the log itself
tells whether a submission is there as a whole. ``python -m bench.crashing FILE ACKNOWLEDGED SEED`` is the child that
appends until it is killed; it writes down what was acknowledged only after ``append`` returned.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from whodid.identity import Actor, Identity
from whodid.records import Action, Event, IdMaker, Kind, complete
from whodid.service import wall_clock
from whodid.store.base import Account, Receipt, Submission
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.connection import CHECKPOINT_PAGES, PAGE_BYTES

ACCOUNTS = ("org-one", "org-two")
FULL_ENTRIES = 40_000
"""When a store is left for a new one: each check walks all of it."""

LATE_MS = 30 * 24 * 60 * 60 * 1000
_ROOT = Path(__file__).parent.parent
_SIZES = (1, 1, 2, 7, 30, 200, 1000)
_CHECKPOINT_BYTES = CHECKPOINT_PAGES * (PAGE_BYTES + 24)
_DEADLINE_SECONDS = 30


class Violation(Exception):
    """The store does not hold what was promised."""


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


class _Body(msgspec.Struct):
    """What is looked at of a stored record."""

    id: str = msgspec.field(name="_id")
    target_id: str | None = None


@dataclass(slots=True)
class Tally:
    """What was done, and looked at."""

    mode: str
    rounds: int = 0
    kills: int = 0
    acknowledged: int = 0
    """Different events that were acknowledged, and looked for after every later crash of their store."""
    unacknowledged: int = 0
    """Events whose request the crash cut off; in the modes with a server they were sent again."""
    torn: int = 0
    """Crashes after which a part of the write-ahead log was taken away."""
    walked: int = 0
    """Entries that checks went through."""


class Ledger:
    """What one store has acknowledged."""

    def __init__(self, tally: Tally) -> None:
        self.places: dict[str, dict[str, Place]] = {name: {} for name in ACCOUNTS}
        self._tally = tally

    def add(self, account: str, places: list[Place]) -> None:
        """Take down an acknowledgement. Raises ``Violation`` if it contradicts an earlier one."""
        known = self.places[account]
        for place in places:
            earlier = known.setdefault(place.id, place)
            if earlier != place:
                raise Violation(f"{account}: {place} was acknowledged before as {earlier}")
            self._tally.acknowledged += earlier is place


async def make_store(file: Path) -> None:
    """A new store with the two accounts."""
    store = SqliteStore(file, create=True)
    identity = Identity(store, clock=wall_clock)
    for name in ACCOUNTS:
        await identity.add_account(name, Actor())
    await store.close()


async def judge(file: Path, ledger: Ledger) -> int:
    """Hold a store against what it acknowledged; how many entries it has. Raises ``Violation``."""
    store = SqliteStore(file)
    size = 0
    try:
        for account in await store.accounts():
            size += await _judge_log(store, account, ledger.places[account.name])
        if findings := await store.check(lambda _done, _total: None):
            raise Violation(f"the check finds: {findings[:5]}")
    finally:
        await store.close()
    return size


async def _judge_log(store: SqliteStore, account: Account, acknowledged: dict[str, Place]) -> int:
    there: dict[str, Place] = {}
    size = 0
    async for chunk in store.entries(account.no):
        for entry in chunk:
            if entry.seq != size:
                raise Violation(f"{account.name}: entry {size} is missing; the next is {entry.seq}")
            size += 1
            body = msgspec.json.decode(entry.record, type=_Body)
            if there.setdefault(body.id, place := Place(entry.seq, body.id, body.target_id or "")) is not place:
                raise Violation(f"{account.name}: {body.id} is there twice, at {there[body.id].seq} and {entry.seq}")
    for event_id, expected in acknowledged.items():
        if there.get(event_id) != expected:
            raise Violation(f"{account.name}: acknowledged was {expected}, but there is {there.get(event_id)}")
    _judge_whole(account.name, there)
    return size


def _judge_whole(account: str, there: dict[str, Place]) -> None:
    """Of each submission there must be all events."""
    parts = Counter((mark[0], mark[2]) for place in there.values() if len(mark := place.mark.split(".")) == 3)
    for (submission, events), found in parts.items():
        if found != int(events):
            raise Violation(f"{account}: of submission {submission}, there are {found} of {events} events")


class StoreRounds:
    """Crashes of a process that appends by itself, to one store after another."""

    def __init__(self, folder: Path, seed: int, *, tearing: bool = False) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._tearing = tearing
        self._entries = FULL_ENTRIES
        self.tally = Tally("wal" if tearing else "store")

    def round(self) -> None:
        """Append, kill, look, append again. Raises ``Violation``."""
        if self._entries >= FULL_ENTRIES:
            self._file = self._folder / f"{self.tally.mode}-{self.tally.rounds}.db"
            self._ledger = Ledger(self.tally)
            asyncio.run(make_store(self._file))
        log = self._folder / f"acknowledged-{self.tally.mode}-{self.tally.rounds}.jsonl"
        self._crash(log)
        wal_bytes = self._take_down(log)
        if self._tearing:
            self.tally.torn += tear(wal_of(self._file), wal_bytes, self._random)
        self._entries = asyncio.run(judge(self._file, self._ledger))
        asyncio.run(self._go_on())
        self.tally.rounds += 1
        self.tally.walked += self._entries

    def close(self) -> None:
        """Nothing is open between rounds."""

    def _crash(self, log: Path) -> None:
        arguments = [sys.executable, "-m", __name__, str(self._file), str(log), str(self._random.getrandbits(64))]
        with subprocess.Popen(arguments, cwd=_ROOT, stdout=subprocess.PIPE, bufsize=0) as child:
            try:
                assert child.stdout is not None
                if child.stdout.readline() != b"appending\n":
                    raise Violation("the store can't be opened for appending")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    status = child.wait(self._random.uniform(0.01, 0.3))
                    raise Violation(f"appending failed, with exit status {status}")
                if self._tearing:
                    self._await_write(child)
            finally:
                child.kill()
        self.tally.kills += 1

    def _await_write(self, child: subprocess.Popen[bytes]) -> None:
        """Until the log grows: a commit is being written, or waits for its fsync."""
        wal = wal_of(self._file)
        before = wal.stat().st_size if wal.exists() else 0
        while child.poll() is None and (not wal.exists() or wal.stat().st_size == before):
            pass

    def _take_down(self, log: Path) -> int:
        """Take down what the child wrote; how long the write-ahead log was then."""
        wal_bytes = 0
        for line in log.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):  # the last one may have been cut off
                told = msgspec.json.decode(line, type=Acknowledgement)
                wal_bytes = told.wal_bytes
                self._ledger.add(told.account, told.places)
        log.unlink()
        return wal_bytes

    async def _go_on(self) -> None:
        store = SqliteStore(self._file)
        chance = random.Random(self._random.getrandbits(64))
        told = await _Appender(store, await store.accounts(), chance).append()
        await store.close()
        for one in told:
            self._ledger.add(one.account, one.places)


def wal_of(file: Path) -> Path:
    """The write-ahead log of a store's file."""
    return file.with_name(f"{file.name}-wal")


def tear(wal: Path, kept_bytes: int, chance: random.Random) -> bool:
    """Take away, or spoil, a part of what follows ``kept_bytes``, as a power failure may; whether there was any.

    Where a checkpoint may have begun, the log was synced as a whole before, and nothing of it can be lost.
    """
    size = wal.stat().st_size if wal.exists() else 0
    if not kept_bytes < size < _CHECKPOINT_BYTES:
        return False
    at = chance.randrange(kept_bytes, size)
    if chance.random() < 0.5:
        os.truncate(wal, at)
        return True
    end = chance.randrange(at, size) + 1
    with wal.open("r+b") as file:
        file.seek(at)
        file.write(chance.choice((bytes(end - at), chance.randbytes(end - at))))
    return True


class _Appender:
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
        batch = [self._submission() for _ in range(self._random.randint(1, 3))]
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

    def _submission(self) -> Submission:
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


async def append_for_ever(file: Path, log: Path, seed: int) -> Any:
    """Be the child: append until killed."""
    store = SqliteStore(file)
    appender = _Appender(store, await store.accounts(), random.Random(seed))
    with log.open("ab", buffering=0) as out:
        wal = wal_of(file)
        begun = Acknowledgement(ACCOUNTS[0], [], wal.stat().st_size if wal.exists() else 0)
        out.write(msgspec.json.encode(begun) + b"\n")
        print("appending", flush=True)
        while True:
            told = await appender.append()
            out.write(b"".join(msgspec.json.encode(one) + b"\n" for one in told))


if __name__ == "__main__":
    asyncio.run(append_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
