"""The language of searches: from a text (``q``) to a condition and a window of time.

::

    any     = all *( "OR" all )
    all     = term *( [ "AND" ] term )
    term    = ( "-" | "NOT" ) term | "(" any ")" | field ":" value | "created" ":" times | words
    value   = ( bare | quoted ) [ "*" ]        a star: what begins so
    words   = ( bare | quoted ) [ "*" ]        a star: the last word begins so
    times   = ">=" time | ">" time | "<=" time | "<" time | day | time ".." time

``docs/API.md`` tells it to people. Works in time linear in the length of the text, and in bounded depth.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from whodid.conditions import EVERYTHING, FIELDS, Condition, Says, SaysBeginning
from whodid.errors import InvalidParameter
from whodid.query.fields import ALIASES, all_of, any_of, field_begins, named_is, negated
from whodid.query.parameters import END_OF_TIME_MS, is_day, parse_span, quoted
from whodid.query.pieces import Mark, Piece, cut, wrong
from whodid.words import split

LONGEST_Q: Final = 4096
"""In characters."""

MOST_TERMS: Final = 100
"""Fields and words, each time that they occur."""

MOST_LEVELS: Final = 20
"""Of parentheses and negations."""

CREATED: Final = "created"
"""What times are asked for by; no field, since a time is no condition but the window."""

NAMES: Final[dict[str, tuple[str, ...]]] = {name: (name,) for name in FIELDS} | ALIASES
"""What may stand before a colon, but ``created``, and the fields that it means."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for: a condition, in the window ``[since_ms, until_ms)`` of ``createdAt``."""

    condition: Condition = EVERYTHING
    since_ms: int = 0
    until_ms: int = END_OF_TIME_MS
    has_beginning: bool = field(default=False, compare=False)
    """Whether it was said since when, even if that is 1970."""


def parse_q(text: str, now_ms: int) -> Asked:
    """What a search text asks for; everything, if there is nothing in it.

    Raises ``InvalidParameter``, with the character where it is wrong.
    """
    if len(text) > LONGEST_Q:
        raise InvalidParameter(f"q must have at most {LONGEST_Q} characters, not {len(text)}")
    pieces = cut(text)
    return _Parser(pieces, now_ms).parse() if len(pieces) > 1 else Asked()


class _Parser:
    """Recursive descent: a method for each line of the grammar, called at the first piece of what it reads."""

    def __init__(self, pieces: list[Piece], now_ms: int) -> None:
        self._pieces = pieces
        self._next = 0
        self._now_ms = now_ms
        self._terms = 0
        self._created: Piece | None = None
        self._window = Asked()

    def parse(self) -> Asked:
        condition = self._any(0)
        if self._mark is not Mark.END:
            raise wrong(self._pieces[self._next].at, "there is no '(' for this ')'")
        return replace(self._window, condition=condition)

    @property
    def _mark(self) -> Mark:
        return self._pieces[self._next].mark

    def _take(self) -> Piece:
        """The next piece, and go on behind it; the end stays."""
        piece = self._pieces[self._next]
        self._next += piece.mark is not Mark.END
        return piece

    def _any(self, level: int) -> Condition:
        parts = [self._all(level)]
        while self._mark is Mark.OR:
            self._take()
            parts.append(self._all(level))
        if level == 0 and len(parts) > 1 and self._created is not None:
            raise _created_within(self._created)
        return any_of(parts)

    def _all(self, level: int) -> Condition:
        parts = [self._term(level)]
        while self._mark not in (Mark.OR, Mark.CLOSE, Mark.END):
            if self._mark is Mark.AND:
                self._take()
            parts.append(self._term(level))
        return all_of(parts)

    def _term(self, level: int) -> Condition:
        piece = self._take()
        match piece.mark:
            case Mark.MINUS | Mark.NOT:
                return self._negated(piece, _deeper(piece, level))
            case Mark.OPEN:
                return self._group(piece, _deeper(piece, level))
            case Mark.TERM if piece.field == CREATED:
                self._count(piece, 1)
                return self._narrow(piece, level)
            case Mark.TERM if piece.field is not None:
                self._count(piece, 1)
                return _field_condition(piece, piece.field)
            case Mark.TERM:
                says = _says(piece)
                self._count(piece, len(says))
                return all_of(says)
        found = {Mark.END: "the end", Mark.CLOSE: "')'"}.get(piece.mark, f"{piece.mark.value} (a word if in quotes)")
        raise wrong(piece.at, f"a field like type:pipeline, a word or '(' must stand here, not {found}")

    def _negated(self, sign: Piece, level: int) -> Condition:
        if sign.mark is Mark.MINUS and self._pieces[self._next].at != sign.at + 1:
            raise wrong(sign.at, "'-' must stand directly before what it negates; in quotation marks it is text")
        return negated(self._term(level))

    def _group(self, opening: Piece, level: int) -> Condition:
        condition = self._any(level)
        if self._take().mark is not Mark.CLOSE:
            raise wrong(opening.at, "this '(' is never closed")
        return condition

    def _count(self, piece: Piece, terms: int) -> None:
        self._terms += terms
        if self._terms > MOST_TERMS:
            raise wrong(piece.at, f"there must be at most {MOST_TERMS} terms; these are more")

    def _narrow(self, piece: Piece, level: int) -> Condition:
        """Take times into the window; what is left is no condition."""
        if level > 0:
            raise _created_within(piece)
        self._created = piece
        times, window = _times(piece, self._now_ms), self._window
        self._window = Asked(
            EVERYTHING,
            max(window.since_ms, times.since_ms),
            min(window.until_ms, times.until_ms),
            window.has_beginning or times.has_beginning,
        )
        if self._window.since_ms > self._window.until_ms:
            raise wrong(piece.at, "there is no time that is in this and in the other created")
        return EVERYTHING


def _deeper(piece: Piece, level: int) -> int:
    if level == MOST_LEVELS:
        raise wrong(piece.at, f"parentheses and negations must be at most {MOST_LEVELS} deep in each other")
    return level + 1


def _created_within(piece: Piece) -> InvalidParameter:
    return wrong(
        piece.at,
        "created must stand beside all else: not in parentheses, not negated, not in OR, "
        "as in created:>=7d (type:a OR type:b)",
    )


def _field_condition(piece: Piece, name: str) -> Condition:
    fields = NAMES.get(name)
    if fields is None:
        raise wrong(
            piece.at,
            f"there is no field {quoted(name)}; there are {', '.join([*NAMES, CREATED])}; "
            "text with a colon must be in quotation marks",
        )
    if not piece.text and not piece.begins:
        raise wrong(piece.text_at, f"{name}: must have a value directly behind it")
    if not piece.text:
        raise wrong(piece.text_at, "before a star must be at least 1 character")
    try:
        if piece.begins:
            return any_of([field_begins(one, piece.text) for one in fields])
        return named_is(name, fields, piece.text)
    except InvalidParameter as error:
        raise wrong(piece.text_at, error.message) from None


def _says(piece: Piece) -> list[Condition]:
    """The words of a free text; with a star, the last one is the beginning of a word."""
    words = split(piece.text)
    if piece.begins:
        if not all(map(str.isalnum, f"..{piece.text.casefold()}"[-2:])):
            raise wrong(piece.at, "before a star must be at least 2 letters or digits")
        return [*map(Says, words[:-1]), SaysBeginning(words[-1])]
    if not words:
        raise wrong(piece.at, f"there is no word in {quoted(piece.text)}: a word has at least 2 letters or digits")
    return [*map(Says, words)]


def _times(piece: Piece, now_ms: int) -> Asked:
    """The window that a ``created`` means."""
    if piece.begins:
        raise wrong(piece.text_at, "created has no star; give a day, or a range like 2026-01-01..2026-01-31")
    sign = next((sign for sign in (">=", "<=", ">", "<") if piece.text.startswith(sign)), "")
    text = piece.text.removeprefix(sign)
    first, dots, last = text.partition("..")
    if dots and not sign:
        return _range(piece, first, last, now_ms)
    if not sign and not is_day(text):
        raise wrong(
            piece.text_at,
            f"created: must be followed by >=, >, <= or < and a time, by a day like 2026-01-01, or by a range like "
            f"2026-01-01..2026-01-31, not by {quoted(text)}",
        )
    begin_ms, end_ms = _span(piece, text, now_ms)
    match sign:
        case ">=":
            return Asked(since_ms=begin_ms, has_beginning=True)
        case ">":
            return Asked(since_ms=end_ms, has_beginning=True)
        case "<":
            return Asked(until_ms=begin_ms)
        case "<=":
            return Asked(until_ms=end_ms)
    return Asked(EVERYTHING, begin_ms, end_ms, has_beginning=True)


def _range(piece: Piece, first: str, last: str, now_ms: int) -> Asked:
    """From the beginning of the first to the end of the last."""
    begin_ms, end_ms = _span(piece, first, now_ms)[0], _span(piece, last, now_ms)[1]
    if begin_ms >= end_ms:
        raise wrong(piece.text_at, f"the range must not end before it begins: {quoted(first)}..{quoted(last)}")
    return Asked(EVERYTHING, begin_ms, end_ms, has_beginning=True)


def _span(piece: Piece, text: str, now_ms: int) -> tuple[int, int]:
    try:
        return parse_span(text, CREATED, now_ms)
    except InvalidParameter as error:
        raise wrong(piece.text_at, error.message) from None
