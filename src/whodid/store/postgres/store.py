"""The store for many servers as others see it: ``Store``'s promises, kept by PostgreSQL.

Any number of processes use one database, all equal. An account's head is locked for the length of one commit, so its
numbers have no gaps, and nobody sees N before N - 1; accounts do not wait for each other.
"""

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Final, TypeVar

import psycopg

from whodid.clock import wall_clock
from whodid.errors import NameTaken, StoreUnavailable
from whodid.proofs import Run
from whodid.records import Event, Kind
from whodid.store.base import (
    UNBOUNDED,
    Account,
    Credential,
    Entry,
    Finding,
    Found,
    Head,
    Kept,
    KeptCheckpoint,
    Numbered,
    Prepared,
    Progress,
    Query,
    Question,
    Result,
    Search,
    Standing,
    Submission,
    Summary,
    Token,
    User,
    WitnessState,
)
from whodid.store.postgres import agreeing, check, identity, reader, search_rebuild, searching, summarizing, tree
from whodid.store.postgres.connection import Pool, parse_dsn
from whodid.store.postgres.limiting import Places
from whodid.store.postgres.listening import Changed, listen
from whodid.store.postgres.partitions import Partitions
from whodid.store.postgres.rows import recorded_at
from whodid.store.postgres.schema import check_schema, migrate
from whodid.store.postgres.takeover import Takeover
from whodid.store.postgres.writer import Appender, LogBusy, SealedSubmission, seal, told

_T = TypeVar("_T")

SEARCHES: Final = 4
"""How many searches and summaries a process makes at once: they may take seconds, and appends need connections, too."""

_LINE_SECONDS: Final = 2.0
"""How long a search waits for its turn."""


class PostgresStore:
    """Keeps everything in one PostgreSQL database. See ``whodid.store.base.Store`` for what it promises."""

    apart = True

    def __init__(
        self,
        url: str,
        *,
        create: bool = False,
        random_bytes: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], int] = wall_clock,
    ) -> None:
        """Use the database at ``url``; ``create`` makes the schema, or brings it up to date, where it is not.

        Raises ``InvalidSetting``, ``StoreUnusable`` or ``StoreUnavailable``.
        """
        self._dsn = parse_dsn(url)
        if create:
            migrate(self._dsn)
        else:
            check_schema(self._dsn)
        self._pool = Pool(self._dsn)
        self._random_bytes = random_bytes
        self._clock = clock
        self._searches = Places(SEARCHES, _LINE_SECONDS)
        self._partitions = Partitions(self._pool)
        self._appender = Appender(self._pool, clock)
        self._listening: asyncio.Task[None] | None = None

    def prepare(self, submission: Submission) -> Prepared:
        return Prepared(seal(submission, self._random_bytes))

    async def append(self, batch: Sequence[Submission | Prepared]) -> list[Result]:
        sealed = [self._sealed(submission) for submission in batch]
        await self._make_room(sealed)
        places: defaultdict[int, list[int]] = defaultdict(list)
        for place, one in enumerate(sealed):
            places[one.submission.account_no].append(place)
        appended = await asyncio.gather(
            *(self._append(account_no, [sealed[at] for at in mine]) for account_no, mine in places.items())
        )
        failures = [outcome for outcome in appended if isinstance(outcome, StoreUnavailable)]
        if failures and len(failures) == len(appended) and not isinstance(failures[0], LogBusy):
            raise failures[0]
        results: dict[int, Result] = {}
        for mine, outcome in zip(places.values(), appended, strict=True):
            ours = [outcome] * len(mine) if isinstance(outcome, StoreUnavailable) else outcome
            results.update(zip(mine, ours, strict=True))
        return [results[place] for place in range(len(batch))]

    async def _append(self, account_no: int, submissions: list[SealedSubmission]) -> list[Result] | StoreUnavailable:
        """Each account's part is a transaction of its own: what fails one of them does not fail the others."""
        try:
            return await self._with_room(submissions, partial(self._appender.append, account_no, submissions))
        except Exception as error:
            return told(error, account_no)

    async def _with_room(self, sealed: Sequence[SealedSubmission], work: Callable[[], Awaitable[_T]]) -> _T:
        """Do the work; once more if a partition is gone that was there: another database has taken over, perhaps."""
        try:
            return await work()
        except psycopg.errors.CheckViolation:
            self._partitions.forget()
            await self._make_room(sealed)
            return await work()

    async def _make_room(self, sealed: Sequence[SealedSubmission]) -> None:
        now_ms = self._clock()
        recorded = (recorded_at(one.event, now_ms) for submission in sealed for one in submission.events)
        await self._partitions.ensure(now_ms, {at_ms for at_ms in recorded if at_ms > now_ms})

    def _sealed(self, submission: Submission | Prepared) -> SealedSubmission:
        if isinstance(submission, Submission):
            return seal(submission, self._random_bytes)
        assert isinstance(submission.work, SealedSubmission)
        return submission.work

    async def probe(self) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("UPDATE whodid_schema SET migrated_at = migrated_at")

    async def add_account(self, name: str, created_ms: int, first: Event) -> Account:
        sealed = [self._sealed(Submission(0, [first]))]
        await self._make_room(sealed)
        return await self._with_room(sealed, partial(self._add_account, name, created_ms, first))

    async def _add_account(self, name: str, created_ms: int, first: Event) -> Account:
        try:
            async with self._pool.connection() as connection, connection.transaction():
                found = await connection.execute(
                    "INSERT INTO account (name, created_ms) VALUES (%s, %s) RETURNING account_no", (name, created_ms)
                )
                row = await found.fetchone()
                assert row is not None
                await connection.execute("INSERT INTO head (account_no) VALUES (%s)", (row[0],))
                await self._appender.append_within(connection, row[0], [self._sealed(Submission(row[0], [first]))])
                account = await identity.account(connection, name)
        except psycopg.errors.UniqueViolation as error:
            raise NameTaken(f"there is an account {name} already") from error
        assert account is not None
        return account

    async def accounts(self) -> list[Account]:
        return await self._pool.run(identity.accounts)

    async def account(self, name: str) -> Account | None:
        return await self._pool.run(identity.account, name)

    async def identity_version(self, account_no: int) -> int | None:
        return await self._pool.run(identity.identity_version, account_no)

    async def credential(self, digest: bytes) -> Credential | None:
        return await self._pool.run(identity.credential, digest)

    async def users(self, account_no: int) -> list[User]:
        return await self._pool.run(identity.users, account_no)

    async def user(self, account_no: int, *, email: str) -> User | None:
        return await self._pool.run(identity.user, account_no, email)

    async def addresses(self, account_no: int) -> dict[str, str]:
        return await self._pool.run(identity.addresses, account_no)

    async def tokens(self, account_no: int) -> list[Token]:
        return await self._pool.run(identity.tokens, account_no)

    async def newest(self, query: Query) -> list[bytes]:
        return await self._pool.run(reader.newest, query)

    async def search(self, search: Search) -> Found:
        async with self._searches.one():
            return await self._pool.run(searching.search, search)

    async def summarize(self, question: Question) -> Summary:
        async with self._searches.one():
            return await self._pool.run(summarizing.summarize, question)

    async def log(self, account_no: int, first: int, limit: int, most_bytes: int = UNBOUNDED) -> list[Numbered]:
        return await self._pool.run(reader.log, account_no, first, limit, most_bytes)

    async def heads(self, account_nos: Sequence[int]) -> dict[int, Head]:
        return await self._pool.run(reader.heads, account_nos)

    async def entries(self, account_no: int, first: int = 0) -> AsyncIterator[list[Entry]]:
        while chunk := await self._pool.run(reader.entries, account_no, first):
            yield chunk
            first = chunk[-1].seq + 1

    async def window(
        self, account_no: int, since_ms: int, until_ms: int, kind: Kind | None
    ) -> AsyncIterator[list[Entry]]:
        after = (since_ms, -1)
        while chunk := await self._pool.run(reader.window, account_no, after, until_ms, kind):
            yield chunk
            after = (chunk[-1].created_ms, chunk[-1].seq)

    async def entry(self, account_no: int, record_id: str) -> Entry | None:
        return await self._pool.run(reader.entry, account_no, record_id)

    async def numbers(self, account_no: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        return await self._pool.run(reader.numbers, account_no, since_ms, until_ms)

    async def commitments(self, account_no: int, first: int, count: int) -> list[bytes]:
        return await self._pool.run(tree.commitments, account_no, first, count)

    async def hashes(self, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
        return await self._pool.run(tree.hashes, account_no, runs)

    async def keep(self, kept: Sequence[Kept]) -> None:
        async with self._pool.connection() as connection, connection.transaction():
            await tree.keep(connection, kept)

    async def checkpoint(self, account_no: int, standing: Standing) -> KeptCheckpoint | None:
        return await self._pool.run(tree.checkpoint, account_no, standing)

    async def witness_states(self) -> list[WitnessState]:
        return await self._pool.run(tree.witness_states)

    async def signing_key(self) -> bytes | None:
        return await self._pool.run(agreeing.signing_key)

    async def settle_signing_key(self, public_key: bytes, retired: Sequence[bytes]) -> bytes:
        return await self._pool.run(agreeing.settle_signing_key, public_key, retired)

    async def lease(self, work: str, holder: bytes, seconds: float) -> bool:
        return await self._pool.run(agreeing.lease, work, holder, seconds)

    def watch(self, changed: Changed) -> None:
        self._listening = asyncio.create_task(listen(self._dsn, changed), name="listen")

    async def check(self, progress: Progress) -> list[Finding]:
        async with self._pool.connection() as connection:
            return await check.check(connection, progress)

    async def rebuild_search(self, progress: Progress) -> int:
        async with self._pool.connection() as connection:
            return await search_rebuild.rebuild(connection, progress)

    def takeover(self) -> Takeover:
        """What takes over the contents of another store into this one."""
        return Takeover(self._pool, self._partitions, self._clock)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait([self._listening])
        await self._pool.close()
