"""Ingest: whatever is sent, it is either valid events or an error of the right class that says what would be right."""

import gzip
import json
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.building import NOW_MS, TOKEN_ID, USER_ID, ManualClock, action, completed, new_id, token_use

from whodid import diagnosis, ingest
from whodid.errors import BodyTooLarge, InvalidEvents, MalformedBody, WhodidError
from whodid.ingest import MAX_BODY_BYTES, MAX_EVENTS, Completer, Directory, Inflater, parse_events
from whodid.records import (
    MAX_CLOCK_LEAD_MS,
    MAX_EVENT_BYTES,
    MAX_NESTING,
    Body,
    IdMaker,
    Kind,
    parse_record,
    render_time,
    same_content,
)

REFUSALS = (MalformedBody, BodyTooLarge, InvalidEvents)


def parse(value: Any, kind: Kind = Kind.ACTION, *, lines: bool = False) -> list[Body]:
    """Parse JSON that is given as bytes, as text, or as values."""
    if not isinstance(value, (bytes, str)):
        value = json.dumps(value)
    return parse_events(value if isinstance(value, bytes) else value.encode("utf-8"), kind, lines=lines)


def refused(value: Any, kind: Kind = Kind.ACTION, *, lines: bool = False) -> WhodidError:
    """The error that a body is refused with."""
    with pytest.raises(WhodidError) as caught:
        parse(value, kind, lines=lines)
    return caught.value


def faults(value: Any, kind: Kind = Kind.ACTION, *, lines: bool = False) -> list[tuple[int, str | None, str]]:
    """The faults that a body is refused with."""
    error = refused(value, kind, lines=lines)
    assert isinstance(error, InvalidEvents)
    return [(fault.index, fault.field, fault.detail) for fault in error.faults]


def completion_faults(*given_: dict[str, Any], **more: Any) -> list[tuple[int, str | None, str]]:
    """The faults that well-formed events are refused with as they are completed."""
    with pytest.raises(InvalidEvents) as caught:
        completed("org-acme", given_, **more)
    return [(fault.index, fault.field, fault.detail) for fault in caught.value.faults]


# JSON as text, since what matters here (escapes, keys given twice, odd numbers) is gone once it is a value.

_pieces = st.one_of(
    st.characters(min_codepoint=0x20, exclude_characters='"\\', exclude_categories=["Cs"]),
    st.sampled_from(
        [
            *(r"\"", r"\\", r"\/", r"\n", r"\u0022", r"\u005c", r"\u005C", r"\u0061", r"\u00e9", "a", "b", "/"),
            *(r"\u0000", r"\ud83d\ude00", r"\ud800", r"\udc00"),
        ]
    ),
)
strings = st.lists(_pieces, max_size=6).map(lambda pieces: '"' + "".join(pieces) + '"')
numbers = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["0", "-0", "0.0", "-0.0", "1e400", "-1e400", "1E+2", "1e-400", "9" * 30, "01", "1.", "NaN", "-"]),
)
leaves = st.one_of(strings, numbers, st.sampled_from(["true", "false", "null", "[]", "{}", "tru", ""]))
space = st.sampled_from(["", "", " ", "\n", "\t"])


def arrays(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """JSON arrays of JSON texts."""
    return st.tuples(space, st.lists(items, max_size=4)).map(lambda made: f"[{made[0]}{','.join(made[1])}{made[0]}]")


def objects(keys: st.SearchStrategy[str], values: st.SearchStrategy[str], most: int = 4) -> st.SearchStrategy[str]:
    """JSON objects of JSON texts; keys may come twice."""
    members = st.lists(st.tuples(keys, space, values).map(lambda made: f"{made[0]}{made[1]}:{made[2]}"), max_size=most)
    return members.map(lambda made: "{" + ",".join(made) + "}")


texts = st.recursive(
    leaves, lambda inner: arrays(inner) | objects(st.sampled_from(['"a"', '"b"', r'"\u0061"']) | strings, inner)
)

_GOOD: dict[str, list[str]] = {
    "_id": [f'"{"0" * 23}{digit}"' for digit in "123"],
    "user_id": [f'"{USER_ID}"'],
    "user_email": ['"ann@acme.example"', "null"],
    "type": ['"pipeline"', '"tag"'],
    "action": ['"update"', r'"\u0061pproval"'],
    "target_id": ['"x"', "null"],
    "token_id": [f'"{TOKEN_ID}"'],
    "scope": ['"api"'],
    "target": ['"/v1/logs"'],
    "createdAt": ['"2021-07-30T16:13:52.109Z"'],
    "__v": ["0", "-0", "0.0"],
    "outcome": ['"denied"', '"success"'],
    "method": ['"GET"'],
    "changes": ['{"role":{"old":1,"new":null}}', '{"role":{"old":1}}', '{"a":{"old":1,"new":2,"more":3}}', "{}"],
    "metadata": ['{"a":1}', "{}", '{"a":1,"a":1}', "[]"],
}
members = st.sampled_from(sorted(_GOOD)).flatmap(
    lambda key: st.tuples(
        st.sampled_from([f'"{key}"', f'"{key}"', f'"\\u{ord(key[0]):04x}{key[1:]}"']),
        st.sampled_from(_GOOD[key]) | st.sampled_from(_GOOD[key]) | texts,
    ).map(":".join)
)
_BASES = {
    Kind.ACTION: [f'"user_id":"{USER_ID}"', '"type":"pipeline"', '"action":"update"'],
    Kind.TOKEN: [f'"token_id":"{TOKEN_ID}"', '"scope":"api"', '"target":"/v1"', f'"user_id":"{USER_ID}"'],
}


def events_of(kind: Kind) -> st.SearchStrategy[str]:
    """Events as JSON text, most of them nearly valid."""
    return st.lists(members, max_size=3).map(lambda more: "{" + ",".join(_BASES[kind] + more) + "}")


kinds_and_bodies = st.sampled_from(Kind).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        st.one_of(
            events_of(kind),
            st.lists(events_of(kind), max_size=3).map(lambda events: "[" + ",".join(events) + "]"),
            st.lists(events_of(kind) | space, max_size=3).map("\n".join),
            texts,
        ),
    )
)


def what_diagnosis_says(data: bytes, kind: Kind, *, lines: bool) -> WhodidError | None:
    """The error that diagnosis finds; None if it finds nothing wrong."""
    try:
        diagnosis.explain_if_wrong(data, kind, lines=lines, max_events=MAX_EVENTS)
    except WhodidError as error:
        return error
    return None


@given(kind_and_body=kinds_and_bodies, lines=st.booleans())
@example(kind_and_body=(Kind.ACTION, '{"user_id":"' + USER_ID + '","type":"a","action":"b","__v":0.0}'), lines=False)
@example(kind_and_body=(Kind.ACTION, "[]"), lines=False)
@example(kind_and_body=(Kind.ACTION, "\n"), lines=True)
def test_the_fast_path_and_diagnosis_agree(kind_and_body: tuple[Kind, str], lines: bool) -> None:
    """What is taken has no fault that diagnosis would name; what is refused has one that it does name."""
    kind, text = kind_and_body
    data = text.encode()
    refusal: WhodidError | None = None
    try:
        assert parse_events(data, kind, lines=lines)
    except REFUSALS as error:
        refusal = error
    if "the body has no events" not in str(refusal):  # which is well-formed, and no fault of any event
        assert repr(what_diagnosis_says(data, kind, lines=lines)) == repr(refusal)


@given(kind_and_body=kinds_and_bodies, lines=st.booleans())
def test_what_is_taken_becomes_a_valid_record_that_reads_back(kind_and_body: tuple[Kind, str], lines: bool) -> None:
    """A record holds what the producer said, is valid by its own model, and is rendered the same again."""
    kind, text = kind_and_body
    try:
        bodies = parse_events(text.encode(), kind, lines=lines)
        given_ = [msgspec.to_builtins(body) for body in bodies]
        events = Completer("org-acme", Directory({}), IdMaker(random.randbytes), lambda: NOW_MS).complete(bodies, kind)
    except REFUSALS:
        return
    for said, made in zip(given_, events, strict=True):
        assert msgspec.json.encode(parse_record(kind, made.record)) == made.record
        record = json.loads(made.record)
        assert record == record | said
        assert len(made.record) <= MAX_EVENT_BYTES
        assert b"\\u0000" not in made.record
        assert record["_id"] == made.id.hex()


@given(data=st.binary(max_size=200), kind=st.sampled_from(Kind), lines=st.booleans())
@example(data=b"\xff", kind=Kind.ACTION, lines=False)
@example(data=b'{"\xff":1}', kind=Kind.ACTION, lines=True)
def test_any_bytes_are_refused_and_nothing_else_happens(data: bytes, kind: Kind, lines: bool) -> None:
    """Chance never makes an event, so each must be refused, with an error of the right class."""
    assert isinstance(refused(data, kind, lines=lines), REFUSALS)


@given(data=st.data(), kind=st.sampled_from(Kind))
def test_a_body_that_is_cut_off_is_refused(data: st.DataObject, kind: Kind) -> None:
    """Whatever is cut off its end, the rest is not taken for the whole."""
    made = {Kind.ACTION: action, Kind.TOKEN: token_use}[kind](metadata={"a": [1, "é"]}, reason='"')
    whole = json.dumps([made, made], ensure_ascii=False).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert isinstance(refused(whole[:cut], kind), MalformedBody)


# Keys given twice.


@pytest.mark.parametrize(
    "members",
    [
        '"type":"tag"',
        r'"\u0074ype":"pipeline"',
        '"metadata":{"a":1,"a":1}',
        '"metadata":{"a":1,"a":2}',
        r'"metadata":{"a":1,"\u0061":1}',
        r'"metadata":{"x":[{"\"":1,"\u0022":1}]}',
        r'"metadata":{"x":{"\\":"\\\"","\u005c":"\\"}}',
        r'"metadata":{"\\\"":1,"\u005c\u0022":2}',
        '"metadata":{"":"","":""}',
        '"metadata":{"é":1,"\\u00e9":1}',
        '"metadata":{"a":{"b":"\\\\"},"a":"\\\\"}',
        '"metadata":{},"metadata":{}',
        r'"metadata":{"a":1,"a":1,"b":"\u0022\u0022"}',
        r'"metadata":{"a":"\u0022","b":"\u0022","c":{"a":1,"a":1}}',
        '"changes":{"f":{"old":1,"new":2,"old":1}}',
        '"changes":{"f":{"old":1,"new":2},"f":{"old":1,"new":2}}',
        '"__v":0,"__v":0',
    ],
)
@pytest.mark.parametrize("wrap", ["%s", "[%s]", "[%%s,%s]"])
def test_a_key_that_is_given_twice_is_always_found(members: str, wrap: str) -> None:
    """However it is escaped and however deep it is: a program that reads the other value must not be fooled."""
    plain = "{" + ",".join(_BASES[Kind.ACTION]) + "}"
    body = wrap % ("{" + ",".join([*_BASES[Kind.ACTION], members]) + "}")
    found = faults(body.replace("%s", plain))
    assert len(found) == 1
    assert "is given twice" in found[0][2]
    assert found[0][0] == (1 if "%%" in wrap else 0)


@given(text=st.text(), depth=st.integers(0, 5), escape=st.booleans())
def test_any_key_that_is_given_twice_is_found_at_any_depth(text: str, depth: int, escape: bool) -> None:
    """The same key, once written plainly and once in escapes perhaps."""
    one, other = json.dumps(text, ensure_ascii=True), json.dumps(text, ensure_ascii=escape)
    inner = f'{{{one}:1,"-":{{}},{other}:1}}'
    for level in range(depth):
        inner = f'[{{"k{level}":{inner}}}]'
    body = "{" + ",".join([*_BASES[Kind.ACTION], f'"metadata":{{"x":{inner}}}']) + "}"
    assert any("given twice" in detail for _, _, detail in faults(body.encode("utf-8", "surrogatepass")))


# Strings and numbers that JSON allows, and a record does not have.


@pytest.mark.parametrize("where", ['"reason":"%s"', '"metadata":{"a":["%s"]}', '"metadata":{"%s":1}'])
def test_nul_in_strings_is_refused(where: str) -> None:
    """Many programs would end the string there; a backslash before ``u0000`` is no NUL."""
    base = "{" + ",".join(_BASES[Kind.ACTION])
    for text in (r"\u0000", r"a\\\u0000b"):
        ((_, field, detail),) = faults(base + "," + where % text + "}")
        assert field in {"reason", "metadata"}
        assert "NUL" in detail
    assert parse(base + "," + where % r"\\u0000" + "}")


@pytest.mark.parametrize("text", [r"\ud800", r"\udc00", r"\udc00\ud800", r"\ud800\u0041", r"x\uDBFF"])
def test_half_a_surrogate_pair_is_refused(text: str) -> None:
    """It can't be written as UTF-8. A whole pair is a character like any other."""
    base = "{" + ",".join(_BASES[Kind.ACTION])
    ((_, field, detail),) = faults(f'{base},"reason":"{text}"}}')
    assert field == "reason"
    assert "surrogate" in detail
    assert parse(rf'{base},"reason":"\ud83d\ude00"}}')


def test_a_key_that_cannot_be_sent_back_is_named_in_escapes() -> None:
    """An error message is JSON in UTF-8 itself, and short, whatever the producer's keys are."""
    base = "{" + ",".join(_BASES[Kind.ACTION])
    for key in (r"\ud800", "x" * 100_000, r"\u0000"):
        error = refused(f'{base},"{key}":1}}')
        assert isinstance(error, InvalidEvents)
        assert len(msgspec.json.encode(error.faults)) < 2000


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400 + ".0"])
def test_a_number_beyond_all_bounds_is_refused(number: str) -> None:
    """It would become infinity, which JSON can't say."""
    ((_, field, detail),) = faults("{" + ",".join(_BASES[Kind.ACTION]) + f',"metadata":{{"a":{number}}}}}')
    assert field == "metadata"
    assert "out of range" in detail


@pytest.mark.parametrize("number", ["18446744073709551616", "-9223372036854775809", "9" * 1000])
def test_a_huge_whole_number_is_kept_digit_by_digit(number: str) -> None:
    """No digit is lost."""
    (body,) = parse("{" + ",".join(_BASES[Kind.ACTION]) + f',"metadata":{{"a":{number}}}}}')
    completer = Completer("org-acme", Directory({}), IdMaker(random.randbytes), lambda: NOW_MS)
    (made,) = completer.complete([body], Kind.ACTION)
    assert number.encode() in made.record


def test_a_whole_number_of_ten_thousand_digits_is_refused() -> None:
    """Python would take quadratic time to read it."""
    body = "{" + ",".join(_BASES[Kind.ACTION]) + f',"metadata":{{"a":{"9" * 10_000}}}}}'
    assert isinstance(refused(body), MalformedBody)


@pytest.mark.parametrize("shape", ['{"type":%s}', '{"metadata":%s}', '{"metadata":{"a":%s}}', "[%s]", "%s"])
def test_nesting_of_any_depth_is_refused_and_does_no_harm(shape: str) -> None:
    """Right around the depth where a parser gives up above all."""
    for depth in (*range(940, 1010), 5000, 100_000):
        assert isinstance(refused(shape % ("[" * depth + "]" * depth)), REFUSALS)
        assert isinstance(refused(shape % ('{"a":' * depth + "1" + "}" * depth)), REFUSALS)


def test_an_event_that_is_valid_but_nests_too_deep_is_refused() -> None:
    """At any depth up to where the parser gives up, it is a fault of that event and that field."""
    base = "{" + ",".join(_BASES[Kind.ACTION])
    completer = Completer("org-acme", Directory({}), IdMaker(random.randbytes), lambda: NOW_MS)
    for depth in (*range(MAX_NESTING - 3, MAX_NESTING + 3), *range(900, 1010)):
        message = ""
        try:
            completer.complete(parse(f'{base},"metadata":{{"a":{"[" * depth}{"]" * depth}}}}}'), Kind.ACTION)
        except InvalidEvents as error:
            message = f"{error.faults[0].field}: {error.faults[0].detail}"
        except MalformedBody as error:
            message = error.message if depth > 900 else "the parser gave up early"
        expected = {"metadata: metadata must not nest deeper than 32 levels", "the body nests too deep"}
        assert message in ({""} if depth < MAX_NESTING else expected)


# The body as a whole.


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"[]", "the body has no events"),
        (b"null", "must be an object or an array of objects, not null"),
        (b'"text"', "not a string"),
        (b"7", "not a number"),
        (b"true", "not true or false"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"type":"\xff"}', "not UTF-8: byte 9"),
        (b"{'type':1}", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"[{},]", "not JSON"),
        (b'{"type":NaN}', "NaN is no JSON number"),
        ('{"type":"a"}'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_malformed_body_is_refused_with_the_reason(body: bytes, says: str) -> None:
    """What it is, and where, as far as it can be told."""
    error = refused(body)
    assert isinstance(error, MalformedBody)
    assert says in error.message


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body has no events"),
        (b"\n\n", "the body has no events"),
        (b'{"type":"a"\n}', "line 1 is not JSON"),
        (b"\n\nnope\n", "line 3 is not JSON"),
        (b'\n"\xff"', "line 2 is not UTF-8"),
    ],
)
def test_a_malformed_line_is_named_by_its_number(body: bytes, says: str) -> None:
    """NDJSON is one object a line; the line that is not is named, from 1, as editors do."""
    error = refused(body, lines=True)
    assert isinstance(error, MalformedBody)
    assert says in error.message


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_lines_may_end_in_any_way(end: str) -> None:
    """With or without a newline at the end, and with empty lines between."""
    one = json.dumps(action())
    assert len(parse(f"{one}\n\n{one}\r\n{one}{end}", lines=True)) == 3


def test_an_object_and_an_array_of_one_are_the_same() -> None:
    """White space before it does not matter."""
    assert parse(action()) == parse([action()]) == parse(" \n" + json.dumps(action()))


@pytest.mark.parametrize("lines", [False, True])
def test_the_ten_thousand_and_first_event_is_too_many(lines: bool) -> None:
    """10,000 events are taken; with one more, valid or not, none is, and the message says how many there were."""
    one = json.dumps(action())

    def body(count: int, last: str = one) -> str:
        events = [one] * (count - 1) + [last]
        return "\n".join(events) if lines else f"[{','.join(events)}]"

    assert len(parse(body(MAX_EVENTS), lines=lines)) == MAX_EVENTS
    for last in (one, "{}"):
        error = refused(body(MAX_EVENTS + 1, last), lines=lines)
        assert isinstance(error, BodyTooLarge)
        assert "10001 events; a request may have 10000" in error.message


def test_faults_without_end_are_not_all_told() -> None:
    """A body of nothing but faults takes bounded memory: the first 10,000 are told, and that there are more."""
    body = "{" + ",".join(f'"k{number}":1' for number in range(diagnosis.MOST_FAULTS + 5)) + "}"
    found = faults(body)
    assert len(found) == diagnosis.MOST_FAULTS + 1
    assert "there are more faults" in found[-1][2]
    assert "there are more" not in faults('{"k":1}')[-1][2]


# What an event must be, field by field.


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("_id", "61042540E1D666C9DED178C4", "_id must be 24 hex digits in lower case, not"),
        ("_id", new_id() + "\n", "_id must be 24 hex digits in lower case, not"),
        ("user_id", 7, "user_id must be 24 hex digits in lower case, not 7"),
        ("user_id", None, "user_id must be 24 hex digits in lower case, not null"),
        ("user_email", "ann", 'user_email must be an e-mail address of at most 254 characters or null, not "ann"'),
        ("user_email", "ann@acme.example\n", "an e-mail address"),
        ("type", "Pipeline", "type must be 1 to 64 lower-case letters, digits, '_' and '-', not \"Pipeline\""),
        ("type", "pipeline\n", "1 to 64 lower-case letters"),
        ("type", "", "1 to 64 lower-case letters"),
        ("action", "x" * 65, "1 to 64 lower-case letters"),
        ("action", "löschen", "1 to 64 lower-case letters"),
        ("target_id", "", "target_id must be a string of 1 to 256 characters or null"),
        ("createdAt", 1627661632109, "createdAt must be a time like 2021-07-30T16:13:52.109Z (RFC 3339)"),
        ("createdAt", None, "createdAt must be a time like"),
        ("__v", 1, "__v must be 0, not 1"),
        ("outcome", "ok", 'outcome must be "success" or "failure" or "denied", not "ok"'),
        ("ip_address", "example.com", "ip_address must be an IPv4 or IPv6 address"),
        ("ip_address", "192.0.2.17\n", "an IPv4 or IPv6 address"),
        ("reason", "x" * 2049, "reason must be a string of 1 to 2048 characters"),
        ("changes", {"role": {"old": 1}}, 'changes must be an object like {"field": {"old": …, "new": …}}'),
        ("changes", {"role": {"old": 1, "new": 2, "by": 3}}, "changes must be an object like"),
        ("metadata", [], "metadata must be an object, not []"),
        ("usr_id", USER_ID, '"usr_id" is not known; known: _id, user_id,'),
        ("method", "GET", '"method" is not known'),
    ],
)
def test_a_wrong_value_is_named_with_its_field_its_event_and_what_would_be_right(
    field: str, value: object, says: str
) -> None:
    """Among other events, which are fine."""
    for lines in (False, True):
        events = [action(), action(), action(**{field: value}), action()]
        body = "\n".join(map(json.dumps, events)) if lines else json.dumps(events)
        ((index, named, detail),) = faults(body, lines=lines)
        assert (index, named) == (2, field)
        assert says in detail


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("target", "https://x/y", "target must be a relative URL: '/', at most 2048 characters"),
        ("method", "get", "method must be an HTTP method in capitals"),
        ("scope", "Api", "scope must be 1 to 64 lower-case letters"),
        ("token_id", "x", "token_id must be 24 hex digits"),
        ("user_email", "ann@acme.example", '"user_email" is not known'),
    ],
)
def test_a_wrong_value_of_a_token_use_is_named(field: str, value: object, says: str) -> None:
    """A token use has fields and rules of its own."""
    ((index, named, detail),) = faults([token_use(), token_use(**{field: value})], Kind.TOKEN)
    assert (index, named) == (1, field)
    assert says in detail


def test_all_faults_of_all_events_are_named_at_once() -> None:
    """So that a producer mends a batch in one go."""
    found = faults([{"type": "A"}, action(), 7, {"action": "b", "x": 1, "type": "a", "user_id": 3}])
    assert [(index, field) for index, field, _ in found] == [
        (0, "type"), (0, "action"), (2, None), (3, "x"), (3, "user_id"),
    ]  # fmt: skip
    assert found[1][2].startswith("action must be given: 1 to 64")
    assert found[2][2] == "an event must be an object, not a number"


# What the log completes.


def test_a_known_user_is_completed_both_ways() -> None:
    """From the id the address, from the address (whatever its case) the id."""
    users = {USER_ID: "Ann@Straße.example"}
    by_id = action()
    by_email = {"user_email": "ann@STRASSE.example", "type": "tag", "action": "create"}
    first, second = (json.loads(event.record) for event in completed("org-acme", [by_id, by_email], users=users))
    assert (first["user_id"], first["user_email"]) == (USER_ID, "Ann@Straße.example")
    assert (second["user_id"], second["user_email"]) == (USER_ID, "Ann@Straße.example")


def test_an_unknown_user_is_taken_by_id_and_refused_by_address() -> None:
    """Users who are long gone have ids; an address alone must be one of the account's."""
    (made,) = completed("org-acme", [action()])
    assert json.loads(made.record)["user_email"] is None
    nobody = {"type": "tag", "action": "create"}
    assert completion_faults(action(), nobody) == [(1, "user_id", "user_id or user_email must be given")]
    for email in ("bob@acme.example", None):
        ((index, field, detail),) = completion_faults(nobody | {"user_email": email})
        assert (index, field) == (0, "user_id")
        assert detail.startswith("user_id must be given where user_email is not")


def test_what_the_producer_says_of_a_user_stands() -> None:
    """An address that is given, or null, is not replaced by the account's."""
    users = {USER_ID: "ann@acme.example"}
    given_ = [action(user_email="old@acme.example"), action(user_email=None)]
    records = [json.loads(event.record) for event in completed("org-acme", given_, users=users)]
    assert [record["user_email"] for record in records] == ["old@acme.example", None]


def test_another_account_is_refused() -> None:
    """The token says whose log it is; an event may only confirm it."""
    assert completed("org-acme", [action(account="org-acme")])
    ((_, field, detail),) = completion_faults(action(account="org-other"))
    assert field == "account"
    assert '"org-acme"' in detail


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        ("2021-07-30T18:13:52+02:00", "2021-07-30T16:13:52.000Z"),
        ("2021-07-30t16:13:52.1239z", "2021-07-30T16:13:52.123Z"),
        (render_time(NOW_MS + MAX_CLOCK_LEAD_MS), render_time(NOW_MS + MAX_CLOCK_LEAD_MS)),
    ],
)
def test_the_producers_time_is_kept_in_the_wire_form(given_: str, kept: str) -> None:
    """``createdAt`` says when it occurred, ``updatedAt`` when the log recorded it."""
    (made,) = completed("org-acme", [action(createdAt=given_, updatedAt="2000-01-01T00:00:00Z")])
    record = json.loads(made.record)
    assert record["createdAt"] == kept
    assert record["updatedAt"] == render_time(NOW_MS)


@pytest.mark.parametrize(
    ("time", "says"),
    [
        ("1969-12-31T23:59:59.999Z", "not between 1970 and 2109"),
        (render_time(NOW_MS + MAX_CLOCK_LEAD_MS + 1), "must not be more than five minutes ahead"),
        ("2021-07-30T16:13:52.109Z\n", "must be a time like 2021-07-30T16:13:52.109Z"),
        ("2021-02-30T16:13:52.109Z", "must be a time like"),
        ("yesterday, at about noon", "must be a time like"),
    ],
)
@pytest.mark.parametrize("field", ["createdAt", "updatedAt"])
def test_a_time_that_cannot_be_is_refused(field: str, time: str, says: str) -> None:
    """Before 1970, too far ahead, or none at all; the message names field and event."""
    ((index, named, detail),) = completion_faults(action(), action(**{field: time}))
    assert (index, named) == (1, field)
    assert detail.startswith(f"{field} must")
    assert says in detail


def test_an_import_keeps_when_it_was_recorded() -> None:
    """Records of another platform come with their own ``updatedAt``."""
    given_ = [action(createdAt="2020-01-01T00:00:00Z", updatedAt="2020-01-02T00:00:00Z")]
    (made,) = completed("org-acme", given_, keep_recorded=True)
    assert json.loads(made.record)["updatedAt"] == "2020-01-02T00:00:00.000Z"


def test_only_events_with_an_id_of_their_own_can_be_duplicates() -> None:
    """For these the log remembers which keys it filled in; the others got a new ``_id`` from the log."""
    own, made = completed("org-acme", [action(_id=new_id(), target_id="x"), action()])
    assert own.filled == ("user_email", "account", "createdAt", "__v")
    assert made.filled is None


def test_the_spelling_of_an_address_is_not_content_and_whose_it_is_is() -> None:
    """An event that told its user by address is the same event when the address is spelt otherwise by now."""
    given_ = {"_id": new_id(), "user_email": "ANN@acme.example", "type": "tag", "action": "create"}
    (first,) = completed("org-acme", [given_], users={USER_ID: "ann@acme.example"})
    (again,) = completed("org-acme", [given_], users={USER_ID: "Ann@acme.example"})
    (other,) = completed("org-acme", [given_], users={TOKEN_ID: "ann@acme.example"})
    assert again.filled is not None
    assert same_content(again.record, first.record, again.filled)
    assert other.filled is not None
    assert not same_content(other.record, first.record, other.filled)


def test_an_event_over_64_kib_is_refused_as_rendered() -> None:
    """The limit is on the record, not on white space and escapes around it."""
    (empty,) = completed("org-acme", [action(metadata={"a": ""})])
    room = MAX_EVENT_BYTES - len(empty.record)
    assert completed("org-acme", [action(metadata={"a": "x" * room})])
    ((index, _, detail),) = completion_faults(action(), action(metadata={"a": "x" * (room + 1)}))
    assert index == 1
    assert "65537 bytes; it may have 65536" in detail


# Gzip.


def inflate(data: bytes, piece: int = 65_536) -> bytes:
    """What comes out of gzip that arrives in pieces."""
    inflater = Inflater()
    for at in range(0, len(data), piece):
        inflater.feed(data[at : at + piece])
    return inflater.finish()


@given(members_=st.lists(st.binary(max_size=300), min_size=1, max_size=4), piece=st.integers(1, 400))
def test_gzip_in_any_pieces_and_members_comes_out_whole(members_: list[bytes], piece: int) -> None:
    """Gzip files may be joined; a network cuts them anywhere."""
    assert inflate(b"".join(map(gzip.compress, members_)), piece) == b"".join(members_)


@given(data=st.data(), piece=st.integers(1, 400))
def test_gzip_that_is_cut_off_is_refused(data: st.DataObject, piece: int) -> None:
    """Wherever it ends, unless just between two members."""
    first = gzip.compress(b"first " * 9)
    whole = first + gzip.compress(random.Random(1).randbytes(100))
    cut = data.draw(st.integers(0, len(whole) - 1).filter(lambda at: at != len(first)))
    with pytest.raises(MalformedBody, match="cut off"):
        inflate(whole[:cut], piece)


@given(st.binary(min_size=20, max_size=100))
def test_what_is_not_gzip_is_refused(data: bytes) -> None:
    """And so is rubbish after gzip."""
    with pytest.raises(MalformedBody):
        inflate(b"{" + data)
    with pytest.raises(MalformedBody):
        inflate(gzip.compress(b"x") + b"{" + data)


def test_a_damaged_gzip_body_is_refused() -> None:
    """Its checksum says so."""
    data = bytearray(gzip.compress(b"some text that is long enough"))
    data[-6] ^= 1
    with pytest.raises(MalformedBody, match="not valid gzip"):
        inflate(bytes(data))


@pytest.mark.parametrize("wrap", [lambda bomb: bomb, lambda bomb: gzip.compress(b"") * 100 + bomb])
def test_a_gzip_bomb_is_refused_before_it_takes_memory(wrap: Callable[[bytes], bytes]) -> None:
    """It is given up as soon as more than a body comes out of it, not when all of it has."""
    bomb = wrap(gzip.compress(bytes(20 * MAX_BODY_BYTES), compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge, match="16 MiB, unpacked"):
            inflate(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * MAX_BODY_BYTES


def test_gzip_of_exactly_the_largest_body_is_taken() -> None:
    """One byte more is too much, be it in another member."""
    largest = gzip.compress(bytes(MAX_BODY_BYTES), compresslevel=1)
    assert len(inflate(largest)) == MAX_BODY_BYTES
    with pytest.raises(BodyTooLarge):
        inflate(largest + gzip.compress(b"x"))


def test_the_clock_of_the_log_is_asked_once_a_batch() -> None:
    """Events of one batch that bring no time occurred at the same moment, in order."""
    clock = ManualClock()

    def ticking() -> int:
        clock.advance(1)
        return clock()

    completer = Completer("org-acme", Directory({}), IdMaker(random.randbytes), ticking)
    events = completer.complete(parse([action(), action(), action()]), Kind.ACTION)
    assert len({event.created_ms for event in events}) == 1
    assert [event.id for event in events] == sorted(event.id for event in events)
    assert ingest.MAX_EVENTS == 10_000
