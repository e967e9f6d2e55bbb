"""The search index: which terms an entry has, and how conditions are asked for.

Owns the encoding of values into terms of the FTS5 table ``search``; never runs a statement. FTS5 serves as what it
is inside, an inverted index: a row has the entry's rowid and no content, and a term stands for one exact value of
one key of one account and kind. ``7a`` is on every action of account 7, ``7at:pipeline`` on those of that type.
"""

import hashlib
import re
from collections.abc import Callable, Iterable

from whodid.records import Action, Body, Kind
from whodid.words import LONGEST_WORD, split, words_of

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

LONG_VALUE = "^~"
"""How the token of a value begins that is stood for by its SHA-256."""

LONGEST_WORD_TERM = 12
"""A word's term has no more of it: long ones are ids, mostly, and these are told apart by less."""

_MEMO_SIZE = 20_000

_FEW_WORDS = 1000
"""Terms of so many characters are of at most a half of the words that count."""


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
        return LONG_VALUE + hashlib.sha256(value.encode()).hexdigest()
    return value.translate(_ESCAPES)


class _Memo(dict[tuple[str, str], str]):
    """What is made of a text for an account and kind, kept for a while: texts repeat."""

    def __init__(self, make: Callable[[str, str], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: tuple[str, str]) -> str:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        made = self[key] = self._make(*key)
        return made


def _word_terms(at: str, words: Iterable[str]) -> str:
    return "".join([f" {at}w:{word[:LONGEST_WORD_TERM]}" for word in words])


def _text_terms(at: str, text: str) -> str:
    return f" {at}w:{text[:LONGEST_WORD_TERM]}" if is_word(text) else _word_terms(at, split(text))


def _email_terms(at: str, email: str) -> str:
    return f" {at}e:{encode_value(email)}"


def _target_terms(at: str, target: str) -> str:
    return f" {at}g:{encode_value(target)}" + ("" if is_word(target) else _word_terms(at, split(target)))


is_word = re.compile(f"[a-z0-9]{{2,{LONGEST_WORD}}}").fullmatch
"""Whether a text is a word and nothing else; of those that are, the most."""


class TermMaker:
    """Makes the terms of entries. One thread at a time uses it.

    The keys are spelt out, since this is done for every event: ``_KEY_LETTERS`` says the same to ``match_expression``.
    Values of keys whose rules allow nothing that must be encoded stand as they are; so do words. An id that is a word
    by itself has no term as a word: whoever looks for the word looks for the ids, too. Nor have the words of addresses:
    a table knows which addresses have a word.
    """

    def __init__(self) -> None:
        self._emails = _Memo(_email_terms)
        self._targets = _Memo(_target_terms)
        self._addresses = _Memo(lambda at, address: f" {at}i:{encode_value(address)}")
        self._texts = _Memo(_text_terms)

    def terms(self, account_no: int, body: Body) -> str:
        """The terms of one entry, with spaces between them: what is inserted into ``search``."""
        if isinstance(body, Action):
            at = f"{account_no}a"
            terms = f"{at} {at}t:{body.type} {at}a:{body.action} {at}u:{body.user_id}"
            if body.user_email:
                terms += self._emails[at, body.user_email]
            if body.target_id:
                terms += self._targets[at, body.target_id]
        else:
            at = f"{account_no}t"
            terms = f"{at} {at}k:{body.token_id} {at}s:{body.scope} {at}u:{body.user_id}"
        if body.outcome:
            terms += f" {at}o:{body.outcome}"
        if body.ip_address:
            terms += self._addresses[at, body.ip_address]
        return terms + self._loose(at, body)

    def _loose(self, at: str, body: Body) -> str:
        """The terms of the words that are in no field to search by; of one with too many words, those that count."""
        name, agent, request, session = body.target_name, body.user_agent, body.request_id, body.session_id
        if body.metadata or body.reason:
            return self._counted_words(at, body)
        terms = ""
        if agent:
            terms = self._texts[at, agent]
        if name:
            terms += self._texts[at, name]
        if request:
            terms += _text_terms(at, request)
        if session:
            terms += _text_terms(at, session)
        return terms if len(terms) < _FEW_WORDS else self._counted_words(at, body)

    def _counted_words(self, at: str, body: Body) -> str:
        """The same of any record: of one with many words, not all count."""
        elsewhere = {body.user_id, body.target_id} if isinstance(body, Action) else {body.user_id, body.token_id}
        if isinstance(body, Action) and body.user_email:
            elsewhere |= set(split(body.user_email))
        return _word_terms(at, sorted(words_of(body) - elsewhere))


def match_expression(account_no: int, kind: Kind, equals: tuple[tuple[str, str], ...]) -> str:
    """The FTS5 query for the entries of one account and kind that have all these exact values."""
    terms = [term(account_no, kind, key, value) for key, value in equals]
    return " AND ".join(quote(one) for one in terms or [every_term(account_no, kind)])


def every_term(account_no: int, kind: Kind) -> str:
    """The term that all entries of an account and kind have."""
    return f"{account_no}{_KIND_LETTERS[kind]}"


def term(account_no: int, kind: Kind, field: str, value: str) -> str:
    """The term of an exact value; that of a value's beginning is the beginning of the value's term."""
    return f"{every_term(account_no, kind)}{_KEY_LETTERS[field]}:{encode_value(value)}"


def value_in(one: str) -> str:
    """The value in a term, encoded."""
    return one.partition(":")[2]


def word_term(account_no: int, kind: Kind, word: str) -> str:
    """The term of a word that has one; others may have it too where the word is longer than ``LONGEST_WORD_TERM``."""
    return f"{every_term(account_no, kind)}w:{word[:LONGEST_WORD_TERM]}"


def quote(text: str) -> str:
    """A term as FTS5 takes it for nothing else."""
    return '"' + text.replace('"', '""') + '"'
