"""Appending: the submissions of one account become one durable transaction, on one shard.

The steps, in order:

1. Lock the account's head; read it. Whoever else appends to this account waits here.
2. Admit each submission, or refuse it by itself: checked under the current identity version, its changes of users and
   tokens possible, no ``_id`` in conflict. Leave out duplicates.
3. Give each admitted event its number; grow the Merkle tree.
4. Copy entries, ids and block roots; write the head.
5. Commit. Where the connection breaks at this very moment, ask the database whether it did.

All that one append must know of the one before is read in step 1, so a transaction that failed, or that another server
made, needs no special care.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from msgspec import Struct

from whodid.commitment import SALT_BYTES, commit
from whodid.errors import NotFound, StaleIdentity, StoreUnavailable, WhodidError
from whodid.merkle import Frontier, append, hash_leaf
from whodid.records import MAX_CLOCK_LEAD_MS, Action, Body, Event
from whodid.store.admission import Brought, Recorded, find_duplicates, number
from whodid.store.base import Receipt, Result, Submission
from whodid.store.postgres import identity
from whodid.store.postgres.connection import Connection, Pool
from whodid.store.postgres.copying import BulkCopy

SEARCHED: Final = (
    "type", "action", "user_id", "user_email", "target_id", "token_id", "scope", "outcome", "ip_address",
)  # fmt: skip
"""The columns that entries are searched by, derived from the record."""

_ENTRY_COLUMNS = "account_no, seq, recorded_ms, created_ms, kind, salt, commitment, record, " + ", ".join(SEARCHED)
_COPY_ENTRIES = BulkCopy("entry", _ENTRY_COLUMNS, "qqqqh" + "b" * 12)
_COPY_IDS = BulkCopy("record_id", "account_no, id, seq, recorded_ms", "qbqq")
_COPY_BLOCKS = BulkCopy("block_root", "account_no, level, position, root", "qhqb")

_LOCK_HEAD = "SELECT size, frontier, identity_version FROM head WHERE account_no = %s FOR UPDATE"
_WRITE_HEAD = "UPDATE head SET size = %s, frontier = %s, identity_version = %s WHERE account_no = %s"
_FIND_IDS = """
    SELECT i.id, e.seq, e.record
    FROM record_id i
    JOIN entry e ON e.account_no = i.account_no AND e.seq = i.seq AND e.recorded_ms = i.recorded_ms
    WHERE i.account_no = %s AND i.id = ANY(%s)
"""


_FIND_COMMITMENT = "SELECT commitment FROM entry WHERE account_no = %s AND seq = %s"

_PAUSES_SECONDS = (0.0, 0.1, 0.3, 1.0, 2.0, 4.0)
"""How long is waited before each time that the database is asked what became of a commit."""


class Sealed(Struct, frozen=True):
    """An event with its salt and commitment."""

    event: Event
    salt: bytes
    commitment: bytes


class SealedSubmission(Struct, frozen=True):
    """A submission with its events sealed."""

    submission: Submission
    events: list[Sealed]


def seal(submission: Submission, random_bytes: Callable[[int], bytes]) -> SealedSubmission:
    """Do the work on a submission that needs no turn in line."""
    drawn = random_bytes(SALT_BYTES * len(submission.events))
    salts = [drawn[at : at + SALT_BYTES] for at in range(0, len(drawn), SALT_BYTES)]
    events = [
        Sealed(event, salt, commit(salt, event.record)) for event, salt in zip(submission.events, salts, strict=True)
    ]
    return SealedSubmission(submission, events)


@dataclass(slots=True)
class _Head:
    """The account while its submissions are admitted."""

    account_no: int
    frontier: Frontier
    identity_version: int
    new: list[Sealed] = field(default_factory=list)
    brought: dict[bytes, Recorded] = field(default_factory=dict)
    """The ids that producers brought in this very transaction."""

    @property
    def next_seq(self) -> int:
        return self.frontier.size + len(self.new)


class Appender:
    """Appends to any account's log. Several appends may be under way at once, of one account one after another."""

    def __init__(self, pool: Pool, clock: Callable[[], int]) -> None:
        self._pool = pool
        self._clock = clock

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
        except StoreUnavailable as error:  # an answer of its own: those before it are committed
            return error
        return result

    async def _append(self, account_no: int, submissions: Sequence[SealedSubmission]) -> list[Result]:
        work = _Append(account_no, submissions, self._clock())
        try:
            async with self._pool.connection() as connection:
                await connection.execute("BEGIN")
                try:
                    await work.run(connection)
                except BaseException:
                    with suppress(psycopg.Error):
                        await connection.execute("ROLLBACK")
                    raise
                work.in_doubt = True
                await connection.execute("COMMIT")
        except StoreUnavailable:
            if not work.in_doubt or not await self._was_committed(work):
                raise
        return work.results

    async def append_within(
        self, connection: Connection, account_no: int, submissions: Sequence[SealedSubmission]
    ) -> list[Result]:
        """The same as a part of a transaction that others make."""
        work = _Append(account_no, submissions, self._clock())
        await work.run(connection)
        return work.results

    async def _was_committed(self, work: "_Append") -> bool:
        """Whether a transaction was committed whose connection broke as it committed: the database knows."""
        if work.head is None or not work.head.new:
            return True  # nothing was changed: it makes no difference
        seq, commitment = work.head.frontier.size - len(work.head.new), work.head.new[0].commitment
        for pause_seconds in _PAUSES_SECONDS:
            await asyncio.sleep(pause_seconds)
            with suppress(StoreUnavailable):
                async with self._pool.connection() as connection, connection.transaction():
                    # Waits until the transaction in doubt has ended, should it be under way still.
                    await connection.execute("SELECT 1 FROM head WHERE account_no = %s FOR UPDATE", (work.account_no,))
                    found = await connection.execute(_FIND_COMMITMENT, (work.account_no, seq))
                    row = await found.fetchone()
                    return row is not None and row[0] == commitment
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

    async def run(self, connection: Connection) -> None:
        """Steps 1 to 4, inside a transaction."""
        head = self.head = await self._lock_head(connection)
        if head is None:
            self.results = [NotFound(f"there is no account of number {self.account_no}")] * len(self._submissions)
            return
        recorded = await self._read_recorded(connection)
        for submission in self._submissions:
            self.results.append(await self._admit(connection, head, submission, recorded))
        await self._write(connection, head)

    async def _lock_head(self, connection: Connection) -> _Head | None:
        """Step 1."""
        found = await connection.execute(_LOCK_HEAD, (self.account_no,))
        row = await found.fetchone()
        return None if row is None else _Head(self.account_no, Frontier.from_bytes(row[0], row[1]), row[2])

    async def _read_recorded(self, connection: Connection) -> dict[bytes, Recorded]:
        """Those of the ids that producers brought that the log has, each with its entry's number and record."""
        ids = {
            one.event.id
            for submission in self._submissions
            for one in submission.events
            if one.event.filled is not None
        }
        if not ids:
            return {}
        found = await connection.execute(_FIND_IDS, (self.account_no, list(ids)))
        return {record_id: (seq, record) for record_id, seq, record in await found.fetchall()}

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
        for place, one in enumerate(sealed.events):
            if place not in known:
                head.new.append(one)
                if one.event.filled is not None:
                    head.brought[one.event.id] = seqs[place], one.event.record
        return Receipt(seqs, frozenset(known))

    async def _write(self, connection: Connection, head: _Head) -> None:
        """Step 4."""
        no, first, now_ms = self.account_no, head.frontier.size, self.now_ms
        head.frontier, blocks = append(head.frontier, [hash_leaf(one.commitment) for one in head.new])
        rows = [(no, seq, recorded_at(one.event, now_ms), one) for seq, one in enumerate(head.new, first)]
        await _COPY_ENTRIES(connection, [_entry(*row) for row in rows])
        await _COPY_IDS(connection, [(no, one.event.id, seq, recorded_ms) for _, seq, recorded_ms, one in rows])
        await _COPY_BLOCKS(connection, [(no, *block) for block in blocks])
        await connection.execute(_WRITE_HEAD, (head.frontier.size, head.frontier.to_bytes(), head.identity_version, no))


def _brought(events: Sequence[Event]) -> list[Brought]:
    return [
        (place, event.id, event.record, event.filled) for place, event in enumerate(events) if event.filled is not None
    ]


def recorded_at(event: Event, now_ms: int) -> int:
    """The time of recording that says which partition an event is in.

    It is never earlier than an event of that time can be recorded, so that who looks for it there finds it, whatever
    was let in.
    """
    return max(now_ms, event.created_ms - MAX_CLOCK_LEAD_MS)


def _entry(account_no: int, seq: int, recorded_ms: int, sealed: Sealed) -> tuple[Any, ...]:
    event = sealed.event
    return (
        account_no, seq, recorded_ms, event.created_ms, event.kind.value, sealed.salt, sealed.commitment, event.record,
        *searched(event.body),
    )  # fmt: skip


def searched(body: Body) -> tuple[bytes | None, ...]:
    """The values of the columns ``SEARCHED``."""
    user_id = bytes.fromhex(str(body.user_id))
    outcome = body.outcome.encode() if body.outcome else None
    address = body.ip_address.encode() if body.ip_address else None
    if isinstance(body, Action):
        email = body.user_email.encode() if body.user_email else None
        target = body.target_id.encode() if body.target_id else None
        return body.type.encode(), body.action.encode(), user_id, email, target, None, None, outcome, address
    return None, None, user_id, None, None, bytes.fromhex(body.token_id), body.scope.encode(), outcome, address
