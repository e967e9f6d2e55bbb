"""Pieces: what a search text (``q``) is cut into: parentheses, words that join and negate, and terms.

Knows where a term begins and ends, and what quotation marks and a star are; not what a term means.
"""

import enum
import re
from collections.abc import Callable
from typing import NamedTuple

from whodid.errors import InvalidParameter
from whodid.query.parameters import unrecordable


class Mark(enum.Enum):
    """What a piece is."""

    OPEN = "("
    CLOSE = ")"
    MINUS = "-"
    NOT = "NOT"
    AND = "AND"
    OR = "OR"
    TERM = "term"
    END = "end"


class Piece(NamedTuple):
    """A piece of a search text. All but ``mark`` and ``at`` is of terms alone."""

    mark: Mark
    at: int
    """Its first character, counted from 1."""
    field: str | None = None
    """What stands before the colon; None for free text."""
    text: str = ""
    """What is asked for, without quotation marks and star."""
    text_at: int = 0
    begins: bool = False
    """Whether a star follows: what is asked for is a beginning."""


_SIGNS = {"(": Mark.OPEN, ")": Mark.CLOSE, "-": Mark.MINUS}
_JOINERS = {"NOT": Mark.NOT, "AND": Mark.AND, "OR": Mark.OR}

_SPACE = re.compile(r"\s*").match
_BARE = re.compile(r'[^\s()"]*').match
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL).match
_ESCAPED = re.compile(r'\\(["\\])')
_AFTER_TERM = re.compile(r"[\s)]|\Z").match


def wrong(at: int, detail: str) -> InvalidParameter:
    """The error that something is wrong with a search text, at a character (counted from 1)."""
    return InvalidParameter(f"q, character {at}: {detail}")


def cut(q: str) -> list[Piece]:
    """The pieces of a search text, in order; the last one is its end. Raises ``InvalidParameter``."""
    found = unrecordable(q)
    if found is not None:
        raise wrong(found + 1, "this is NUL or half a surrogate pair, which no record has")
    pieces = []
    at = _end(_SPACE, q, 0)
    while at < len(q):
        piece, at = _cut_one(q, at)
        pieces.append(piece)
        at = _end(_SPACE, q, at)
    return [*pieces, Piece(Mark.END, len(q) + 1)]


def _cut_one(q: str, start: int) -> tuple[Piece, int]:
    """The piece that begins here, and where it ends."""
    if sign := _SIGNS.get(q[start]):
        return Piece(sign, start + 1), start + 1
    bare = q[start : _end(_BARE, q, start)]
    if joiner := _JOINERS.get(bare):
        return Piece(joiner, start + 1), start + len(bare)
    name, colon, _ = bare.partition(":")
    field, text_start = (name, start + len(name) + 1) if colon else (None, start)
    text, begins, end = _cut_text(q, text_start)
    if not _AFTER_TERM(q, end):
        raise wrong(end + 1, _misplaced(q[end], field if end == text_start else None))
    return Piece(Mark.TERM, start + 1, field, text, text_start + 1, begins), end


def _cut_text(q: str, start: int) -> tuple[str, bool, int]:
    """What is asked for, whether it is a beginning, and where it ends, with its star."""
    if not q.startswith('"', start):
        return _cut_bare(q, start)
    match = _QUOTED(q, start)
    if match is None:
        raise wrong(start + 1, 'this quotation mark is never closed (within quotation marks, \\" is one, \\\\ is \\)')
    begins = q.startswith("*", match.end())
    return _ESCAPED.sub(r"\1", match[1]), begins, match.end() + begins


def _cut_bare(q: str, start: int) -> tuple[str, bool, int]:
    end = _end(_BARE, q, start)
    text = q[start:end]
    star = text.find("*")
    if 0 <= star < len(text) - 1:
        raise wrong(start + star + 1, "a star may only stand at the end; in quotation marks it stands for itself")
    return text.removesuffix("*"), star >= 0, end


def _misplaced(sign: str, field: str | None) -> str:
    """What is right where something begins before the one before has ended."""
    if sign == "(" and field is not None:
        return f"a value must follow the colon; any of several is written ({field}:a OR {field}:b)"
    return f'before {sign} must be a space; or put the whole text in quotation marks, in which \\" is one'


def _end(match: Callable[[str, int], re.Match[str] | None], q: str, start: int) -> int:
    """Where what matches from here on ends."""
    found = match(q, start)
    return found.end() if found else start
