"""The sequencer: gathers what waits to be appended into batches, commits one at a time, and answers whoever waits.

This is group commit: while one batch is being made durable, what arrives waits and becomes the next; so one fsync
serves as many requests as there are, and a lone request waits for nobody. When much is waiting, the next batch is
handed to the store already while it works on the one before, so that it never has to wait for us. Memory is bounded:
past the limits, a submission is refused at once (``Overloaded``). Where a store commits accounts apart, each account
has a line of its own, and none waits for another.

A failure of the store fails the batch that met it. Then, for a moment, submissions are refused without trying
(``StoreUnavailable``), and after that the next one tries again: so a full disk is noticed at once, costs little while
it lasts, and is forgotten as soon as there is space.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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


@dataclass(slots=True, eq=False)
class _Line:
    """Those who wait for the same commits."""

    key: int
    queue: deque[_Waiting] = field(default_factory=deque)
    events: int = 0
    """How many events are in the queue."""
    commits: "set[asyncio.Task[None]]" = field(default_factory=set)
    advancing: bool = False
    began: float = 0.0
    """When the newest of the commits under way began."""


_ONE_LINE = 0


class Sequencer:
    """Appends to a store, many callers at a time. Lives in one event loop."""

    def __init__(self, store: Store, *, limits: Limits, observer: Observer, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._limits = limits
        self._observer = observer
        self._monotonic = monotonic
        self._lines: dict[int, _Line] = {}
        """By account, if the store commits them apart; those that have something to do."""
        self._events = 0
        self._bytes = 0
        self._queued = 0
        self._closing = False
        self._trouble: StoreUnavailable | None = None
        self._rest_until = 0.0

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
        if self._queued and (
            self._events + events > self._limits.queue_events or self._bytes + size_bytes > self._limits.queue_bytes
        ):
            raise Overloaded("more events are waiting to be recorded than this server holds; try again")
        answer: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(self._store.prepare(submission), events, size_bytes, answer)
        line = self._line(submission.account_no if self._store.apart else _ONE_LINE)
        line.queue.append(waiting)
        line.events += events
        self._queued += 1
        self._count(events, size_bytes)
        if not line.advancing:
            line.advancing = True
            asyncio.get_running_loop().call_soon(self._advance, line)  # soon: others may arrive at this very moment
        return await answer  # a caller that goes away cancels the answer, not what it handed in

    async def probe(self) -> None:
        """Raise ``Unavailable`` while nothing is taken; after a failure of the store, find out if it has passed."""
        self._refuse_if_hopeless()
        began = min((line.began for line in self._lines.values() if line.commits), default=None)
        if began is not None and (seconds := self._monotonic() - began) > _HANGING_SECONDS:
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
        for line in list(self._lines.values()):
            self._advance(line)
        while commits := {commit for line in self._lines.values() for commit in line.commits}:
            await asyncio.wait(commits)

    def _refuse_if_hopeless(self) -> None:
        if self._closing:
            raise Unavailable("the server is stopping", retry_after_seconds=5)
        if self._trouble is not None and self._monotonic() < self._rest_until:
            raise StoreUnavailable(self._trouble.message, retry_after_seconds=self._trouble.retry_after_seconds)

    def _count(self, events: int, size_bytes: int) -> None:
        self._events += events
        self._bytes += size_bytes

    def _line(self, key: int) -> _Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(key)
        return line

    def _advance(self, line: _Line) -> None:
        """Hand over what waits in a line, as far as the store should have it now."""
        line.advancing = False
        while line.queue and (not line.commits or (len(line.commits) < _MOST_COMMITS and line.events >= _AHEAD_EVENTS)):
            commit = asyncio.create_task(self._commit(line, self._take(line)), name="commit")
            line.commits.add(commit)
            commit.add_done_callback(partial(self._finish, line))

    def _finish(self, line: _Line, commit: asyncio.Task[None]) -> None:
        line.commits.discard(commit)
        self._advance(line)
        if not line.commits and not line.queue:
            del self._lines[line.key]

    def _take(self, line: _Line) -> list[_Waiting]:
        """The next batch: what came first, up to the limit, but at least one submission."""
        batch: list[_Waiting] = []
        events = 0
        while line.queue and (not batch or events + line.queue[0].events <= self._limits.batch_events):
            waiting = line.queue.popleft()
            events += waiting.events
            batch.append(waiting)
        line.events -= events
        self._queued -= len(batch)
        return batch

    async def _commit(self, line: _Line, batch: list[_Waiting]) -> None:
        events = sum(waiting.events for waiting in batch)
        began = line.began = self._monotonic()
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
