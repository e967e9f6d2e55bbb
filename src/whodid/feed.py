"""The feed: an account's log by number, as it grows. Every record once, in order, without gaps.

Owns how a reader waits for what comes: one task looks after the logs that somebody waits for, when this server has
committed something, and once in a while, since other processes append, too. What many readers want at the same time is
read once. A reader holds one chunk at a time, however slow it is.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from whodid.conditions import EVERYTHING, KIND_NAMES, Condition, Is, matches
from whodid.errors import StoreUnavailable
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
_PARSED_ASIDE: Final = 100


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

    async def sift(self, records: list[Numbered]) -> list[Numbered]:
        """Those of the records that are wanted. Many are looked at in a thread."""
        if self.lets_all_through:
            return records
        records = [one for one in records if self.since_ms <= one.created_ms < self.until_ms]
        match self.condition:
            case Is("kind", name):
                return [one for one in records if one.kind == KIND_NAMES.get(name)]
            case _ if len(records) > _PARSED_ASIDE:
                return await asyncio.to_thread(self._matching, records)
            case _:
                return self._matching(records)

    def _matching(self, records: list[Numbered]) -> list[Numbered]:
        if self.condition == EVERYTHING:
            return records
        return [one for one in records if matches(self.condition, parse_record(one.kind, one.record))]


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
        """The log from ``first`` on, up to (not with) the number ``until``, in chunks of bounded size.

        The first one has at most ``most`` records.
        """
        while first < until:
            records = await self.read(account_no, first, min(CHUNK, most))
            if not records:
                return
            if records[-1].seq >= until:
                records = [one for one in records if one.seq < until]
            yield records
            first, most = records[-1].seq + 1, CHUNK

    async def wait(self, account_no: int, known: Head, seconds: float) -> Head:
        """Wait until the log's head is another one than is ``known``, but no longer than that; the head."""
        watched = self._watched.setdefault(account_no, _Watched())
        watched.waiting += 1
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="watch logs")
        self._poked.set()
        until = self._monotonic() + seconds
        try:
            while watched.head in (None, known) and not self.stopping:
                async with asyncio.timeout(max(until - self._monotonic(), 0)):
                    await watched.news.wait()
        except TimeoutError:
            pass
        finally:
            watched.waiting -= 1
            if not watched.waiting:
                self._watched.pop(account_no, None)
        return watched.head or known

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
