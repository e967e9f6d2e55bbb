"""Conditions as expressions of FTS5 over the terms of ``search.py``.

FTS5 knows AND, OR and NOT of two operands, but no complement: so a condition becomes an expression, or the complement
of one, and only the whole is taken out of all records. A condition that stands for too many values, or is too deep,
becomes whatever lets through more, never less; then each record found must be held against the condition itself
(``exact`` is false).
"""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

from whodid.conditions import (
    FIELDS,
    KIND_NAMES,
    All,
    AnyOf,
    Begins,
    Condition,
    Is,
    Leaf,
    Not,
    Says,
    SaysBeginning,
)
from whodid.records import Kind
from whodid.store.sqlite.search import (
    LONG_VALUE,
    LONGEST_WORD_TERM,
    every_term,
    is_word,
    quote,
    term,
    value_in,
    word_term,
)

MOST_VALUES = 200
"""How many values a beginning or a word may stand for, to be asked for each by each."""

_MOST_TERMS = 2000
"""How many terms one expression may have: FTS5 keeps something open for each."""

_DEEPEST = 20
"""How many parentheses of an expression may be in each other: FTS5's parser knows some more."""


_IDS: Final = ("user_id", "token_id")
_may_begin_an_id = re.compile("[0-9a-f]{1,24}").fullmatch


class Values(Protocol):
    """Knows which values there are; None: more than ``MOST_VALUES``."""

    def beginning(self, start: str) -> list[str] | None:
        """The terms of the index that begin so."""
        ...

    def addresses(self, account_no: int, word: str) -> list[str] | None:
        """The addresses with this word."""
        ...

    def addresses_beginning(self, account_no: int, start: str) -> list[str] | None:
        """The addresses with a word that begins so."""
        ...


class Expression(NamedTuple):
    """What is asked of the index. Where ``exact`` is false, it finds more than the condition holds for."""

    text: str | None
    """None: there is nothing to be found."""
    exact: bool


class _Part(NamedTuple):
    """An expression, None being that of no record; or its complement."""

    text: str | None
    complement: bool = False
    depth: int = 0
    """How many parentheses are in each other."""

    def turned(self) -> "_Part":
        """What it does not stand for."""
        return self._replace(complement=not self.complement)


_NOTHING = _Part(None)
_EVERYTHING = _Part(None, complement=True)


def express(condition: Condition, account_no: int, values: Values) -> Expression:
    """The expression for an account's records that a condition holds for."""
    kinds = _kinds(condition)
    maker = _Maker(account_no, values)
    part = maker.part(condition, kinds, more=True)
    if part.complement:
        part = _all([_any_term([every_term(account_no, kind) for kind in kinds]), part])
    return Expression(part.text, maker.exact)


class ByValue:
    """The expressions for an account's records that a condition holds for and that have one of several values."""

    def __init__(self, condition: Condition, account_no: int, field: str, values: Values) -> None:
        self._account_no = account_no
        self._field = field
        self._kinds = tuple(kind for kind in _kinds(condition) if kind in FIELDS[field])
        maker = _Maker(account_no, values)
        self._part = maker.part(condition, self._kinds, more=True)
        self.exact = maker.exact
        """Whether the index alone can tell."""
        self.size = len(self._part.text or "")
        """About how long each is, in characters."""

    def of(self, value: str) -> str | None:
        """The expression for a value; None where there is nothing to be found."""
        own = _terms(self._account_no, self._field, value, self._kinds)
        return _all([_any_term(own), self._part]).text


def _kinds(condition: Condition) -> tuple[Kind, ...]:
    """The kinds that records can have that it holds for, as far as it says so plainly."""
    kinds = tuple(Kind)
    parts = condition.parts if isinstance(condition, All) else (condition,)
    for part in parts:
        if isinstance(part, Is) and part.field == "kind":
            kinds = tuple(kind for kind in kinds if kind == KIND_NAMES.get(part.value))
        elif isinstance(part, Is | Begins):
            kinds = tuple(kind for kind in kinds if kind in FIELDS[part.field])
    return kinds


class _Maker:
    """Makes one expression."""

    def __init__(self, account_no: int, values: Values) -> None:
        self.exact = True
        self._account_no = account_no
        self._values = values
        self._room = _MOST_TERMS
        self._made: dict[tuple[Leaf, bool], _Part] = {}

    def part(self, condition: Condition, kinds: Sequence[Kind], *, more: bool) -> _Part:
        """The part for a condition; where it can't be exact, it holds for more records, or for fewer."""
        match condition:
            case Not(inner):
                part = self.part(inner, kinds, more=not more).turned()
            case All(parts):
                part = _all([self.part(one, kinds, more=more) for one in parts])
            case AnyOf(parts):
                part = _all([self.part(one, kinds, more=more).turned() for one in parts]).turned()
            case _:
                if (condition, more) not in self._made:
                    self._made[condition, more] = self._leaf(condition, kinds, more=more)
                return self._made[condition, more]
        return part if part.depth < _DEEPEST else self._inexact(more=more)

    def _inexact(self, *, more: bool) -> _Part:
        self.exact = False
        return _EVERYTHING if more else _NOTHING

    def _leaf(self, condition: Leaf, kinds: Sequence[Kind], *, more: bool) -> _Part:
        match condition:
            case Is(field, value):
                return self._any([self._terms(field, value, kinds)], more=more)
            case Begins(field, start):
                return self._field_beginning(field, start, kinds, more=more)
            case Says(word):
                return self._saying(word, kinds, more=more)
            case SaysBeginning(start):
                return self._saying_beginning(start, kinds, more=more)

    def _terms(self, field: str, value: str, kinds: Sequence[Kind]) -> list[str]:
        return _terms(self._account_no, field, value, kinds)

    def _field_beginning(self, field: str, start: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        found = [self._values.beginning(one) for one in self._terms(field, start, kinds)]
        long = [self._values.beginning(one + LONG_VALUE) for one in self._terms(field, "", kinds)]
        if long != [[] for _ in long]:  # how these begin can't be seen
            self.exact = False
            found += long if more else []
        return self._any(found, more=more)

    def _saying(self, word: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        terms = [word_term(self._account_no, kind, word) for kind in kinds]
        if len(word) >= LONGEST_WORD_TERM:  # what is longer has the same term
            self.exact = False
            terms = terms if more else []
        for field in (*_IDS, "target_id") if _may_begin_an_id(word) else ("target_id",):
            terms += self._terms(field, word, kinds)
        addresses = self._values.addresses(self._account_no, word) if Kind.ACTION in kinds else []
        return self._any([terms, self._of_addresses(addresses)], more=more)

    def _saying_beginning(self, start: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        starts = [word_term(self._account_no, kind, start) for kind in kinds]
        for field in _IDS if _may_begin_an_id(start) else ():
            starts += self._terms(field, start, kinds)
        found = [self._values.beginning(one) for one in starts]
        if len(start) > LONGEST_WORD_TERM:
            self.exact = False
            found = found if more else found[len(kinds) :]
        targets = [self._values.beginning(one) for one in self._terms("target_id", start, kinds)]
        # Of targets, only those that are a word by themselves; the words of others have terms of their own.
        found += [None if some is None else [one for one in some if is_word(value_in(one))] for some in targets]
        addresses = self._values.addresses_beginning(self._account_no, start) if Kind.ACTION in kinds else []
        return self._any([*found, self._of_addresses(addresses)], more=more)

    def _of_addresses(self, addresses: list[str] | None) -> list[str] | None:
        if addresses is None:
            return None
        return [term(self._account_no, Kind.ACTION, "user_email", address) for address in addresses]

    def _any(self, found: Sequence[list[str] | None], *, more: bool) -> _Part:
        """The part for any of some terms; None among them stands for too many."""
        terms = [one for some in found for one in some or ()]
        if None in found or len(terms) > self._room:
            return self._inexact(more=more)
        self._room -= len(terms)
        return _any_term(terms)


def _terms(account_no: int, field: str, value: str, kinds: Sequence[Kind]) -> list[str]:
    """The terms of a value, one for each kind of record that may have it."""
    if field == "kind":
        return [every_term(account_no, kind) for kind in kinds if kind == KIND_NAMES.get(value)]
    return [term(account_no, kind, field, value) for kind in kinds if kind in FIELDS[field]]


def _any_term(terms: Sequence[str]) -> _Part:
    return _joined("OR", [_Part(quote(one)) for one in terms])


def _all(parts: Sequence[_Part]) -> _Part:
    """All of the parts: those that are no complements, without what the others are complements of."""
    held = [part for part in parts if not part.complement]
    if any(part.text is None for part in held):
        return _NOTHING
    left_out = _joined("OR", [part for part in parts if part.complement and part.text is not None])
    if not held:
        return left_out.turned()
    both = _joined("AND", held)
    if left_out.text is None:
        return both
    return _Part(f"({both.text} NOT {left_out.text})", depth=max(both.depth, left_out.depth) + 1)


def _joined(operator: str, parts: Sequence[_Part]) -> _Part:
    """Parts that are no complements, or are taken for none, with an operator between each two; none: of no record."""
    texts = list(dict.fromkeys(part.text for part in parts if part.text is not None))
    depth = max((part.depth for part in parts), default=0)
    if len(texts) < 2:
        return _Part(texts[0] if texts else None, depth=depth)
    return _Part(f"({f' {operator} '.join(texts)})", depth=depth + 1)
