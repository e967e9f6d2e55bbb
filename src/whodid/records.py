"""Records: the wire model of actions and token uses, their times and ids.

Owns the form that DESIGN.md §3 fixes byte for byte: which keys, in which order, with which rules. The order of a
struct's fields here *is* the order of the keys on the wire. Never reads a request and never touches a store.
"""

import enum
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

MAX_EVENT_BYTES = 64 * 1024
"""The longest record, in bytes as rendered."""

MAX_NESTING = 32
"""How deep ``changes`` and ``metadata`` may nest."""

MAX_CLOCK_LEAD_MS = 5 * 60 * 1000
"""How far ahead of the server's clock a producer's ``createdAt`` may be."""

MAX_TIME_MS = (1 << 42) - 1
"""The last time that can be recorded: a day in the year 2109 (a store keeps times in 42 bits)."""

DAY_MS = 24 * 60 * 60 * 1000

NAME_PATTERN = "^[a-z0-9_-]{1,64}$"
"""What types, actions, scopes and accounts are called."""

OPERATOR_ID = "0" * 24
"""The ``user_id`` of actions that an operator does at the command line, who is no user of the account."""


class Kind(enum.IntEnum):
    """The two logs of an account. The numbers are stored."""

    ACTION = 1
    TOKEN = 2


# The description of each type completes the sentence "<field> must be …", in error messages and in OpenAPI.
# Patterns are not checked while decoding (a call of Python for each value), but by ``misfit``, a batch at a time.
Id: TypeAlias = Annotated[
    str,
    Meta(
        description="24 hex digits in lower case",
        examples=["61042540e1d666c9ded178c4"],
        extra_json_schema={"pattern": "^[0-9a-f]{24}$"},
    ),
]
Name: TypeAlias = Annotated[
    str,
    Meta(
        description="1 to 64 lower-case letters, digits, '_' and '-'",
        examples=["pipeline"],
        extra_json_schema={"pattern": NAME_PATTERN},
    ),
]
Email: TypeAlias = Annotated[
    str,
    Meta(
        max_length=254,
        description="an e-mail address of at most 254 characters",
        examples=["support@opsera.io"],
        extra_json_schema={"pattern": r"^[^@\x00-\x20\x7f]+@[^@\x00-\x20\x7f]+$"},
    ),
]
Time: TypeAlias = Annotated[
    str,
    Meta(
        min_length=20,
        max_length=40,
        description="a time like 2021-07-30T16:13:52.109Z (RFC 3339)",
        examples=["2021-07-30T16:13:52.109Z"],
        extra_json_schema={"format": "date-time"},
    ),
]
Target: TypeAlias = Annotated[
    str,
    Meta(
        max_length=2048,
        description="a relative URL: '/', at most 2048 characters",
        examples=["/v1/logs/user/tokens"],
        extra_json_schema={"pattern": r"^/[^\x00-\x20\x7f]*$"},
    ),
]
Text64: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64, description="a string of 1 to 64 characters")]
Text256: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256, description="a string of 1 to 256 characters")]
Text2048: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=2048, description="a string of 1 to 2048 characters")
]
Address: TypeAlias = Annotated[
    str,
    Meta(
        description="an IPv4 or IPv6 address",
        examples=["192.0.2.17"],
        extra_json_schema={"pattern": "^[0-9A-Fa-f.:]{2,45}$"},
    ),
]
Method: TypeAlias = Annotated[
    str,
    Meta(
        description="an HTTP method in capitals",
        examples=["GET"],
        extra_json_schema={"pattern": "^[A-Z]{1,16}$"},
    ),
]
Outcome: TypeAlias = Literal["success", "failure", "denied"]


class Change(Struct, forbid_unknown_fields=True, gc=False):
    """One field's value before and after an action."""

    old: Any
    new: Any


class Action(Struct, forbid_unknown_fields=True, kw_only=True, rename={"id": "_id", "version": "__v"}, gc=False):
    """A user did something. As a producer gives it, and, once completed, as it stands on the wire."""

    ALWAYS: ClassVar[tuple[str, ...]] = (
        "_id", "user_id", "user_email", "type", "action", "target_id", "account", "createdAt", "updatedAt", "__v",
    )  # fmt: skip

    id: Id | UnsetType = UNSET
    user_id: Id | UnsetType = UNSET
    user_email: Email | None | UnsetType = UNSET
    type: Name
    action: Name
    target_id: Text256 | None | UnsetType = UNSET
    account: Name | UnsetType = UNSET
    createdAt: Time | UnsetType = UNSET  # noqa: N815 (the wire's name)
    updatedAt: Time | UnsetType = UNSET  # noqa: N815
    version: Literal[0] | UnsetType = UNSET
    target_name: Text256 | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    reason: Text2048 | UnsetType = UNSET
    ip_address: Address | UnsetType = UNSET
    user_agent: Text2048 | UnsetType = UNSET
    request_id: Text256 | UnsetType = UNSET
    session_id: Text256 | UnsetType = UNSET
    changes: dict[str, Change] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class TokenUse(Struct, forbid_unknown_fields=True, kw_only=True, rename={"id": "_id", "version": "__v"}, gc=False):
    """An access token called the API. As a producer gives it, and, once completed, as it stands on the wire."""

    ALWAYS: ClassVar[tuple[str, ...]] = (
        "_id", "token_id", "scope", "target", "user_id", "account", "createdAt", "updatedAt", "__v",
    )  # fmt: skip

    id: Id | UnsetType = UNSET
    token_id: Id
    scope: Name
    target: Target
    user_id: Id
    account: Name | UnsetType = UNSET
    createdAt: Time | UnsetType = UNSET  # noqa: N815
    updatedAt: Time | UnsetType = UNSET  # noqa: N815
    version: Literal[0] | UnsetType = UNSET
    method: Method | UnsetType = UNSET
    target_name: Text256 | UnsetType = UNSET
    outcome: Outcome | UnsetType = UNSET
    reason: Text2048 | UnsetType = UNSET
    ip_address: Address | UnsetType = UNSET
    user_agent: Text2048 | UnsetType = UNSET
    request_id: Text256 | UnsetType = UNSET
    session_id: Text256 | UnsetType = UNSET
    changes: dict[str, Change] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


Body: TypeAlias = Action | TokenUse

MODELS: dict[Kind, type[Action] | type[TokenUse]] = {Kind.ACTION: Action, Kind.TOKEN: TokenUse}


class Event(Struct, frozen=True, gc=False):
    """One event, complete and rendered: what a store appends."""

    kind: Kind
    id: bytes
    """The record's ``_id``, 12 bytes."""
    created_ms: int
    record: bytes
    """The wire bytes: one JSON object without white space around it."""
    body: Body
    """What was rendered, for whoever indexes it."""
    filled: tuple[str, ...] | None = None
    """For an event that brought its own ``_id``: the keys that the log filled in, which are therefore not the
    producer's content. None: the log made the ``_id``, so the event can't be a duplicate."""


def pattern_of(rule: Any) -> re.Pattern[str] | None:
    """The pattern that strings of this type must match as a whole, if there is one. ``rule`` is a type annotation."""
    if get_origin(rule) is Annotated:
        pattern = (get_args(rule)[1].extra_json_schema or {}).get("pattern")
        return re.compile(pattern.removeprefix("^").removesuffix("$")) if pattern else None
    return next((pattern for option in get_args(rule) if (pattern := pattern_of(option))), None)


_matches_name = re.compile(NAME_PATTERN.strip("^$")).fullmatch


def is_name(text: str) -> bool:
    """Whether this is a ``Name``."""
    return _matches_name(text) is not None


def _rules_of(model: type[Body]) -> list[tuple[Callable[[Body], Any], Callable[[str], Any]]]:
    rules = [(field.name, pattern_of(field.type)) for field in msgspec.structs.fields(model)]
    return [(operator.attrgetter(name), pattern.fullmatch) for name, pattern in rules if pattern is not None]


_RULES = {kind: _rules_of(model) for kind, model in MODELS.items()}


def misfit(bodies: list[Body], kind: Kind) -> bool:
    """Whether any value does not match the pattern of its key. Looks at each different value once: values repeat."""
    for value_of, matches in _RULES[kind]:
        values = set(map(value_of, bodies))
        values.discard(UNSET)
        values.discard(None)
        if not all(map(matches, values)):
            return True
    return False


_encode = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode
_decoders = {kind: msgspec.json.Decoder(model) for kind, model in MODELS.items()}
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def complete(
    body: Body,
    *,
    kind: Kind,
    record_id: str,
    account: str,
    created_ms: int,
    recorded_ms: int,
    filled: tuple[str, ...] | None = None,
) -> Event:
    """Fill in what the log itself says about an event, and render it. ``body`` is changed and kept.

    ``created_ms`` and ``recorded_ms`` are epoch milliseconds (``createdAt`` and ``updatedAt``).
    """
    body.id = record_id
    body.account = account
    body.createdAt = render_time(created_ms)
    body.updatedAt = body.createdAt if recorded_ms == created_ms else render_time(recorded_ms)
    body.version = 0
    if type(body) is Action:  # always present, with null where nothing is known
        if body.user_email is UNSET:
            body.user_email = None
        if body.target_id is UNSET:
            body.target_id = None
    return Event(kind, bytes.fromhex(record_id), created_ms, _encode(body), body, filled)


def parse_record(kind: Kind, record: bytes) -> Body:
    """The model of a stored record. Raises ``msgspec.ValidationError`` where it is none of that kind."""
    return _decoders[kind].decode(record)


def same_content(new: bytes, stored: bytes, filled: tuple[str, ...]) -> bool:
    """Whether two records with the same ``_id`` say the same, as far as the producer said it.

    ``updatedAt`` says when the log recorded the event, and ``filled`` are the keys of the new record that the log
    filled in: neither is content.
    """
    ours, theirs = _decode_object(new), _decode_object(stored)
    for key in ("updatedAt", *filled):
        ours.pop(key, None)
        theirs.pop(key, None)
    return _encode_sorted(ours) == _encode_sorted(theirs)  # as values, Python takes 1, 1.0 and true for the same


# Times: UTC, milliseconds, on the wire as YYYY-MM-DDTHH:MM:SS.mmmZ.

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII).fullmatch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Epoch milliseconds of an RFC 3339 time; digits past the milliseconds are dropped.

    Raises ``ValueError`` for anything else, and for times before 1970 and after 2109.
    """
    if _RFC3339(text) is None:
        raise ValueError("not a time like 2021-07-30T16:13:52.109Z")
    moment = datetime.fromisoformat(text.upper()) - _EPOCH
    time_ms = moment.days * 86_400_000 + moment.seconds * 1000 + moment.microseconds // 1000
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise ValueError("not between 1970 and 2109")
    return time_ms


@lru_cache(maxsize=4096)
def render_time(time_ms: int) -> str:
    """Epoch milliseconds in the wire form: ``2021-07-30T16:13:52.109Z``."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


class IdMaker:
    """Makes the ``_id`` of one account's records in this process: unique, and ordered for live events.

    An id is an ObjectId as far as anyone may rely on it (its first 4 bytes are the seconds of ``createdAt``). The
    other 8 bytes are, from the left: the milliseconds (10 bits), a counter (30 bits) and a number of this maker
    (24 bits). Counter and number begin at random, so makers in other processes do not meet; and each account has a
    maker of its own, so that an id tells nobody how busy other accounts are.
    """

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._counter = int.from_bytes(random_bytes(4), "big") & 0x1FFF_FFFF
        self._maker = int.from_bytes(random_bytes(3), "big")
        self._last_ms = -1
        self._moment = 0

    def __call__(self, created_ms: int) -> str:
        """The next id, 24 hex digits, for an event that occurred at ``created_ms``."""
        if created_ms != self._last_ms:
            seconds, milliseconds = divmod(created_ms, 1000)
            self._last_ms, self._moment = created_ms, (seconds & 0xFFFF_FFFF) << 64 | milliseconds << 54 | self._maker
        self._counter = (self._counter + 1) & 0x3FFF_FFFF
        return (self._moment | self._counter << 24).to_bytes(12, "big").hex()


class IdMakers:
    """A maker of ids for each account, made when it is first asked for."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        self._random_bytes = random_bytes
        self._makers: dict[str, IdMaker] = {}

    def of(self, account: str) -> IdMaker:
        """The maker of this account's ids."""
        maker = self._makers.get(account)
        if maker is None:
            maker = self._makers[account] = IdMaker(self._random_bytes)
        return maker
