"""Appending: the submissions of one account become one durable transaction, on one shard.

The steps, in order:

1. Lock the account's head; read it. Whoever else appends to this account waits here.
2. Admit each submission, or refuse it by itself: checked under the current identity version, its changes of users and
   tokens possible, no ``_id`` in conflict. Leave out duplicates.
3. Give each admitted event its number; grow the Merkle tree.
4. Write entries, ids, the tally and block roots, and the head.
5. Commit. Where the connection breaks at this very moment, ask the database whether it did.

All that one append must know of the one before is read in step 1, so a transaction that failed, or that another server
made, needs no special care; and one whose connection broke is made once more on another. As few answers as possible are
waited for, since others wait for the head meanwhile: a small append waits twice.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import psycopg
from msgspec import Struct

from whodid.commitment import SALT_BYTES, commit
from whodid.errors import NotFound, StaleIdentity, StoreUnavailable, WhodidError
from whodid.merkle import Frontier, append, hash_leaf
from whodid.records import Event
from whodid.store.admission import Brought, Recorded, find_duplicates, number
from whodid.store.base import Receipt, Result, Submission
from whodid.store.postgres import identity, tally
from whodid.store.postgres.connection import CONNECTIONS, Connection, ConnectionLost, Pool
from whodid.store.postgres.listening import notify
from whodid.store.postgres.rows import FEW, Entries, Sealed, copy, insert, insert_blocks, recorded_at
from whodid.store.postgres.rows import seal as seal_event
from whodid.store.postgres.tally import Tally, tally_of

log = logging.getLogger(__name__)

_LOCK_HEAD = "SELECT size, frontier, identity_version FROM head WHERE account_no = %s FOR UPDATE"
_WRITE_HEAD = "UPDATE head SET size = %s, frontier = %s, identity_version = %s WHERE account_no = %s"
_FIND_IDS = """
    SELECT i.id, e.seq, e.record
    FROM record_id i
    JOIN entry e ON e.account_no = i.account_no AND e.seq = i.seq AND e.recorded_ms = i.recorded_ms
    WHERE i.account_no = %s AND i.id = ANY(%s)
"""


_FIND_COMMITMENT = "SELECT commitment FROM entry WHERE account_no = %s AND seq = %s"

_DOUBT_SECONDS: Final = 10.0
"""How long the database is asked what became of a commit, before whoever waits is told that nobody knows."""

_PAUSE_SECONDS: Final = 0.2
_BUSY_SECONDS: Final = 2
"""How long nobody waits for a head that somebody was made to wait for in vain."""

_FOR_READERS: Final = 4
"""How many connections appends leave to others."""


class SealedSubmission(Struct, frozen=True):
    """A submission with its events sealed."""

    submission: Submission
    events: list[Sealed]
    tally: Tally
    """What all of them add to it."""


def seal(submission: Submission, random_bytes: Callable[[int], bytes]) -> SealedSubmission:
    """Do the work on a submission that needs no turn in line."""
    drawn = random_bytes(SALT_BYTES * len(submission.events))
    salts = [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
    events = [
        seal_event(submission.account_no, event, salt, commit(salt, event.record))
        for event, salt in zip(submission.events, salts, strict=True)
    ]
    return SealedSubmission(submission, events, tally_of(submission.events))


@dataclass(slots=True)
class _Head:
    """The account while its submissions are admitted."""

    account_no: int
    frontier: Frontier
    """Of the log before."""
    identity_version: int
    new: list[Sealed] = field(default_factory=list)
    brought: dict[bytes, Recorded] = field(default_factory=dict)
    """The ids that producers brought in this very transaction."""
    tally: Tally = field(default_factory=Tally)
    """What the new ones add to it."""

    @property
    def next_seq(self) -> int:
        return self.frontier.size + len(self.new)


class LogBusy(StoreUnavailable):
    """Somebody holds the head of one account's log for long; others are not concerned."""


def told(error: Exception, account_no: int) -> StoreUnavailable:
    """An error that concerns one account's part of a batch as an answer; what nobody thought of is logged."""
    if isinstance(error, StoreUnavailable):
        return error
    log.error("an append failed", exc_info=error, extra={"account_no": account_no})
    return StoreUnavailable("the database refused this commit; the server's log tells more")


class Appender:
    """Appends to any account's log. Several appends may be under way at once, of one account one after another."""

    def __init__(self, pool: Pool, clock: Callable[[], int]) -> None:
        self._pool = pool
        self._clock = clock
        self._turns = asyncio.Semaphore(CONNECTIONS - _FOR_READERS)
        self._busy_until: dict[int, float] = {}
        """Accounts whose heads somebody else holds, and until when that is not tried again."""

    async def append(self, account_no: int, submissions: Sequence[SealedSubmission]) -> list[Result]:
        """Commit the submissions of one account in one transaction; their results, in order.

        Raises ``StoreUnavailable``: then nothing was committed, unless the database could not even be asked.
        """
        try:
            return await self._append(account_no, submissions)
        except psycopg.errors.UniqueViolation:
            refusal = StoreUnavailable("an id that was made for an event is in use already; try again")
        if len(submissions) == 1:
            return [refusal]
        # One of them is to blame: each by itself, so that the others are not refused with it.
        return [await self._append_alone(account_no, submission) for submission in submissions]

    async def _append_alone(self, account_no: int, submission: SealedSubmission) -> Result:
        try:
            (result,) = await self.append(account_no, [submission])
        except Exception as error:  # an answer of its own: those before it are committed
            return told(error, account_no)
        return result

    async def _append(
        self, account_no: int, submissions: Sequence[SealedSubmission], *, again: bool = False
    ) -> list[Result]:
        work = _Append(account_no, submissions, self._clock())
        try:
            async with self._turns:
                await self._transact(work)
        except StoreUnavailable as error:
            if work.in_doubt and await self._was_committed(work):
                return work.results
            if again or not isinstance(error, ConnectionLost):
                raise
            return await self._append(account_no, submissions, again=True)
        return work.results

    async def _transact(self, work: "_Append") -> None:
        busy = LogBusy("another server holds this log; try again", retry_after_seconds=_BUSY_SECONDS)
        if time.monotonic() < self._busy_until.get(work.account_no, 0.0):
            raise busy
        async with self._pool.connection() as connection:
            try:
                await work.begin(connection)
                await work.finish(connection)
            except BaseException as error:
                with suppress(psycopg.Error):
                    await connection.execute("ROLLBACK")
                if isinstance(error, psycopg.errors.LockNotAvailable):
                    self._busy_until[work.account_no] = time.monotonic() + _BUSY_SECONDS
                    raise busy from error
                raise
        self._busy_until.pop(work.account_no, None)

    async def append_within(
        self, connection: Connection, account_no: int, submissions: Sequence[SealedSubmission]
    ) -> list[Result]:
        """The same as a part of a transaction that others make."""
        work = _Append(account_no, submissions, self._clock())
        await work.begin(connection, own=False)
        await work.finish(connection, own=False)
        return work.results

    async def _was_committed(self, work: "_Append") -> bool:
        """Whether a transaction was committed whose connection broke as it committed: the database knows."""
        if work.head is None or not work.head.new:
            return True  # nothing was changed: it makes no difference
        seq, commitment = work.head.frontier.size, work.head.new[0].commitment
        give_up = time.monotonic() + _DOUBT_SECONDS
        while time.monotonic() < give_up:
            with suppress(StoreUnavailable):
                async with self._pool.connection() as connection, connection.transaction():
                    # Waits until the transaction in doubt has ended, should it be under way still.
                    await connection.execute("SELECT 1 FROM head WHERE account_no = %s FOR UPDATE", (work.account_no,))
                    found = await connection.execute(_FIND_COMMITMENT, (work.account_no, seq))
                    row = await found.fetchone()
                    return row is not None and row[0] == commitment
            await asyncio.sleep(_PAUSE_SECONDS)
        raise StoreUnavailable(
            "the database broke off in the middle of a commit, and can't be asked whether it was made",
            retry_after_seconds=5,
        )


class _Append:
    """One transaction while it is made."""

    def __init__(self, account_no: int, submissions: Sequence[SealedSubmission], now_ms: int) -> None:
        self.account_no = account_no
        self.now_ms = now_ms
        self.results: list[Result] = []
        self.head: _Head | None = None
        self.in_doubt = False
        """Whether it may be committed although it seems to have failed."""
        self._submissions = submissions

    async def begin(self, connection: Connection, *, own: bool = True) -> None:
        """Steps 1 to 3; ``own`` begins a transaction, else there is one."""
        head, recorded = await self._read(connection, own=own)
        self.head = head
        if head is None:
            self.results = [NotFound(f"there is no account of number {self.account_no}")] * len(self._submissions)
            return
        for submission in self._submissions:
            self.results.append(await self._admit(connection, head, submission, recorded))

    async def finish(self, connection: Connection, *, own: bool = True) -> None:
        """Steps 4 and 5; the commit only of a transaction of its ``own``."""
        head = self.head
        entries = [] if head is None else [(recorded_at(one.event, self.now_ms), one) for one in head.new]
        if head is not None and len(entries) > FEW:
            await copy(connection, head.account_no, head.frontier.size, entries)
        self.in_doubt = own
        async with connection.pipeline():
            if head is not None:
                await self._write(connection, head, entries if len(entries) <= FEW else [])
            committed = await connection.execute("COMMIT") if own else None
        if committed is not None and committed.statusmessage != "COMMIT":
            raise StoreUnavailable("the database did not commit", retry_after_seconds=5)

    async def _read(self, connection: Connection, *, own: bool) -> tuple[_Head | None, dict[bytes, Recorded]]:
        """Step 1; and those of the ids that producers brought that the log has, with their entries."""
        ids = [
            one.event.id
            for submission in self._submissions
            for one in submission.events
            if one.event.filled is not None
        ]
        async with connection.pipeline():
            if own:
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            heads = await connection.execute(_LOCK_HEAD, (self.account_no,), binary=True)
            known = await connection.execute(_FIND_IDS, (self.account_no, ids), binary=True) if ids else None
        row = await heads.fetchone()
        if row is None:
            return None, {}
        recorded = {} if known is None else {id_: (seq, record) for id_, seq, record in await known.fetchall()}
        return _Head(self.account_no, Frontier.from_bytes(row[0], row[1]), row[2]), recorded

    async def _admit(
        self, connection: Connection, head: _Head, sealed: SealedSubmission, recorded: dict[bytes, Recorded]
    ) -> Result:
        """Steps 2 and 3. Nothing has changed where the result is an error."""
        submission = sealed.submission
        try:
            if submission.identity_version not in (None, head.identity_version):
                raise StaleIdentity
            known = find_duplicates(_brought(submission.events), lambda id_: recorded.get(id_) or head.brought.get(id_))
            if submission.changes:
                async with connection.transaction():  # a savepoint: all of the changes, or none
                    for change in submission.changes:
                        await identity.apply(connection, head.account_no, change)
        except WhodidError as error:
            return error
        head.identity_version += len(submission.changes)
        seqs = number(known, head.next_seq, len(sealed.events))
        new = [(place, one) for place, one in enumerate(sealed.events) if place not in known]
        for place, one in new:
            head.new.append(one)
            if one.event.filled is not None:
                head.brought[one.event.id] = seqs[place], one.event.record
        head.tally.update(tally_of(one.event for _, one in new) if known else sealed.tally)
        return Receipt(seqs, frozenset(known))

    async def _write(self, connection: Connection, head: _Head, entries: Entries) -> None:
        """Step 4, in a pipeline; ``entries`` are those that were not copied."""
        no = head.account_no
        await insert(connection, no, head.frontier.size, entries)
        await tally.add(connection, no, head.tally)
        frontier, blocks = append(head.frontier, [hash_leaf(one.commitment) for one in head.new])
        await insert_blocks(connection, no, blocks)
        await connection.execute(_WRITE_HEAD, (frontier.size, frontier.to_bytes(), head.identity_version, no))
        if any(sealed.submission.changes for sealed in self._submissions):
            await notify(connection, no)


def _brought(events: Sequence[Event]) -> list[Brought]:
    return [
        (place, event.id, event.record, event.filled) for place, event in enumerate(events) if event.filled is not None
    ]
