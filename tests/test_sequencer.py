"""The sequencer, over a real store whose appends a test can hold back or let fail."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.building import ManualClock, action, add_account, completed, event, flat, new_id, no_progress

from whodid.errors import IdConflict, Overloaded, StoreUnavailable, Unavailable
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Account, Prepared, Receipt, Result, Submission
from whodid.store.sqlite import SqliteStore


class WatchedStore(SqliteStore):
    """A store that notes its batches, and holds them back or lets them fail when told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.batches: list[int] = []
        """How many submissions each batch had."""
        self.open = asyncio.Event()
        self.open.set()
        self.failure: Exception | None = None
        """What every batch fails with."""
        self.failures: list[Exception] = []
        """What the next batches fail with, one each."""

    async def append(self, batch: Sequence[Submission | Prepared]) -> list[Result]:
        """Append, or fail."""
        self.batches.append(len(batch))
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        if self.failures:
            raise self.failures.pop(0)
        return await super().append(batch)

    async def probe(self) -> None:
        """Probe, or fail."""
        if self.failure is not None:
            raise self.failure
        await super().probe()


class Notes:
    """An observer that remembers what it was told."""

    def __init__(self) -> None:
        self.commits: list[tuple[int, int]] = []
        self.failures: list[int] = []

    def committed(self, submissions: int, events: int, seconds: float) -> None:
        """A batch is durable."""
        assert seconds >= 0
        self.commits.append((submissions, events))

    def failed(self, submissions: int) -> None:
        """A batch failed."""
        self.failures.append(submissions)


class Scene:
    """A sequencer over a watched store with one account."""

    def __init__(self, store: WatchedStore, account: Account, clock: ManualClock, limits: Limits) -> None:
        self.store = store
        self.account = account
        self.clock = clock
        self.notes = Notes()
        self.sequencer = Sequencer(store, limits=limits, observer=self.notes, monotonic=clock.monotonic)

    def begin(self, *names: str) -> "asyncio.Task[Receipt]":
        """Begin to append a submission of one event for each name."""
        events = [event(self.account, target_id=name) for name in names]
        return asyncio.create_task(self.sequencer.append(Submission(self.account.no, events)))

    async def targets(self) -> list[str]:
        """What is in the log, by sequence, without its first entry."""
        entries = await flat(self.store.entries(self.account.no, 1))
        return [entry.record.partition(b'"target_id":"')[2].partition(b'"')[0].decode() for entry in entries]


async def settle() -> None:
    """Let every task go on until it waits for something."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def watched(tmp_path: Path, runner: asyncio.Runner) -> Iterator[WatchedStore]:
    """An empty watched store."""
    opened = WatchedStore(tmp_path / "whodid.db")
    yield opened
    runner.run(opened.close())


@asynccontextmanager
async def scene_of(store: WatchedStore, clock: ManualClock, limits: Limits | None = None) -> AsyncIterator[Scene]:
    """A scene, whose sequencer is closed at the end."""
    scene = Scene(store, await add_account(store), clock, limits or Limits())
    yield scene
    scene.store.open.set()
    await scene.sequencer.close()
    assert scene.sequencer.waiting_events == 0


async def test_a_lone_submission_waits_for_nobody(watched: WatchedStore, clock: ManualClock) -> None:
    """It is committed at once, as a batch of its own, and is durable when it is answered."""
    async with scene_of(watched, clock) as scene:
        receipt = await scene.begin("a")
        assert receipt.seqs == [1]
        assert await scene.targets() == ["a"]
        assert (await scene.begin("b", "c")).seqs == [2, 3]
        assert scene.notes.commits == [(1, 1), (1, 2)]


async def test_what_waits_while_a_batch_is_written_becomes_the_next_batch(
    watched: WatchedStore, clock: ManualClock
) -> None:
    """One commit serves as many submissions as there are, in the order in which they came."""
    async with scene_of(watched, clock) as scene:
        watched.open.clear()
        first = scene.begin("first")
        await settle()
        others = [scene.begin(str(number)) for number in range(100)]
        await settle()
        assert watched.batches == [1]
        assert scene.sequencer.waiting_events == 101
        watched.open.set()
        receipts = await asyncio.gather(first, *others)
        assert watched.batches == [1, 100]
        assert [receipt.seqs for receipt in receipts] == [[seq] for seq in range(1, 102)]
        assert await scene.targets() == ["first", *map(str, range(100))]
        assert scene.notes.commits == [(1, 1), (100, 100)]
        assert scene.sequencer.waiting_events == 0


async def test_when_much_waits_the_store_gets_the_next_batch_before_it_has_done_the_last(
    watched: WatchedStore, clock: ManualClock
) -> None:
    """Two batches are with the store at a time, no more; their order, and so the log's, is that of arrival."""
    async with scene_of(watched, clock, Limits(batch_events=1000)) as scene:
        watched.open.clear()
        taken = []
        for _ in range(4):
            taken.append(scene.begin(*map(str, range(1000))))
            await settle()
        assert scene.sequencer.waiting_events == 4000
        assert len(watched.batches) == 2
        watched.open.set()
        receipts = await asyncio.gather(*taken)
        assert [seq for receipt in receipts for seq in receipt.seqs] == list(range(1, 4001))
        assert scene.notes.commits == [(1, 1000)] * 4


async def test_a_batch_has_a_largest_size(watched: WatchedStore, clock: ManualClock) -> None:
    """Submissions stay whole; one that is larger than a batch is a batch of its own."""
    async with scene_of(watched, clock, Limits(batch_events=5)) as scene:
        watched.open.clear()
        begun = [scene.begin("a")]
        await settle()
        begun += [scene.begin(*"bcd"), scene.begin(*"ef"), scene.begin(*"g"), scene.begin(*"hijklmn"), scene.begin("o")]
        watched.open.set()
        await asyncio.gather(*begun)
        assert scene.notes.commits == [(1, 1), (2, 5), (1, 1), (1, 7), (1, 1)]
        assert await scene.targets() == [*"abcdefghijklmno"]


async def test_a_full_queue_refuses_at_once_and_takes_again_when_there_is_room(
    watched: WatchedStore, clock: ManualClock
) -> None:
    """Memory is bounded: what is too much is refused while it is, and nothing that was taken is lost."""
    async with scene_of(watched, clock, Limits(queue_events=4)) as scene:
        watched.open.clear()
        taken = [scene.begin("a")]
        await settle()
        taken += [scene.begin("b"), scene.begin("c", "d")]
        await settle()
        with pytest.raises(Overloaded) as caught:
            await scene.begin("e")
        assert caught.value.retry_after_seconds >= 1
        assert scene.sequencer.waiting_events == 4
        watched.open.set()
        await asyncio.gather(*taken)
        await scene.begin("f")
        assert await scene.targets() == [*"abcdf"]


async def test_the_queue_is_bounded_in_bytes_too(watched: WatchedStore, clock: ManualClock) -> None:
    """Few large events fill it as many small ones do; what is recorded makes room again."""
    async with scene_of(watched, clock, Limits(queue_bytes=2000)) as scene:
        for _ in range(3):
            watched.open.clear()
            taken = [scene.begin("a")]
            await settle()
            large = Submission(scene.account.no, [event(scene.account, target_id="b", reason="x" * 1500)])
            taken.append(asyncio.create_task(scene.sequencer.append(large)))
            await settle()
            with pytest.raises(Overloaded):
                await scene.begin("c")
            watched.open.set()
            await asyncio.gather(*taken)
        watched.open.clear()
        small = [scene.begin(name) for name in "def"]
        await settle()
        watched.open.set()
        await asyncio.gather(*small)
        assert await scene.targets() == [*"ababab", *"def"]


async def test_a_submission_larger_than_the_queue_is_taken_when_nothing_waits(
    watched: WatchedStore, clock: ManualClock
) -> None:
    """Or else it could never be recorded."""
    async with scene_of(watched, clock, Limits(queue_events=2)) as scene:
        assert (await scene.begin(*"abcde")).seqs == [1, 2, 3, 4, 5]


async def test_a_refusal_of_one_submission_does_not_touch_the_others(watched: WatchedStore, clock: ManualClock) -> None:
    """What the store refuses is raised to whoever handed it in; the rest of the batch is recorded."""
    async with scene_of(watched, clock) as scene:
        own = new_id()
        await scene.sequencer.append(
            Submission(scene.account.no, completed(scene.account.name, [action(_id=own, target_id="own")]))
        )
        watched.open.clear()
        begun = [scene.begin("a")]
        await settle()
        conflicting = completed(scene.account.name, [action(_id=own, target_id="other")])
        refused = asyncio.create_task(scene.sequencer.append(Submission(scene.account.no, conflicting)))
        begun.append(scene.begin("b"))
        watched.open.set()
        await asyncio.gather(*begun)
        with pytest.raises(IdConflict):
            await refused
        assert watched.batches == [1, 1, 2]
        assert await scene.targets() == ["own", "a", "b"]


async def test_a_failure_of_the_store_fails_only_the_batch_that_met_it(
    watched: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits behind it is tried by itself."""
    async with scene_of(watched, clock) as scene:
        watched.open.clear()
        first = scene.begin("a")
        await settle()
        second = scene.begin("b")
        await settle()
        watched.failures = [StoreUnavailable("the disk is full")]
        watched.open.set()
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await first
        assert (await second).seqs == [1]
        assert await scene.targets() == ["b"]
        assert scene.notes.failures == [1]
        assert "the disk is full" in caplog.text


async def test_after_a_failure_the_store_rests_and_then_is_tried_again(
    watched: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is noticed at once, costs little while it lasts, and is forgotten when there is space."""
    caplog.set_level(logging.INFO)
    async with scene_of(watched, clock, Limits(rest_seconds=1.0)) as scene:
        watched.failure = StoreUnavailable("the disk is full", retry_after_seconds=7)
        with pytest.raises(StoreUnavailable):
            await scene.begin("a")
        assert scene.sequencer.trouble is watched.failure
        tried = len(watched.batches)
        clock.advance(0.9)
        with pytest.raises(StoreUnavailable, match="the disk is full") as caught:
            await scene.begin("b")
        assert caught.value.retry_after_seconds == 7
        assert len(watched.batches) == tried  # not even tried
        clock.advance(0.2)
        with pytest.raises(StoreUnavailable):
            await scene.begin("c")
        assert len(watched.batches) == tried + 1
        watched.failure = None
        clock.advance(1.1)
        assert (await scene.begin("d")).seqs == [1]
        assert scene.sequencer.trouble is None
        assert "takes appends again" in caplog.text
        assert (await scene.begin("e")).seqs == [2]


async def test_a_probe_finds_out_whether_a_failure_has_passed(watched: WatchedStore, clock: ManualClock) -> None:
    """While the store rests it says no without trying; after that it tries; without trouble it tries nothing."""
    async with scene_of(watched, clock, Limits(rest_seconds=1.0)) as scene:
        await scene.sequencer.probe()
        watched.failure = StoreUnavailable("the disk is full")
        await scene.sequencer.probe()  # nobody has met the failure yet
        with pytest.raises(StoreUnavailable):
            await scene.begin("a")
        watched.failure, passed = None, watched.failure
        with pytest.raises(StoreUnavailable):
            await scene.sequencer.probe()  # still resting
        watched.failure = passed
        clock.advance(1.1)
        with pytest.raises(StoreUnavailable):
            await scene.sequencer.probe()
        with pytest.raises(StoreUnavailable):
            await scene.sequencer.probe()  # rests again
        watched.failure = None
        clock.advance(1.1)
        await scene.sequencer.probe()
        assert scene.sequencer.trouble is None


async def test_an_unforeseen_error_is_told_to_whoever_waits(
    watched: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """And logged with its traceback; the store does not rest for it."""
    async with scene_of(watched, clock) as scene:
        watched.failure = ZeroDivisionError("a flaw")
        with pytest.raises(ZeroDivisionError):
            await scene.begin("a")
        assert "ZeroDivisionError" in caplog.text
        watched.failure = None
        assert scene.sequencer.trouble is None
        assert (await scene.begin("b")).seqs == [1]


async def test_a_caller_that_goes_away_takes_nothing_back(watched: WatchedStore, clock: ManualClock) -> None:
    """What was handed in is recorded, and the others are answered."""
    async with scene_of(watched, clock) as scene:
        watched.open.clear()
        first = scene.begin("a")
        await settle()
        gone, stays = scene.begin("b"), scene.begin("c")
        await settle()
        first.cancel()
        gone.cancel()
        await settle()
        assert first.cancelled()
        assert gone.cancelled()
        watched.open.set()
        assert (await stays).seqs == [3]
        assert await scene.targets() == ["a", "b", "c"]


async def test_a_caller_that_went_away_leaves_no_trace_of_a_failure(
    watched: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged once, and not again as one that nobody looked at."""
    async with scene_of(watched, clock) as scene:
        watched.open.clear()
        gone = scene.begin("a")
        await settle()
        gone.cancel()
        watched.failure = StoreUnavailable("the disk is full")
        watched.open.set()
        await settle()
        watched.failure = None
    assert "never retrieved" not in caplog.text


async def test_closing_finishes_what_was_taken_and_takes_no_more(watched: WatchedStore, clock: ManualClock) -> None:
    """Everything that was accepted is answered before the end."""
    async with scene_of(watched, clock, Limits(batch_events=1)) as scene:
        watched.open.clear()
        begun = [scene.begin(name) for name in "abc"]
        await settle()
        closing = asyncio.create_task(scene.sequencer.close())
        await settle()
        with pytest.raises(Unavailable, match="stopping"):
            await scene.begin("late")
        with pytest.raises(Unavailable, match="stopping"):
            await scene.sequencer.probe()
        assert not closing.done()
        watched.open.set()
        await closing
        assert all(task.done() for task in begun)
        assert [(await task).seqs for task in begun] == [[1], [2], [3]]
        assert await scene.targets() == ["a", "b", "c"]


async def test_many_callers_at_once_lose_nothing(watched: WatchedStore, clock: ManualClock) -> None:
    """Each is answered with its own place, and the store is sound."""
    async with scene_of(watched, clock, Limits(batch_events=50)) as scene:
        receipts = await asyncio.gather(*(scene.begin(f"{number}a", f"{number}b") for number in range(200)))
        targets = await scene.targets()
        for number, receipt in enumerate(receipts):
            assert [targets[seq - 1] for seq in receipt.seqs] == [f"{number}a", f"{number}b"]
        assert len(watched.batches) < 200
        assert await watched.check(no_progress) == []
