"""Negotiation: which form of an answer a caller likes most, by its ``Accept`` header (RFC 9110 §12.5.1). Pure."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_QUOTED = r'"(?:[^"\\]|\\.?)*"?'
# These two part any text, and look at none of it twice: a quotation mark that is never closed reaches to the end.
_ITEMS = re.compile(rf"(?:[^,\"]|{_QUOTED})+", re.DOTALL).findall
_PIECES = re.compile(rf"(?:^|;)((?:[^;\"]|{_QUOTED})*)", re.DOTALL).findall
_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_TYPE = re.compile(rf"{_WORD}/{_WORD}", re.ASCII).fullmatch
_PARAMETER = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")', re.ASCII | re.DOTALL).fullmatch
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII).fullmatch

_UTF_8 = ("charset", "utf-8")
"""The parameter that every form of an answer has, said or not."""


class _Range(NamedTuple):
    """One media range, with its weight from 0 to 1."""

    type: str
    parameters: frozenset[tuple[str, str]]
    weight: float

    def specificity(self, offer: str) -> int | None:
        """How closely it describes an offer; None where it does not match it."""
        if self.parameters - {_UTF_8}:
            return None
        levels = {"*/*": 0, f"{offer.partition('/')[0]}/*": 2, offer: 4}
        level = levels.get(self.type)
        return None if level is None else level + len(self.parameters)


def preferred(accept: str | None, offers: Sequence[str]) -> str | None:
    """The one of ``offers`` (media types, the best first) that an ``Accept`` header likes most; None: it takes none.

    For each offer, the weight of the range counts that describes it most closely. What is no media range is passed
    over. Without a header, or with nothing in it, everything is taken.
    """
    if accept is None or not accept.strip(" \t,"):
        return offers[0]
    ranges = list(_ranges(accept))
    weights = {offer: _weight(offer, ranges) for offer in offers}
    best = max(offers, key=weights.__getitem__)
    return best if weights[best] > 0 else None


def _weight(offer: str, ranges: Sequence[_Range]) -> float:
    matching = [(level, one.weight) for one in ranges if (level := one.specificity(offer)) is not None]
    return max(matching, default=(0, 0.0))[1]


def _ranges(accept: str) -> Iterator[_Range]:
    for item in _ITEMS(accept):
        media_type, *pieces = (piece.strip(" \t") for piece in _PIECES(item))
        if _TYPE(media_type) is None:
            continue
        parameters = _parameters(pieces)
        if parameters is None:
            continue
        names = [name for name, _ in parameters]
        before = names.index("q") if "q" in names else len(names)  # what comes after the weight says nothing here
        weight = parameters[before][1] if before < len(names) else "1"
        if _WEIGHT(weight):
            yield _Range(media_type.lower(), frozenset(parameters[:before]), float(weight))


def _parameters(pieces: Sequence[str]) -> list[tuple[str, str]] | None:
    """Names and values in lower case; None where a piece is no parameter."""
    matches = [_PARAMETER(piece) for piece in pieces if piece]
    if any(match is None for match in matches):
        return None
    return [(match[1].lower(), (match[2] or match[3] or "").lower()) for match in matches if match]
