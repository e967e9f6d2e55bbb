"""Migrating: the contents of one store into another that takes them over. Knows no database; reads through ``Store``.

The steps, in order; each is told apart by the number below in the code:

1. Read what was signed and how far witnesses are, and only then the heads of all logs: so nothing is taken over that
   speaks of more entries than are copied.
2. Hold each log that the target has already against the source's: it must be its beginning. Nothing was changed yet.
3. Copy what is missing, chunk by chunk, each of them one transaction: whoever is killed goes on at the next one.
4. Grow each tree anew from the commitments that the target has, and compare it with the source's head.
5. Take over users, tokens and what was signed, of those logs that are the same.
6. Look what the source has by now that was not copied: a server may be serving it.
"""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

import msgspec

from whodid.commitment import SALT_BYTES, commit
from whodid.errors import Conflict, InconsistentLog, InvalidEvidence
from whodid.evidence.proving import prove_consistency
from whodid.merkle import Frontier, append, hash_leaf
from whodid.proofs import check_consistency
from whodid.records import Event, TokenUse, parse_record, parse_time
from whodid.store.base import Account, Entry, Kept, Progress, Standing, Store, Token, User
from whodid.store.taking import Belongings, Taken, Taker

CHUNK_ENTRIES: Final = 5000
CHUNK_BYTES: Final = 16 * 1024 * 1024
"""A chunk ends with whichever is reached first; records are of 64 KiB at most."""

_READ_BACK: Final = 10_000
_IS_ID: Final = re.compile(r"[0-9a-f]{24}", re.ASCII).fullmatch


class Behind(NamedTuple):
    """An account of which the source has more than was copied."""

    account: str
    copied: int
    entries: int


class Migration:
    """One run: from what the source had when it began. Call the steps one after another."""

    def __init__(self, source: Store, target: Store, taker: Taker, *, chunk_entries: int = CHUNK_ENTRIES) -> None:
        """``taker`` takes over accounts into the store ``target``, this many entries at once."""
        self._source = source
        self._chunk_entries = chunk_entries
        self._target = target
        self._taker = taker
        self._heads: list[Account] = []
        self._kept: dict[int, list[Kept]] = {}
        self._had: dict[str, int] = {}
        """How many entries of an account the target had before."""
        self._same: list[Account] = []
        """The accounts whose logs were found to be the same."""

    @property
    def accounts(self) -> int:
        """How many accounts the source has."""
        return len(self._heads)

    @property
    def entries(self) -> int:
        """How many entries the target has when all are copied."""
        return sum(account.frontier.size for account in self._heads)

    async def begin(self) -> None:
        """Steps 1 and 2. Raises ``Conflict`` where the target has another history."""
        self._kept = await self._read_kept()
        self._heads = await self._source.accounts()
        there = {account.name: account for account in await self._target.accounts()}
        for account in self._heads:
            if account.name in there:
                await self._compare(account, there[account.name].frontier)
        self._had = {name: account.frontier.size for name, account in there.items()}

    async def _read_kept(self) -> dict[int, list[Kept]]:
        """Step 1, by the source's numbers of accounts."""
        kept = defaultdict[int, list[Kept]](list)
        for account in await self._source.accounts():
            checkpoints = [await self._source.checkpoint(account.no, standing) for standing in Standing]
            kept[account.no] += [one for one in checkpoints if one is not None]
        for state in await self._source.witness_states():
            kept[state.account_no].append(state)
        return kept

    async def _compare(self, account: Account, there: Frontier) -> None:
        """Step 2."""
        size = account.frontier.size
        if there.size > size:
            raise Conflict(
                f"the log of {account.name} has {there.size} entries in the target, but {size} in the source: the "
                "target is in use already, or the source is an old copy. Nothing was changed"
            )
        proof = await prove_consistency(self._source, account.no, there.size, size)
        try:
            check_consistency(there.size, size, there.root(), account.frontier.root(), proof)
        except InvalidEvidence as error:
            raise Conflict(
                f"the log of {account.name} is another one in the target: its {there.size} entries are not the first "
                f"{there.size} of the source. Nothing was changed; take an empty database"
            ) from error

    async def copy(self, progress: Progress) -> int:
        """Step 3; how many entries were copied. Raises ``InconsistentLog`` at the first entry that is not sound."""
        before = done = sum(self._had.get(account.name, 0) for account in self._heads)
        progress(done, self.entries)
        for account in self._heads:
            first = self._had.get(account.name, 0)
            async for chunk in self._chunks(account, first):
                taken = [check_sound(account.name, seq, entry) for seq, entry in enumerate(chunk, first)]
                await self._taker.take(account, first, taken)
                first += len(taken)
                done += len(taken)
                progress(done, self.entries)
            if first < account.frontier.size:
                raise _not_sound(account.name, first, "it is missing, and all after it")
        return done - before

    async def _chunks(self, account: Account, first: int) -> AsyncIterator[Sequence[Entry]]:
        """The entries of a log from ``first`` on, up to what its head says."""
        size, chunk, size_bytes = account.frontier.size, list[Entry](), 0
        async for entries in self._source.entries(account.no, first):
            for entry in entries:
                if entry.seq < size:
                    chunk.append(entry)
                    size_bytes += len(entry.record)
                if len(chunk) >= self._chunk_entries or size_bytes >= CHUNK_BYTES:
                    yield chunk
                    chunk, size_bytes = [], 0
            if entries[-1].seq >= size - 1:
                break
        if chunk:
            yield chunk

    async def verify(self, progress: Progress) -> list[str]:
        """Step 4; the accounts whose log is not the same in the target as in the source."""
        there = {account.name: account for account in await self._target.accounts()}
        self._same, different, before = [], list[str](), 0
        for account in self._heads:
            found = there.get(account.name)
            if found is not None and found.frontier == account.frontier and await self._grows(found, before, progress):
                self._same.append(account)
            else:
                different.append(account.name)
            before += account.frontier.size
            progress(before, self.entries)
        return different

    async def _grows(self, there: Account, before: int, progress: Progress) -> bool:
        """Whether the commitments that the target has make its own head; ``before`` entries were compared already."""
        frontier, size = Frontier(), there.frontier.size
        try:
            while count := min(_READ_BACK, size - frontier.size):
                progress(before + frontier.size, self.entries)
                commitments = await self._target.commitments(there.no, frontier.size, count)
                frontier, _ = append(frontier, list(map(hash_leaf, commitments)))
        except InconsistentLog:  # some are missing
            return False
        return frontier == there.frontier

    async def furnish(self) -> None:
        """Step 5. Users and tokens come last: nobody can use an account that is not whole."""
        for account in self._same:
            await self._taker.furnish(account, await self._belongings(account))

    async def _belongings(self, account: Account) -> Belongings:
        """Users and tokens as they stood together at one moment."""
        before, version = None, await self._source.identity_version(account.no)
        users, tokens = list[User](), list[Token]()
        while version != before:
            users, tokens = await self._source.users(account.no), await self._source.tokens(account.no)
            before, version = version, await self._source.identity_version(account.no)
        return Belongings(version or 0, users, tokens, self._kept.get(account.no, []))

    async def behind(self) -> list[Behind]:
        """Step 6."""
        copied = {account.name: account.frontier.size for account in self._heads}
        return [
            Behind(account.name, copied.get(account.name, 0), account.frontier.size)
            for account in await self._source.accounts()
            if account.frontier.size > copied.get(account.name, 0)
        ]


def check_sound(account: str, seq: int, entry: Entry) -> Taken:
    """The entry, which must be number ``seq`` of the log. Raises ``InconsistentLog`` where it is not sound."""
    if entry.seq != seq:
        raise _not_sound(account, seq, f"it is missing; the next there is {entry.seq}")
    if len(entry.salt) != SALT_BYTES or commit(entry.salt, entry.record) != entry.commitment:
        raise _not_sound(account, seq, "its record and salt do not make its commitment")
    try:
        event = _event(entry)
        said_ms = parse_time(str(event.body.createdAt))
    except (ValueError, msgspec.MsgspecError) as error:
        raise _not_sound(account, seq, f"its record is not valid: {error}") from error
    if event.body.account != account:
        raise _not_sound(account, seq, f"its record names the account {event.body.account}")
    if said_ms != entry.created_ms:
        raise _not_sound(account, seq, f"its record's time {event.body.createdAt} is not that of its place")
    return Taken(event, entry.salt, entry.commitment)


def _event(entry: Entry) -> Event:
    """What the record says. Raises ``ValueError`` or ``MsgspecError`` where it is not valid."""
    body = parse_record(entry.kind, entry.record)
    parse_time(str(body.updatedAt))
    record_id, *_ = ids = [str(body.id), str(body.user_id), *([body.token_id] if isinstance(body, TokenUse) else [])]
    if not all(map(_IS_ID, ids)):
        raise ValueError("an id of it is not 24 hex digits")
    return Event(entry.kind, bytes.fromhex(record_id), entry.created_ms, entry.record, body)


def _not_sound(account: str, seq: int, how: str) -> InconsistentLog:
    return InconsistentLog(
        f"entry {seq} of {account} is not sound in the source: {how}. Nothing of that log was copied from there on; "
        "'whodid verify-store' tells what else is wrong with the source"
    )
