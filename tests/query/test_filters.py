"""Filters: what parameters ask for together."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.building import NOW_MS, action, token_use

from whodid.conditions import EVERYTHING, FIELDS, All, AnyOf, Is, Not, Says, matches, value_of
from whodid.errors import InvalidParameter
from whodid.query.filters import MOST_VALUES, parse_filters
from whodid.query.language import Asked
from whodid.query.parameters import END_OF_TIME_MS
from whodid.records import DAY_MS, MODELS, Kind

A, B, C = Is("type", "a"), Is("type", "b"), Is("type", "c")


def asked(*parameters: tuple[str, str]) -> Asked:
    """What these parameters ask for, now being NOW_MS."""
    return parse_filters(parameters, NOW_MS)[0]


@pytest.mark.parametrize(
    ("parameters", "condition"),
    [
        ([], EVERYTHING),
        ([("type", "a")], A),
        ([("type", "a"), ("type", "b")], AnyOf((A, B))),
        ([("type", "!a")], Not(A)),
        ([("type", "!a"), ("type", "!b")], All((Not(A), Not(B)))),
        ([("type", "a"), ("type", "!b"), ("type", "c")], All((AnyOf((A, C)), Not(B)))),
        ([("user_id", "AB" * 12), ("kind", "action")], All((Is("kind", "action"), Is("user_id", "ab" * 12)))),
        ([("target_id", "a*"), ("target_id", "!!b")], All((Is("target_id", "a*"), Not(Is("target_id", "!b"))))),
        ([("q", "-type:b free"), ("type", "a")], All((A, Not(B), Says("free")))),
        ([("q", "type:a OR type:b"), ("type", "c")], All((C, AnyOf((A, B))))),
    ],
)
def test_filters_are_one_condition(parameters: list[tuple[str, str]], condition: Any) -> None:
    """Any of a field's plain values and none of its others; all fields and q at once."""
    assert asked(*parameters) == Asked(condition)


@given(st.lists(st.tuples(st.sampled_from(["type", "scope"]), st.sampled_from(["a", "!a", "b", "!b"]))))
def test_filters_hold_for_what_they_say(parameters: list[tuple[str, str]]) -> None:
    """Held against the rule, told in another way: field by field."""
    records = [msgspec.convert(action(type=one), MODELS[Kind.ACTION]) for one in "abc"]
    records += [msgspec.convert(token_use(scope=one), MODELS[Kind.TOKEN]) for one in "abc"]
    condition = asked(*parameters).condition
    for body in records:
        expected = True
        for field in FIELDS:
            values = [value for name, value in parameters if name == field]
            plain = [value for value in values if value[0] != "!"]
            if plain and value_of(body, field) not in plain:
                expected = False
            if f"!{value_of(body, field)}" in values:
                expected = False
        assert matches(condition, body) is expected


def test_the_window_is_that_of_all_who_name_one() -> None:
    """Since and until, and created in q; since is inclusive, until is not."""
    assert asked(("since", "7d")) == Asked(EVERYTHING, NOW_MS - 7 * DAY_MS, END_OF_TIME_MS)
    assert asked(("until", "7d")) == Asked(EVERYTHING, 0, NOW_MS - 7 * DAY_MS)
    both = asked(("since", "7d"), ("q", "created:>=3d created:<2d"), ("until", "1627661632109"))
    assert both == Asked(EVERYTHING, NOW_MS - 3 * DAY_MS, NOW_MS - 2 * DAY_MS)
    assert asked(("since", "1970-01-01")).has_beginning
    assert asked(("q", "created:>=1970-01-01")).has_beginning
    assert not asked(("until", "7d")).has_beginning


def test_a_window_may_be_empty_but_not_backwards() -> None:
    """Who asks from one moment to the next may meet the same one."""
    assert asked(("since", "1d"), ("until", "1d")).since_ms == NOW_MS - DAY_MS
    with pytest.raises(InvalidParameter, match=r"since must not be after until; 2021-07-29T.* is after 2021-07-28T"):
        asked(("since", "1d"), ("until", "2d"))
    with pytest.raises(InvalidParameter, match=r"since \(or created in q\) must not be after until"):
        asked(("since", "1d"), ("q", "created:<2d"))
    with pytest.raises(InvalidParameter, match=r"since \(or created in q\) must not be after until"):
        asked(("until", "2021-07-30"), ("q", "created:>2109-05-15"))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([("type", "")], "type must have a value"),
        ([("type", "!")], "type must have a value"),
        ([("type", "A")], "type must be 1 to 64 lower-case letters"),
        ([("kind", "user")], 'kind must be action or token, not "user"'),
        ([("outcome", "!sucess")], 'outcome must be success, failure or denied, not "sucess"'),
        ([("user_id", "!zz")], 'user_id must be 24 hex digits, not "zz"'),
        ([("token_id", "a" * 23)], "token_id must be 24 hex digits"),
        ([("user_email", "ann")], 'user_email must be an e-mail address, not "ann"'),
        ([("ip_address", "home")], "ip_address must be an IPv4 or IPv6 address"),
        ([("target_id", "\0")], "target_id must not have NUL"),
        ([("target_id", "!\ud800")], "target_id must not have NUL or half a surrogate pair"),
        ([("target_id", "a" * 257)], "target_id must have at most 256 characters, not 257"),
        ([("typ", "a")], 'no parameter "typ" here; there are kind, type, .*, ip_address, since, until, q, limit$'),
        ([("order", "asc")], 'there is no parameter "order" here'),
        ([("q", "ab"), ("q", "ab")], "q is given more than once"),
        ([("since", "7d"), ("since", "7d")], "since is given more than once"),
        ([("limit", "1"), ("limit", "1")], "limit is given more than once"),
        ([("q", " ")], "q must not be empty; leave it out"),
        ([("q", "usr:x")], "q, character 1: there is no field"),
        ([("since", "")], "since must be a time like"),
        ([("until", "soon")], "until must be a time like"),
        ([("type", "a")] * (MOST_VALUES + 1), "filters must have at most 100 values in all, not 101"),
    ],
)
def test_what_can_not_be_asked_is_refused(parameters: list[tuple[str, str]], message: str) -> None:
    """A typing slip must not widen an answer."""
    with pytest.raises(InvalidParameter, match=message):
        parse_filters(parameters, NOW_MS, more=("limit",))


def test_other_parameters_are_handed_on() -> None:
    """Those that the call has besides, as they are, where they were given."""
    parameters = [("limit", "5"), ("type", "a")]
    assert parse_filters(parameters, NOW_MS, more=("limit", "order")) == (Asked(A), {"limit": "5"})


@given(st.lists(st.tuples(st.sampled_from([*FIELDS, "since", "until", "q", "x"]), st.text(max_size=8)), max_size=4))
def test_any_parameters_are_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    """Nothing else is raised, and the error can be sent."""
    try:
        found = asked(*parameters)
    except InvalidParameter as refused:
        error = refused
    else:
        assert 0 <= found.since_ms <= found.until_ms <= END_OF_TIME_MS
        return
    assert error.message.encode()
