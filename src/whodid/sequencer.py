"""The sequencer: gathers what waits to be appended into batches, commits one at a time, and answers whoever waits.

This is group commit: while one batch is being made durable, what arrives waits and becomes the next; so one fsync
serves as many requests as there are, and a lone request waits for nobody. When much is waiting, the next batch is
handed to the store already while it works on the one before, so that it never has to wait for us. Memory is bounded:
past the limits, a submission is refused at once (``Overloaded``).

A failure of the store fails the batch that met it. Then, for a moment, submissions are refused without trying
(``StoreUnavailable``), and after that the next one tries again: so a full disk is noticed at once, costs little while
it lasts, and is forgotten as soon as there is space.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from whodid.errors import Overloaded, StoreUnavailable, Unavailable
from whodid.store.base import Prepared, Receipt, Store, Submission

log = logging.getLogger(__name__)


class Observer(Protocol):
    """Is told what the sequencer does; metrics are made of it."""

    def committed(self, submissions: int, events: int, seconds: float) -> None:
        """A batch is durable."""

    def failed(self, submissions: int) -> None:
        """A batch failed as a whole."""


_AHEAD_EVENTS = 1000
"""How much must wait for a batch to be handed over while another one is being committed."""

_MOST_COMMITS = 2

_HANGING_SECONDS = 15.0
"""A commit that takes longer than a store waits for its lock hangs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the sequencer holds and takes at once."""

    queue_events: int = 50_000
    queue_bytes: int = 64 * 1024 * 1024
    batch_events: int = 4_000
    rest_seconds: float = 1.0
    """How long nothing is tried after the store failed."""


@dataclass(slots=True)
class _Waiting:
    submission: Prepared
    events: int
    size_bytes: int
    answer: asyncio.Future[Receipt]


class Sequencer:
    """Appends to a store, many callers at a time. Lives in one event loop."""

    def __init__(self, store: Store, *, limits: Limits, observer: Observer, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._observer = observer
        self._monotonic = monotonic
        self._queue: deque[_Waiting] = deque()
        self._events = 0
        self._bytes = 0
        self._queued_events = 0
        self._commits: set[asyncio.Task[None]] = set()
        self._advancing = False
        self._closing = False
        self._trouble: StoreUnavailable | None = None
        self._rest_until = 0.0
        self._began = 0.0
        """When the newest of the commits under way began."""

    @property
    def waiting_events(self) -> int:
        """How many events wait, or are being committed."""
        return self._events

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Why the store takes nothing now; None while it does, as far as is known."""
        return self._trouble

    async def append(self, submission: Submission) -> Receipt:
        """Append a submission; when this returns, it is durable.

        Raises ``Overloaded``, ``StoreUnavailable`` or (when stopping) ``Unavailable``, and whatever the store
        refuses the submission with.
        """
        self._refuse_if_hopeless()
        events = len(submission.events)
        size_bytes = sum(len(event.record) for event in submission.events)
        if self._queue and (
            self._events + events > self._limits.queue_events or self._bytes + size_bytes > self._limits.queue_bytes
        ):
            raise Overloaded("more events are waiting to be recorded than this server holds; try again")
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(self._store.prepare(submission), events, size_bytes, answer))
        self._queued_events += events
        self._count(events, size_bytes)
        if not self._advancing:
            self._advancing = True
            asyncio.get_running_loop().call_soon(self._advance)  # soon: others may arrive at this very moment
        return await answer  # a caller that goes away cancels the answer, not what it handed in

    async def probe(self) -> None:
        """Raise ``Unavailable`` while nothing is taken; after a failure of the store, find out if it has passed."""
        self._refuse_if_hopeless()
        if self._commits and (seconds := self._monotonic() - self._began) > _HANGING_SECONDS:
            raise StoreUnavailable(f"a commit has been under way for {seconds:.0f} seconds")
        if self._trouble is not None:
            try:
                await self._store.probe()
            except StoreUnavailable as error:
                self._rest(error)
                raise
            self._succeed()

    async def close(self) -> None:
        """Take no more, and finish what was taken."""
        self._closing = True
        self._advance()
        while self._commits:
            await asyncio.wait(self._commits)

    def _refuse_if_hopeless(self) -> None:
        if self._closing:
            raise Unavailable("the server is stopping", retry_after_seconds=5)
        if self._trouble is not None and self._monotonic() < self._rest_until:
            raise StoreUnavailable(self._trouble.message, retry_after_seconds=self._trouble.retry_after_seconds)

    def _count(self, events: int, size_bytes: int) -> None:
        self._events += events
        self._bytes += size_bytes

    def _advance(self) -> None:
        """Hand over what waits, as far as the store should have it now."""
        self._advancing = False
        while self._queue and (
            not self._commits or (len(self._commits) < _MOST_COMMITS and self._queued_events >= _AHEAD_EVENTS)
        ):
            commit = asyncio.create_task(self._commit(self._take()), name="commit")
            self._commits.add(commit)
            commit.add_done_callback(self._finish)

    def _finish(self, commit: asyncio.Task[None]) -> None:
        self._commits.discard(commit)
        self._advance()

    def _take(self) -> list[_Waiting]:
        """The next batch: what came first, up to the limit, but at least one submission."""
        batch: list[_Waiting] = []
        events = 0
        while self._queue and (not batch or events + self._queue[0].events <= self._limits.batch_events):
            waiting = self._queue.popleft()
            events += waiting.events
            batch.append(waiting)
        self._queued_events -= events
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        events = sum(waiting.events for waiting in batch)
        began = self._began = self._monotonic()
        try:
            results = await self._store.append([waiting.submission for waiting in batch])
        except Exception as error:
            self._fail(batch, error)
        else:
            self._succeed()
            for waiting, result in zip(batch, results, strict=True):
                _answer(waiting.answer, result)
            self._observer.committed(len(batch), events, self._monotonic() - began)
        finally:
            self._count(-events, -sum(waiting.size_bytes for waiting in batch))

    def _succeed(self) -> None:
        if self._trouble is not None:
            log.info("the store takes appends again")
            self._trouble = None

    def _rest(self, error: StoreUnavailable) -> None:
        self._trouble = error
        self._rest_until = self._monotonic() + self._limits.rest_seconds

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        self._observer.failed(len(batch))
        if isinstance(error, StoreUnavailable):
            log.error("the store takes no appends: %s", error.message)
            self._rest(error)
        else:
            log.error("a batch failed", exc_info=error)
        for waiting in batch:
            _answer(waiting.answer, error)


def _answer(answer: asyncio.Future[Receipt], result: Receipt | Exception) -> None:
    if answer.done():
        return
    if isinstance(result, Receipt):
        answer.set_result(result)
        return
    answer.set_exception(result)
    answer.exception()  # looked at: a caller that went away leaves no warning behind
