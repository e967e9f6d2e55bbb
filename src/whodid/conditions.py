"""Conditions: what a record must be like to be found. Pure.

A condition is a small tree. ``matches`` says what each means, record by record; the stores answer the same out of
their search indexes. When something happened is no condition, but the window of a search.
"""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, TypeAlias

from msgspec import Struct

from whodid.records import Action, Body, Kind
from whodid.words import words_of

FIELDS: Final[dict[str, tuple[Kind, ...]]] = {
    "kind": (Kind.ACTION, Kind.TOKEN),
    "type": (Kind.ACTION,),
    "action": (Kind.ACTION,),
    "user_id": (Kind.ACTION, Kind.TOKEN),
    "user_email": (Kind.ACTION,),
    "target_id": (Kind.ACTION,),
    "token_id": (Kind.TOKEN,),
    "scope": (Kind.TOKEN,),
    "outcome": (Kind.ACTION, Kind.TOKEN),
    "ip_address": (Kind.ACTION, Kind.TOKEN),
}
"""What can be searched by, and the kinds of records that have it. The values of ``kind`` are in ``KIND_NAMES``."""

KIND_NAMES: Final = {"action": Kind.ACTION, "token": Kind.TOKEN}


class Is(Struct, frozen=True, tag=True):
    """A field has exactly this value. A record without the field does not."""

    field: str
    value: str


class Begins(Struct, frozen=True, tag=True):
    """A field's value begins so. Not for ``kind``."""

    field: str
    start: str


class Says(Struct, frozen=True, tag=True):
    """The record has this word, which is as ``words.split`` makes it."""

    word: str


class SaysBeginning(Struct, frozen=True, tag=True):
    """The record has a word that begins so; as ``words.split`` makes words."""

    start: str


class Not(Struct, frozen=True, tag=True):
    """The condition does not hold."""

    part: "Condition"


class All(Struct, frozen=True, tag=True):
    """All of the conditions hold; also where there are none."""

    parts: "tuple[Condition, ...]"


class AnyOf(Struct, frozen=True, tag=True):
    """At least one of the conditions holds; so never where there are none."""

    parts: "tuple[Condition, ...]"


Leaf: TypeAlias = Is | Begins | Says | SaysBeginning
Condition: TypeAlias = Leaf | Not | All | AnyOf

EVERYTHING: Final = All(())


def matches(condition: Condition, body: Body) -> bool:
    """Whether the condition holds for a record."""
    return _Looked(body).holds(condition)


class _Looked:
    """A record that is looked at. Its words are found once, if they are asked for."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def holds(self, condition: Condition) -> bool:
        """Whether the condition holds for it."""
        match condition:
            case Not(part):
                return not self.holds(part)
            case All(parts):
                return all(map(self.holds, parts))
            case AnyOf(parts):
                return any(map(self.holds, parts))
            case _:
                return self._holds(condition)

    def _holds(self, leaf: Leaf) -> bool:
        match leaf:
            case Is(field, value):
                return value_of(self._body, field) == value
            case Begins(field, start):
                return (value_of(self._body, field) or "").startswith(start)
            case Says(word):
                return word in self._words
            case SaysBeginning(start):
                return any(word.startswith(start) for word in self._words)

    @cached_property
    def _words(self) -> set[str]:
        return words_of(self._body)


def value_of(body: Body, field: str) -> str | None:
    """The value that a record has in one of ``FIELDS``; None where it has none, or an empty one."""
    if field == "kind":
        return "action" if isinstance(body, Action) else "token"
    value: Any = getattr(body, field, None)
    return value or None  # UNSET is false


def both(conditions: "list[Condition]") -> Condition:
    """All of them, as simply as can be said."""
    return conditions[0] if len(conditions) == 1 else All(tuple(conditions))


def leaves(condition: Condition) -> Iterator[Leaf]:
    """The conditions that a condition is made of, in order."""
    match condition:
        case Not(part):
            yield from leaves(part)
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from leaves(part)
        case _:
            yield condition
