"""The feed: an account's log by number, as it grows. Every record once, in order, without gaps.

Owns how a reader waits for what comes: one task looks after the logs that somebody waits for, when this server has
committed something, and once in a while, since other processes append, too. What many readers want at the same time is
read once. A reader holds a few chunks at a time, however slow it is. Filters that take their time are held against
records in few threads of their own, so that they keep neither the event loop nor other work waiting.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from whodid.conditions import EVERYTHING, KIND_NAMES, Condition, Is, matches
from whodid.errors import Gone, StoreUnavailable
from whodid.records import MAX_TIME_MS, parse_record
from whodid.store.base import Head, Numbered, Store

CHUNK: Final = 1000
"""So many records are read at a time, at most."""

CHUNK_BYTES: Final = 1024 * 1024
"""So large are the records of a chunk together, at most; but one record is one however large."""

_LOOK_SECONDS: Final = 0.5
"""How often it is looked for what other processes have appended."""

_LEAST_PAUSE_SECONDS: Final = 0.01
_SHARED_CHUNKS: Final = 16
_SHARED_SECONDS: Final = 0.5
_SIFTED_AT_ONCE_BYTES: Final = 16 * 1024
"""Records that are smaller together are parsed and looked at in the event loop."""

_SIFTERS: Final = 2


@dataclass(frozen=True, slots=True)
class Sieve:
    """Which records of the log a reader wants. The others are passed over, in their place."""

    condition: Condition = EVERYTHING
    since_ms: int = 0
    until_ms: int = MAX_TIME_MS + 1

    @property
    def lets_all_through(self) -> bool:
        """Whether it wants every record."""
        return self.condition == EVERYTHING and self.since_ms <= 0 and self.until_ms > MAX_TIME_MS

    def sifted(self, records: list[Numbered]) -> list[Numbered]:
        """Those of the records that are wanted."""
        if self.lets_all_through:
            return records
        records = [one for one in records if self.since_ms <= one.created_ms < self.until_ms]
        match self.condition:
            case Is("kind", name):
                return [one for one in records if one.kind == KIND_NAMES.get(name)]
            case condition if condition != EVERYTHING:
                return [one for one in records if matches(condition, parse_record(one.kind, one.record))]
        return records

    @property
    def parses(self) -> bool:
        """Whether it must parse records to know whether they are wanted."""
        match self.condition:
            case Is("kind"):
                return False
        return self.condition != EVERYTHING


@dataclass(slots=True, eq=False)
class _Watched:
    """A log that somebody waits for."""

    waiting: int = 0
    head: Head | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Is set, and replaced by the next one, when the head is another one."""


class Feed:
    """Reads logs by number, and waits for them to grow. Lives in one event loop."""

    def __init__(self, store: Store, *, monotonic: Callable[[], float]) -> None:
        self._store = store
        self._monotonic = monotonic
        self._watched: dict[int, _Watched] = {}
        self._poked = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._chunks: OrderedDict[tuple[int, int, int], asyncio.Task[list[Numbered]]] = OrderedDict()
        self._sifting = asyncio.Lock()
        self._sifters = ThreadPoolExecutor(_SIFTERS, thread_name_prefix="whodid-sieve")
        self.stopping = False
        """Whether the server stops: then nobody waits any more."""

    def poke(self) -> None:
        """Something was appended by this server."""
        self._poked.set()

    async def head(self, account_no: int) -> Head:
        """Where a log ends. Raises ``StoreUnavailable``."""
        return (await self._store.heads([account_no]))[account_no]

    async def read(self, account_no: int, first: int, limit: int = CHUNK) -> list[Numbered]:
        """A chunk of records from the number ``first`` on, at most ``limit``; none at the end.

        Those who ask for the same at the same time share what is read; a full chunk, also those who come soon after.
        """
        key = (account_no, first, limit)
        reading = self._chunks.get(key)
        if reading is None:
            reading = self._chunks[key] = asyncio.create_task(self._store.log(account_no, first, limit, CHUNK_BYTES))
            reading.add_done_callback(lambda done: self._done(key, done))
            while len(self._chunks) > _SHARED_CHUNKS:
                self._chunks.popitem(last=False)
        return await asyncio.shield(reading)

    def _done(self, key: tuple[int, int, int], reading: "asyncio.Task[list[Numbered]]") -> None:
        _, _, limit = key
        full = not reading.cancelled() and reading.exception() is None and len(reading.result()) == limit
        asyncio.get_running_loop().call_later(_SHARED_SECONDS if full else 0, self._forget, key, reading)

    def _forget(self, key: tuple[int, int, int], reading: "asyncio.Task[list[Numbered]]") -> None:
        if self._chunks.get(key) is reading:
            del self._chunks[key]

    async def chunks(self, account_no: int, first: int, until: int, most: int = CHUNK) -> AsyncIterator[list[Numbered]]:
        """The log from ``first`` on, up to (not with) the number ``until``, in chunks of bounded size, without gaps.

        The first one has at most ``most`` records. Raises ``Gone`` where the part that comes next was removed.
        """
        while first < until:
            records = await self.read(account_no, first, min(CHUNK, most))
            if not records or records[0].seq != first:
                raise await self._gap(account_no, first)
            if records[-1].seq >= until or records[-1].seq - first != len(records) - 1:
                records = [one for at, one in enumerate(records, first) if one.seq == at < until]  # up to a gap
            yield records
            first, most = records[-1].seq + 1, CHUNK

    async def _gap(self, account_no: int, first: int) -> Gone | StoreUnavailable:
        """Why there is no record of this number, although the log had it."""
        kept_from = (await self.head(account_no)).kept_from
        if kept_from > first:
            return gone(kept_from, str(kept_from - 1))
        return StoreUnavailable(f"the store has no entry {first} of a log that had it")

    async def sift(self, sieve: Sieve, records: list[Numbered]) -> list[Numbered]:
        """Those of the records that a reader wants. Where that takes its time, it is found out in a thread."""
        if not sieve.parses:
            return sieve.sifted(records)
        if sum(len(one.record) for one in records) <= _SIFTED_AT_ONCE_BYTES:
            async with self._sifting:  # of many readers that are woken at once, one in each turn of the event loop
                return sieve.sifted(records)
        return await asyncio.get_running_loop().run_in_executor(self._sifters, sieve.sifted, records)

    async def wait(self, account_no: int, known: Head, seconds: float) -> Head:
        """Wait until the log's head is another one than is ``known``, but no longer than that; the head."""
        watched = self._watched.setdefault(account_no, _Watched())
        watched.waiting += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watch logs")
        self._poked.set()
        until = self._monotonic() + seconds
        try:
            while not _is_news(watched.head, known) and not self.stopping:
                async with asyncio.timeout(max(until - self._monotonic(), 0)):
                    await watched.news.wait()
        except TimeoutError:
            pass
        finally:
            watched.waiting -= 1
            if not watched.waiting:
                self._watched.pop(account_no, None)
        return watched.head if watched.head is not None and _is_news(watched.head, known) else known

    async def _watch(self) -> None:
        """Look after the logs that are waited for, as long as there are any."""
        try:
            while self._watched and not self.stopping:
                self._poked.clear()
                await self._look()
                await asyncio.sleep(_LEAST_PAUSE_SECONDS)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._poked.wait()
        finally:
            self._watching = None

    async def _look(self) -> None:
        try:
            heads = await self._store.heads(list(self._watched))
        except StoreUnavailable:
            return  # who reads will be told
        for account_no, watched in list(self._watched.items()):
            head = heads.get(account_no)
            if head is not None and head != watched.head:
                watched.head = head
                watched.news.set()
                watched.news = asyncio.Event()

    async def stop(self) -> None:
        """Let everybody who waits go."""
        self.stopping = True
        self._poked.set()
        for watched in self._watched.values():
            watched.news.set()
        if self._watching is not None:
            await asyncio.wait([self._watching])


def _is_news(head: Head | None, known: Head) -> bool:
    """Whether a head is newer than the one that is known; whoever looks after a log may be behind for a moment."""
    return head is not None and (head.size > known.size or head.identity_version > known.identity_version)


def gone(kept_from: int, after: str) -> Gone:
    """The error that tells from where on a log is kept, and the value of ``after`` that goes on from there."""
    return Gone(f"entries before {kept_from} are no longer kept; after={after} goes on from there")
