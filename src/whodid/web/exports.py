"""The page of exports: any part of a log, as a file that is made while it is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass

from starlette.responses import Response

from whodid.auth import SEARCH, Principal
from whodid.changing import actor_of
from whodid.exporting.compressing import compressed
from whodid.exporting.formats import Format, open_format
from whodid.exporting.sources import by_search
from whodid.query.pages import parse_export
from whodid.service import Service
from whodid.store.base import Search
from whodid.web.exchange import Exchange, without_hidden_tokens
from whodid.web.logs import asked_of, place
from whodid.web.permission import Permission
from whodid.web.streaming import Slots, Stream, ahead


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

    async def export(self, exchange: Exchange) -> Response:
        """The records that are asked for, the oldest first. The log tells of the export before it begins."""
        with ExitStack() as held:

            async def parse(principal: Principal) -> _Export:
                made = await self._parse(exchange, principal)
                if not exchange.wants_head:
                    held.enter_context(self._slots.take(principal.account_no))
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
        search = Search(account_no, page.condition, page.since_ms, page.until_ms, newest_first=False, after=after)
        return _Export(search, (await self._service.feed.head(account_no)).size, form)

    async def _record(self, exchange: Exchange, principal: Principal) -> None:
        identity = self._service.identity
        account = await identity.account(principal.account)
        await identity.record_export(account, actor_of(principal, exchange.call), _selection(exchange))

    async def _pieces(self, export: _Export) -> AsyncIterator[bytes]:
        form = export.form
        yield form.begin()
        async for found in by_search(self._service.store, export.search):
            records = [one for one in found if one.seq < export.size]
            if records:
                yield form.rows(records) if form.suffix == ".ndjson" else await asyncio.to_thread(form.rows, records)
        yield form.end()


def _selection(exchange: Exchange) -> dict[str, str]:
    """What is exported, as the log tells it: the parameters of the call, as they were given."""
    selection: dict[str, str] = {}
    for name, given in exchange.parameters:
        value = without_hidden_tokens(given)
        selection[name] = f"{selection[name]}, {value}" if name in selection else value
    return selection
