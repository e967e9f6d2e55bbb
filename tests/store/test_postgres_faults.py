"""A connection to PostgreSQL that breaks at each point of an append: all of it is there or nothing, and never twice."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.building import accepted, action, add_account, append, completed, event, flat, new_id, no_progress, user
from tests.postgres import drop_database, new_database
from tests.postgresql.breaking import Direction, Network, network

from whodid.errors import StoreUnavailable
from whodid.proofs import Run
from whodid.records import Event
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Account, PutUser, Receipt, Submission
from whodid.store.postgres import PostgresStore, connection, writer
from whodid.store.postgres.rows import FEW

DIRECTIONS: list[Direction] = ["to the database", "from the database"]


@pytest.fixture
def url() -> Iterator[str]:
    """A database of the test's own."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture
def net(url: str) -> Iterator[Network]:
    """What is between the store and it. Nothing breaks until the test says where."""
    with network(url) as made:
        yield made


@pytest.fixture
def store(net: Network, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """A store in it."""
    opened = PostgresStore(net.url, create=True)
    yield opened
    runner.run(opened.close())


async def records_of(store: PostgresStore, account: Account) -> list[bytes]:
    """What the account's log has."""
    entries = await flat(store.entries(account.no))
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    return [entry.record for entry in entries][1:]


def brought(account: Account, *ids: str) -> list[Event]:
    """Events with an ``_id`` of their own."""
    return completed(account.name, [action(_id=id_) for id_ in ids])


@pytest.mark.parametrize("count", [2, FEW + 1])
@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_an_append_is_made_though_its_connection_breaks(
    store: PostgresStore, net: Network, direction: Direction, count: int
) -> None:
    """Wherever it does, once: it is asked for, or made once more on another connection; and it is acknowledged."""
    account = await add_account(store)
    expected: list[bytes] = []
    for point in range(1000):
        events = [event(account), *brought(account, *(new_id() for _ in range(count - 1)))]
        submission = Submission(account.no, events, (PutUser(user(f"u{point}@acme.example")),))
        net.cut(direction, point)
        receipt = accepted(*await store.append([submission]))
        done = net.whole
        assert receipt.seqs == list(range(len(expected) + 1, len(expected) + 1 + count)), point
        assert receipt.duplicates == frozenset(), point
        expected += [one.record for one in events]
        assert await records_of(store, account) == expected, point
        net.cut(direction)
        if not done:
            break
    assert point >= 5
    assert len(await store.users(account.no)) == point + 1
    assert await store.check(no_progress) == []


@pytest.mark.parametrize("direction", DIRECTIONS)
async def test_an_append_whose_connections_break_is_there_as_a_whole_or_not_at_all(
    store: PostgresStore, net: Network, direction: Direction
) -> None:
    """The second attempt breaks off, too: the answer is right, and who repeats it has it once."""
    account = await add_account(store)
    expected: list[bytes] = []
    made = set[bool]()
    for point in range(1000):
        events = brought(account, new_id(), new_id())
        net.cut(direction, point, point)
        (result,) = await attempt(store, Submission(account.no, events))
        done = net.whole
        net.cut(direction)
        there = await records_of(store, account)
        if isinstance(result, Receipt):
            assert there == expected + [one.record for one in events], point
            assert result.seqs == [len(there) - 1, len(there)], point
        else:
            assert there == expected, point
        again = accepted(*await store.append([Submission(account.no, events)]))
        expected += [one.record for one in events]
        assert again.seqs == [len(expected) - 1, len(expected)], point
        assert again.duplicates == (frozenset({0, 1}) if isinstance(result, Receipt) else frozenset()), point
        assert await records_of(store, account) == expected, point
        made.add(isinstance(result, Receipt))
        if not done:
            break
    assert made == {True, False}
    assert await store.check(no_progress) == []


async def attempt(store: PostgresStore, submission: Submission) -> list[object]:
    """The results of an append; the error where it fails."""
    try:
        return list(await store.append([submission]))
    except StoreUnavailable as error:
        return [error]


async def test_a_commit_that_nobody_can_be_asked_about_is_told_so(
    store: PostgresStore, net: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answer was lost, and the database is gone; whoever repeats it finds out, and nothing is there twice."""
    monkeypatch.setattr(writer, "_DOUBT_SECONDS", 0.1)
    monkeypatch.setattr(connection, "PATIENCE_SECONDS", 0.5)
    account = await add_account(store)
    told: list[str] = []
    for missing in range(1, 10):  # the last answers are not about the commit
        for _ in range(4):  # until all statements are prepared: then each append is the same messages
            net.count()
            await append(store, account, event(account))
        events = brought(account, new_id())
        net.cut("from the database", net.count()["from the database"] - missing)
        net.down = True
        (result,) = await attempt(store, Submission(account.no, events))
        net.down = False
        again = await append(store, account, *events)
        assert again == Receipt([5 * missing], frozenset({0}))
        if isinstance(result, StoreUnavailable):
            told.append(result.message)
            break
        assert result == Receipt([5 * missing])
    assert told == ["the database broke off in the middle of a commit, and can't be asked whether it was made"]
    assert await store.check(no_progress) == []


async def test_other_accounts_are_not_disturbed(store: PostgresStore, net: Network) -> None:
    """Each account's part of a batch is a transaction of its own; the results say which were made."""
    accounts = [await add_account(store) for _ in range(3)]
    net.cut("to the database", 2, 2)
    results = await store.append([Submission(one.no, [event(one)]) for one in accounts])
    made = [isinstance(result, Receipt) for result in results]
    assert made.count(True) >= 1
    assert [isinstance(result, StoreUnavailable) for result in results] == [not one for one in made]
    assert [len(await records_of(store, one)) for one in accounts] == [int(one) for one in made]


async def test_the_database_comes_back_without_a_restart(store: PostgresStore, url: str) -> None:
    """All connections are cut, again and again; the next operations have new ones, and need not wait for them."""
    account = await add_account(store)
    loop = asyncio.get_running_loop()
    for count in range(1, 6):
        await asyncio.gather(*(store.accounts() for _ in range(10)))
        with psycopg.connect(url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'whodid'"
            )
        began = loop.time()
        await append(store, account, event(account))
        await store.probe()
        assert loop.time() - began < 1
        assert len(await records_of(store, account)) == count


@pytest.mark.parametrize("count", [1, FEW + 1])
async def test_a_partition_that_is_gone_is_made_again(store: PostgresStore, url: str, count: int) -> None:
    """Without a restart: the database that took over may be older than what was made in the one before."""
    account = await add_account(store)
    with psycopg.connect(url, autocommit=True) as other:
        dropped = other.execute("SELECT relid::regclass::text FROM pg_partition_tree('entry') WHERE isleaf").fetchall()
        assert len(dropped) > 1
        for (name,) in dropped:
            other.execute(f"DROP TABLE {name}")
    assert (await append(store, account, *(event(account) for _ in range(count)))).seqs == list(range(1, count + 1))


async def test_an_account_is_added_though_a_partition_is_gone(store: PostgresStore, url: str) -> None:
    """As for an append."""
    await add_account(store)
    with psycopg.connect(url, autocommit=True) as other:
        dropped = other.execute("SELECT relid::regclass::text FROM pg_partition_tree('entry') WHERE isleaf").fetchall()
        for (name,) in dropped:
            other.execute(f"DROP TABLE {name}")
    assert (await add_account(store)).frontier.size == 1


async def test_a_transaction_that_stands_still_is_ended_by_the_database(store: PostgresStore) -> None:
    """A server that hangs must not keep an account's head from the others: PostgreSQL 17 and later see to it.

    ``idle_in_transaction_session_timeout`` alone does not: a pipeline ends with a message that stops its clock.
    """
    await store.accounts()
    async with store._pool.connection() as connection:
        if connection.info.server_version >= 170_000:
            found = await connection.execute("SHOW transaction_timeout")
            assert await found.fetchone() != ("0",)


# One account's trouble is its own.


class Deaf:
    """An observer that notes nothing."""

    def committed(self, submissions: int, events: int, seconds: float) -> None:
        """A batch is durable."""

    def failed(self, submissions: int) -> None:
        """A batch failed."""


async def test_whoever_holds_one_log_holds_up_no_other(store: PostgresStore, url: str) -> None:
    """Its own callers are told to try again; those of other accounts are answered meanwhile, and readers."""
    held, free = await add_account(store), await add_account(store)
    sequencer = Sequencer(store, limits=Limits(), observer=Deaf(), monotonic=time.monotonic)
    with psycopg.connect(url) as other:
        other.execute("SELECT 1 FROM head WHERE account_no = %s FOR UPDATE", (held.no,))
        waiting = asyncio.create_task(sequencer.append(Submission(held.no, [event(held)])))
        for place in range(1, 21):
            assert (await sequencer.append(Submission(free.no, [event(free)]))).seqs == [place]
        assert await store.account(held.name) is not None
        assert not waiting.done()
        with pytest.raises(StoreUnavailable, match="holds this log"):
            await waiting
        with pytest.raises(StoreUnavailable, match="holds this log"):  # without waiting again
            await asyncio.wait_for(sequencer.append(Submission(held.no, [event(held)])), 1)
        assert sequencer.trouble is None
    await sequencer.close()


async def test_what_nobody_thought_of_fails_one_account_alone(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others of the batch are acknowledged, since they are committed."""
    bad, good = await add_account(store), await add_account(store)
    begin = writer._Append.begin

    async def failing(work: writer._Append, *args: Any, **kwargs: Any) -> None:
        if work.account_no == bad.no:
            raise ZeroDivisionError
        await begin(work, *args, **kwargs)

    monkeypatch.setattr(writer._Append, "begin", failing)
    refused, made = await store.append([Submission(one.no, [event(one)]) for one in (bad, good)])
    assert isinstance(refused, StoreUnavailable)
    assert made == Receipt([1])
    assert len(await records_of(store, good)) == 1


async def test_nobody_gets_a_connection_on_which_something_was_cancelled(store: PostgresStore, url: str) -> None:
    """Of statements that were sent and never looked at, the driver believes that they are prepared."""
    account = await add_account(store)
    await append(store, account, *(event(account) for _ in range(600)))
    blocks, leaves = Run(1, 0, 2), Run(0, 512, 16)
    for _ in range(4):
        await store.hashes(account.no, [blocks])
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await store.hashes(account.no, [leaves, blocks])
    for _ in range(4):
        assert len((await store.hashes(account.no, [blocks]))[blocks]) == 2


async def test_connections_are_given_back_whoever_is_cancelled(store: PostgresStore, url: str) -> None:
    """More callers than there are connections go away while they wait; then all connections are there."""
    account = await add_account(store)
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE entry IN ACCESS EXCLUSIVE MODE")
        for _ in range(3):
            readers = [asyncio.create_task(flat(store.entries(account.no))) for _ in range(20)]
            await asyncio.wait(readers, timeout=0.2)
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)
    await asyncio.gather(*(store.accounts() for _ in range(2 * connection.CONNECTIONS)))
