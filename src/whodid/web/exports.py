"""The page of exports: any part of a log, as a file that is made while it is sent."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from whodid.auth import SEARCH, Principal
from whodid.changing import actor_of
from whodid.exporting.compressing import compressed
from whodid.exporting.formats import Format, open_format
from whodid.exporting.sources import by_search
from whodid.query.pages import ExportPage, parse_export
from whodid.service import Service
from whodid.store.base import Position, Search
from whodid.web.exchange import Exchange
from whodid.web.logs import asked_of, place
from whodid.web.streaming import Stream, ahead


class ExportPages:
    """The handler."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def export(self, exchange: Exchange) -> Response:
        """The records that are asked for, the oldest first. The log tells of the export before it begins."""
        store = self._service.store

        async def parse(principal: Principal) -> tuple[ExportPage, Position | None, Format]:
            page = parse_export(exchange.parameters, self._service.clock(), principal.account)
            form = compressed(open_format(page.format), page.compression)
            return page, await place(store, principal.account_no, page.after, page.after_seq), form

        principal, (page, after, form) = await asked_of(self._service, exchange, SEARCH, parse)
        account = await self._service.identity.account(principal.account)
        await self._service.identity.record_export(account, actor_of(principal, exchange.call), _selection(exchange))
        search = Search(
            principal.account_no, page.condition, page.since_ms, page.until_ms, newest_first=False, after=after
        )
        headers = {"Content-Disposition": f'attachment; filename="{principal.account}{form.suffix}"'}
        return Stream(ahead(self._pieces(search, form, inline=form.suffix == ".ndjson")), form.media_type, headers)

    async def _pieces(self, search: Search, form: Format, *, inline: bool) -> AsyncIterator[bytes]:
        yield form.begin()
        async for records in by_search(self._service.store, search):
            yield form.rows(records) if inline else await asyncio.to_thread(form.rows, records)
        yield form.end()


def _selection(exchange: Exchange) -> dict[str, Any]:
    """What is exported, as the log tells it: the parameters of the call, as they were given."""
    selection: dict[str, Any] = {}
    for name, value in exchange.parameters:
        selection[name] = f"{selection[name]}, {value}" if name in selection else value
    return selection
