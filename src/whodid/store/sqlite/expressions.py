"""Conditions as expressions of FTS5 over the terms of ``search.py``.

FTS5 knows AND, OR and NOT of two operands, but no complement: so a condition becomes an expression, or the complement
of one, and only the whole is taken out of all records. A condition that stands for too many values becomes whatever
lets through more, never less; then each record found must be held against the condition itself (``exact`` is false).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

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

    def turned(self) -> "_Part":
        """What it does not stand for."""
        return _Part(self.text, not self.complement)


_NOTHING = _Part(None)
_EVERYTHING = _Part(None, complement=True)


def express(condition: Condition, account_no: int, values: Values) -> Expression:
    """The expression for an account's records that a condition holds for."""
    kinds = _kinds(condition)
    maker = _Maker(account_no, values)
    part = maker.part(condition, kinds, more=True)
    if not part.complement:
        return Expression(part.text, maker.exact)
    every = _or([quote(every_term(account_no, kind)) for kind in kinds])
    return Expression(every if part.text is None or every is None else f"({every} NOT {part.text})", maker.exact)


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

    def part(self, condition: Condition, kinds: Sequence[Kind], *, more: bool) -> _Part:
        """The part for a condition; where it can't be exact, it holds for more records, or for fewer."""
        match condition:
            case Not(inner):
                return self.part(inner, kinds, more=not more).turned()
            case All(parts):
                return _all([self.part(one, kinds, more=more) for one in parts])
            case AnyOf(parts):
                return _all([self.part(one, kinds, more=more).turned() for one in parts]).turned()
            case _:
                return self._leaf(condition, kinds, more=more)

    def _leaf(self, condition: Leaf, kinds: Sequence[Kind], *, more: bool) -> _Part:
        match condition:
            case Is("kind", value):
                return _any_term([every_term(self._account_no, KIND_NAMES[value])] if value in KIND_NAMES else [])
            case Is(field, value):
                return _any_term(self._terms(field, value, kinds))
            case Begins(field, start):
                return self._field_beginning(field, start, kinds, more=more)
            case Says(word):
                return self._saying(word, kinds, more=more)
            case SaysBeginning(start):
                return self._saying_beginning(start, kinds, more=more)

    def _terms(self, field: str, value: str, kinds: Sequence[Kind]) -> list[str]:
        return [term(self._account_no, kind, field, value) for kind in kinds if kind in FIELDS[field]]

    def _field_beginning(self, field: str, start: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        found = [self._values.beginning(one) for one in self._terms(field, start, kinds)]
        long = [self._values.beginning(one + LONG_VALUE) for one in self._terms(field, "", kinds)]
        if long != [[] for _ in long]:  # how these begin can't be seen
            self.exact = False
            found += long if more else []
        return self._any(found, more=more)

    def _saying(self, word: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        terms = [word_term(self._account_no, kind, word) for kind in kinds]
        if len(word) > LONGEST_WORD_TERM:
            self.exact = False
            terms = terms if more else []
        for field in ("user_id", "token_id", "target_id"):
            terms += self._terms(field, word, kinds)
        addresses = self._values.addresses(self._account_no, word) if Kind.ACTION in kinds else []
        return self._any([terms, self._of_addresses(addresses)], more=more)

    def _saying_beginning(self, start: str, kinds: Sequence[Kind], *, more: bool) -> _Part:
        starts = [word_term(self._account_no, kind, start) for kind in kinds]
        for field in ("user_id", "token_id"):
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
        if None in found:
            self.exact = False
            return _EVERYTHING if more else _NOTHING
        return _any_term([one for some in found for one in some or ()])


def _any_term(terms: Sequence[str]) -> _Part:
    return _Part(_or([quote(one) for one in terms]))


def _or(texts: Sequence[str]) -> str | None:
    if not texts:
        return None
    return texts[0] if len(texts) == 1 else f"({' OR '.join(texts)})"


def _all(parts: Sequence[_Part]) -> _Part:
    """All of the parts: those that are no complements, without what the others are complements of."""
    held = [part.text for part in parts if not part.complement]
    if None in held:
        return _NOTHING
    left_out = _or([part.text for part in parts if part.complement and part.text is not None])
    if not held:
        return _Part(left_out, complement=True)
    texts = [text for text in held if text is not None]
    both = texts[0] if len(texts) == 1 else f"({' AND '.join(texts)})"
    return _Part(both if left_out is None else f"({both} NOT {left_out})")
