"""The price of evidence: two processes that append, one with all that evidence takes, one without. They take turns.

Batches of 1,000 events, made as ingest makes them, go one after another through ``SqliteStore.append``: with ``fsync``,
but without HTTP and without a writing process. What evidence is spared: salts and commitments are empty, no leaf is
hashed, no tree grows. All else is the same, the columns included.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from unittest import mock

from bench.files import on_disk_bytes, store_url
from bench.population import Population
from bench.sqlite import SqlitePlace
from bench.tenant import Tenant, make_store
from whodid.clock import wall_clock
from whodid.ingest import Completer, Directory, parse_events
from whodid.merkle import BlockRoot
from whodid.records import Event, IdMaker, Kind
from whodid.store.base import Receipt, Store, Submission
from whodid.store.opening import open_store
from whodid.store.sqlite import sealer, writer
from whodid.store.sqlite.connection import open_reader

BATCH = 1000
_WARM_UP = 11
"""Batches that don't count: past the first dictionary that a store trains."""

_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Price:
    """What was measured."""

    events: int
    """In a round, with and without."""
    seconds_with: list[float]
    seconds_without: list[float]
    disk_bytes: float
    """What the store with evidence takes more, per event."""
    content_bytes: dict[str, float]
    """What of that are salts, commitments and block roots, per event."""


def measure_price(folder: Path, *, rounds: int, batches: int) -> Price:
    """Let both append, round by round; each is first in every other round."""
    files = folder / "evidence.db", folder / "no-evidence.db"
    seconds: tuple[list[float], list[float]] = [], []
    with _Appender(files[0], evidence=True) as with_it, _Appender(files[1], evidence=False) as without_it:
        both = with_it, without_it
        for appender in both:
            appender.append(_WARM_UP)
        for number in range(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                seconds[which].append(both[which].append(batches))
    events = (rounds * batches + _WARM_UP) * BATCH
    disk_bytes = (on_disk_bytes(files[0]) - on_disk_bytes(files[1])) / events
    content = [_evidence_bytes(file) for file in files]
    assert not any(content[1].values()), f"there is evidence in the store that should have none: {content[1]}"
    for file in files:
        file.unlink()
    return Price(batches * BATCH, *seconds, disk_bytes, content[0])


def _evidence_bytes(file: Path) -> dict[str, float]:
    """What an event's evidence is, in bytes: of the newest event, and its share of the roots of all blocks."""
    connection = open_reader(file)
    try:
        newest: Any = connection.execute(
            "SELECT length(salt), length(commitment) FROM entry ORDER BY time_key DESC LIMIT 1"
        ).get
        roots: Any = connection.execute("SELECT ifnull(sum(length(root)), 0) FROM block_root").get
        entries: Any = connection.execute("SELECT count(*) FROM entry").get
    finally:
        connection.close()
    return {"salt": newest[0], "commitment": newest[1], "block roots": roots / entries}


class _Appender(AbstractContextManager["_Appender"]):
    """A process that appends to a store of its own when it is told to."""

    def __init__(self, file: Path, *, evidence: bool) -> None:
        arguments = [sys.executable, "-m", "bench.price", str(file.absolute())]
        self._process = subprocess.Popen(
            arguments if evidence else [*arguments, "--without"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def append(self, batches: int) -> float:
        """Have so many batches appended; the seconds that it took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{batches}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


class _Size(NamedTuple):
    """Stands for a frontier, and only counts."""

    size: int

    @classmethod
    def from_bytes(cls, size: int, _: bytes) -> Self:
        """What the store has: a size."""
        return cls(size)

    def to_bytes(self) -> bytes:
        """Nothing."""
        return b""


def _no_commitment(_salt: bytes, _record: bytes) -> bytes:
    return b""


def _only_count(head: Any) -> list[BlockRoot]:
    head.frontier = _Size(head.next_seq)
    return []


@contextmanager
def _without_evidence() -> Iterator[None]:
    with (
        mock.patch.object(sealer.Sealer, "_take_salts", lambda _, count: [b""] * count),
        mock.patch.object(sealer, "commit", _no_commitment),
        mock.patch.object(writer, "_grow", _only_count),
        mock.patch.object(writer, "Frontier", _Size),
    ):
        yield


class _Producer:
    """Makes batches as ingest does."""

    def __init__(self, tenant: Tenant) -> None:
        self._account_no = tenant.account.no
        self._population = Population(seed=5)
        self._completer = Completer(tenant.account.name, Directory({}), IdMaker(os.urandom), wall_clock)

    def batch(self) -> Submission:
        """The next batch."""
        return Submission(self._account_no, self._events())

    def _events(self) -> list[Event]:
        body = b"[%b]" % b",".join(self._population.sendable(BATCH))
        return self._completer.complete(parse_events(body, Kind.ACTION, lines=False), Kind.ACTION)


async def _append(store: Store, batches: list[Submission]) -> float:
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    for batch in batches:
        (result,) = await store.append([batch])
        assert isinstance(result, Receipt), result
    seconds = time.perf_counter() - began
    gc.enable()
    return seconds


async def _obey(file: Path, producer: _Producer) -> None:
    """Append as many batches as each line of standard input says, and answer with the seconds."""
    store = open_store(store_url(file))
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            batches = [producer.batch() for _ in range(int(line))]
            print(await _append(store, batches), flush=True)
    finally:
        await store.close()


def main() -> int:
    """Be one of the two processes."""
    parser = argparse.ArgumentParser(prog="python -m bench.price")
    parser.add_argument("file", type=Path)
    parser.add_argument("--without", action="store_true", help="spare what evidence takes")
    given = parser.parse_args()
    (tenant,) = asyncio.run(make_store(SqlitePlace(given.file)))
    producer = _Producer(tenant)
    if given.without:
        with _without_evidence():
            asyncio.run(_obey(given.file, producer))
    else:
        asyncio.run(_obey(given.file, producer))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
