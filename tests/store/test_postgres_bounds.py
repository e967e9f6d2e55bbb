"""What a search may take: so many connections, so much time, of so many records of one moment; and what it may not."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.building import NOW_MS, add_account, append, event, event_at
from tests.postgres import drop_database, new_database

from whodid.conditions import EVERYTHING, All, Is, Not
from whodid.errors import InvalidParameter, Overloaded, StoreUnavailable
from whodid.records import Kind
from whodid.store.base import Account, Found, Position, Question, Search
from whodid.store.postgres import PostgresStore, connection, searching, store, summarizing
from whodid.store.postgres.connection import CONNECTIONS, Connection, Row
from whodid.store.postgres.limiting import fetch_within
from whodid.store.postgres.store import SEARCHES

NOTHING_BUT_LOOKED_FOR = All((Not(Is("action", "update")), Not(Is("action", "create"))))


@pytest.fixture
def url() -> Iterator[str]:
    """A database of the test's own."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture
def opened(url: str, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresStore]:
    """A store in it, in which nobody waits long."""
    monkeypatch.setattr(store, "_LINE_SECONDS", 0.1)
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.2)
    made = PostgresStore(url, create=True)
    yield made
    runner.run(made.close())


async def test_appends_have_connections_however_many_search(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Searches and summaries have some of the connections at most; who gets none in time is told why."""
    accounts = [await add_account(opened) for _ in range(CONNECTIONS - SEARCHES)]
    begun, may_end = asyncio.Semaphore(0), asyncio.Event()
    quick = searching.search

    async def search_long(connection: Connection, asked: Search) -> Found:
        begun.release()
        await may_end.wait()
        return await quick(connection, asked)

    with monkeypatch.context() as patch:
        patch.setattr(searching, "search", search_long)
        searches = [asyncio.create_task(opened.search(Search(accounts[0].no))) for _ in range(3 * CONNECTIONS)]
        for _ in range(SEARCHES):
            await begun.acquire()
        await asyncio.gather(*(append(opened, account, event(account)) for account in accounts))
        assert await opened.credential(bytes(32)) is None
        with pytest.raises(Overloaded, match=f"{SEARCHES} searches that take long are running"):
            await opened.summarize(Question(Search(accounts[0].no)))
        may_end.set()
        await asyncio.wait(searches)
    answered = [search for search in searches if search.exception() is None]
    assert len(answered) >= SEARCHES
    assert {type(search.exception()) for search in searches} <= {type(None), Overloaded}
    for _ in range(2 * SEARCHES):
        assert (await opened.summarize(Question(Search(accounts[0].no)))).total == 2


async def test_a_search_that_is_given_up_gives_its_place_back(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asked has gone away, or the search has failed: the next one has the place."""
    account = await add_account(opened)
    begun = asyncio.Semaphore(0)

    async def search_for_ever(_connection: Connection, _asked: Search) -> Found:
        begun.release()
        await asyncio.Event().wait()
        raise AssertionError

    async def fail(_connection: Connection, _asked: Search) -> Found:
        raise InvalidParameter("it takes too long")

    with monkeypatch.context() as patch:
        patch.setattr(searching, "search", search_for_ever)
        searches = [asyncio.create_task(opened.search(Search(account.no))) for _ in range(SEARCHES)]
        for _ in searches:
            await begun.acquire()
        for search in searches:
            search.cancel()
        await asyncio.wait(searches)
        patch.setattr(searching, "search", fail)
        for _ in range(2 * SEARCHES):
            with pytest.raises(InvalidParameter):
                await opened.search(Search(account.no))
    assert len((await opened.search(Search(account.no))).records) == 1


async def test_whoever_gets_no_connection_since_all_are_in_use_is_told_so(opened: PostgresStore) -> None:
    """The database is not said to be out of reach, and the next one waits as long for his."""
    async with asyncio.TaskGroup() as tasks:
        taken, may_end = asyncio.Semaphore(0), asyncio.Event()

        async def hold(_connection: Connection) -> None:
            taken.release()
            await may_end.wait()

        for _ in range(CONNECTIONS):
            tasks.create_task(opened._pool.run(hold))
        for _ in range(CONNECTIONS):
            await taken.acquire()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match=f"all {CONNECTIONS} connections to the database are in use"):
                await opened.accounts()
        may_end.set()
    assert await opened.accounts() == []


# Time.


class _Slow:
    """A clock, and statements that all take longer than they may, but for the first so many."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, quick: int = 0) -> None:
        self.now = 0.0
        self._quick = quick
        monkeypatch.setattr(searching, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(searching, "fetch_within", self._fetch)
        monkeypatch.setattr(summarizing, "fetch_within", self._fetch)
        monkeypatch.setattr(searching, "_SHORT_STRETCH", 2)

    async def _fetch(
        self, connection: Connection, seconds: float, statement: str, values: Any, *, without: str | None = None
    ) -> list[Row] | None:
        assert seconds > 0
        if self._quick and not (" record FROM" in statement and without != "enable_bitmapscan"):
            self._quick -= 1
            return await fetch_within(connection, 20, statement, values, without=without)
        self.now += seconds
        return None


async def _some(opened: PostgresStore, created_ms: list[int]) -> Account:
    account = await add_account(opened)
    await append(opened, account, *(event_at(account, at_ms) for at_ms in created_ms))
    return account


async def test_a_search_ends_in_time_whatever_takes_long(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one time for all that it does; then it says what would be quicker."""
    account = await _some(opened, [NOW_MS] * 9)
    slow = _Slow(monkeypatch)
    with pytest.raises(InvalidParameter, match="this search takes too long: narrow it"):
        await opened.search(Search(account.no, Is("action", "update")))
    assert slow.now == pytest.approx(6)


@pytest.mark.parametrize("quick", [0, 2])
async def test_a_summary_ends_in_time_whatever_takes_long(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch, quick: int
) -> None:
    """It has one time for all that it tries: counting, and finding out where the newest begin."""
    account = await _some(opened, [NOW_MS] * 9)
    slow = _Slow(monkeypatch, quick)
    monkeypatch.setattr(summarizing, "_NEWEST", (5, 2))

    async def count_slowly(_connection: Connection, seconds: float, *_: Any) -> None:
        slow.now += seconds

    monkeypatch.setattr(summarizing, "fetch_within", count_slowly)
    with pytest.raises(InvalidParameter, match="too many to count"):
        await opened.summarize(Question(Search(account.no, Is("action", "update"))))
    assert 2 < slow.now <= 6


async def test_a_search_that_is_broken_off_in_a_stretch_goes_on_after_the_one_before(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found by then is not lost, nor looked for again."""
    account = await _some(opened, [NOW_MS + at for at in range(9)])
    condition = Not(Is("action", "create"))
    for quick in (2, 3):  # the first stretch, and where the second one ends
        slow = _Slow(monkeypatch, quick)
        found = await opened.search(Search(account.no, condition, limit=5))
        assert [one.seq for one in found.records] == [9, 8]
        assert found.rest == Position(NOW_MS + 7, 8)
        assert slow.now == pytest.approx(6)


# Many records of one moment.


@pytest.mark.parametrize("newest_first", [True, False])
async def test_a_search_gets_past_any_number_of_records_of_one_millisecond(
    opened: PostgresStore, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    """A stretch ends in the midst of them, and the next page goes on from there."""
    account = await _some(opened, [NOW_MS] * 20)
    limits: list[int] = []

    async def fetch_slowly(
        connection: Connection, seconds: float, statement: str, values: Any, *, without: str | None = None
    ) -> list[Row] | None:
        if " record FROM" in statement and without != "enable_bitmapscan":
            return None
        rows = await fetch_within(connection, seconds, statement, values, without=without)
        limits.append(len(rows or ()))
        return rows

    monkeypatch.setattr(searching, "fetch_within", fetch_slowly)
    monkeypatch.setattr(searching, "_SHORT_STRETCH", 4)
    search = Search(account.no, Is("action", "update"), NOW_MS, NOW_MS + 1, newest_first, seconds=0)
    seqs: list[int] = []
    for page in range(1, 6):
        found = await opened.search(search)
        seqs += [one.seq for one in found.records]
        assert len(seqs) == 4 * page
        if page < 5:
            assert found.rest == Position(NOW_MS, seqs[-1])
            search = Search(
                search.account_no, search.condition, NOW_MS, NOW_MS + 1, newest_first, 100, found.rest, 0, 0
            )
    assert seqs == (list(range(20, 0, -1)) if newest_first else list(range(1, 21)))
    assert max(limits) <= 4
    nothing = await opened.search(Search(account.no, NOTHING_BUT_LOOKED_FOR, newest_first=newest_first, seconds=0))
    assert nothing.records == []
    assert nothing.rest is not None


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("apart_ms", [0, 1])
async def test_a_page_far_away_reads_no_more_than_the_first_one(
    opened: PostgresStore, newest_first: bool, apart_ms: int
) -> None:
    """It begins in the index where the page before has ended, whether times differ or not."""
    account = await add_account(opened)
    await append(opened, account, *(event_at(account, NOW_MS + at * apart_ms) for at in range(4000)))

    async def pages_read(after: Position | None) -> int:
        search = Search(account.no, EVERYTHING, NOW_MS, NOW_MS + 4000, newest_first, 10, after)
        statement, values = searching._branch(search, Kind.ACTION, EVERYTHING, None)
        async with opened._pool.connection() as used, used.transaction():
            await used.execute("SET LOCAL enable_seqscan = off")
            await used.execute("SET LOCAL enable_bitmapscan = off")
            found = await used.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", values)
            row = await found.fetchone()
        assert row is not None
        return int(row[0][0]["Plan"]["Shared Hit Blocks"] + row[0][0]["Plan"]["Shared Read Blocks"])

    await pages_read(None)
    at = 100 if newest_first else 3900
    assert await pages_read(Position(NOW_MS + at * apart_ms, at)) <= await pages_read(None) + 3
