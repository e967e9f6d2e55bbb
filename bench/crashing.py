"""Crashes of a process that appends to a store, and what must hold after each.

Here are the judge, and crashes without a server; those of a server are in ``crashing_server``.
"""

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench import crashing_child
from bench.crashing_child import Acknowledgement, Appender, Place, wal_of
from whodid.clock import wall_clock
from whodid.identity import Actor, Identity
from whodid.store.base import Account
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.connection import CHECKPOINT_PAGES, PAGE_BYTES

ACCOUNTS = ("org-one", "org-two")
FULL_ENTRIES = 40_000
"""When a store is left for a new one: each check walks all of it."""

_LONGEST_WRITE_SECONDS = 1
_ROOT = Path(__file__).parent.parent
_CHECKPOINT_BYTES = CHECKPOINT_PAGES * (PAGE_BYTES + 24)


class Violation(Exception):
    """The store does not hold what was promised."""


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
        seed = str(self._random.getrandbits(64))
        arguments = [sys.executable, "-m", crashing_child.__name__, str(self._file), str(log), seed]
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
        give_up = time.monotonic() + _LONGEST_WRITE_SECONDS  # after a checkpoint, the log grows no more
        while child.poll() is None and time.monotonic() < give_up:
            if wal.exists() and wal.stat().st_size != before:
                return

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
        told = await Appender(store, await store.accounts(), chance).append()
        await store.close()
        for one in told:
            self._ledger.add(one.account, one.places)


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
