"""Parameters: names and values as decoded from a URL, and what all calls take alike: times, ages, numbers, ids.

A parameter that is not known, or given twice where once is meant, is an error: a typing slip must not widen an answer.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

from whodid.errors import InvalidParameter
from whodid.records import DAY_MS, MAX_TIME_MS, Id, parse_time, pattern_of

Parameters: TypeAlias = Sequence[tuple[str, str]]

END_OF_TIME_MS = MAX_TIME_MS + 1
"""The end of a window that has none: after all times that can be recorded."""

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": DAY_MS, "w": 7 * DAY_MS}
_AGE = re.compile(r"([1-9][0-9]{0,8})([smhdw])", re.ASCII).fullmatch
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII).fullmatch
_EPOCH_MS = re.compile(r"[0-9]{12,13}", re.ASCII).fullmatch
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII).fullmatch
_ID = pattern_of(Id)
_NOWHERE = re.compile(r"[\x00\ud800-\udfff]")


def once_each(parameters: Parameters, known: tuple[str, ...]) -> dict[str, str]:
    """The parameters by name. Raises ``InvalidParameter`` for one that is not of the ``known``, or given twice."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in known:
            there = ", ".join(known) or "none"
            raise InvalidParameter(f"there is no parameter {quoted(name)} here; there are {there}")
        if name in given:
            raise InvalidParameter(f"{name} is given more than once; give it once")
        given[name] = value
    return given


def quoted(text: str) -> str:
    """What was given, for an error message: in quotation marks, shortened, and such that it can be sent."""
    shown = text[:60].encode("utf-8", "replace").decode()
    return f'"{shown}"' if len(text) <= 60 else f'"{shown}…"'


def unrecordable(text: str) -> int | None:
    """Where a text has its first character that no record has: NUL, or half of a surrogate pair; None: nowhere."""
    found = _NOWHERE.search(text)
    return found.start() if found else None


def parse_id(text: str) -> str:
    """The ``_id`` that a path names. Raises ``InvalidParameter``, which does not repeat what the path has instead."""
    assert _ID is not None
    if _ID.fullmatch(text) is None:
        raise InvalidParameter("the _id in the path must be 24 hex digits in lower case")
    return text


def parse_whole(text: str, name: str, least: int, most: int) -> int:
    """A whole number within limits, without sign and leading zeros. Raises ``InvalidParameter``."""
    if _WHOLE(text) is None or not least <= int(text) <= most:
        raise InvalidParameter(f"{name} must be a whole number from {least} to {most}, not {quoted(text)}")
    return int(text)


def parse_choice(text: str, name: str, choices: Sequence[str]) -> str:
    """One of the values that there are. Raises ``InvalidParameter``."""
    if text not in choices:
        raise InvalidParameter(f"{name} must be one of {', '.join(choices)}, not {quoted(text)}")
    return text


def parse_age(text: str, name: str) -> int:
    """Milliseconds of an age like ``30s``, ``13m``, ``1h``, ``3d`` or ``2w``. Raises ``InvalidParameter``."""
    match = _AGE(text)
    if match is None:
        raise InvalidParameter(
            f"{name} must be a number and s, m, h, d or w, like 30s, 13m, 1h, 3d, 2w, not {quoted(text)}"
        )
    return int(match[1]) * _UNITS_MS[match[2]]


def is_day(text: str) -> bool:
    """Whether this has the form of a day, ``YYYY-MM-DD``."""
    return _DAY(text) is not None


def parse_day(text: str, name: str) -> int:
    """Epoch milliseconds of the beginning of a day, in UTC. Raises ``InvalidParameter``."""
    try:
        return parse_time(f"{text}T00:00:00Z" if is_day(text) else "")
    except ValueError:
        raise InvalidParameter(
            f"{name} must be a day like 2021-07-30 (YYYY-MM-DD) between 1970 and 2109, not {quoted(text)}"
        ) from None


def parse_moment(text: str, name: str, now_ms: int) -> int:
    """Epoch milliseconds of a time (RFC 3339), a day's beginning (UTC), epoch milliseconds, or an age ago.

    Epoch milliseconds have 12 or 13 digits: so seconds are refused, not taken for 1970. Raises ``InvalidParameter``.
    """
    return parse_span(text, name, now_ms)[0]


def parse_span(text: str, name: str, now_ms: int) -> tuple[int, int]:
    """As ``parse_moment``, with the end (exclusive): a day is long, all else is one millisecond."""
    if is_day(text):
        first_ms = parse_day(text, name)
        return first_ms, min(first_ms + DAY_MS, END_OF_TIME_MS)
    if _AGE(text):
        moment_ms = max(0, now_ms - parse_age(text, name))
    elif _EPOCH_MS(text) and int(text) <= MAX_TIME_MS:
        moment_ms = int(text)
    else:
        moment_ms = _parse_time(text, name)
    return moment_ms, moment_ms + 1


def _parse_time(text: str, name: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        hint = "; in a URL, '+' is written %2B" if " " in text else ""
        raise InvalidParameter(
            f"{name} must be a time like 2021-07-30T16:13:52.109Z, a day like 2021-07-30, milliseconds since 1970 "
            f"(12 or 13 digits), or an age like 7d, not {quoted(text)}{hint}"
        ) from None
