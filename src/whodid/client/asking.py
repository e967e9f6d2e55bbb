"""Asking: filters and times of Python as the parameters of a call."""

from datetime import date, datetime
from typing import Any

from whodid.client.calls import Parameters
from whodid.client.shapes import Filters
from whodid.errors import InvalidParameter
from whodid.query.parameters import parse_moment

_TIMES = ("since", "until")
_FILTERS = tuple(Filters.__annotations__)


def parameters(q: str | None, filters: Filters, **more: Any) -> Parameters:
    """The parameters of a call; None stands for what was not given. Raises ``InvalidParameter``."""
    for name in filters:
        if name not in _FILTERS:
            raise InvalidParameter(f"there is no filter {name}; there are {', '.join(_FILTERS)}")
    given: list[tuple[str, str]] = [] if q is None else [("q", q)]
    for name, value in {**filters, **more}.items():
        given += [(name, text) for text in _texts(name, value)]
    return tuple(given)


def fixed(filters: Filters, now_ms: int) -> Filters:
    """The same filters, with ages like ``7d`` as times: so they mean the same in every further call."""
    made = filters.copy()
    if since := made.get("since"):
        made["since"] = parse_moment(_moment("since", since), "since", now_ms)
    if until := made.get("until"):
        made["until"] = parse_moment(_moment("until", until), "until", now_ms)
    return made


def _texts(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if name in _TIMES:
        return [_moment(name, value)]
    if isinstance(value, str | int):
        return [str(value)]
    texts = list(value)
    if not texts:
        raise InvalidParameter(f"{name} must be a value or some values, not an empty list; leave it out to have any")
    return texts


def _moment(name: str, value: Any) -> str:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise InvalidParameter(f"{name} must have a time zone, like datetime.now(UTC), not {value}")
        return value.isoformat()
    return value.isoformat() if isinstance(value, date) else str(value)
