"""Terms: the lexemes that an entry is searched by. Pure.

A lexeme is the account's number, a letter, and a value: ``7aupdate`` is on every action ``update`` of account 7,
``7wann`` on every action of it that has the word ``ann``, ``7Wann`` on every such use of a token. So no lexeme is of
two accounts or kinds: how frequent it is can be known. And the start of a value is the start of a lexeme.

An id that is a word as it stands is not there twice: its lexeme stands for both. Types and scopes have no lexemes, but
columns with an index that has them in order of time.
"""

import re
import struct
from functools import lru_cache
from typing import Final, NamedTuple

from whodid.records import Action, Body
from whodid.words import LONGEST_WORD, MOST_WORDS, loose_texts, split, words_of

# Of actions; those of token uses are capitals.
LETTERS: Final = {
    "action": "a",
    "user_id": "u",
    "user_email": "e",
    "token_id": "k",
    "outcome": "o",
    "ip_address": "i",
}
WORD: Final = "w"
TARGET_WORD: Final = "g"
"""Of a ``target_id`` that is a word as it stands, which is not kept as a word once more."""
TARGET: Final = "h"
"""Of any other ``target_id``."""
_END: Final = "\0\0\0"
"""After each lexeme, as PostgreSQL reads it: the end of its text, and the number of its positions."""

_MANY_WORDS: Final = MOST_WORDS - 4
"""So many are counted as ``words_of`` counts them: of one with more, not all are looked at."""

is_plain_word = re.compile(f"[0-9a-z]{{2,{LONGEST_WORD}}}").fullmatch
"""Whether a text is a word as it stands, of the letters and digits of ASCII."""

_count = struct.Struct(">i").pack
_ESCAPES: Final = {0: "\1\1", 1: "\1\2"}


class _Part(NamedTuple):
    """What some fields contribute to an entry's lexemes."""

    lexemes: int
    made: str
    """The lexemes, those of words too."""
    words: frozenset[str]


def lexemes(account_no: int, body: Body) -> bytes:
    """The lexemes of an entry, in PostgreSQL's binary form of ``tsvector``; each once, in any order."""
    outcome, address = body.outcome or None, body.ip_address or None
    words, word_letter = set[str](), WORD
    if isinstance(body, Action):
        target = body.target_id or ""
        who = _part(account_no, "ue", (body.user_id, body.user_email or None))
        what = _part(account_no, "aoi", (body.action, outcome, address))
        if not target:
            which = ""
        elif is_plain_word(target):  # most are, and there may be many of them
            which = f"{account_no}{TARGET_WORD}{target}{_END}"
        else:
            which = _lexeme(account_no, TARGET, target)
            words.update(_split(target))
    else:
        target = body.token_id
        who = _part(account_no, "UK", (body.user_id, target))
        what = _part(account_no, "OI", (outcome, address))
        which, word_letter = "", WORD.upper()
    for text in loose_texts(body):
        if is_plain_word(text):
            words.add(text)
        else:
            words.update(_split(text))
    count = who.lexemes + what.lexemes + bool(which)
    if not words:
        return _count(count) + (who.made + what.made + which).encode()
    if len(words) + len(who.words) >= _MANY_WORDS:
        words = words_of(body)
    words -= who.words
    words.discard(str(body.user_id))
    if is_plain_word(target):
        words.discard(target)
    spoken = "".join([f"{account_no}{word_letter}{word}{_END}" for word in words])
    return _count(count + len(words)) + f"{who.made}{what.made}{which}{spoken}".encode()


def read_lexemes(made: bytes) -> frozenset[bytes]:
    """The lexemes in PostgreSQL's binary form, so that two of them can be compared."""
    return frozenset(made[4:].split(_END.encode())[:-1])


@lru_cache(maxsize=20_000)
def _part(no: int, letters: str, values: tuple[str | None, ...]) -> _Part:
    """What the values of some fields contribute; values repeat."""
    there = [(letter, value) for letter, value in zip(letters, values, strict=True) if value is not None]
    users = {value for letter, value in there if letter == "u"}
    words = frozenset(word for letter, value in there if letter == "e" for word in split(value)) - users
    made = [_lexeme(no, letter, value) for letter, value in there] + [_lexeme(no, WORD, word) for word in words]
    return _Part(len(made), "".join(made), words)


@lru_cache(maxsize=20_000)
def _split(text: str) -> tuple[str, ...]:
    return tuple(split(text))


def lexeme(no: int, letter: str, value: str) -> str:
    """The lexeme of a value of an account.

    PostgreSQL's texts can't have the character 0, so it is written otherwise: no two values become one, and what a
    value begins with stays so.
    """
    return f"{no}{letter}{value.translate(_ESCAPES)}"


def _lexeme(no: int, letter: str, value: str) -> str:
    return lexeme(no, letter, value) + _END
