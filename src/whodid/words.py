"""Words: what a search for free words looks for in a record.

A word is a run of letters and digits, whatever their case: ``Ann.Lee@acme.example`` has ``ann``, ``lee``, ``acme`` and
``example``; and however its characters are composed (Unicode's NFKC). Owns which parts of a record have words, and how
text is split; the search indexes of the stores and ``conditions.matches`` go by it.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final

from whodid.records import Action, Body

LONGEST_WORD: Final = 64
"""In characters; what is longer counts as its beginning."""

MOST_WORDS: Final = 500
"""How many different words of one record are looked at."""

_RUNS = re.compile(r"[^\W_]+").findall


def split(text: str) -> list[str]:
    """The words of a text, in order: folded, long ones cut. A single ASCII letter or digit is no word."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return [run[:LONGEST_WORD] for run in _RUNS(text.casefold()) if len(run) > 1 or not run.isascii()]


def words_of(body: Body) -> set[str]:
    """The words of a record: of its names, addresses, ids, reason, user agent, and the values of its metadata."""
    found: dict[str, None] = {}  # in order, so that the same ones are left out wherever there are too many
    for text in _texts(body):
        found.update(dict.fromkeys(split(text)))
        if len(found) > MOST_WORDS:
            break
    return set(list(found)[:MOST_WORDS])


def _texts(body: Body) -> Iterator[str]:
    yield str(body.user_id)
    if isinstance(body, Action):
        yield from filter(None, (body.user_email, body.target_id))
    else:
        yield body.token_id
    yield from loose_texts(body)


def loose_texts(body: Body) -> Iterator[str]:
    """The texts of a record that are not the value of a field to search by."""
    given: Iterable[Any] = (body.target_name, body.reason, body.user_agent, body.request_id, body.session_id)
    yield from filter(None, given)
    if body.metadata:
        yield from _values(body.metadata)


def _values(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, list):
        for item in value:
            yield from _values(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
