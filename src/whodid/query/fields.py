"""Fields: by which names a caller asks, and what is asked for by a value. Used by filters and by the language alike."""

import re
from typing import Any, Final, get_args

from whodid.conditions import KIND_NAMES, All, AnyOf, Begins, Condition, Is, Not
from whodid.errors import InvalidParameter
from whodid.query.parameters import quoted, unrecordable
from whodid.records import Address, Email, Id, Outcome, is_name, pattern_of

OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

LONGEST_VALUE: Final = 256
"""In characters; no field's value is longer."""

ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "user": ("user_email", "user_id"),
    "email": ("user_email",),
    "target": ("target_id",),
    "token": ("token_id",),
    "ip": ("ip_address",),
}
"""Other names of fields in the language; one that is of several fields means any of them."""

_NAMED = ("type", "action", "scope", "outcome")
_IDS = ("user_id", "token_id")


def _pattern(rule: Any) -> re.Pattern[str]:
    pattern = pattern_of(rule)
    assert pattern is not None
    return pattern


_RULES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "user_id": (_pattern(Id), "24 hex digits"),
    "token_id": (_pattern(Id), "24 hex digits"),
    "user_email": (_pattern(Email), "an e-mail address"),
    "ip_address": (_pattern(Address), "an IPv4 or IPv6 address"),
    "outcome": (re.compile("|".join(OUTCOMES)), ", ".join(OUTCOMES[:-1]) + f" or {OUTCOMES[-1]}"),
}
"""What values of fields must match as a whole, and that in words: no record has another one, so it is a slip."""


_OFTEN_BEGUN: Final = frozenset({"user_email", "user_id", "token_id", "ip_address"})
"""Of which it is worth while to say that their values' beginning can be asked for."""


def field_is(field: str, value: str) -> Is:
    """The condition that a field (of ``conditions.FIELDS``) has a value. Raises ``InvalidParameter``."""
    return Is(field, _whole(field, (field,), value)[field])


def named_is(name: str, fields: tuple[str, ...], value: str) -> Condition:
    """The condition that one of the fields of a name has a value; without those that can't.

    Raises ``InvalidParameter``, which says how the language asks for what begins so.
    """
    try:
        values = _whole(name, fields, value)
    except InvalidParameter as error:
        if not _OFTEN_BEGUN.isdisjoint(fields) and value.isprintable() and '"' not in value and " " not in value:
            raise InvalidParameter(f"{error.message}; what begins so is {name}:{value[:60]}*") from None
        raise
    return any_of([Is(field, checked) for field, checked in values.items()])


def _whole(name: str, fields: tuple[str, ...], value: str) -> dict[str, str]:
    """The value as the fields have it that can have it; there must be one."""
    values = {field: _checked(field, value) for field in fields}
    rules = {field: _RULES[field] for field in fields if field in _RULES}
    possible = {
        field: checked for field, checked in values.items() if field not in rules or rules[field][0].fullmatch(checked)
    }
    if not possible:
        must = " or ".join(rule for _, rule in rules.values())
        raise InvalidParameter(f"{name} must be {must}, not {quoted(value)}")
    return possible


def field_begins(field: str, start: str) -> Begins:
    """The condition that a field's value begins so. Raises ``InvalidParameter``."""
    if field == "kind":
        raise InvalidParameter("kind must be given as a whole: action or token")
    return Begins(field, _checked(field, start))


def _checked(field: str, value: str) -> str:
    """The value as it is compared: ids in lower case."""
    if not value:
        raise InvalidParameter(f"{field} must have a value; leave it out to ask for any")
    if unrecordable(value) is not None:
        raise InvalidParameter(f"{field} must not have NUL or half a surrogate pair; no record has")
    if len(value) > LONGEST_VALUE:
        raise InvalidParameter(f"{field} must have at most {LONGEST_VALUE} characters, not {len(value)}")
    if field == "kind" and value not in KIND_NAMES:
        raise InvalidParameter(f"kind must be {' or '.join(KIND_NAMES)}, not {quoted(value)}")
    if field in _NAMED and not is_name(value):
        raise InvalidParameter(f"{field} must be 1 to 64 lower-case letters, digits, '_' and '-', not {quoted(value)}")
    return value.lower() if field in _IDS else value


def all_of(conditions: list[Condition]) -> Condition:
    """All of them at once, without one ``All`` in another."""
    parts = [part for one in conditions for part in (one.parts if isinstance(one, All) else (one,))]
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def any_of(conditions: list[Condition]) -> Condition:
    """Any of them, without one ``AnyOf`` in another."""
    parts = [part for one in conditions for part in (one.parts if isinstance(one, AnyOf) else (one,))]
    return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))


def negated(condition: Condition) -> Condition:
    """The opposite, without one ``Not`` in another."""
    return condition.part if isinstance(condition, Not) else Not(condition)
