"""The search index: which terms an entry has, and how conditions are asked for.

Owns the encoding of values into terms of the FTS5 table ``search``; never runs a statement. FTS5 serves as what it
is inside, an inverted index: a row has the entry's rowid and no content, and a term stands for one exact value of
one key of one account and kind. ``7a`` is on every action of account 7, ``7at:pipeline`` on those of that type.
"""

import hashlib
import operator
from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from whodid.records import MODELS, Body, Kind

_KIND_LETTERS = {Kind.ACTION: "a", Kind.TOKEN: "t"}
_KEY_LETTERS = {
    "type": "t",
    "action": "a",
    "user_id": "u",
    "user_email": "e",
    "target_id": "g",
    "outcome": "o",
    "ip_address": "i",
    "token_id": "k",
    "scope": "s",
}

_LONGEST_VALUE = 200
_MEMO_SIZE = 50_000


def _escape(code: int) -> str:
    character = chr(code)
    if character == "^":
        return "^^"
    return "^" + character.lower() if character.isupper() else f"^{code:02x}"


# The tokenizer takes every character but white space and control characters into a token, and folds A to Z. So these
# are written with a '^' before them: capitals as '^' and the small letter, the others as '^' and two hex digits, of
# which the first is a digit. No two values have the same token, and a prefix of a value is a prefix of its token.
_ESCAPES = {code: _escape(code) for code in (*range(0x21), *range(0x41, 0x5B), 0x5E, 0x7F)}


def encode_value(value: str) -> str:
    """A value as (part of) one token. Injective; very long values are stood for by their SHA-256."""
    if len(value) > _LONGEST_VALUE:
        return "^~" + hashlib.sha256(value.encode()).hexdigest()
    return value.translate(_ESCAPES)


class TermMaker:
    """Makes the terms of entries. Keeps what it encoded lately, since values repeat; one thread uses it."""

    def __init__(self) -> None:
        self._getters: dict[Kind, Callable[[Body], tuple[Any, ...]]] = {
            kind: operator.attrgetter(*model.INDEXED) for kind, model in MODELS.items()
        }
        self._prefixes: dict[tuple[int, Kind], tuple[str, list[str]]] = {}
        self._encoded: dict[str, str] = {}

    def terms(self, account_no: int, kind: Kind, body: Body) -> str:
        """The terms of one entry, with spaces between them: what is inserted into ``search``."""
        every, prefixes = self._prefixes.get((account_no, kind)) or self._make_prefixes(account_no, kind)
        encoded = self._encoded
        parts = [every]
        for prefix, value in zip(prefixes, self._getters[kind](body), strict=True):
            if value is not UNSET and value is not None:
                parts.append(prefix + (encoded.get(value) or self._encode(value)))
        return " ".join(parts)

    def _make_prefixes(self, account_no: int, kind: Kind) -> tuple[str, list[str]]:
        if len(self._prefixes) > _MEMO_SIZE:
            self._prefixes.clear()
        every = _every(account_no, kind)
        made = every, [_prefix(account_no, kind, key) for key in MODELS[kind].INDEXED]
        self._prefixes[account_no, kind] = made
        return made

    def _encode(self, value: str) -> str:
        if len(self._encoded) > _MEMO_SIZE:
            self._encoded.clear()
        encoded = self._encoded[value] = encode_value(value)
        return encoded


def match_expression(account_no: int, kind: Kind, equals: tuple[tuple[str, str], ...]) -> str:
    """The FTS5 query for the entries of one account and kind that have all these exact values."""
    terms = [_prefix(account_no, kind, key) + encode_value(value) for key, value in equals]
    return " AND ".join(_quote(term) for term in terms or [_every(account_no, kind)])


def _every(account_no: int, kind: Kind) -> str:
    return f"{account_no}{_KIND_LETTERS[kind]}"


def _prefix(account_no: int, kind: Kind, key: str) -> str:
    return f"{_every(account_no, kind)}{_KEY_LETTERS[key]}:"


def _quote(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
