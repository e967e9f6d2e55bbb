"""Sources: the records of one account, searched and followed; out of a store or from a server, alike."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

import msgspec

from whodid.clock import wall_clock
from whodid.feed import Feed, Sieve
from whodid.query.filters import parse_filters
from whodid.query.language import Asked
from whodid.query.pages import LONGEST_WAIT_SECONDS, MOST_FOUND
from whodid.store.base import Numbered, Position, Search, Store

if TYPE_CHECKING:  # it brings a library along that takes its time
    from whodid.client import AsyncClient, Filters

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_AFTER_END: Final = "end"
_FEED_TARGET: Final = "/v2/logs/feed"
"""How the log calls a call of the feed."""

_COMING: Final = 20
"""How many records may well come while the newest are looked for: those of our own calls, at least."""

Record: TypeAlias = dict[str, Any]
"""A record with its number as ``seq``, as version 2 of the API gives it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are asked for, as it was typed."""

    q: str | None
    since: str | None = None
    until: str | None = None

    def given(self) -> dict[str, str]:
        """What was said."""
        named = {"q": self.q, "since": self.since, "until": self.until}
        return {name: value for name, value in named.items() if value is not None}


class Source(Protocol):
    """The records of one account."""

    def search(self, wanted: Wanted, *, newest_first: bool, limit: int | None) -> AsyncIterator[list[Record]]:
        """Those that are wanted, by time, a page at a time; at most ``limit``. Raises ``InvalidParameter``."""
        ...

    def tail(self, wanted: Wanted, count: int, *, follow: bool) -> AsyncIterator[list[Record]]:
        """The newest of those that are wanted, so many of them, by number; then, to follow, all that come."""
        ...


class StoreSource:
    """An account's records out of a store. Nothing tells of it: who has the store may read it."""

    def __init__(self, store: Store, account_no: int) -> None:
        self._store = store
        self._account_no = account_no

    async def search(self, wanted: Wanted, *, newest_first: bool, limit: int | None) -> AsyncIterator[list[Record]]:
        """As the protocol says."""
        async for records in self._found(_asked(wanted), newest_first=newest_first, limit=limit):
            yield records

    async def tail(self, wanted: Wanted, count: int, *, follow: bool) -> AsyncIterator[list[Record]]:
        """As the protocol says."""
        asked = _asked(wanted)
        head = (await self._store.heads([self._account_no]))[self._account_no].size
        if count:
            found = self._found(asked, newest_first=True, limit=None, page=_page_for(count))
            async with aclosing(found):
                yield await _newest(found, head, count)
        if follow:
            async for records in self._follow(asked, head):
                yield records

    async def _found(
        self, asked: Asked, *, newest_first: bool, limit: int | None, page: int = MOST_FOUND
    ) -> AsyncGenerator[list[Record]]:
        after: Position | None = None
        left = limit
        while True:
            most = page if left is None else min(page, left)
            search = Search(
                self._account_no, asked.condition, asked.since_ms, asked.until_ms, newest_first, most, after
            )
            found = await self._store.search(search)
            yield _told(found.records)
            left = None if left is None else left - len(found.records)
            after = found.rest
            if after is None or left == 0:
                return

    async def _follow(self, asked: Asked, position: int) -> AsyncIterator[list[Record]]:
        sieve = Sieve(asked.condition, asked.since_ms, asked.until_ms)
        feed = Feed(self._store, monotonic=time.monotonic)
        try:
            while True:
                head = await feed.head(self._account_no)
                async for chunk in feed.chunks(self._account_no, position, head.size):
                    position = chunk[-1].seq + 1
                    yield _told(await feed.sift(sieve, chunk))
                await feed.wait(self._account_no, head, LONGEST_WAIT_SECONDS)
        finally:
            await feed.stop()


class ServerSource:
    """The records of the token's account, from a server."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def search(self, wanted: Wanted, *, newest_first: bool, limit: int | None) -> AsyncIterator[list[Record]]:
        """As the protocol says."""
        async for records in self._found(wanted, newest_first=newest_first, limit=limit):
            yield records

    async def _found(
        self, wanted: Wanted, *, newest_first: bool, limit: int | None, page: int = MOST_FOUND
    ) -> AsyncGenerator[list[Record]]:
        order: Literal["desc", "asc"] = "desc" if newest_first else "asc"
        left, after = limit, None
        while True:
            most = page if left is None else min(page, left)
            found = await self._client.search_page(
                wanted.q, order=order if after is None else None, limit=most, after=after, **_filters(wanted)
            )
            yield found.records
            left = None if left is None else left - len(found.records)
            after = found.next
            if after is None or left == 0:
                return

    async def tail(self, wanted: Wanted, count: int, *, follow: bool) -> AsyncIterator[list[Record]]:
        """As the protocol says."""
        start = await self._client.feed_page(_AFTER_END, limit=1)
        if count:
            me = await self._client.me()
            found = self._found(wanted, newest_first=True, limit=None, page=_page_for(count))
            async with aclosing(found):
                yield await _newest(found, start.head, count, but_of=me["token"]["id"])
        if not follow:
            return
        pages = self._client.feed_pages(start.cursor, wait_seconds=LONGEST_WAIT_SECONDS, q=wanted.q, **_filters(wanted))
        async with aclosing(pages):
            async for page in pages:
                yield page.records


def _asked(wanted: Wanted) -> Asked:
    """Raises ``InvalidParameter``."""
    asked, _ = parse_filters(list(wanted.given().items()), wall_clock())
    return asked


def _filters(wanted: Wanted) -> "Filters":
    filters: Filters = {}
    if wanted.since is not None:
        filters["since"] = wanted.since
    if wanted.until is not None:
        filters["until"] = wanted.until
    return filters


def _told(records: list[Numbered]) -> list[Record]:
    return [{"seq": one.seq, **_decode(one.record)} for one in records]


def _page_for(count: int) -> int:
    """How many records to ask for at once to have so many of the newest: some may have come meanwhile."""
    return min(MOST_FOUND, count + _COMING)


async def _newest(
    found: AsyncIterator[list[Record]], head: int, count: int, *, but_of: str | None = None
) -> list[Record]:
    """The first so many of those that were there when the log had ``head`` entries, by number: others may follow.

    ``but_of`` is the token whose newest call of the feed is passed over: it is the one that found out about the head.
    """
    newest: list[Record] = []
    async for records in found:
        for record in records:
            if record["seq"] >= head:
                continue
            if but_of is not None and (record.get("token_id"), record.get("target")) == (but_of, _FEED_TARGET):
                but_of = None
                continue
            newest.append(record)
        if len(newest) >= count:
            break
    return sorted(newest[:count], key=lambda record: int(record["seq"]))
