"""From a store to a file: all that is asked for, in order, and what files are called."""

import io
from collections.abc import AsyncIterator

from tests.building import NOW_MS, add_account, append, event_at

from whodid.conditions import Is
from whodid.exporting import Piece, by_search, by_time, export, open_format, pieces
from whodid.records import Kind
from whodid.store.base import AFTER_ALL, Account, Position, Search, Store

COUNT = 2500
"""More than two pages."""


async def filled(store: Store) -> Account:
    """An account with many events, later and later, but for the last; every fifth is of the type that is looked for."""
    account = await add_account(store)
    events = [event_at(account, NOW_MS + number, type="tag" if number % 5 == 0 else "task") for number in range(COUNT)]
    await append(store, account, *events, event_at(account, NOW_MS + 7, Kind.TOKEN))
    return account


async def test_an_export_writes_all_pieces_and_tells_how_many_records(store: Store) -> None:
    """A piece before all records and one behind them, and one for each chunk; in the order of time."""
    account = await filled(store)
    told: list[int] = []
    out = io.BytesIO()
    source = by_time(store, account.no, NOW_MS, NOW_MS + COUNT, None)
    assert await export(pieces(source, open_format("csv")), out, told.append) == COUNT + 1
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0, COUNT + 1)
    numbers = [int(line.split(b",", 1)[0]) for line in out.getvalue().splitlines()[1:]]
    assert numbers == [*range(1, 9), COUNT + 1, *range(9, COUNT + 1)]


async def test_a_window_or_a_kind_may_be_all_that_is_asked_for(store: Store) -> None:
    """The end of the window is not in it."""
    account = await filled(store)
    uses = [chunk async for chunk in by_time(store, account.no, 0, NOW_MS + COUNT, Kind.TOKEN)]
    assert [(record.seq, record.kind) for chunk in uses for record in chunk] == [(COUNT + 1, Kind.TOKEN)]
    few = [chunk async for chunk in by_time(store, account.no, NOW_MS + 1, NOW_MS + 3, None)]
    assert [record.seq for chunk in few for record in chunk] == [2, 3]


async def test_a_search_is_gone_through_to_its_end(store: Store) -> None:
    """Page by page, oldest first, whatever it asks for otherwise; from its ``after`` on."""
    account = await filled(store)
    search = Search(account.no, Is("type", "task"), newest_first=True, limit=1)
    found = [record.seq async for chunk in by_search(store.search, search) for record in chunk]
    assert found == [number + 1 for number in range(COUNT) if number % 5]
    later = Search(account.no, Is("type", "task"), after=Position(NOW_MS + 1000, AFTER_ALL))
    assert [record.seq async for chunk in by_search(store.search, later) for record in chunk] == [
        number for number in found if number > 1001
    ]


async def test_what_is_ready_is_written_as_it_is() -> None:
    """From wherever pieces come."""

    async def ready() -> AsyncIterator[Piece]:
        yield Piece(b"ab", 1)
        yield Piece(b"", 0)
        yield Piece(b"c", 2)

    out = io.BytesIO()
    assert await export(ready(), out, lambda _: None) == 3
    assert out.getvalue() == b"abc"
