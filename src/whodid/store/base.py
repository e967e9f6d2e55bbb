"""What every store promises. Whole operations, never "run this SQL"; each store writes its own.

Truth: accounts with their heads, entries, block roots, users, tokens, what was signed. Derived, and rebuilt from the
records at will: the search index.

Concurrency: any number of processes may use one store at the same time (servers, commands); whoever appends reads
the account's head in the same transaction that moves it. Within a process, all operations may be called
concurrently from one event loop.
"""

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from whodid.conditions import EVERYTHING, Condition
from whodid.errors import WhodidError
from whodid.merkle import Frontier
from whodid.proofs import Run
from whodid.records import MAX_TIME_MS, Event, Kind


class Role(enum.StrEnum):
    """What a user may do in the account. DESIGN.md §6 says which role opens what."""

    ADMINISTRATOR = "administrator"
    POWER_USER = "power_user"
    USER = "user"
    AUDITOR = "auditor"
    SECURITY_MANAGER = "security_manager"
    SERVICE = "service"


class Scope(enum.StrEnum):
    """What a token may be used for; one a token."""

    API = "api"
    API_READONLY = "api-readonly"
    SECURITY_LOGS = "security-logs"
    LOGS_WRITE = "logs-write"
    PIPELINE = "pipeline"
    PIPELINE_READONLY = "pipeline-readonly"
    REGISTRY = "registry"
    REGISTRY_READONLY = "registry-readonly"
    TASKS = "tasks"
    TASKS_READONLY = "tasks-readonly"


class Account(Struct, frozen=True):
    """A tenant, with the head of its log."""

    no: int
    """The store's own number for the account; never shown outside."""
    name: str
    created_ms: int
    frontier: Frontier
    identity_version: int
    """Counts the changes of the account's users and tokens. A check of a caller holds as long as this stands."""


class User(Struct, frozen=True):
    """A user of an account. ``email`` is unique in the account, whatever its case."""

    id: str
    email: str
    name: str
    role: Role
    active: bool
    created_ms: int


class Token(Struct, frozen=True):
    """An access token of a user. Its text is nowhere: only ``digest``, the SHA-256 of it (32 bytes)."""

    id: str
    user_id: str
    name: str
    """Unique among the owner's tokens that have not been expired by the owner."""
    scope: Scope
    digest: bytes
    created_ms: int
    expires_ms: int
    expired_ms: int | None = None
    """When its owner expired it, before its time; None if not."""


class Credential(NamedTuple):
    """A token with its owner and account, as they stood together at one moment."""

    token: Token
    user: User
    account: Account


class PutUser(Struct, frozen=True, tag=True):
    """Add a user, or replace the user with the same id."""

    user: User


class PutToken(Struct, frozen=True, tag=True):
    """Add a token, or replace the token with the same id."""

    token: Token


IdentityChange: TypeAlias = PutUser | PutToken


class Submission(Struct, frozen=True):
    """What is appended to one account's log as one: all of it or nothing."""

    account_no: int
    events: list[Event]
    changes: tuple[IdentityChange, ...] = ()
    """Changes of users and tokens that are made in the same transaction."""
    identity_version: int | None = None
    """The version under which the caller was checked; the store refuses what was checked under another one."""


class Prepared(Struct, frozen=True):
    """A submission, with the work done on it that needs no turn in line. What ``work`` is, its store knows."""

    work: object


class Receipt(Struct, frozen=True, tag=True):
    """Where the events of a submission stand in the account's log, one number for each event, in order."""

    seqs: list[int]
    duplicates: frozenset[int] = frozenset()
    """The places (in the submission) of events that were recorded before; their ``seqs`` are the old ones."""


Result: TypeAlias = Receipt | WhodidError


class Query(Struct, frozen=True):
    """Which records of one log: all conditions at once, in the window ``[since_ms, until_ms)`` of ``createdAt``."""

    account_no: int
    kind: Kind
    since_ms: int
    until_ms: int
    limit: int
    equals: tuple[tuple[str, str], ...] = ()
    """Pairs of an indexed key and its exact value."""


class Position(NamedTuple):
    """A place among an account's records, which are ordered by time, then by number; need not be that of a record."""

    created_ms: int
    seq: int


BEFORE_ALL: Final = -1
AFTER_ALL: Final = (1 << 63) - 1
"""In the place of a number: before, or after, all records of that time."""


UNBOUNDED: Final = (1 << 63) - 1
"""As many bytes as there are."""


class Search(Struct, frozen=True):
    """Which records of an account: those that a condition holds for, in the window ``[since_ms, until_ms)``."""

    account_no: int
    condition: Condition = EVERYTHING
    since_ms: int = 0
    until_ms: int = MAX_TIME_MS + 1
    newest_first: bool = True
    limit: int = 100
    after: Position | None = None
    """Only what comes after this place, in the order asked for."""
    skip: int = 0
    """How many of the first are left out."""
    seconds: float = 2.0
    """After about so long, looking is broken off, and what was found by then is the answer."""
    most_bytes: int = UNBOUNDED
    """A page ends, but not without a record, where its records would come to more."""


class Numbered(NamedTuple):
    """A record with its number in the account's log."""

    seq: int
    kind: Kind
    created_ms: int
    record: bytes


def fitting(records: list[Numbered], most_bytes: int) -> list[Numbered]:
    """The first of these records that come to no more bytes; but at least one, if there is one."""
    for at, size_bytes in enumerate(accumulate(len(one.record) for one in records)):
        if size_bytes > most_bytes:
            return records[: max(at, 1)]
    return records


class Found(Struct, frozen=True):
    """A page of what was searched for."""

    records: list[Numbered]
    rest: Position | None
    """After which place there may be more; None: there is no more. A page may be short, even empty, and go on."""


TALLIED: Final = ("type", "action", "user_email", "scope", "outcome")
"""The fields whose values a store may count by the hour as records are appended, so that summaries are quick."""


class Question(Struct, frozen=True):
    """How many records there are: over time, and of which values. ``search`` says which (no page of them)."""

    search: Search
    by: str | None = None
    """The field (of ``conditions.FIELDS``) whose values are counted."""
    interval_ms: int | None = None
    """How long a span of time is counted together: a minute, an hour or a day, in UTC."""
    top: int = 20
    """How many values are told."""


class Summary(Struct, frozen=True):
    """How many records there are."""

    total: int
    buckets: dict[int, int]
    """How many there are in each interval, by its beginning in ms; without those that have none."""
    values: list[tuple[str, int]]
    """The most frequent values and how many each has, the most frequent first; of equal ones in order of value."""
    since_ms: int
    """From when on was counted: if there are too many to count them all in time, not the older ones."""


class Head(NamedTuple):
    """The end of an account's log."""

    size: int
    identity_version: int
    kept_from: int
    """The number of the oldest entry that is still kept."""


class Entry(NamedTuple):
    """A record at its place in the account's log."""

    seq: int
    kind: Kind
    created_ms: int
    salt: bytes
    commitment: bytes
    record: bytes


class Standing(enum.StrEnum):
    """What a kept checkpoint is: of each, a store keeps an account's newest."""

    SIGNED = "signed"
    PUBLISHED = "published"
    """Shown to everybody who may see it; with the cosignatures that it got."""


class KeptCheckpoint(Struct, frozen=True, tag=True):
    """A checkpoint of an account's log, as a signed note."""

    account_no: int
    standing: Standing
    size: int
    note: str


class WitnessState(Struct, frozen=True, tag=True):
    """How far a witness has come with an account's log."""

    account_no: int
    witness: str
    """The name of its key."""
    size: int
    """Of the newest checkpoint that it cosigned; 0 if there is none."""
    cosigned_ms: int | None
    """When it did; None if never."""
    error: str | None
    """Why it did not cosign the last one that it was sent; None if it did."""
    tried_ms: int
    """When it was asked last."""


Kept: TypeAlias = KeptCheckpoint | WitnessState


class Finding(Struct, frozen=True):
    """Something that a check of the store found wrong."""

    account: str
    seq: int | None
    """The first entry concerned; None where it is no single entry."""
    problem: str


Progress: TypeAlias = Callable[[int, int], None]
"""Called now and then during long work with what is done and what there is to do, in entries."""


class Store(Protocol):
    """Keeps accounts, logs, users and tokens.

    Raises ``StoreUnavailable`` where the disk or the database fails: then nothing of the operation was done, or, if
    the failure hit the very end of a commit, all of it (a producer that brings its own ``_id`` finds out by
    repeating the request).
    """

    apart: bool
    """Whether accounts are committed apart from each other: then none need wait for another."""

    def prepare(self, submission: Submission) -> Prepared:
        """Do the work on a submission that needs no turn in line; ``append`` does it where this did not."""
        ...

    async def append(self, batch: Sequence[Submission | Prepared]) -> list[Result]:
        """Commit a batch in one transaction (``apart``: one an account); its results, in order; all of it is durable.

        A submission is refused by itself, with the error as its result, while the others are committed:
        ``StaleIdentity``, ``IdConflict`` (``index`` is the place in the submission), ``NameTaken``, ``NotFound``; and,
        where accounts are apart, ``StoreUnavailable``.
        Accepted events get the next numbers of their account in the order given, without gaps, except duplicates:
        an event whose own ``_id`` is recorded with the same content is not stored again.
        """
        ...

    async def probe(self) -> None:
        """Write something that changes nothing, durably, to find out whether appends are possible."""
        ...

    async def add_account(self, name: str, created_ms: int, first: Event) -> Account:
        """Add an account whose log begins with ``first``. Raises ``NameTaken``."""
        ...

    async def accounts(self) -> list[Account]:
        """All accounts, by name."""
        ...

    async def account(self, name: str) -> Account | None:
        """The account of this name."""
        ...

    async def identity_version(self, account_no: int) -> int | None:
        """The account's current identity version; None if there is no such account."""
        ...

    async def credential(self, digest: bytes) -> Credential | None:
        """The token whose text has this SHA-256, with owner and account; whether they are valid is not judged."""
        ...

    async def users(self, account_no: int) -> list[User]:
        """All users of an account, by address."""
        ...

    async def user(self, account_no: int, *, email: str) -> User | None:
        """The account's user with this address, whatever its case."""
        ...

    async def addresses(self, account_no: int) -> dict[str, str]:
        """Each user's id and address, of all users of the account."""
        ...

    async def tokens(self, account_no: int) -> list[Token]:
        """All tokens of an account, the newest first."""
        ...

    async def newest(self, query: Query) -> list[bytes]:
        """The newest matching records, at most ``limit``, newest first; everything acknowledged before is seen."""
        ...

    async def search(self, search: Search) -> Found:
        """A page of the records that are searched for; everything acknowledged before is seen.

        Who goes on after ``rest`` until there is none gets each record once that was there at the beginning. Raises
        ``InvalidParameter`` where a ``Begins`` or ``SaysBeginning`` has too many values, or it can't be done in time.
        """
        ...

    async def summarize(self, question: Question) -> Summary:
        """How many records there are, exactly, from ``since_ms`` of the answer on. Raises as ``search`` does."""
        ...

    async def log(self, account_no: int, first: int, limit: int, most_bytes: int = UNBOUNDED) -> list[Numbered]:
        """At most ``limit`` records of the account's log from the number ``first`` on, by number, without gaps.

        None at the end of the log; else at least one, and no more than come to ``most_bytes``.
        """
        ...

    async def heads(self, account_nos: Sequence[int]) -> dict[int, Head]:
        """Where the logs of accounts end, by the account's number; all at once, and cheap."""
        ...

    def entries(self, account_no: int, first: int = 0) -> AsyncIterator[list[Entry]]:
        """The account's log from ``first`` on, by sequence, in chunks; up to what was there when a chunk was read."""
        ...

    def window(self, account_no: int, since_ms: int, until_ms: int, kind: Kind | None) -> AsyncIterator[list[Entry]]:
        """The entries with ``createdAt`` in the window, oldest first, in chunks; by the log, not the search index."""
        ...

    async def entry(self, account_no: int, record_id: str) -> Entry | None:
        """The entry whose record has this ``_id``."""
        ...

    async def numbers(self, account_no: int, since_ms: int, until_ms: int) -> tuple[int, int] | None:
        """The lowest and highest sequence number of the entries with ``createdAt`` in the window; None: no entry."""
        ...

    async def commitments(self, account_no: int, first: int, count: int) -> list[bytes]:
        """The commitments of ``count`` entries from ``first`` on. Raises ``InconsistentLog`` where one is missing."""
        ...

    async def hashes(self, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
        """The hashes of the account's tree in each of the ``runs``. Raises ``InconsistentLog`` where one is missing."""
        ...

    async def keep(self, kept: Sequence[Kept]) -> None:
        """Keep checkpoints and how far witnesses are, durably, all of it or nothing; each replaces the one before.

        But no checkpoint replaces one of a larger log.
        """
        ...

    async def checkpoint(self, account_no: int, standing: Standing) -> KeptCheckpoint | None:
        """The newest checkpoint of the account that was kept."""
        ...

    async def witness_states(self) -> list[WitnessState]:
        """How far all witnesses are with all logs, by account and witness."""
        ...

    # What the servers of one store must agree on. A store that has but one server need not ask.

    async def signing_key(self) -> bytes | None:
        """The public key whose private half all servers sign with; None if that is not settled, or need not be."""
        ...

    async def settle_signing_key(self, public_key: bytes, retired: Sequence[bytes]) -> bytes:
        """Let this be the key that all servers sign with, unless another one is already that is not ``retired``.

        The key that is, from now on.
        """
        ...

    async def lease(self, work: str, holder: bytes, seconds: float) -> bool:
        """Whether the work that one server at a time does is this one's for so long: nobody else has it.

        ``holder`` tells servers apart. With no ``seconds``, it is given back.
        """
        ...

    def watch(self, changed: Callable[[int | None], None]) -> None:
        """From now on, call ``changed`` soon after users or tokens of an account were changed by another server.

        With the account's number; None where it may be any. Nobody may rely on it alone. In the event loop.
        """
        ...

    async def check(self, progress: Progress) -> list[Finding]:
        """Walk the whole store and compare everything derived with what it is derived from; empty: all is well."""
        ...

    async def rebuild_search(self, progress: Progress) -> int:
        """Make the search index anew from the records; the number of entries indexed. Appends may go on meanwhile."""
        ...

    async def close(self) -> None:
        """Finish what was begun and let go of everything."""
        ...
