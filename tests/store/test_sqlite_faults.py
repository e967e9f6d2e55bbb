"""Faults of the disk, at each step of a commit: nothing acknowledged is lost, nothing is half-written, all recovers."""

import asyncio
import itertools
import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import apsw
import pytest
from tests.building import (
    accepted,
    action,
    add_account,
    append,
    completed,
    event,
    event_at,
    flat,
    new_id,
    no_progress,
    user,
)

from whodid.errors import Conflict, StoreUnavailable
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import Account, PutUser, Query, Submission
from whodid.store.sqlite import SqliteStore, connection

_T = TypeVar("_T")


class Disk:
    """Steps that change files, counted, of which one can fail, and all after it."""

    def __init__(self) -> None:
        self.watched = False
        self.steps: list[str] = []
        self.fail_at: int | None = None
        self.error = apsw.SQLITE_IOERR
        self.persists = False
        """Whether the step that fails is done all the same: "failed, but persisted"."""
        self.lasts = False
        """Whether every step after it fails too."""
        self.failed = 0

    def break_at(self, step: int, error: int, *, persists: bool, lasts: bool) -> None:
        """Fail at this step from now."""
        self.watched, self.steps, self.failed = True, [], 0
        self.fail_at, self.error, self.persists, self.lasts = step, error, persists, lasts

    def mend(self) -> None:
        """Work as it should."""
        self.watched, self.fail_at = False, None

    def step(self, name: str, do: Callable[[], _T]) -> _T:
        """Do a step, or fail."""
        if not self.watched:
            return do()
        number = len(self.steps)
        self.steps.append(name)
        if self.fail_at is None or number < self.fail_at or (number > self.fail_at and not self.lasts):
            return do()
        self.failed += 1
        if self.persists and number == self.fail_at:
            do()
        raise apsw.exception_for(self.error)


class FaultyFile(apsw.VFSFile):
    """A file whose writes, syncs and truncations are steps."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._what = "log" if flags[0] & apsw.SQLITE_OPEN_WAL else "file"

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802 (SQLite's name)
        """Write."""
        self._disk.step(f"write {self._what}", lambda: super(FaultyFile, self).xWrite(data, offset))

    def xSync(self, flags: int) -> None:  # noqa: N802 (SQLite's name)
        """Sync."""
        self._disk.step(f"sync {self._what}", lambda: super(FaultyFile, self).xSync(flags))

    def xTruncate(self, size: int) -> None:  # noqa: N802 (SQLite's name)
        """Truncate."""
        self._disk.step(f"truncate {self._what}", lambda: super(FaultyFile, self).xTruncate(size))

    def xLock(self, level: int) -> None:  # noqa: N802 (SQLite's name)
        """Lock. A reader that closes tries for a writer's lock, in vain: SQLite lets that pass, apsw would not."""
        try:
            super().xLock(level)
        except apsw.IOError as error:
            raise apsw.BusyError from error

    def excepthook(self, *_: object) -> bool:
        """Say nothing of errors that SQLite passes over."""
        return True


class FaultyVFS(apsw.VFS):
    """The system's files, on a disk that can fail."""

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.name = name
        self.disk = Disk()

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 (SQLite's name)
        """Open a file."""
        return FaultyFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 (SQLite's name)
        """Delete a file."""
        self.disk.step("delete", lambda: super(FaultyVFS, self).xDelete(filename, syncdir))

    def excepthook(self, *_: object) -> bool:
        """Say nothing of errors that SQLite passes over."""
        return True


_numbers = itertools.count()


@pytest.fixture
def vfs() -> Iterator[FaultyVFS]:
    """A disk that can fail, registered with SQLite."""
    made = FaultyVFS(f"faulty-{next(_numbers)}")
    yield made
    made.unregister()


@pytest.fixture
def disk(vfs: FaultyVFS) -> Disk:
    """Its state."""
    return vfs.disk


@pytest.fixture
def store(store_path: Path, vfs: FaultyVFS, runner: asyncio.Runner) -> Iterator[SqliteStore]:
    """A store on a disk that can fail."""
    opened = SqliteStore(store_path, create=True, vfs=vfs.name)
    yield opened
    vfs.disk.mend()
    runner.run(opened.close())


class Tale:
    """An account that is appended to through faults, and all that was acknowledged."""

    def __init__(self, store: SqliteStore, account: Account) -> None:
        self.store = store
        self.account = account
        self.acknowledged: dict[int, bytes] = {}
        self.doubtful: list[list[bytes]] = []

    async def append(self, count: int = 3) -> None:
        """Append some events, a change of users with them; note what becomes of it."""
        events = [event(self.account, target_id=new_id()) for _ in range(count)]
        change = PutUser(user(f"{new_id()}@acme.example"))
        try:
            receipt = accepted(*await self.store.append([Submission(self.account.no, events, (change,))]))
        except StoreUnavailable:
            self.doubtful.append([one.record for one in events])
            raise
        self.acknowledged |= {seq: one.record for seq, one in zip(receipt.seqs, events, strict=True)}

    async def verify(self, store: SqliteStore | None = None) -> None:
        """All that was acknowledged is in its place; what failed is there as a whole, or not at all."""
        store = store or self.store
        entries = await flat(store.entries(self.account.no))
        assert [entry.seq for entry in entries] == list(range(len(entries)))
        records = [entry.record for entry in entries]
        assert {seq: records[seq] for seq in self.acknowledged} == self.acknowledged
        others = [record for seq, record in enumerate(records) if seq and seq not in self.acknowledged]
        present = [failed for failed in self.doubtful if failed[0] in others]
        assert sorted(record for failed in present for record in failed) == sorted(others)
        assert len(await store.users(self.account.no)) == (len(self.acknowledged) + len(others)) // 3
        assert await store.check(no_progress) == []


async def tale_of(store: SqliteStore) -> Tale:
    """A new tale, with something acknowledged already."""
    tale = Tale(store, await add_account(store))
    await tale.append()
    await tale.append()
    return tale


async def count_steps(tale: Tale, disk: Disk) -> list[str]:
    """The steps of one append."""
    disk.break_at(10**9, apsw.SQLITE_IOERR, persists=False, lasts=False)
    await tale.append()
    disk.mend()
    return disk.steps


async def try_each_step(tale: Tale, disk: Disk, error: int, *, persists: bool, lasts: bool) -> list[str]:
    """Let each step of an append fail in turn; the steps whose failure failed the append."""
    fatal: list[str] = []
    for step in range(len(await count_steps(tale, disk))):
        disk.break_at(step, error, persists=persists, lasts=lasts)
        try:
            await tale.append()
        except StoreUnavailable:
            fatal.append(disk.steps[step])
        if disk.failed:
            await reads_on(tale)
        disk.mend()
        await tale.append()
        await tale.verify()
    return fatal


async def reads_on(tale: Tale) -> None:
    """All that was acknowledged can be read."""
    newest = await tale.store.newest(Query(tale.account.no, Kind.ACTION, 0, MAX_TIME_MS, 1000))
    assert set(tale.acknowledged.values()) <= set(newest)


ERRORS = {"the disk fails": apsw.SQLITE_IOERR, "the disk is full": apsw.SQLITE_FULL}


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "until mended"])
@pytest.mark.parametrize("persists", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("error", ERRORS)
async def test_a_failure_at_any_step_of_a_commit_loses_nothing_and_passes(
    store: SqliteStore, disk: Disk, error: str, persists: bool, lasts: bool
) -> None:
    """The append is refused, reading goes on, and as soon as the fault is gone the same store appends again."""
    tale = await tale_of(store)
    fatal = await try_each_step(tale, disk, ERRORS[error], persists=persists, lasts=lasts)
    assert {"write log", "sync log"} <= set(fatal)
    beside = SqliteStore(store.path)  # as another process sees it
    await tale.verify(beside)
    await beside.close()


@pytest.mark.parametrize("lasts", [False, True], ids=["once", "until mended"])
@pytest.mark.parametrize("persists", [False, True], ids=["failed", "failed but persisted"])
async def test_a_failure_while_the_log_goes_back_into_the_file_loses_nothing(
    store_path: Path, vfs: FaultyVFS, monkeypatch: pytest.MonkeyPatch, persists: bool, lasts: bool
) -> None:
    """SQLite does this as part of a commit, but after it is durable: what was appended stands, whatever is answered."""
    monkeypatch.setattr(connection, "CHECKPOINT_PAGES", 1)
    store = SqliteStore(store_path, create=True, vfs=vfs.name)
    tale = await tale_of(store)
    assert {"write log", "sync log", "write file", "sync file"} <= set(await count_steps(tale, vfs.disk))
    fatal = await try_each_step(tale, vfs.disk, apsw.SQLITE_IOERR, persists=persists, lasts=lasts)
    assert "sync log" in fatal
    await store.close()
    reopened = SqliteStore(store_path)
    await tale.verify(reopened)
    await reopened.close()


async def test_a_failing_disk_refuses_everything_that_writes_and_says_why(store: SqliteStore, disk: Disk) -> None:
    """With the file's name and the reason, and when to come again; a full disk is called so."""
    tale = await tale_of(store)
    for error, says in ((apsw.SQLITE_FULL, "is full"), (apsw.SQLITE_IOERR, "can't be used: IOError")):
        disk.break_at(0, error, persists=False, lasts=True)
        writes = (tale.append(), store.probe(), add_account(store), store.rebuild_search(no_progress))
        for write in writes:
            with pytest.raises(StoreUnavailable, match=rf"whodid\.db {says}") as caught:
                await write
            assert caught.value.retry_after_seconds > 0
        disk.mend()
        await store.probe()
        await tale.append()
    await tale.verify()


async def test_an_event_with_an_id_that_failed_can_be_sent_again(store: SqliteStore, disk: Disk) -> None:
    """Whether it was stored or not, after the repetition it is there once."""
    account = await add_account(store)
    for step, persists in itertools.product(range(4), (False, True)):
        (own,) = completed(account.name, [action(_id=new_id())])
        disk.break_at(step, apsw.SQLITE_IOERR, persists=persists, lasts=False)
        with pytest.raises(StoreUnavailable):
            await append(store, account, own)
        disk.mend()
        await append(store, account, own)
        found = [entry.record for entry in await flat(store.entries(account.no))]
        assert found.count(own.record) == 1
    assert await store.check(no_progress) == []


def log_of(path: Path) -> Path:
    """The write-ahead log of a file."""
    return path.with_name(path.name + "-wal")


def copy_files(path: Path, copy: Path) -> Path:
    """A copy of a store's file and of its write-ahead log, as they are now."""
    shutil.copy(path, copy)
    if log_of(path).exists():
        shutil.copy(log_of(path), log_of(copy))
    return copy


async def test_a_server_finds_a_sound_store_after_a_failure_that_it_did_not_survive(
    store: SqliteStore, store_path: Path, tmp_path: Path, disk: Disk
) -> None:
    """The files as they are at the very moment of the failure: what another process finds after a power cut."""
    tale = await tale_of(store)
    steps = await count_steps(tale, disk)
    for step, persists in itertools.product(range(len(steps)), (False, True)):
        disk.break_at(step, apsw.SQLITE_IOERR, persists=persists, lasts=True)
        with pytest.raises(StoreUnavailable):
            await tale.append()
        found = SqliteStore(copy_files(store_path, tmp_path / f"{step}-{persists}.db"))
        await tale.verify(found)
        await found.close()
        disk.mend()


async def test_a_writer_of_another_process_is_waited_for_and_then_given_up(
    store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading goes on; as soon as the other is done, so does appending."""
    monkeypatch.setattr(connection, "BUSY_TIMEOUT_MS", 20)
    store = SqliteStore(store_path, create=True)
    tale = await tale_of(store)
    other = apsw.Connection(str(store_path))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"another process keeps .* busy"):
        await tale.append()
    await reads_on(tale)
    other.execute("COMMIT")
    other.close()
    await tale.append()
    await tale.verify()
    await store.close()


@pytest.mark.parametrize("exclusive", [False, True], ids=["beside", "server"])
async def test_a_millisecond_that_is_full_refuses_only_the_submission_that_wants_in(
    store_path: Path, exclusive: bool
) -> None:
    """A producer with two million events of one moment must not keep others from recording."""
    store = SqliteStore(store_path, create=True, exclusive=exclusive)
    account = await add_account(store)
    await append(store, account, event_at(account, 5000))
    tampering = apsw.Connection(str(store_path))
    tampering.execute("UPDATE entry SET time_key = (5001 << 21) - 1 WHERE seq = 1")
    tampering.close()
    before, refused, behind = await store.append(
        [Submission(account.no, [event_at(account, created_ms)]) for created_ms in (4999, 5000, 5001)]
    )
    assert accepted(before).seqs == [2]
    assert isinstance(refused, Conflict)
    assert "1970-01-01T00:00:05.000Z" in refused.message
    assert accepted(behind).seqs == [3]
    await store.close()


def test_a_file_that_is_gone_refuses_and_does_not_make_another(store_path: Path, runner: asyncio.Runner) -> None:
    """An empty store in the place of the one that was removed would hide the loss."""
    store = SqliteStore(store_path, create=True)
    account = runner.run(add_account(store))
    runner.run(store.close())
    store = SqliteStore(store_path)
    store_path.rename(store_path.with_name("elsewhere.db"))
    with pytest.raises(StoreUnavailable):
        runner.run(append(store, account, event(account)))
    assert not store_path.exists()
    store_path.with_name("elsewhere.db").rename(store_path)
    assert runner.run(append(store, account, event(account))).seqs == [1]
    runner.run(store.close())


# The writing process of a server.


@pytest.fixture
def server(store_path: Path, runner: asyncio.Runner) -> Iterator[SqliteStore]:
    """A server's store, whose writer is a process of its own."""
    opened = SqliteStore(store_path, create=True, exclusive=True)
    yield opened
    runner.run(opened.close())


def writing_process(store: SqliteStore) -> int:
    """The process id of the writer."""
    assert store._process is not None
    assert store._process._child is not None
    return store._process._child.pid


async def test_the_death_of_the_writing_process_fails_what_it_had_in_hand_and_no_more(server: SqliteStore) -> None:
    """Another one is started; nothing that was acknowledged is lost."""
    tale = await tale_of(server)
    for _ in range(3):
        appends = [asyncio.create_task(tale.append()) for _ in range(5)]
        await asyncio.sleep(0)
        os.kill(writing_process(server), signal.SIGKILL)
        for outcome in await asyncio.gather(*appends, return_exceptions=True):
            assert outcome is None or isinstance(outcome, StoreUnavailable)
        await tale.append()
    await tale.verify()


async def test_a_caller_that_goes_away_in_the_middle_of_a_large_request_harms_nobody(server: SqliteStore) -> None:
    """It is sent to its end all the same: half a request would be taken for the beginning of the next."""
    tale = await tale_of(server)
    events = [event(tale.account, metadata={"noise": random.randbytes(300).hex()}) for _ in range(5000)]
    gone = asyncio.create_task(server.append([server.prepare(Submission(tale.account.no, events))]))
    for _ in range(3):
        await asyncio.sleep(0)
    gone.cancel()
    receipt = await asyncio.wait_for(append(server, tale.account, event(tale.account)), 20)
    assert receipt.seqs == [7 + 5000]
    assert await server.check(no_progress) == []


async def test_signals_to_the_server_do_not_concern_the_writing_process(server: SqliteStore) -> None:
    """It ends when the server does, which answers first what it accepted."""
    tale = await tale_of(server)
    process = writing_process(server)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process, number)
    await tale.append()
    assert writing_process(server) == process
    await tale.verify()


async def test_the_writing_process_ends_with_the_store(store_path: Path) -> None:
    """It is waited for, so nothing of the store is open any longer."""
    store = SqliteStore(store_path, create=True, exclusive=True)
    tale = await tale_of(store)
    process = writing_process(store)
    await store.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    reopened = SqliteStore(store_path)
    await tale.verify(reopened)
    await reopened.close()
