"""Fields: by which names a caller asks, and what is asked for by a value. Used by filters and by the language alike."""

from typing import Final

from whodid.conditions import KIND_NAMES, All, AnyOf, Begins, Condition, Is, Not
from whodid.errors import InvalidParameter
from whodid.query.parameters import quoted, unrecordable
from whodid.records import is_name

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


def field_is(field: str, value: str) -> Is:
    """The condition that a field (of ``conditions.FIELDS``) has a value. Raises ``InvalidParameter``."""
    return Is(field, _checked(field, value))


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
