"""A connection to PostgreSQL that breaks at each point of an append: all of it is there or nothing, and never twice."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Literal

import psycopg
import pytest
from psycopg import AsyncConnection
from tests.building import accepted, add_account, append, event, flat, no_progress, user
from tests.postgres import drop_database, new_database

from whodid.errors import StoreUnavailable
from whodid.store.base import Account, PutUser, Receipt, Submission
from whodid.store.postgres import PostgresStore
from whodid.store.postgres.copying import BulkCopy

When = Literal["before", "after"]


@pytest.fixture
def url() -> Iterator[str]:
    """A database of the test's own."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture
def store(url: str, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """A store in it."""
    opened = PostgresStore(url, create=True)
    yield opened
    runner.run(opened.close())


class Breaker:
    """Breaks the connection of the next append before a statement is sent, or before its answer comes back."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = url
        self._point: tuple[str, When] | None = None
        execute, copy = AsyncConnection.execute, BulkCopy.__call__

        async def breaking_execute(connection: AsyncConnection[Any], query: Any, *args: Any, **kwargs: Any) -> Any:
            point = self._take(str(query))
            if point == "before":
                self._kill(connection)
            done = await execute(connection, query, *args, **kwargs)
            if point == "after":
                self._kill(connection)
                raise psycopg.OperationalError("the connection is lost")
            return done

        async def breaking_copy(bulk: BulkCopy, connection: AsyncConnection[Any], rows: Any) -> None:
            point = self._take(bulk._statement.decode())
            if point == "before":
                self._kill(connection)
            await copy(bulk, connection, rows)
            if point == "after":
                self._kill(connection)

        monkeypatch.setattr(AsyncConnection, "execute", breaking_execute)
        monkeypatch.setattr(BulkCopy, "__call__", breaking_copy)

    def at(self, statement: str, when: When) -> None:
        """Break at the next statement that has this text in it."""
        self._point = statement, when

    def _take(self, statement: str) -> When | None:
        if self._point is None or self._point[0] not in statement:
            return None
        _, when = self._point
        self._point = None
        return when

    def _kill(self, connection: AsyncConnection[Any]) -> None:
        pid = connection.info.backend_pid
        with psycopg.connect(self._url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", (pid,))
            while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone():
                time.sleep(0.01)  # between two looks


@pytest.fixture
def breaker(url: str, store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> Breaker:
    """Nothing breaks until the test says where."""
    return Breaker(url, monkeypatch)


async def records_of(store: PostgresStore, account: Account) -> list[bytes]:
    """What the account's log has, which is sound."""
    assert await store.check(no_progress) == []
    return [entry.record for entry in await flat(store.entries(account.no))][1:]


BROKEN_OFF: list[tuple[str, When]] = [
    ("BEGIN", "before"), ("BEGIN", "after"), ("FOR UPDATE", "before"), ("FOR UPDATE", "after"),
    ("COPY entry", "before"), ("COPY entry", "after"), ("COPY record_id", "before"), ("COPY record_id", "after"),
    ('INSERT INTO "user"', "before"), ('INSERT INTO "user"', "after"), ("UPDATE head", "before"),
    ("UPDATE head", "after"), ("COMMIT", "before"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "when"), BROKEN_OFF)
async def test_an_append_that_breaks_off_before_its_commit_leaves_nothing(
    store: PostgresStore, breaker: Breaker, statement: str, when: When
) -> None:
    """The caller is told so, and the same submission is taken a moment later."""
    account = await add_account(store)
    submission = Submission(account.no, [event(account), event(account)], (PutUser(user()),))
    breaker.at(statement, when)
    with pytest.raises(StoreUnavailable):
        await store.append([submission])
    assert await records_of(store, account) == []
    assert await store.users(account.no) == []
    assert accepted(*await store.append([submission])).seqs == [1, 2]
    assert await records_of(store, account) == [one.record for one in submission.events]


async def test_a_commit_whose_answer_is_lost_is_asked_for_and_acknowledged(
    store: PostgresStore, breaker: Breaker
) -> None:
    """The database knows that it was made: nobody guesses, and nothing is recorded twice."""
    account = await add_account(store)
    submission = Submission(account.no, [event(account), event(account)])
    breaker.at("COMMIT", "after")
    assert accepted(*await store.append([submission])).seqs == [1, 2]
    assert await records_of(store, account) == [one.record for one in submission.events]


async def test_other_accounts_are_not_disturbed(store: PostgresStore, breaker: Breaker) -> None:
    """Each account's part of a batch is a transaction of its own; the results say which were made."""
    accounts = [await add_account(store) for _ in range(3)]
    breaker.at("COPY entry", "before")
    results = await store.append([Submission(one.no, [event(one)]) for one in accounts])
    made = [isinstance(result, Receipt) for result in results]
    assert made.count(True) == 2
    assert [isinstance(result, StoreUnavailable) for result in results] == [not one for one in made]
    assert [len(await records_of(store, one)) for one in accounts] == [int(one) for one in made]


async def test_the_database_comes_back_without_a_restart(store: PostgresStore, url: str) -> None:
    """All connections are cut; the next operations have new ones."""
    account = await add_account(store)
    await append(store, account, event(account))
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'whodid'")
    await append(store, account, event(account))
    await store.probe()
    assert len(await records_of(store, account)) == 2
