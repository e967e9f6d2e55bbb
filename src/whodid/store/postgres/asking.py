"""Asking: what a condition is in SQL. Pure; values never become part of a statement.

Types and scopes are asked for by their columns, all else by the lexemes of ``terms``, as one ``tsquery`` where it can
be. Of each kind by itself, since a kind has no field that says so, and not all fields.
"""

import re
from typing import Any, Final

from whodid.conditions import (
    EVERYTHING,
    FIELDS,
    KIND_NAMES,
    All,
    AnyOf,
    Begins,
    Condition,
    Is,
    Not,
    Says,
    SaysBeginning,
    both,
    leaves,
)
from whodid.records import Kind
from whodid.store.postgres.terms import LETTERS, TARGET, TARGET_WORD, WORD, lexeme
from whodid.words import LONGEST_WORD, split

NOTHING: Final = AnyOf(())
"""The condition that never holds."""

_COLUMNS: Final = ("type", "scope")
"""The fields that are asked for by columns."""

_LONGEST_VALUE: Final = 256
"""In characters. No field has a longer value; and PostgreSQL takes no lexeme of 2 KiB."""

_could_begin_id = re.compile(r"[0-9a-f]{0,24}", re.ASCII).fullmatch


def narrowed(condition: Condition, kind: Kind) -> Condition:
    """What a condition comes to for records of one kind, simplified: maybe ``EVERYTHING`` or ``NOTHING``."""
    match condition:
        case Not(part):
            return _negated(narrowed(part, kind))
        case All(parts):
            return _all([narrowed(part, kind) for part in parts])
        case AnyOf(parts):
            return _any([narrowed(part, kind) for part in parts])
        case Is("kind", value):
            return EVERYTHING if KIND_NAMES.get(value) == kind else NOTHING
        case Begins(_, ""):
            return EVERYTHING
        case _:
            return condition if _may_hold(condition, kind) else NOTHING


def _may_hold(condition: Is | Begins | Says | SaysBeginning, kind: Kind) -> bool:
    match condition:
        case Is(field, value):
            return kind in FIELDS[field] and 0 < len(value) <= _LONGEST_VALUE
        case Begins(field, start):
            return kind in FIELDS[field] and len(start) <= _LONGEST_VALUE
        case Says(word):
            return split(word) == [word]
        case SaysBeginning(start):
            return len(start) <= LONGEST_WORD and split(start + "00") == [(start + "00")[:LONGEST_WORD]]


def holding(account_no: int, kind: Kind, condition: Condition) -> tuple[str, list[Any]]:
    """A condition, ``narrowed`` to the kind, as an expression of SQL over ``entry``, and its values."""
    match condition:
        case Is(("type" | "scope") as column, value):
            return f"{column} = %s", [value.encode()]
        case Begins(("type" | "scope") as column, start):
            return f"({column} >= %s AND {column} < %s)", [start.encode(), start.encode() + b"\xff"]
        case Not(part) if _has_columns(part):
            expression, values = holding(account_no, kind, part)
            return f"NOT ({expression})", values
        case All(parts) | AnyOf(parts) if _has_columns(condition):
            operator = "AND" if isinstance(condition, All) else "OR"
            return _holding_many(account_no, kind, operator, _apart(condition, parts))
        case _:
            return "words @@ %s::tsquery", [query_text(account_no, kind, condition)]


def can_be_looked_up(condition: Condition) -> bool:
    """Whether an index has what the condition holds for, rather than what it does not hold for."""
    match condition:
        case Not(_):
            return False
        case All(parts):
            return any(map(can_be_looked_up, parts))
        case AnyOf(parts):
            return all(map(can_be_looked_up, parts))
        case _:
            return True


def _holding_many(account_no: int, kind: Kind, operator: str, parts: list[Condition]) -> tuple[str, list[Any]]:
    made = [holding(account_no, kind, part) for part in parts]
    expression = f" {operator} ".join(expression for expression, _ in made)
    return f"({expression})", [value for _, values in made for value in values]


def _apart(condition: All | AnyOf, parts: tuple[Condition, ...]) -> list[Condition]:
    """The parts about columns one by one, and all others as one."""
    about_columns = [part for part in parts if _has_columns(part)]
    others = tuple(part for part in parts if not _has_columns(part))
    return [*about_columns, type(condition)(others)] if others else about_columns


def _has_columns(condition: Condition) -> bool:
    return any(isinstance(leaf, Is | Begins) and leaf.field in _COLUMNS for leaf in leaves(condition))


def query_text(account_no: int, kind: Kind, condition: Condition) -> str:  # noqa: PLR0911 (one a case)
    """A condition as PostgreSQL's ``tsquery``, as text; the condition is ``narrowed`` to the kind."""
    match condition:
        case Not(part):
            return f"!({query_text(account_no, kind, part)})"
        case All(parts):
            return _joined(" & ", [query_text(account_no, kind, part) for part in parts])
        case AnyOf(parts):
            return _joined(" | ", [query_text(account_no, kind, part) for part in parts])
        case Is(field, value):
            return _operands(account_no, _letters_of_field(kind, field), value)
        case Begins(field, start):
            return _operands(account_no, _letters_of_field(kind, field), start, ":*")
        case Says(word):
            return _operands(account_no, _letters_of_words(kind, word), word)
        case SaysBeginning(start):
            return _operands(account_no, _letters_of_words(kind, start), start, ":*")


def _letters_of_field(kind: Kind, field: str) -> str:
    if field == "target_id":
        return TARGET_WORD + TARGET
    return LETTERS[field] if kind == Kind.ACTION else LETTERS[field].upper()


def _joined(operator: str, operands: list[str]) -> str:
    return f"({operator.join(operands)})"


def _letters_of_words(kind: Kind, start: str) -> str:
    """Of the lexemes that a word, or one that begins so, may have."""
    ids = LETTERS["user_id"] if _could_begin_id(start) else ""
    if kind == Kind.ACTION:
        return WORD + TARGET_WORD + ids
    return (WORD + ids + (LETTERS["token_id"] if ids else "")).upper()


def _operands(account_no: int, letters: str, value: str, end: str = "") -> str:
    """One of the lexemes of a value, each quoted."""
    lexemes = [lexeme(account_no, letter, value).replace("\\", "\\\\").replace("'", "''") for letter in letters]
    return _joined(" | ", [f"'{one}'{end}" for one in lexemes])


def _negated(condition: Condition) -> Condition:
    match condition:
        case Not(part):
            return part
        case AnyOf(()):
            return EVERYTHING
        case All(()):
            return NOTHING
        case _:
            return Not(condition)


def _all(parts: list[Condition]) -> Condition:
    if NOTHING in parts:
        return NOTHING
    return both([part for part in parts if part != EVERYTHING])


def _any(parts: list[Condition]) -> Condition:
    if EVERYTHING in parts:
        return EVERYTHING
    kept = [part for part in parts if part != NOTHING]
    return kept[0] if len(kept) == 1 else AnyOf(tuple(kept))
