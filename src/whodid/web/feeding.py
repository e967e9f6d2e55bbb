"""The pages of the feed: by page, with a wait for what comes, and as streams of lines or server-sent events.

A call of the feed is recorded like any other, and so is part of what it reads. Whoever waits is therefore not woken by
records of such calls alone: they are handed over with what comes next, or at the end of the wait.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Final

from starlette.responses import Response

from whodid.auth import SEARCH, Principal
from whodid.errors import Gone, InvalidCursor, NotAcceptable, Overloaded, WhodidError
from whodid.feed import CHUNK, Sieve
from whodid.query.cursors import FeedCursor, render
from whodid.query.pages import FeedPage, parse_feed
from whodid.records import Kind
from whodid.service import Service
from whodid.store.base import Head, Numbered
from whodid.web.exchange import Exchange
from whodid.web.logs import JSON, PAGE_BYTES, asked_of, next_link, numbered
from whodid.web.negotiation import preferred
from whodid.web.streaming import Stream, ahead

LINES: Final = "application/x-ndjson"
EVENTS: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 15.0

_MOST_LOOKED_AT: Final = 50_000
"""So many records are held against the filters for one page; then it goes on, however few are on it."""

_RETRY: Final = b"retry: 2000\n\n"
_OWN_TARGET: Final = b'"target":"/v2/logs/feed"'
_SHARED_EVENTS: Final = 8


@dataclass(slots=True)
class _Reader:
    """Who reads a feed, from where on, and what of it."""

    exchange: Exchange
    principal: Principal
    sieve: Sieve
    position: int
    """The number of the next entry to look at."""
    head: Head
    """The end of the log, as far as it is known."""

    @property
    def cursor(self) -> str:
        """Where to go on."""
        return render(FeedCursor(self.position), self.principal.account)


class FeedPages:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._feed = service.feed
        self._gate = service.gate
        self._streams = 0
        self._events: OrderedDict[tuple[int, int, int], bytes] = OrderedDict()
        """What was made of the newest chunks for those who want all records."""

    async def feed(self, exchange: Exchange) -> Response:
        """The log from a place on, in the form that is preferred."""
        form = preferred(exchange.headers.get("accept"), (JSON, LINES, EVENTS))

        async def parse(principal: Principal) -> tuple[FeedPage, Head]:
            if form is None:
                raise NotAcceptable(f"a feed is {JSON}, {LINES} or {EVENTS}; Accept must take one of them")
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

        principal, (page, head) = await asked_of(self._service, exchange, SEARCH, parse)
        sieve = Sieve(page.condition, page.since_ms, page.until_ms)
        if page.first_seq is None:  # from now on: what comes after the record of this call
            head = await self._feed.head(principal.account_no)
        reader = _Reader(exchange, principal, sieve, head.size if page.first_seq is None else page.first_seq, head)
        if form == JSON:
            return await self._page(reader, page)
        return self._stream(self._lines(reader, page.wait_seconds) if form == LINES else self._sent(reader), form or "")

    async def _page(self, reader: _Reader, page: FeedPage) -> Response:
        """A page; where there is nothing new, what comes within the time to wait."""
        until = monotonic() + page.wait_seconds
        reader.head = await self._feed.head(reader.principal.account_no)
        found = await self._collect(reader, page.limit)
        while not _has_news(found) and len(found) < page.limit and reader.position >= reader.head.size:
            left = until - monotonic()
            if left <= 0 or self._feed.stopping:
                break
            reader.head = await self._feed.wait(reader.principal.account_no, reader.head, left)
            await self._recheck(reader)
            found += await self._collect(reader, page.limit - len(found))
        body = b'{"data":[%b],"next":"%b","head":%d}' % (
            b",".join(map(numbered, found)),
            reader.cursor.encode(),
            reader.head.size,
        )
        headers = {**next_link(reader.exchange, reader.cursor), "Vary": "Accept"}
        return Response(body, media_type=JSON, headers=headers)

    async def _collect(self, reader: _Reader, limit: int) -> list[Numbered]:
        """At most so many of the records that are wanted, up to the head; the reader moves on."""
        found: list[Numbered] = []
        size_bytes = looked_at = 0
        most = limit if reader.sieve.lets_all_through else CHUNK
        async for chunk in self._feed.chunks(reader.principal.account_no, reader.position, reader.head.size, most):
            wanted = await reader.sieve.sift(chunk)
            room = limit - len(found)
            reader.position = chunk[-1].seq + 1 if len(wanted) <= room else wanted[room - 1].seq + 1
            found += wanted[:room]
            looked_at += len(chunk)
            size_bytes += sum(len(one.record) for one in wanted)
            if len(found) == limit or size_bytes > PAGE_BYTES or looked_at >= _MOST_LOOKED_AT:
                break
        return found

    def _stream(self, pieces: AsyncIterator[bytes], media_type: str) -> Response:
        """A stream, if there are not too many."""
        most = self._service.settings.streams
        if self._streams >= most:
            raise Overloaded(f"{most} readers of streams are as many as this server takes; try again later")
        headers = {"Vary": "Accept", "X-Accel-Buffering": "no"}  # the latter for nginx: pass on at once
        return Stream(ahead(pieces), media_type, headers, meanwhile=self._counted())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _lines(self, reader: _Reader, wait_seconds: int) -> AsyncIterator[bytes]:
        """A line for each record: those there are, and those that come as long as something comes in time."""
        while True:
            async for records in self._wanted(reader):
                yield b"".join([b'{"seq":%d,%b\n' % (one.seq, one.record[1:]) for one in records])
            known = reader.head
            if wait_seconds and not self._feed.stopping:
                reader.head = await self._feed.wait(reader.principal.account_no, known, wait_seconds)
            if reader.head.size == known.size or not await self._may_go_on(reader):
                return

    async def _sent(self, reader: _Reader) -> AsyncIterator[bytes]:
        """Server-sent events, one for each record, for as long as the token is good."""
        yield _RETRY + self._heartbeat(reader)
        while True:
            async for records in self._wanted(reader):
                yield self._as_events(reader, records)
            known = reader.head
            reader.head = await self._feed.wait(reader.principal.account_no, known, HEARTBEAT_SECONDS)
            if self._feed.stopping or not await self._may_go_on(reader):
                return
            if reader.head.size == known.size:
                yield self._heartbeat(reader)

    async def _wanted(self, reader: _Reader) -> AsyncIterator[list[Numbered]]:
        """What is wanted of the log up to the head, by the chunk; the reader moves on."""
        async for chunk in self._feed.chunks(reader.principal.account_no, reader.position, reader.head.size):
            reader.position = chunk[-1].seq + 1
            if records := await reader.sieve.sift(chunk):
                yield records

    def _as_events(self, reader: _Reader, records: list[Numbered]) -> bytes:
        account = reader.principal.account
        key = (reader.principal.account_no, records[0].seq, records[-1].seq)
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

    async def _recheck(self, reader: _Reader) -> None:
        """Raise what a call would be refused with by now."""
        version = reader.head.identity_version
        reader.principal = await self._gate.recheck(reader.exchange.bearer, reader.principal, SEARCH, version)

    async def _may_go_on(self, reader: _Reader) -> bool:
        """Whether the token still opens the stream."""
        try:
            await self._recheck(reader)
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
        raise Gone(f"entries before {head.kept_from} are no longer kept; after={onward} goes on from there")


def _has_news(records: list[Numbered]) -> bool:
    """Whether there is something beside calls of the feed."""
    return any(one.kind != Kind.TOKEN or _OWN_TARGET not in one.record for one in records)
