"""Filters: the parameters that search, feed, summary and export have in common; together they are one condition."""

from whodid.conditions import FIELDS, Condition
from whodid.errors import InvalidParameter
from whodid.query.fields import all_of, any_of, field_is, negated
from whodid.query.language import Asked, parse_q
from whodid.query.parameters import END_OF_TIME_MS, Parameters, once_each, parse_moment
from whodid.records import MAX_TIME_MS, render_time

MOST_VALUES = 100
"""How many values filters may have in all."""

WINDOW = ("since", "until", "q")


def parse_filters(parameters: Parameters, now_ms: int, *, more: tuple[str, ...] = ()) -> tuple[Asked, dict[str, str]]:
    """What filters, ``since``, ``until`` and ``q`` ask for together, and the parameters named in ``more``, by name.

    A filter may be given several times. ``since`` is inclusive, ``until`` is not. Raises ``InvalidParameter``.
    """
    filters = [(name, value) for name, value in parameters if name in FIELDS]
    others = [(name, value) for name, value in parameters if name not in FIELDS]
    given = once_each(others, (*FIELDS, *WINDOW, *more))
    asked = _parse_q(given["q"], now_ms) if "q" in given else Asked()
    condition = all_of([*_conditions(filters), asked.condition])
    since_ms = parse_moment(given["since"], "since", now_ms) if "since" in given else 0
    until_ms = parse_moment(given["until"], "until", now_ms) if "until" in given else END_OF_TIME_MS
    _check_order(since_ms, until_ms, "since", "until")
    since_ms, until_ms = max(since_ms, asked.since_ms), min(until_ms, asked.until_ms)
    _check_order(since_ms, until_ms, "since (or created in q)", "until (or created in q)")
    has_beginning = asked.has_beginning or "since" in given
    return Asked(condition, since_ms, until_ms, has_beginning), {name: given[name] for name in more if name in given}


def _parse_q(text: str, now_ms: int) -> Asked:
    if not text.strip():
        raise InvalidParameter("q must not be empty; leave it out to ask for everything")
    return parse_q(text, now_ms)


def _conditions(filters: Parameters) -> list[Condition]:
    """For each field: any of the plain values, and none of those after a ``!``."""
    if len(filters) > MOST_VALUES:
        raise InvalidParameter(f"filters must have at most {MOST_VALUES} values in all, not {len(filters)}")
    conditions: list[Condition] = []
    for field in FIELDS:
        values = [value for name, value in filters if name == field]
        plain: list[Condition] = [field_is(field, value) for value in values if not value.startswith("!")]
        if plain:
            conditions.append(any_of(plain))
        conditions += [negated(field_is(field, value[1:])) for value in values if value.startswith("!")]
    return conditions


def _check_order(since_ms: int, until_ms: int, since: str, until: str) -> None:
    if since_ms > until_ms:
        times = [render_time(min(time_ms, MAX_TIME_MS)) for time_ms in (since_ms, until_ms)]
        raise InvalidParameter(f"{since} must not be after {until}; {times[0]} is after {times[1]}")
