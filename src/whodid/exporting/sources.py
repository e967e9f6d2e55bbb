"""Sources: an account's records out of a store, oldest first, by the chunk."""

from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec.structs import replace

from whodid.records import Kind
from whodid.store.base import Found, Numbered, Position, Search, Store

_PAGE = 1000
_PAGE_BYTES = 1024 * 1024
"""How many records a page of a search has, and how large they are together."""


async def by_time(
    store: Store, account_no: int, since_ms: int, until_ms: int, kind: Kind | None, *, after: Position | None = None
) -> AsyncIterator[list[Numbered]]:
    """The records with ``createdAt`` in ``[since_ms, until_ms)``, or those of them that come after a place.

    By the log, not the search index.
    """
    since_ms = since_ms if after is None else max(since_ms, after.created_ms)
    async for chunk in store.window(account_no, since_ms, until_ms, kind):
        yield [
            Numbered(entry.seq, entry.kind, entry.created_ms, entry.record)
            for entry in chunk
            if after is None or (entry.created_ms, entry.seq) > after
        ]


async def by_search(search_for: Callable[[Search], Awaitable[Found]], search: Search) -> AsyncIterator[list[Numbered]]:
    """What a search finds from its ``after`` on: all of it, in the order of time, whatever its order and limit are.

    ``search_for`` is ``Store.search``, or does the same in its own time. A chunk may be empty: it was looked for
    a while in vain.
    """
    search = replace(search, newest_first=False, limit=_PAGE, most_bytes=_PAGE_BYTES)
    while True:
        found = await search_for(search)
        yield found.records
        if found.rest is None:
            return
        search = replace(search, after=found.rest, skip=0)
