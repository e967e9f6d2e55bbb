"""The pages that search a log: search, one record, summary, a token's activity, and the paged compatible calls.

Each call is recorded before its work is done, with what is wrong with its parameters; so the newest record of a token's
uses is the call that reads them.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec.structs import replace
from starlette.responses import Response

from whodid.auth import MANAGE_TOKENS, READ_OWN_TOKENS, READ_TOKENS, SEARCH, Operation, Principal, refuse
from whodid.errors import InvalidCursor, NotFound, Overloaded, WhodidError
from whodid.query.compatible import parse_paged
from whodid.query.cursors import SearchCursor, render
from whodid.query.pages import SearchPage, SummaryPage, parse_activity, parse_search, parse_summary
from whodid.query.parameters import END_OF_TIME_MS, once_each, parse_id
from whodid.records import Kind, render_time
from whodid.service import Service
from whodid.store.base import AFTER_ALL, BEFORE_ALL, Entry, Found, Numbered, Position, Question, Search, Store, Summary
from whodid.web.exchange import Exchange, Handler
from whodid.web.turns import Turns

JSON = "application/json"

PAGE_BYTES: Final = 8 * 1024 * 1024
"""From this size on, a page is long enough, and goes on with the next one."""

_LONGEST_LINK: Final = 4096
_TURNS: Final = 2
_PATIENCE_SECONDS: Final = 10.0
"""How many searches of one account are made at a time, and how long others of it wait."""

_Asked = TypeVar("_Asked")


class LogPages:
    """The handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._store = service.store
        self._turns = Turns(_TURNS, _PATIENCE_SECONDS)

    async def search(self, exchange: Exchange) -> Response:
        """A page of the records that are asked for."""

        async def parse(principal: Principal) -> Search:
            page = parse_search(exchange.parameters, self._service.clock(), principal.account)
            return await self._searched(principal, page)

        return await self._page(exchange, *await asked_of(self._service, exchange, SEARCH, parse))

    async def record(self, exchange: Exchange) -> Response:
        """One record, by its ``_id``."""

        async def find(principal: Principal) -> Entry:
            once_each(exchange.parameters, ())
            record_id = parse_id(exchange.parts["_id"])
            entry = await self._store.entry(principal.account_no, record_id)
            if entry is None:
                raise NotFound(f"there is no record {record_id} in the log of {principal.account}")
            return entry

        _, entry = await asked_of(self._service, exchange, SEARCH, find)
        return Response(numbered(Numbered(entry.seq, entry.kind, entry.created_ms, entry.record)), media_type=JSON)

    async def summary(self, exchange: Exchange) -> Response:
        """How many records there are, over time and of which values."""
        now_ms = self._service.clock()
        principal, page = await asked(
            self._service, exchange, SEARCH, lambda _: parse_summary(exchange.parameters, now_ms)
        )
        page = _whole_intervals(page)
        search = Search(principal.account_no, page.condition, page.since_ms, page.until_ms)
        question = Question(search, page.by, page.interval_ms, page.top)
        summary = await self._turns.take(principal.account_no, self._store.summarize, question)
        return Response(msgspec.json.encode(_told(page, summary, now_ms)), media_type=JSON)

    async def activity(self, exchange: Exchange) -> Response:
        """What a token was used for: one's own, or, for those who may see all tokens or all records, any."""

        async def parse(principal: Principal) -> Search:
            token_id = parse_id(exchange.parts["id"])
            page = parse_activity(exchange.parameters, principal.account, token_id)
            await self._check_token(principal, token_id)
            return await self._searched(principal, page)

        return await self._page(exchange, *await asked_of(self._service, exchange, READ_OWN_TOKENS, parse))

    async def _check_token(self, principal: Principal, token_id: str) -> None:
        """Raise ``NotFound`` where there is no such token, or it is not one that the caller may know of."""
        sees_all = any(refuse(principal, operation) is None for operation in (SEARCH, READ_TOKENS, MANAGE_TOKENS))
        for token in await self._store.tokens(principal.account_no):
            if token.id == token_id and (sees_all or token.user_id == principal.user_id):
                return
        raise NotFound(f"there is no token {token_id}, or it is not yours")

    def paged(self, kind: Kind) -> Handler:
        """The handler of a paged compatible call."""

        async def read(exchange: Exchange) -> Response:
            now_ms = self._service.clock()
            principal, page = await asked(
                self._service, exchange, SEARCH, lambda _: parse_paged(exchange.parameters, kind, now_ms)
            )
            search = page.within(principal.account_no)
            question = Question(replace(search, skip=0))
            summary = await self._turns.take(principal.account_no, self._store.summarize, question)
            found = await self._turns.take(principal.account_no, self._store.search, search)
            if summary.since_ms > search.since_ms or (found.rest and len(found.records) < search.limit):
                raise Overloaded("there are too many records to count them in time; narrow the dates")
            data = b",".join([one.record for one in found.records])
            return Response(b'{"count":%d,"data":[%b]}' % (summary.total, data), media_type=JSON)

        return read

    async def _searched(self, principal: Principal, page: SearchPage) -> Search:
        """The search that a page is of. Raises ``InvalidCursor``."""
        return Search(
            principal.account_no,
            page.condition,
            page.since_ms,
            page.until_ms,
            page.newest_first,
            page.limit,
            await place(self._store, principal.account_no, page.after, page.after_seq),
            most_bytes=PAGE_BYTES,
        )

    async def _page(self, exchange: Exchange, principal: Principal, search: Search) -> Response:
        found = await self._turns.take(principal.account_no, self._store.search, search)
        cursor = _cursor(found, search, principal.account)
        body = b'{"data":[%b],"next":%b}' % (
            b",".join([b'{"seq":%d,%b' % (seq, record[1:]) for seq, _, _, record in found.records]),
            b"null" if cursor is None else b'"%b"' % cursor.encode(),
        )
        headers = {} if cursor is None else next_link(exchange, cursor)
        return Response(body, media_type=JSON, headers=headers)


async def asked(
    service: Service, exchange: Exchange, operation: Operation, parse: Callable[[Principal], _Asked]
) -> tuple[Principal, _Asked]:
    """Who calls, and what ``parse`` makes of the call; the call is recorded, whether it is refused or not."""

    async def parse_soon(principal: Principal) -> _Asked:
        return parse(principal)

    return await asked_of(service, exchange, operation, parse_soon)


async def asked_of(
    service: Service, exchange: Exchange, operation: Operation, parse: Callable[[Principal], Awaitable[_Asked]]
) -> tuple[Principal, _Asked]:
    """The same, where what is asked for takes a look into the store."""
    principal = await service.gate.identify(exchange.bearer)
    made: list[_Asked] = []
    fault: WhodidError | None = None
    if refuse(principal, operation) is None:
        try:
            made.append(await parse(principal))
        except WhodidError as error:
            fault = error
    principal = await service.gate.admit(exchange.bearer, exchange.call, operation, fault)
    if not made:  # the caller was given the right to it just now
        made.append(await parse(principal))
    return principal, made[0]


async def place(store: Store, account_no: int, after: Position | None, after_seq: int | None) -> Position | None:
    """After which place to go on: as given, or that of the entry with a number. Raises ``InvalidCursor``."""
    seq = after_seq if after is None else after.seq
    if seq is None or (after is not None and seq in (BEFORE_ALL, AFTER_ALL)):
        return after
    found = await store.log(account_no, seq, 1)
    if not found or found[0].seq != seq:
        raise InvalidCursor(f"after must be a cursor, or the number of an entry that is there; {seq} is not")
    there = Position(found[0].created_ms, seq)
    if after not in (None, there):
        raise InvalidCursor("after leads to another entry here: the cursor is of another store, or was made by hand")
    return there


def numbered(one: Numbered) -> bytes:
    """A record with its number in front, as version 2 gives it: nothing of its bytes is made anew."""
    return b'{"seq":%d,%b' % (one.seq, one.record[1:])


def next_link(exchange: Exchange, cursor: str) -> dict[str, str]:
    """The header ``Link`` that leads to the next page: this call with the cursor (RFC 8288).

    There is none where it would be so long that clients and proxies refuse the whole answer.
    """
    parameters = [(name, value) for name, value in exchange.parameters if name != "after"]
    link = f'<{exchange.path}?{urlencode([*parameters, ("after", cursor)])}>; rel="next"'
    return {"Link": link} if len(link) <= _LONGEST_LINK else {}


def _cursor(found: Found, search: Search, account: str) -> str | None:
    if found.rest is None:
        return None
    return render(SearchCursor(found.rest, search.since_ms, search.until_ms, search.newest_first), account)


def _whole_intervals(page: SummaryPage) -> SummaryPage:
    """The same from the beginning of an interval to the end of one, so that they can be compared."""
    size = page.interval_ms
    if size is None:
        return page
    since_ms = page.since_ms // size * size
    return dataclasses.replace(page, since_ms=since_ms, until_ms=min(-(-page.until_ms // size) * size, END_OF_TIME_MS))


def _told(page: SummaryPage, summary: Summary, now_ms: int) -> dict[str, Any]:
    until_ms = max(min(page.until_ms, now_ms), summary.since_ms)
    told: dict[str, Any] = {
        "since": render_time(summary.since_ms),
        "until": render_time(until_ms),
        "total": summary.total,
        "complete": summary.since_ms <= page.since_ms,
    }
    if page.interval_ms is not None:
        told["buckets"] = _buckets(summary, page.interval_ms, until_ms)
    if page.by is not None:
        told["values"] = [{"value": value, "count": count} for value, count in summary.values]
    return told


def _buckets(summary: Summary, interval_ms: int, until_ms: int) -> Sequence[dict[str, Any]]:
    """All intervals of the time, also those in which there was nothing; and, of what is ahead of now, those with."""
    first = summary.since_ms // interval_ms * interval_ms
    begins = sorted({*range(first, until_ms, interval_ms), *summary.buckets})
    return [{"time": render_time(begin), "count": summary.buckets.get(begin, 0)} for begin in begins]
