"""The language of searches: what each form means, what is refused and where, and that nothing else ever happens."""

import re
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.building import NOW_MS, USER_ID, action

from whodid.conditions import EVERYTHING, All, AnyOf, Begins, Condition, Is, Not, Says, SaysBeginning, leaves, matches
from whodid.errors import InvalidParameter
from whodid.query.fields import LONGEST_VALUE, all_of, any_of, field_begins, field_is, negated
from whodid.query.language import LONGEST_Q, MOST_LEVELS, MOST_TERMS, Asked, parse_q
from whodid.query.parameters import END_OF_TIME_MS
from whodid.records import DAY_MS, MODELS, Kind, parse_time
from whodid.words import split

A, B, C = Is("type", "a"), Is("type", "b"), Is("type", "c")


def condition_of(q: str) -> Condition:
    """The condition that a search text means."""
    return parse_q(q, NOW_MS).condition


def answer(q: str) -> Asked | str:
    """What a search text asks for, or why it is refused."""
    try:
        return parse_q(q, NOW_MS)
    except InvalidParameter as error:
        return error.message


def ms(text: str) -> int:
    """A time of UTC."""
    return parse_time(f"{text}T00:00:00Z")


def rendered(condition: Condition, within: type[Condition] | None = None) -> str:
    """A search text that means this condition."""
    match condition:
        case Is(field, value):
            return f"{field}:{quotes(value)}"
        case Begins(field, start):
            return f"{field}:{quotes(start)}*"
        case Says(word):
            return quotes(word)
        case SaysBeginning(start):
            return f"{start}*"
        case Not(part):
            return f"-{rendered(part, Not)}"
        case All(parts):
            text = " ".join(rendered(part, All) for part in parts)
            return f"({text})" if within is Not else text
        case AnyOf(parts):
            text = " OR ".join(rendered(part, AnyOf) for part in parts)
            return f"({text})" if within in (All, Not) else text


def quotes(text: str) -> str:
    """A text in quotation marks."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


# What each form means.


@pytest.mark.parametrize(
    ("q", "condition"),
    [
        ("", EVERYTHING),
        (" \n\t\u3000", EVERYTHING),
        ("type:a", A),
        ("  type:a  ", A),
        ("type:a type:b", All((A, B))),
        ("type:a AND type:b", All((A, B))),
        ("type:a OR type:b", AnyOf((A, B))),
        ("type:a OR type:b type:c", AnyOf((A, All((B, C))))),
        ("(type:a OR type:b)type:c", All((AnyOf((A, B)), C))),
        ("((type:a))", A),
        ("(type:a type:b) type:c", All((A, B, C))),
        ("(type:a OR type:b) OR type:c", AnyOf((A, B, C))),
        ("-type:a", Not(A)),
        ("NOT type:a", Not(A)),
        ("NOT(type:a type:b)", Not(All((A, B)))),
        ("-(type:a OR type:b) type:c", All((Not(AnyOf((A, B))), C))),
        ("--type:a", A),
        ("NOT -type:a", A),
        ("-type:a type:b", All((Not(A), B))),
        ("kind:token outcome:denied", All((Is("kind", "token"), Is("outcome", "denied")))),
        ("email:a@b", Is("user_email", "a@b")),
        ("target:5f ip:::1", All((Is("target_id", "5f"), Is("ip_address", "::1")))),
        (f"token:{USER_ID.upper()}", Is("token_id", USER_ID)),
        (f"user:{USER_ID.upper()}", Is("user_id", USER_ID)),
        ("user_id:AB*", Begins("user_id", "ab")),
        ("user:Ann@x", Is("user_email", "Ann@x")),
        ("user:ann*", AnyOf((Begins("user_email", "ann"), Begins("user_id", "ann")))),
        ('target:"a \\"b\\" \\\\ \\c *"', Is("target_id", 'a "b" \\ \\c *')),
        ('target:"a b"*', Begins("target_id", "a b")),
        ("target:-x", Is("target_id", "-x")),
        ("target:!x", Is("target_id", "!x")),
        ("target:a:b", Is("target_id", "a:b")),
        ("Deploy", Says("deploy")),
        ("ann@acme.example", All((Says("ann"), Says("acme"), Says("example")))),
        ('"Free words"', All((Says("free"), Says("words")))),
        ('-"free words"', Not(All((Says("free"), Says("words"))))),
        ('"free words" OR type:a', AnyOf((All((Says("free"), Says("words"))), A))),
        ("depl*", SaysBeginning("depl")),
        ('"roll depl"*', All((Says("roll"), SaysBeginning("depl")))),
        ("or and not", All((Says("or"), Says("and"), Says("not")))),
        ('"OR"', Says("or")),
        ("plan-b", Says("plan")),
        ("\u5b57", Says("\u5b57")),
        ("STRASSE stra\u00dfe", All((Says("strasse"), Says("strasse")))),
    ],
)
def test_a_text_means_a_condition(q: str, condition: Condition) -> None:
    """In the window of all times."""
    assert parse_q(q, NOW_MS) == Asked(condition, 0, END_OF_TIME_MS)


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("user:ann@x", True),
        (f"user:{USER_ID.upper()}", True),
        ("user:ann@y", False),
        ("user:ann* -action:delete", True),
        ("-user:ann@x", False),
        ("rolled depl*", True),
        ('-"rolled forward"', True),
        ('-"rolled back"', False),
        (f"token:{USER_ID} OR type:pipeline", True),
    ],
)
def test_a_condition_holds_for_what_was_meant(q: str, found: bool) -> None:
    """By what conditions say of themselves."""
    body = msgspec.convert(action(user_email="ann@x", reason="Deployment was rolled back."), MODELS[Kind.ACTION])
    assert matches(condition_of(q), body) is found


@pytest.mark.parametrize(
    ("q", "since_ms", "until_ms"),
    [
        ("created:2026-01-01", ms("2026-01-01"), ms("2026-01-02")),
        ("created:>=2026-01-01", ms("2026-01-01"), END_OF_TIME_MS),
        ("created:>2026-01-01", ms("2026-01-02"), END_OF_TIME_MS),
        ("created:<2026-01-01", 0, ms("2026-01-01")),
        ("created:<=2026-01-01", 0, ms("2026-01-02")),
        ("created:2026-01-01..2026-02-01", ms("2026-01-01"), ms("2026-02-02")),
        ("created:>2026-01-01T00:00:00Z", ms("2026-01-01") + 1, END_OF_TIME_MS),
        ("created:<=2026-01-01T02:00:00+02:00", 0, ms("2026-01-01") + 1),
        ("created:>=7d", NOW_MS - 7 * DAY_MS, END_OF_TIME_MS),
        ("created:<7d", 0, NOW_MS - 7 * DAY_MS),
        ("created:14d..7d", NOW_MS - 14 * DAY_MS, NOW_MS - 7 * DAY_MS + 1),
        ("created:>=1627661632109", NOW_MS, END_OF_TIME_MS),
        ('created:">=7d"', NOW_MS - 7 * DAY_MS, END_OF_TIME_MS),
        ("created:>=2026-01-01 created:<2026-02-01 created:>=2025-01-01", ms("2026-01-01"), ms("2026-02-01")),
        ("created:<=2109-05-15", 0, END_OF_TIME_MS),
    ],
)
def test_created_is_the_window(q: str, since_ms: int, until_ms: int) -> None:
    """A day is meant as a whole; whatever stands beside it is the condition."""
    assert parse_q(q, NOW_MS) == Asked(EVERYTHING, since_ms, until_ms)
    assert parse_q(f"type:a {q} (type:b OR type:c)", NOW_MS) == Asked(All((A, AnyOf((B, C)))), since_ms, until_ms)


@pytest.mark.parametrize(
    ("q", "has_beginning"),
    [("type:a", False), ("created:<7d", False), ("created:>=1970-01-01", True), ("created:1970-01-01", True)],
)
def test_it_is_known_whether_a_beginning_was_named(q: str, has_beginning: bool) -> None:
    """Also where it is 1970: that is not the same as none."""
    assert parse_q(q, NOW_MS).has_beginning is has_beginning


# What is refused, and where.


@pytest.mark.parametrize(
    ("q", "at", "message"),
    [
        ("type:a usr:x", 8, 'there is no field "usr"; there are kind, type,'),
        ("https://x", 1, "text with a colon must be in quotation marks"),
        ("Type:a", 1, 'there is no field "Type"'),
        (":a", 1, 'there is no field ""'),
        ("type:a (type:b", 8, "this '(' is never closed"),
        ("type:a)", 7, "there is no '(' for this ')'"),
        ("()", 2, "a field like type:pipeline, a word or '(' must stand here, not ')'"),
        ("type:a OR", 10, "must stand here, not the end"),
        ("OR type:a", 1, "must stand here, not OR (a word if in quotes)"),
        ("type:a AND OR type:b", 12, "must stand here, not OR"),
        ("type:a NOT", 11, "must stand here, not the end"),
        ("(type:a AND)", 12, "must stand here, not ')'"),
        ("type:a -", 9, "must stand here, not the end"),
        ("foo - bar", 5, "'-' must stand directly before what it negates"),
        ('type:a "free', 8, "this quotation mark is never closed"),
        ('"free\\"', 1, "this quotation mark is never closed"),
        ('foo"bar"', 4, 'before " must be a space'),
        ('"foo"bar', 6, "before b must be a space"),
        ("foo(bar)", 4, "before ( must be a space"),
        ("type:(a OR b)", 6, "any of several is written (type:a OR type:b)"),
        ("type: a", 6, "type: must have a value directly behind it"),
        ('user:""', 6, "user: must have a value directly behind it"),
        ("user:ann", 6, 'user must be an e-mail address or 24 hex digits, not "ann"; what begins so is user:ann*'),
        ("-outcome:sucess", 10, 'outcome must be success, failure or denied, not "sucess"'),
        ("type:a,b", 6, "type must be 1 to 64 lower-case letters, digits, '_' and '-', not \"a,b\""),
        ("kind:user", 6, 'kind must be action or token, not "user"'),
        ("kind:act*", 6, "kind must be given as a whole"),
        ("target:a*b", 9, "a star may only stand at the end"),
        ("target:*", 8, "before a star must be at least 1 character"),
        (f"target:{'a' * (LONGEST_VALUE + 1)}", 8, "target_id must have at most 256 characters, not 257"),
        ("type:a a*", 8, "before a star must be at least 2 letters or digits"),
        ("foo.*", 1, "before a star must be at least 2 letters or digits"),
        ("plan-b*", 1, "before a star must be at least 2 letters or digits"),
        ("*", 1, "before a star must be at least 2 letters or digits"),
        ("type:a ...", 8, 'there is no word in "..."'),
        ('"a b"', 1, "a word has at least 2 letters or digits"),
        ("ab \0", 4, "this is NUL or half a surrogate pair"),
        ('"\ud800"', 2, "this is NUL or half a surrogate pair"),
        ("created:7d", 9, "created: must be followed by >=, >, <= or < and a time, by a day"),
        ("created:", 9, "created: must be followed by"),
        ("created:>=", 9, "created must be a time like"),
        ("created:>=yesterday", 9, "created must be a time like 2021-07-30T16:13:52.109Z, a day like 2021-07-30"),
        ("created:2026-02-30", 9, "created must be a day like"),
        ("created:2026*", 9, "created has no star"),
        ("created:2026-02-01..2026-01-01", 9, "the range must not end before it begins"),
        ("created:>7d created:<14d", 13, "there is no time that is in this and in the other created"),
        ("type:a OR created:>=7d", 11, "created must stand beside all else"),
        ("created:>=7d type:a OR type:b", 1, "created must stand beside all else"),
        ("(created:>=7d) type:a", 2, "created must stand beside all else"),
        ("-created:>=7d", 2, "created must stand beside all else"),
    ],
)
def test_an_error_says_where_and_what_would_be_right(q: str, at: int, message: str) -> None:
    """The character is counted from 1."""
    with pytest.raises(InvalidParameter, match=re.escape(message)) as refused:
        parse_q(q, NOW_MS)
    assert refused.value.message.startswith(f"q, character {at}: ")


def test_there_are_at_most_100_terms() -> None:
    """Words count, wherever they stand; one more is refused where it is."""
    assert condition_of("ab " * MOST_TERMS) == All((Says("ab"),) * MOST_TERMS)
    assert len(list(leaves(condition_of(" OR ".join(["user:x*"] * MOST_TERMS))))) == 2 * MOST_TERMS
    with pytest.raises(InvalidParameter, match="q, character 301: there must be at most 100 terms"):
        parse_q("ab " * (MOST_TERMS + 1), NOW_MS)
    with pytest.raises(InvalidParameter, match="q, character 1: there must be at most 100 terms"):
        parse_q(quotes("ab " * (MOST_TERMS + 1)), NOW_MS)


@pytest.mark.parametrize("sign", ["(", "-", "NOT "])
def test_there_are_at_most_20_levels(sign: str) -> None:
    """Of parentheses and negations together."""
    closing = ")" if sign == "(" else ""
    assert condition_of(f"{sign * MOST_LEVELS}type:a{closing * MOST_LEVELS}") == A
    at = len(sign) * MOST_LEVELS + 1
    with pytest.raises(InvalidParameter, match=f"q, character {at}: .* at most 20 deep"):
        parse_q(f"{sign * (MOST_LEVELS + 1)}type:a{closing * (MOST_LEVELS + 1)}", NOW_MS)


def test_a_text_has_at_most_4096_characters() -> None:
    """More is refused unread."""
    assert condition_of("type:a".ljust(LONGEST_Q)) == A
    with pytest.raises(InvalidParameter, match="q must have at most 4096 characters, not 4097"):
        parse_q("type:a".ljust(LONGEST_Q + 1), NOW_MS)


HOSTILE = [
    "type:a " * 10_000,
    "ab " * 1365,
    "(" * LONGEST_Q,
    ")" * LONGEST_Q,
    "()" * 2048,
    "-" * LONGEST_Q,
    '"' * (LONGEST_Q - 1),
    '"' + "\\" * (LONGEST_Q - 2),
    '"' + "a" * (LONGEST_Q - 1),
    '"' * LONGEST_Q,
    "*" * LONGEST_Q,
    ":" * LONGEST_Q,
    "a" * (LONGEST_Q - 1) + "*",
    "a." * 2047 + "*",
    "created:" + ".." * 2000,
    "created:>=" + "9" * 4000,
    "created:>=7d " * 315,
    "\0" * LONGEST_Q,
    "\ud800 \udfff",
    "'; DROP TABLE entry; --",
    "x' OR '1'='1",
    "%_%",
    'NEAR("a b", 5)',
    "{type target}:x",
    "^foo",
    "foo + bar",
    "a:b:c:d",
    "type:\u202epipeline",
    "NOT " * 1000,
    "OR " * 1000,
    "aa OR " * 600,
    "\u0130" * 4000 + "*",
    "\ufdfa" * 4000,
]


@pytest.mark.parametrize("q", HOSTILE)
def test_hostile_texts_are_answered_at_once(q: str) -> None:
    """With a condition or an error that can be sent, in time that has nothing to do with what they are made of."""
    began = time.process_time()
    asked = answer(q)
    if isinstance(asked, str):
        assert len(asked.encode()) < 1000
    else:
        assert len(list(leaves(asked.condition))) <= 2 * MOST_TERMS
    assert time.process_time() - began < 0.5


fragments = st.sampled_from(
    [
        "(", ")", "-", '"', "*", ":", " ", "  ", "\\", "\0", "\ud800", "OR", " OR ", " AND ", "NOT ", "type:",
        "user:", "kind:action", "created:", ">=", "<", "7d", "..", "2026-01-01", "a", "bb",
        "ccc", "Ann", "\u00df", "\u5b57", ",", "'",
    ]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(fragments, max_size=25).map("".join)))
@example("-(-(-type:a))")
@example('NOT(user:x"')
def test_any_text_is_understood_or_refused_with_a_place(q: str) -> None:
    """Nothing else is raised; what was understood can be written again, and then means the same."""
    asked = answer(q)
    if isinstance(asked, str):
        place = re.match(r"q, character (\d+): .", asked)
        assert place is not None
        assert 1 <= int(place[1]) <= len(q) + 1
        assert asked.encode()
    else:
        assert 0 <= asked.since_ms <= asked.until_ms <= END_OF_TIME_MS
        assert condition_of(rendered(asked.condition)) == asked.condition


readable = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
free = st.sampled_from(["user_email", "target_id", "user_id", "token_id", "ip_address"])
named = st.sampled_from(["type", "action", "scope"])
ruled = st.sampled_from(
    [("user_email", "Ann@x"), ("user_id", USER_ID), ("token_id", USER_ID), ("ip_address", "::1"), ("outcome", "denied")]
)
names = st.from_regex(r"[a-z0-9_-]{1,8}", fullmatch=True)
words = readable.map(split).filter(bool).map(lambda found: found[0]).filter(lambda word: split(word) == [word])
terms: st.SearchStrategy[Condition] = st.one_of(
    st.builds(field_is, st.just("target_id"), readable),
    ruled.map(lambda of: field_is(*of)),
    st.builds(field_begins, free, readable),
    st.builds(field_is, named, names),
    st.builds(field_begins, named, names),
    st.builds(Is, st.just("kind"), st.sampled_from(["action", "token"])),
    st.builds(Says, words),
    st.builds(SaysBeginning, words.filter(lambda word: len(word) > 1)),
)
conditions = st.recursive(
    terms,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(all_of),
        st.lists(inner, min_size=2, max_size=3).map(any_of),
        inner.map(negated),
    ),
    max_leaves=8,
)


@given(conditions)
def test_every_condition_can_be_written(condition: Condition) -> None:
    """And is read again as it was."""
    assert condition_of(rendered(condition)) == condition
