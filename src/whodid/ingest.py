"""Ingest: untrusted bytes become valid, rendered events, or a clear error with nothing stored.

Owns the limits of a request and the rules that a producer's events must keep. Well-formed requests take the fast
path, whole batches in a few calls; as soon as anything is wrong, ``diagnosis`` goes through the request again, slowly,
to name every fault. Knows nothing of HTTP and of stores.
"""

import operator
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET

from whodid import diagnosis
from whodid.errors import BodyTooLarge, Fault, InvalidEvents, MalformedBody
from whodid.records import (
    MAX_CLOCK_LEAD_MS,
    MAX_EVENT_BYTES,
    MAX_NESTING,
    MODELS,
    Action,
    Body,
    Change,
    Event,
    IdMaker,
    Kind,
    complete,
    misfit,
    parse_time,
    render_time,
)

MAX_BODY_BYTES = 16 * 1024 * 1024
MAX_EVENTS = 10_000
MAX_VALUES = 1_000_000
"""How many objects, arrays and keys a body may have, nested ones included: parsed, they take much more memory than
written. Counted as the characters ``{``, ``[`` and ``:``, so that the count is not below the truth."""

MAX_GZIP_MEMBERS = 1000


_CONTAINERS = (dict, list, Change)


class Directory:
    """The users of one account, as far as ingest must know them: id and address, each found by the other."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        """``addresses`` maps each user's id to the user's address."""
        self.email_of = addresses
        self.id_of = {email.casefold(): user_id for user_id, email in addresses.items()}


class Inflater:
    """Undoes gzip piece by piece, and gives up as soon as more comes out than a body may have."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        self._pieces: list[bytes] = []
        self._room = MAX_BODY_BYTES
        self._members = 1

    def feed(self, data: bytes) -> None:
        """Take the next piece. Raises ``MalformedBody`` or ``BodyTooLarge``."""
        while data:
            if self._stream.eof:  # another member follows: gzip files may be joined
                self._members += 1
                if self._members > MAX_GZIP_MEMBERS:
                    raise MalformedBody(f"the body is joined of more than {MAX_GZIP_MEMBERS} gzip members")
                self._stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            try:
                piece = self._stream.decompress(data, self._room + 1)
            except zlib.error as error:
                raise MalformedBody(f"the body is not valid gzip: {error}") from error
            self._room -= len(piece)
            if self._room < 0:
                raise body_too_large()
            self._pieces.append(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    @property
    def size_bytes(self) -> int:
        """How much has come out so far."""
        return MAX_BODY_BYTES - self._room

    def finish(self) -> bytes:
        """The whole body. Raises ``MalformedBody`` where it ended too early."""
        if not self._stream.eof:
            raise MalformedBody("the body is cut off: its gzip data has no end")
        return b"".join(self._pieces)


def body_too_large() -> BodyTooLarge:
    """What a body over the limit is refused with."""
    return BodyTooLarge(
        f"the body is larger than {MAX_BODY_BYTES} bytes ({MAX_BODY_BYTES >> 20} MiB, unpacked); send several requests"
    )


_array_decoders: dict[Kind, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(list[model])  # type: ignore[valid-type]
    for kind, model in MODELS.items()
}
_object_decoders: dict[Kind, msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(model) for kind, model in MODELS.items()
}
_encoder = msgspec.json.Encoder()


def parse_events(data: bytes, kind: Kind, *, lines: bool) -> list[Body]:
    """The events of a request's body: an object, an array, or NDJSON (``lines``).

    Raises ``MalformedBody``, ``BodyTooLarge`` or ``InvalidEvents``, which lists every fault of every event.
    """
    if (values := data.count(b"{") + data.count(b"[") + data.count(b":")) > MAX_VALUES:
        raise BodyTooLarge(f"the body has {values} objects, arrays and keys; it may have {MAX_VALUES}")
    try:
        bodies = _decode(data, kind, lines=lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        diagnosis.explain(data, kind, lines=lines, max_events=MAX_EVENTS)
    if not bodies:
        raise MalformedBody("the body has no events; send an object, an array of objects, or one object a line")
    diagnosis.check_count(len(bodies), MAX_EVENTS)
    if misfit(bodies, kind):
        diagnosis.explain(data, kind, lines=lines, max_events=MAX_EVENTS)
    if _looks_odd(data, bodies, lines=lines):
        diagnosis.explain_if_wrong(data, kind, lines=lines, max_events=MAX_EVENTS)
    return bodies


def _decode(data: bytes, kind: Kind, *, lines: bool) -> list[Body]:
    bodies: list[Body]
    if lines:
        bodies = _object_decoders[kind].decode_lines(data)
    elif data.lstrip()[:1] == b"{":
        bodies = [_object_decoders[kind].decode(data)]
    else:
        bodies = _array_decoders[kind].decode(data)
    return bodies


def _looks_odd(data: bytes, bodies: list[Body], *, lines: bool) -> bool:
    r"""Whether the body may hold what decoding passes over: keys given twice, NUL in strings, objects across lines.

    Decoding keeps the last of equal keys. Encoding what was decoded gives as many quotation marks around strings as
    there were, exactly unless a key and its value were dropped.
    """
    return (
        b"\\u0000" in data
        or (lines and data.rstrip(b"\n").count(b"\n") + 1 != len(bodies))
        or _quotes(data) != _quotes(_encoder.encode(bodies))
    )


def _quotes(data: bytes) -> int:
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    return data.count(b'"')


_Faults: TypeAlias = list[tuple[str | None, str]]
"""What is wrong with one event: pairs of field and detail."""


class Completer:
    """Completes one account's events: the log's own ids and times, and what the account's users tell."""

    def __init__(self, account: str, directory: Directory, ids: IdMaker, clock: Callable[[], int]) -> None:
        self._account = account
        self._directory = directory
        self._ids = ids
        self._clock = clock

    def complete(self, bodies: list[Body], kind: Kind, *, keep_recorded: bool = False) -> list[Event]:
        """Rendered events, in order. ``keep_recorded`` keeps the ``updatedAt`` that a record came with (imports).

        Raises ``InvalidEvents`` with every fault.
        """
        events, faults = self._complete_all(enumerate(bodies), kind, keep_recorded=keep_recorded)
        if faults:
            raise InvalidEvents(faults)
        return events

    def all_faults(self, error: InvalidEvents, kind: Kind) -> InvalidEvents:
        """The same error, with the faults of the events that only looked sound."""
        sound: Any = error.sound
        _, more = self._complete_all(sound, kind, keep_recorded=False)
        return InvalidEvents(sorted(error.faults + more, key=operator.attrgetter("index"))) if more else error

    def _complete_all(
        self, bodies: Iterable[tuple[int, Body]], kind: Kind, *, keep_recorded: bool
    ) -> tuple[list[Event], list[Fault]]:
        now_ms = self._clock()
        faults: list[Fault] = []
        events: list[Event] = []
        for index, body in bodies:
            try:
                events.append(self._complete(body, kind, now_ms, keep_recorded=keep_recorded))
            except _Faulty as faulty:
                faults += [Fault(index, field, detail) for field, detail in faulty.faults]
        return events, faults

    def _complete(self, body: Body, kind: Kind, now_ms: int, *, keep_recorded: bool) -> Event:
        faults: _Faults = []
        filled = None if body.id is UNSET else _missing(body)
        if type(body) is Action and (body.user_email is UNSET or body.user_id is UNSET):
            self._complete_user(body, faults)
        if body.account is not UNSET and body.account != self._account:
            faults.append(("account", f'account must be "{self._account}", the account of the token, or left out'))
        created_ms = recorded_ms = now_ms
        if body.createdAt is not UNSET:
            created_ms = _time(body.createdAt, "createdAt", now_ms, faults)
        if body.updatedAt is not UNSET:
            given_ms = _time(body.updatedAt, "updatedAt", now_ms, faults)
            recorded_ms = given_ms if keep_recorded else now_ms
        if body.changes is not UNSET or body.metadata is not UNSET:
            _check_nesting(body, faults)
        if faults:
            raise _Faulty(faults)
        event = complete(
            body,
            kind=kind,
            record_id=self._ids(created_ms) if body.id is UNSET else body.id,
            account=self._account,
            created_ms=created_ms,
            recorded_ms=recorded_ms,
            filled=filled,
        )
        if len(event.record) > MAX_EVENT_BYTES:
            raise _Faulty([(None, f"the event has {len(event.record)} bytes; it may have {MAX_EVENT_BYTES}")])
        return event

    def _complete_user(self, body: Action, faults: _Faults) -> None:
        if body.user_email is UNSET:
            if body.user_id is UNSET:
                faults.append(("user_id", "user_id or user_email must be given"))
            else:
                body.user_email = self._directory.email_of.get(body.user_id)
        elif body.user_id is UNSET:
            user_id = self._directory.id_of.get((body.user_email or "").casefold())
            if user_id is None:
                faults.append(
                    (
                        "user_id",
                        "user_id must be given where user_email is not the address of a user of the account",
                    )
                )
            else:
                body.user_id = user_id
                body.user_email = self._directory.email_of[user_id]  # as it is spelt there


class _Faulty(Exception):
    """What is wrong with one event: pairs of field and detail."""

    def __init__(self, faults: _Faults) -> None:
        super().__init__(faults)
        self.faults = faults


_FILLABLE = ("user_id", "user_email", "target_id", "account", "createdAt", "__v")
_ATTRIBUTES = {"__v": "version"}


def _missing(body: Body) -> tuple[str, ...]:
    """Which keys the log will fill in, for an event with an ``_id`` of its own."""
    keys = tuple(key for key in _FILLABLE if getattr(body, _ATTRIBUTES.get(key, key), None) is UNSET)
    if body.user_id is UNSET:  # the user was told by the address, whose spelling the account's users decide
        return ("user_email", *keys[1:])
    return keys


def _time(text: str, field: str, now_ms: int, faults: _Faults) -> int:
    try:
        time_ms = parse_time(text)
    except ValueError as error:
        faults.append(
            (
                field,
                f'{field} must be a time like 2021-07-30T16:13:52.109Z (RFC 3339) since 1970, not "{text}": {error}',
            )
        )
        return now_ms
    if time_ms > now_ms + MAX_CLOCK_LEAD_MS:
        faults.append(
            (
                field,
                f"{field} must not be more than five minutes ahead; {text} is, now is {render_time(now_ms)}",
            )
        )
    return time_ms


def _check_nesting(body: Body, faults: _Faults) -> None:
    for field in ("changes", "metadata"):
        value = getattr(body, field)
        if value is not UNSET and _deeper_than(value, MAX_NESTING):
            faults.append((field, f"{field} must not nest deeper than {MAX_NESTING} levels"))


def _deeper_than(value: Any, levels: int) -> bool:
    if levels == 0:
        return True
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return any(_deeper_than(item, levels - 1) for item in value.values() if type(item) in _CONTAINERS)
    if isinstance(value, list):
        return any(_deeper_than(item, levels - 1) for item in value if type(item) in _CONTAINERS)
    return False
