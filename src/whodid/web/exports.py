"""The page of exports: any part of a log, as a file that is made while it is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from time import monotonic
from typing import Final

from msgspec.structs import replace
from starlette.responses import Response

from whodid.auth import SEARCH, Principal
from whodid.changing import actor_of
from whodid.errors import Overloaded, StoreUnavailable
from whodid.exporting.compressing import compressed
from whodid.exporting.formats import Format, open_format
from whodid.exporting.sources import by_search
from whodid.query.pages import parse_export
from whodid.records import MAX_CLOCK_LEAD_MS
from whodid.service import Service
from whodid.store.base import Found, Search
from whodid.web.exchange import Exchange, without_hidden_tokens
from whodid.web.logs import asked_of, place
from whodid.web.permission import Permission
from whodid.web.streaming import Slots, Stream, ahead
from whodid.web.turns import Turns

_PATIENCE_SECONDS: Final = 60.0
"""How long an export waits for its account's turn, or for a store that is busy, before it breaks off."""

_PAUSE_SECONDS: Final = 0.5
_PAGE_SECONDS: Final = 0.5
"""How long a page of it is looked for, before it is the turn of others."""


@dataclass(frozen=True, slots=True)
class _Export:
    """What is exported, and as what."""

    search: Search
    size: int
    """How many entries the log had before the call: only they are looked at, however long it takes."""
    form: Format


class ExportPages:
    """The handler."""

    def __init__(self, service: Service, slots: Slots) -> None:
        self._service = service
        self._slots = slots
        self._turns = Turns(1, _PATIENCE_SECONDS)

    async def export(self, exchange: Exchange) -> Response:
        """The records that are asked for, the oldest first. The log tells of the export before it begins."""
        with ExitStack() as held:

            async def parse(principal: Principal) -> _Export:
                made = await self._parse(exchange, principal)
                if not exchange.wants_head:
                    held.enter_context(self._slots.take(principal.account_no))
                    await self._search(replace(made.search, limit=1))  # so that what can't be searched for is refused
                return made

            principal, export = await asked_of(self._service, exchange, SEARCH, parse)
            if not exchange.wants_head:
                await self._record(exchange, principal)
            permission = Permission(self._service, exchange, principal, SEARCH)
            headers = {"Content-Disposition": f'attachment; filename="{principal.account}{export.form.suffix}"'}
            pieces = permission.during(ahead(self._pieces(export)))
            return Stream(pieces, export.form.media_type, headers, meanwhile=held.pop_all())

    async def _parse(self, exchange: Exchange, principal: Principal) -> _Export:
        page = parse_export(exchange.parameters, self._service.clock(), principal.account)
        form = compressed(open_format(page.format), page.compression)
        account_no = principal.account_no
        after = await place(self._service.store, account_no, page.after, page.after_seq)
        until_ms = min(page.until_ms, self._service.clock() + MAX_CLOCK_LEAD_MS + 1)  # nothing is later by now
        search = Search(
            account_no, page.condition, page.since_ms, until_ms, newest_first=False, after=after, seconds=_PAGE_SECONDS
        )
        return _Export(search, (await self._service.feed.head(account_no)).size, form)

    async def _record(self, exchange: Exchange, principal: Principal) -> None:
        identity = self._service.identity
        account = await identity.account(principal.account)
        await identity.record_export(account, actor_of(principal, exchange.call), _selection(exchange))

    async def _pieces(self, export: _Export) -> AsyncIterator[bytes]:
        """The file; an empty piece now and then where nothing is found, so that it is looked whether to go on."""
        form = export.form
        yield form.begin()
        async for found in by_search(self._search, export.search):
            records = [one for one in found if one.seq < export.size]
            if not records:
                yield b""
            elif form.suffix == ".ndjson":
                yield form.rows(records)
            else:
                yield await asyncio.to_thread(form.rows, records)
        yield form.end()

    async def _search(self, search: Search) -> Found:
        """A page, when it is the account's turn. An export that has begun waits for as long as the store is busy."""
        give_up = monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._turns.take(search.account_no, self._service.store.search, search)
            except (Overloaded, StoreUnavailable):
                if monotonic() > give_up:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)


def _selection(exchange: Exchange) -> dict[str, str]:
    """What is exported, as the log tells it: the parameters of the call, as they were given."""
    selection: dict[str, str] = {}
    for name, given in exchange.parameters:
        value = without_hidden_tokens(given)
        selection[name] = f"{selection[name]}, {value}" if name in selection else value
    return selection
