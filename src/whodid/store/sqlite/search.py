"""The search index: which terms an entry has, and how conditions are asked for.

Owns the encoding of values into terms of the FTS5 table ``search``; never runs a statement. FTS5 serves as what it
is inside, an inverted index: a row has the entry's rowid and no content, and a term stands for one exact value of
one key of one account and kind. ``7a`` is on every action of account 7, ``7at:pipeline`` on those of that type.
"""

import hashlib

from whodid.records import Action, Body, Kind

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
_MEMO_SIZE = 20_000


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


class _Encoded(dict[str, str]):
    """Values as they are encoded, kept for a while: values repeat."""

    def __missing__(self, value: str) -> str:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        encoded = self[value] = encode_value(value)
        return encoded


class TermMaker:
    """Makes the terms of entries. One thread at a time uses it.

    The keys are spelt out, since this is done for every event: ``_KEY_LETTERS`` says the same to ``match_expression``.
    Values of keys whose rules allow nothing that must be encoded stand as they are.
    """

    def __init__(self) -> None:
        self._encoded = _Encoded()

    def terms(self, account_no: int, body: Body) -> str:
        """The terms of one entry, with spaces between them: what is inserted into ``search``."""
        if isinstance(body, Action):
            at = f"{account_no}a"
            terms = f"{at} {at}t:{body.type} {at}a:{body.action} {at}u:{body.user_id}"
            if body.user_email:
                terms += f" {at}e:{self._encoded[body.user_email]}"
            if body.target_id:
                terms += f" {at}g:{self._encoded[body.target_id]}"
        else:
            at = f"{account_no}t"
            terms = f"{at} {at}k:{body.token_id} {at}s:{body.scope} {at}u:{body.user_id}"
        if body.outcome:
            terms += f" {at}o:{body.outcome}"
        if body.ip_address:
            terms += f" {at}i:{self._encoded[body.ip_address]}"
        return terms


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
