"""The feed: a log by number, with a real store: without gaps, woken in time, read once for many."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.building import NOW_MS, add_account, append, event, event_at, flat

from whodid.conditions import EVERYTHING, All, Is, Not
from whodid.errors import Gone, StoreUnavailable
from whodid.feed import CHUNK, CHUNK_BYTES, Feed, Sieve
from whodid.records import Kind
from whodid.store.base import UNBOUNDED, Account, Head, Numbered
from whodid.store.sqlite import SqliteStore


class CountedStore(SqliteStore):
    """The store, which counts what is asked of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.asked: Counter[str] = Counter()

    async def log(self, account_no: int, first: int, limit: int, most_bytes: int = UNBOUNDED) -> list[Numbered]:
        """As the store does it."""
        self.asked["log"] += 1
        return await super().log(account_no, first, limit, most_bytes)

    async def heads(self, account_nos: Sequence[int]) -> dict[int, Head]:
        """As the store does it."""
        self.asked["heads"] += 1
        return await super().heads(account_nos)


@pytest.fixture
def counted(store_path: Path, runner: asyncio.Runner) -> Iterator[CountedStore]:
    """An empty store."""
    opened = CountedStore(store_path)
    yield opened
    runner.run(opened.close())


@pytest.fixture
def feed(counted: CountedStore, runner: asyncio.Runner) -> Iterator[Feed]:
    """A feed of the store."""
    made = Feed(counted, monotonic=time.monotonic)
    yield made
    runner.run(made.stop())


async def grow(store: SqliteStore, account: Account, count: int, **given: Any) -> None:
    """Append so many actions."""
    await append(store, account, *(event(account, **given) for _ in range(count)))


async def seqs(feed: Feed, account: Account, first: int, until: int) -> list[int]:
    """The numbers of a part of a log."""
    return [one.seq for one in await flat(feed.chunks(account.no, first, until))]


async def test_chunks_have_every_record_once_in_order(feed: Feed, counted: CountedStore) -> None:
    """From the first number up to the last, not with it, in chunks of so many, and of so many bytes."""
    account = await add_account(counted)
    await grow(counted, account, 2 * CHUNK)
    await grow(counted, account, 50, metadata={"text": "x" * 50_000})
    size = (await feed.head(account.no)).size
    chunks = [chunk async for chunk in feed.chunks(account.no, 3, size - 1, most=7)]
    assert [one.seq for chunk in chunks for one in chunk] == list(range(3, size - 1))
    assert [len(chunk) for chunk in chunks[:2]] == [7, CHUNK]
    assert 4 < len(chunks) < 8
    assert all(sum(len(one.record) for one in chunk) <= CHUNK_BYTES for chunk in chunks)
    assert await seqs(feed, account, 5, 5) == []


@pytest.mark.parametrize(("removed", "first"), [((0, 4), 0), ((2, 4), 0), ((2, 4), 3)])
async def test_a_gap_is_never_passed_over(
    feed: Feed, counted: CountedStore, store_path: Path, removed: tuple[int, int], first: int
) -> None:
    """What stands before it comes; then it is told that what follows is gone, and from where on it is not."""
    account = await add_account(counted)
    await grow(counted, account, 9)
    seen: list[int] = []

    async def read() -> None:
        async for chunk in feed.chunks(account.no, first, 10):
            seen.extend(one.seq for one in chunk)

    with closing(apsw.Connection(str(store_path))) as other:
        other.execute("DELETE FROM entry WHERE account_no = ? AND seq BETWEEN ? AND ?", (account.no, *removed))
    with pytest.raises(StoreUnavailable, match="no entry"):
        await read()
    assert seen == list(range(first, removed[0]))
    with closing(apsw.Connection(str(store_path))) as other:
        other.execute("UPDATE account SET kept_from = 5 WHERE account_no = ?", (account.no,))
    with pytest.raises(Gone, match="before 5 are no longer kept; after=4 goes on"):
        await read()
    assert await seqs(feed, account, 5, 10) == [5, 6, 7, 8, 9]


async def test_a_log_that_ends_too_soon_is_told(feed: Feed, counted: CountedStore) -> None:
    """Never is its end taken for the end that was asked for."""
    account = await add_account(counted)
    with pytest.raises(StoreUnavailable, match="no entry 1 "):
        await seqs(feed, account, 0, 5)


async def test_a_wait_ends_when_something_is_appended(feed: Feed, counted: CountedStore) -> None:
    """At once where this server did it; the head is the new one."""
    account = await add_account(counted)
    known = await feed.head(account.no)
    waiting = [asyncio.create_task(feed.wait(account.no, known, 30)) for _ in range(20)]
    await asyncio.sleep(0)
    await grow(counted, account, 2)
    began = time.monotonic()
    feed.poke()
    heads = await asyncio.gather(*waiting)
    assert time.monotonic() - began < 5
    assert {head.size for head in heads} == {known.size + 2}


async def test_a_wait_ends_too_where_another_process_appends(feed: Feed, counted: CountedStore) -> None:
    """Nobody pokes: it is looked for once in a while, for all who wait for a log together."""
    account, other = await add_account(counted), await add_account(counted)
    known, elsewhere = await feed.head(account.no), await feed.head(other.no)
    waiting = [asyncio.create_task(feed.wait(account.no, known, 30)) for _ in range(100)]
    still = asyncio.create_task(feed.wait(other.no, elsewhere, 30))
    await asyncio.sleep(0)
    asked = counted.asked["heads"]
    began = time.monotonic()
    await grow(counted, account, 1)
    assert {head.size for head in await asyncio.gather(*waiting)} == {known.size + 1}
    assert counted.asked["heads"] - asked <= 3 + 4 * (time.monotonic() - began)
    assert not still.done()
    await feed.stop()
    assert await still == elsewhere


async def test_a_wait_in_vain_ends_in_time(feed: Feed, counted: CountedStore) -> None:
    """With the head that was known."""
    account = await add_account(counted)
    known = await feed.head(account.no)
    assert await feed.wait(account.no, known, 0.05) == known


async def test_a_head_that_is_known_wrong_is_told_at_once(feed: Feed, counted: CountedStore) -> None:
    """Whoever was slow is not kept waiting for what was there already."""
    account = await add_account(counted)
    known = await feed.head(account.no)
    await grow(counted, account, 1)
    assert (await feed.wait(account.no, known, 30)).size == known.size + 1


async def test_what_many_want_at_once_is_read_once(feed: Feed, counted: CountedStore) -> None:
    """And each has all of it; also if one of them goes meanwhile."""
    account = await add_account(counted)
    await grow(counted, account, 20)
    leaver = asyncio.create_task(feed.read(account.no, 0))
    reading = [asyncio.create_task(feed.read(account.no, 0)) for _ in range(50)]
    await asyncio.sleep(0)
    leaver.cancel()
    assert {len(found) for found in await asyncio.gather(*reading)} == {21}
    assert counted.asked["log"] == 1
    await grow(counted, account, 1)
    assert len(await feed.read(account.no, 0)) == 22


async def test_a_stop_lets_everybody_go(feed: Feed, counted: CountedStore) -> None:
    """And nobody waits any more."""
    account = await add_account(counted)
    known = await feed.head(account.no)
    waiting = [asyncio.create_task(feed.wait(account.no, known, 30)) for _ in range(10)]
    await asyncio.sleep(0)
    await feed.stop()
    assert set(await asyncio.gather(*waiting)) == {known}
    assert await feed.wait(account.no, known, 30) == known
    assert feed.stopping


@pytest.mark.parametrize("size", [10, 1_000])
async def test_a_sieve_lets_through_what_is_wanted(feed: Feed, counted: CountedStore, size: int) -> None:
    """By kind, condition and time; whether records are looked at in a thread or not."""
    account = await add_account(counted)
    text = {"text": "x" * size}
    await append(
        counted,
        account,
        *(event(account, type="tag" if number % 2 else "task", metadata=text) for number in range(60)),
        event(account, Kind.TOKEN),
        event_at(account, NOW_MS + 60_000, type="tag"),
    )
    records = await feed.read(account.no, 0)

    async def sifted(*given: Any) -> list[int]:
        return [one.seq for one in await feed.sift(Sieve(*given), records)]

    assert await sifted() == list(range(63))
    assert await sifted(Is("kind", "token")) == [61]
    assert await sifted(Not(Is("kind", "action"))) == [61]
    assert await sifted(Is("type", "tag")) == [*range(2, 61, 2), 62]
    assert await sifted(All((Is("type", "tag"), Is("kind", "action"))), NOW_MS + 1) == [62]
    assert await sifted(EVERYTHING, NOW_MS + 1) == [62]
    assert await sifted(Is("kind", "action"), 0, NOW_MS) == [0]
