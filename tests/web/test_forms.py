"""Forms: small JSON objects, strictly checked; whatever comes is a form or an error that says what would be right."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whodid.errors import InvalidParameter, InvalidRequest, MalformedBody
from whodid.store.base import Role
from whodid.web.forms import parse_form
from whodid.web.identity import NewToken, NewUser, Nothing, UserChange

GOOD = {"email": "ann@acme.example", "role": "auditor", "name": "Ann"}


def test_a_form_has_the_fields_that_it_may_have() -> None:
    """In any order; those that need not be given have their defaults."""
    assert parse_form(json.dumps(GOOD).encode(), NewUser) == NewUser(
        email="ann@acme.example", role=Role.AUDITOR, name="Ann"
    )
    assert parse_form(b'\n{"role":"user","email":"b@x"} ', NewUser) == NewUser(email="b@x", role=Role.USER)
    assert parse_form(b"", UserChange) == parse_form(b"{}", UserChange) == UserChange()
    assert parse_form(b" ", Nothing) == Nothing()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"email": None}, "email must be an e-mail address of at most 254 characters, not null"),
        ({"email": 7}, "email must be an e-mail address of at most 254 characters, not 7"),
        ({"email": "a@" + "b" * 300}, "email must be an e-mail address of at most 254 characters, not"),
        ({"email": "a b@c"}, 'email must be an e-mail address of at most 254 characters, not "a b@c"'),
        (
            {"role": "Auditor"},
            "role must be one of administrator, power_user, user, auditor, security_manager, service",
        ),
        ({"role": ["user"]}, 'not ["user"]'),
        ({"name": "x" * 101}, "name must be a string of at most 100 characters"),
        ({"rôle": "user"}, 'there is no field "r\\u00f4le" here; there are email, role, name'),
        ({"id": "0" * 24}, 'there is no field "id" here'),
    ],
)
def test_a_wrong_field_is_refused_by_name(change: dict[str, Any], says: str) -> None:
    """With what it must be, and what it is instead."""
    with pytest.raises(InvalidParameter) as caught:
        parse_form(json.dumps(GOOD | change).encode(), NewUser)
    assert says in caught.value.message


@pytest.mark.parametrize("missing", ["email", "role"])
def test_a_field_that_is_needed_must_be_there(missing: str) -> None:
    """And the error says what it must be."""
    with pytest.raises(InvalidParameter, match=f"{missing} must be given: (an e-mail address|one of administrator)"):
        parse_form(json.dumps({key: value for key, value in GOOD.items() if key != missing}).encode(), NewUser)


def test_true_is_no_number_and_no_text() -> None:
    """Nothing is guessed."""
    values: list[Any] = [1, 0, "true", None, []]
    for wrong in values:
        with pytest.raises(InvalidParameter, match="active must be true or false, not"):
            parse_form(json.dumps({"active": wrong}).encode(), UserChange)


@pytest.mark.parametrize("data", [b'{"active":true,"active":false}', b'{"active":true,"\\u0061ctive":true}'])
def test_a_field_that_is_given_twice_is_refused(data: bytes) -> None:
    """Two readers might see different ones of them; also where one is written with escapes."""
    with pytest.raises(InvalidParameter, match='the field "active" is given twice'):
        parse_form(data, UserChange)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"[]", "must be an object"), (b'"x"', "must be an object"), (b"null", "must be an object"),
        (b"{", "is not JSON: .*, at character 1"), (b"{}{}", "is not JSON: .*, at character 2"),
        (b'{"name":NaN}', "NaN is no JSON number"), (b'{"name":"\xff"}', "not UTF-8: byte 9"),
        (b"[" * 60_000, "nests too deep"), (b'{"a":' * 10_000, "nests too deep"),
        (b'{"name":%b}' % (b"9" * 5000), "is not JSON: Exceeds the limit"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_malformed(data: bytes, says: str) -> None:
    """However deep, however large its numbers."""
    with pytest.raises(MalformedBody, match=says):
        parse_form(data, UserChange)


def test_a_value_that_nests_deep_is_refused_like_any_other() -> None:
    """Up to where JSON itself gives up."""
    for depth in range(1, 3000, 7):
        with pytest.raises(InvalidRequest):
            parse_form(b'{"name":%b%b}' % (b"[" * depth, b"]" * depth), UserChange)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_NAMES = st.sampled_from(["email", "role", "name", "active", "scope", "expires", "user_id"]) | st.text(max_size=8)


@pytest.mark.parametrize("form", [NewUser, UserChange, NewToken, Nothing])
@given(data=st.binary(max_size=50) | st.dictionaries(_NAMES, _VALUES, max_size=4).map(lambda x: json.dumps(x).encode()))
def test_whatever_comes_is_a_form_or_an_error_that_can_be_told(form: Any, data: bytes) -> None:
    """No other error, and none that can't be sent."""
    told = ""
    try:
        assert isinstance(parse_form(data, form), form)
    except InvalidRequest as error:
        told = error.message
    assert told.encode("utf-8").decode() == told
