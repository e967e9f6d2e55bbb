"""What goes into the client's calls and comes out of them: events, filters, records, pages. docs/API.md has the rules.

Nothing here is checked: the server does, and says what would be right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Required, TypeAlias, TypedDict

Record: TypeAlias = dict[str, Any]
"""A record as the server gives it, with its number in the account's log as ``seq``."""

Moment: TypeAlias = str | int | date | datetime
"""A time: of Python (a ``datetime`` with its zone), in milliseconds since 1970, or as text: ``2026-07-30``, ``7d``."""

Values: TypeAlias = str | Sequence[str]
"""What a field may be: one value or any of several; one that begins with ``!`` is what it must not be."""

Keys: TypeAlias = str | Path | Sequence[str | Path]
"""Verifier keys: one, several, or what ``whodid key show`` printed: its file as a ``Path``, or the text in it."""


class _Details(TypedDict, total=False):
    """What any event may tell beside what happened."""

    _id: str
    """24 hex digits, unique in the account; the client makes one where it is left out."""
    user_id: str
    createdAt: str | datetime
    """When it happened; when it arrives, where it is left out."""
    target_name: str
    outcome: str
    reason: str
    ip_address: str
    user_agent: str
    request_id: str
    session_id: str
    changes: Mapping[str, Mapping[str, Any]]
    metadata: Mapping[str, Any]


class ActionEvent(_Details, total=False):
    """Somebody did something: who (``user_id`` or ``user_email``), and what."""

    user_email: str | None
    type: Required[str]
    action: Required[str]
    target_id: str | None


class TokenUseEvent(_Details, total=False):
    """An access token of your own system was used."""

    token_id: Required[str]
    scope: Required[str]
    target: Required[str]
    method: str


class Filters(TypedDict, total=False):
    """Which records are meant. All that is given holds at once."""

    kind: Values
    type: Values
    action: Values
    user_id: Values
    user_email: Values
    target_id: Values
    token_id: Values
    scope: Values
    outcome: Values
    ip_address: Values
    since: Moment
    """Not before this."""
    until: Moment
    """Before this."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where an event stands now."""

    id: str
    """The ``_id`` of its record."""
    seq: int
    """Its number in the account's log."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A page of a search. It may be short, even empty, and still have a next one."""

    records: list[Record]
    next: str | None
    """The cursor of the next page; None: there is none."""


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A page of the feed, which may be empty."""

    records: list[Record]
    cursor: str
    """Where to go on."""
    head: int
    """How many entries the log had."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to."""

    size_bytes: int
    last_seq: int | None
    """The number of the last record; None where there was none, or where the file is packed."""
    records: int | None = None
    """How many records; None where the file is packed."""


@dataclass(frozen=True, slots=True)
class Proven:
    """A record that is proven to be in the log."""

    record: Record
    checkpoint: str
    """The signed checkpoint that it is proven by, as a note: keep it, for ``verify_growth``."""


class User(TypedDict):
    """A user of the account."""

    id: str
    email: str
    name: str
    role: str
    active: bool
    createdAt: str


class Token(TypedDict):
    """An access token, without its text."""

    id: str
    name: str
    scope: str
    user_id: str
    user_email: str
    createdAt: str
    expiresAt: str
    expiredAt: str | None
    active: bool


class Me(TypedDict):
    """Who calls."""

    account: str
    user: User
    token: Token


class Bucket(TypedDict):
    """How many records there are in one interval."""

    time: str
    count: int


class Value(TypedDict):
    """How many records have a value."""

    value: str
    count: int


class Summary(TypedDict, total=False):
    """How many records there are."""

    since: Required[str]
    until: Required[str]
    total: Required[int]
    complete: Required[bool]
    """Whether all were counted that were asked for: ``since`` says from when on."""
    buckets: list[Bucket]
    """Where an interval was asked for."""
    values: list[Value]
    """Where a field was asked for."""
