"""The pages of the feed: by page, with a wait for what comes, and as streams of lines or server-sent events.

A call of the feed is recorded like any other, and so is part of what it reads. Whoever waits is therefore not woken by
records of such calls alone: they are handed over with what comes next, or at the end of the wait.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from starlette.responses import Response

from whodid.auth import SEARCH, Principal
from whodid.errors import Gone, InvalidCursor, InvalidParameter, NotAcceptable, StoreUnavailable, WhodidError
from whodid.feed import CHUNK, Sieve, gone
from whodid.query.cursors import FeedCursor, render
from whodid.query.pages import FeedPage, parse_feed
from whodid.records import Kind
from whodid.service import Service
from whodid.store.base import Head, Numbered
from whodid.web.exchange import Exchange
from whodid.web.logs import JSON, PAGE_BYTES, asked_of, next_link, numbered
from whodid.web.negotiation import preferred
from whodid.web.permission import Permission
from whodid.web.streaming import Slots, Stream, ahead, disconnected

LINES: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 15.0

_MOST_LOOKED_AT: Final = 50_000
"""So many records are held against the filters for one page; then it goes on, however few are on it."""

_LONGEST_LOOK_SECONDS: Final = 1.0
"""And after so long, too."""

_MEANINGLESS: Final = {LINES: ("limit",), EVENTS: ("limit", "wait")}
"""Parameters of a page that a stream does not have."""

_RETRY: Final = b"retry: 2000\n\n"
_OWN_TARGET: Final = b'"target":"/v2/logs/feed"'
_SHARED_EVENTS: Final = 8


@dataclass(slots=True)
class _Reader:
    """Who reads a feed, from where on, and what of it."""

    exchange: Exchange
    permission: Permission
    sieve: Sieve
    position: int
    """The number of the next entry to look at."""
    head: Head
    """The end of the log, as far as it is known."""
    told_at: float = field(default_factory=monotonic)
    """When the reader was last told something of the log."""

    @property
    def account_no(self) -> int:
        """Whose log it is."""
        return self.permission.principal.account_no

    @property
    def account(self) -> str:
        """The name of whose log it is."""
        return self.permission.principal.account

    @property
    def cursor(self) -> str:
        """Where to go on."""
        return render(FeedCursor(self.position), self.account)

    async def check(self) -> None:
        """Raise what a call would be refused with by now."""
        await self.permission.check(self.head.identity_version)


class FeedPages:
    """The handlers."""

    def __init__(self, service: Service, slots: Slots) -> None:
        self._service = service
        self._feed = service.feed
        self._slots = slots
        self._events: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        """What was made of the newest chunks for those who want all records."""

    async def feed(self, exchange: Exchange) -> Response:
        """The log from a place on, in the form that is preferred."""
        form = preferred(exchange.headers.get("accept"), (JSON, LINES, EVENTS))
        with ExitStack() as held:

            async def parse(principal: Principal) -> tuple[FeedPage, Head]:
                asked = await self._parse(exchange, principal, form)
                if form != JSON and not exchange.wants_head:
                    held.enter_context(self._slots.take(principal.account_no))
                return asked

            principal, (page, head) = await asked_of(self._service, exchange, SEARCH, parse)
            if page.first_seq is None:  # from now on: what comes after the record of this call
                head = await self._feed.head(principal.account_no)
            permission = Permission(self._service, exchange, principal, SEARCH)
            sieve = Sieve(page.condition, page.since_ms, page.until_ms)
            reader = _Reader(exchange, permission, sieve, head.size if page.first_seq is None else page.first_seq, head)
            if form == JSON:
                return await self._page(reader, page)
            pieces = ahead(self._lines(reader, page.wait_seconds) if form == LINES else self._sent(reader))
            headers = {"Vary": "Accept", "X-Accel-Buffering": "no"}  # the latter for nginx: pass on at once
            return Stream(permission.during(pieces), form or "", headers, meanwhile=held.pop_all())

    async def _parse(self, exchange: Exchange, principal: Principal, form: str | None) -> tuple[FeedPage, Head]:
        if form is None:
            raise NotAcceptable(f"a feed is {JSON}, {LINES} or {EVENTS}; Accept must take one of them")
        _check_meaning(exchange, form)
        page = parse_feed(
            exchange.parameters,
            self._service.clock(),
            principal.account,
            last_event_id=exchange.headers.get("last-event-id") if form == EVENTS else None,
            from_now=form == EVENTS,
        )
        head = await self._feed.head(principal.account_no)
        _check_place(page, head, principal.account)
        return page, head

    async def _page(self, reader: _Reader, page: FeedPage) -> Response:
        """A page; where there is nothing new, what comes within the time to wait."""
        until = monotonic() + page.wait_seconds
        reader.head = await self._feed.head(reader.account_no)
        found = await self._collect(reader, page.limit)
        while not _has_news(found) and len(found) < page.limit and reader.position >= reader.head.size:
            left = until - monotonic()
            if left <= 0 or self._feed.stopping or not await self._wait(reader, left):
                break
            await reader.check()
            found += await self._collect(reader, page.limit - len(found))
        body = b'{"data":[%b],"next":"%b","head":%d}' % (
            b",".join(map(numbered, found)),
            reader.cursor.encode(),
            reader.head.size,
        )
        headers = {**next_link(reader.exchange, reader.cursor), "Vary": "Accept"}
        return Response(body, media_type=JSON, headers=headers)

    async def _wait(self, reader: _Reader, seconds: float) -> bool:
        """Wait for the log to grow, but no longer than that; whether the reader is still there."""
        growing = asyncio.create_task(self._feed.wait(reader.account_no, reader.head, seconds), name="wait for a log")
        leaving = asyncio.create_task(disconnected(reader.exchange.receive), name="page's reader")
        try:
            await asyncio.wait([growing, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (growing, leaving):
                task.cancel()
            await asyncio.wait([growing, leaving])
        if growing.cancelled():
            return False
        reader.head = growing.result()
        return True

    async def _collect(self, reader: _Reader, limit: int) -> list[Numbered]:
        """At most so many of the records that are wanted, up to the head; the reader moves on."""
        found: list[Numbered] = []
        size_bytes = looked_at = 0
        until = monotonic() + _LONGEST_LOOK_SECONDS
        most = limit if reader.sieve.lets_all_through else CHUNK
        try:
            async for chunk in self._feed.chunks(reader.account_no, reader.position, reader.head.size, most):
                wanted = await self._feed.sift(reader.sieve, chunk)
                room = limit - len(found)
                reader.position = chunk[-1].seq + 1 if len(wanted) <= room else wanted[room - 1].seq + 1
                found += wanted[:room]
                looked_at += len(chunk)
                size_bytes += sum(len(one.record) for one in wanted)
                long = size_bytes > PAGE_BYTES or looked_at >= _MOST_LOOKED_AT or monotonic() > until
                if long or len(found) == limit:
                    break
        except (Gone, StoreUnavailable):
            if not found:
                raise  # else that is for the next page to tell
        return found

    async def _lines(self, reader: _Reader, wait_seconds: int) -> AsyncIterator[bytes]:
        """A line for each record: those there are, and those that come as long as something comes in time."""
        while True:
            async for records in self._wanted(reader):
                yield b"".join([b'{"seq":%d,%b\n' % (one.seq, one.record[1:]) for one in records])
            known = reader.head
            if wait_seconds and not self._feed.stopping:
                reader.head = await self._feed.wait(reader.account_no, known, wait_seconds)
            if reader.head.size == known.size or not await self._may_go_on(reader):
                return

    async def _sent(self, reader: _Reader) -> AsyncIterator[bytes]:
        """Server-sent events, one for each record, for as long as the token is good."""
        yield _RETRY + self._heartbeat(reader)
        while True:
            async for records in self._wanted(reader):
                yield self._as_events(reader, records) if records else self._heartbeat(reader)
            known = reader.head
            reader.head = await self._feed.wait(reader.account_no, known, HEARTBEAT_SECONDS)
            if self._feed.stopping or not await self._may_go_on(reader):
                return
            if reader.head.size == known.size:
                yield self._heartbeat(reader)

    async def _wanted(self, reader: _Reader) -> AsyncIterator[list[Numbered]]:
        """What is wanted of the log up to the head, by the chunk; the reader moves on.

        Where nothing is wanted for a while, it says so by an empty chunk.
        """
        async for chunk in self._feed.chunks(reader.account_no, reader.position, reader.head.size):
            reader.position = chunk[-1].seq + 1
            records = await self._feed.sift(reader.sieve, chunk)
            if records or monotonic() - reader.told_at > HEARTBEAT_SECONDS:
                reader.told_at = monotonic()
                yield records

    def _as_events(self, reader: _Reader, records: list[Numbered]) -> bytes:
        account = reader.account
        key = (reader.account_no, records[0].seq, records[-1].seq)
        made = self._events.get(key) if reader.sieve.lets_all_through else None
        if made is None:
            made = b"".join(
                b"id: %b\ndata: %b\n\n" % (render(FeedCursor(one.seq + 1), account).encode(), numbered(one))
                for one in records
            )
            if reader.sieve.lets_all_through:
                self._events[key] = made
                while len(self._events) > _SHARED_EVENTS:
                    self._events.popitem(last=False)
        return made

    def _heartbeat(self, reader: _Reader) -> bytes:
        """Says where to go on, also after what was passed over; and keeps the connection open."""
        return b"id: %b\n: the log has %d entries\n\n" % (reader.cursor.encode(), reader.head.size)

    async def _may_go_on(self, reader: _Reader) -> bool:
        """Whether the token still opens the stream."""
        try:
            await reader.check()
        except WhodidError:
            return False
        return True


def _check_place(page: FeedPage, head: Head, account: str) -> None:
    """Raise ``InvalidCursor`` or ``Gone`` where a feed can't begin there."""
    first = page.first_seq
    if first is None:
        return
    if first > head.size:
        raise InvalidCursor(
            f"after is beyond the end of the log, which has {head.size} entries: it is of another store, or of a time "
            "that was lost since"
        )
    if first < head.kept_from:
        onward = render(FeedCursor(head.kept_from), account)
        raise gone(head.kept_from, onward)


def _check_meaning(exchange: Exchange, form: str) -> None:
    """Raise ``InvalidParameter`` where one is given that means nothing for this form."""
    for name, _ in exchange.parameters:
        if name in _MEANINGLESS.get(form, ()):
            raise InvalidParameter(f"{name} means nothing where the feed is {form}; leave it out")


def _has_news(records: list[Numbered]) -> bool:
    """Whether there is something beside calls of the feed."""
    return any(one.kind != Kind.TOKEN or _OWN_TARGET not in one.record for one in records)
