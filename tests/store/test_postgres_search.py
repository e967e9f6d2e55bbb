"""Searching and summing up in PostgreSQL, beside a naive model; and what it does where that takes long."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.building import NOW_MS, USER_ID, add_account, append, event, event_at, new_id, no_progress
from tests.postgres import drop_database, new_database

from whodid.conditions import (
    EVERYTHING,
    FIELDS,
    All,
    AnyOf,
    Begins,
    Condition,
    Is,
    Not,
    Says,
    SaysBeginning,
    matches,
    value_of,
)
from whodid.errors import IdConflict, InvalidParameter
from whodid.merkle import Frontier
from whodid.records import DAY_MS, Event, Kind, parse_record
from whodid.store.base import (
    TALLIED,
    Account,
    Found,
    Numbered,
    Position,
    Question,
    Search,
    Submission,
    Summary,
)
from whodid.store.postgres import PostgresStore, searching, summarizing
from whodid.store.postgres.asking import NOTHING, narrowed
from whodid.store.postgres.connection import Connection, Pool, Row, parse_dsn
from whodid.store.postgres.limiting import fetch_within
from whodid.store.postgres.tally import HOUR_MS
from whodid.store.postgres.terms import lexemes, read_lexemes
from whodid.words import words_of


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all tests of the module, and their store."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database for all tests of the module; each has accounts of its own."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture(scope="module")
def store(url: str, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """The store in it."""
    opened = PostgresStore(url, create=True)
    yield opened
    runner.run(opened.close())


# Events and conditions of few values, so that they meet; some of them are hard to quote.

_IDS = (new_id(1), new_id(2), "ab" * 12)
_EMAILS = ("ann@acme.example", "ANN@acme.example", "ann.lee+x@other.example", "o'neil\\@acme.example", "é@ß.example")
_TARGETS = ("db", "db-1", "d", "DB", "a b", "it's \\ & | ! :*", "nul\0l", "ab" * 12, "x" * 256, "ünï", "\1", _IDS[0])
_TEXTS = ("Deploy to production", "db rollback; ann did it", "STRAßE 7", "ab" * 12, "x" * 100)
_ADDRESSES = ("10.0.0.1", "2001:db8::1")
_VALUES: dict[str, tuple[str, ...]] = {
    "kind": ("action", "token", "nonsense"),
    "type": ("pipeline", "pipe", "tag"),
    "action": ("update", "up"),
    "user_id": _IDS,
    "user_email": _EMAILS,
    "target_id": _TARGETS,
    "token_id": _IDS,
    "scope": ("api", "api-readonly"),
    "outcome": ("success", "denied"),
    "ip_address": _ADDRESSES,
}
_WORDS = ("ann", "acme", "db", "d", "ab" * 12, _IDS[0], "strasse", "deploy", "x" * 64, "ünï", "7", "ANN", "no'such\\")


def _field(name: str, *, always: bool = False) -> st.SearchStrategy[dict[str, Any]]:
    given_values = st.sampled_from(_VALUES[name]).map(lambda value: {name: value})
    return given_values if always else st.one_of(st.just({}), given_values)


def _merged(parts: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {key: value for part in parts for key, value in part.items()}


_LOOSE: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.sampled_from(_TEXTS).map(lambda text: {"reason": text}),
    st.sampled_from(_TEXTS).map(lambda text: {"metadata": {"a": [text, 42, {"b": "Deep"}]}}),
)
_COMMON = (_field("user_id", always=True), _field("outcome"), _field("ip_address"), _LOOSE)
_ACTIONS = st.tuples(
    _field("type", always=True), _field("action", always=True), _field("user_email"), _field("target_id"), *_COMMON
).map(_merged)
_USES = st.tuples(_field("token_id", always=True), _field("scope", always=True), *_COMMON).map(_merged)
_MADE = st.lists(
    st.tuples(
        st.one_of(st.tuples(st.just(Kind.ACTION), _ACTIONS), st.tuples(st.just(Kind.TOKEN), _USES)),
        st.one_of(st.sampled_from([0, 1, HOUR_MS - 1, HOUR_MS, 30 * HOUR_MS]), st.integers(0, 3 * DAY_MS)),
    ),
    max_size=25,
)

_LEAVES: st.SearchStrategy[Condition] = st.one_of(
    st.sampled_from(sorted(FIELDS)).flatmap(
        lambda name: st.sampled_from([Is(name, value) for value in (*_VALUES[name], "", "y" * 3000)])
    ),
    st.sampled_from(sorted(set(FIELDS) - {"kind"})).flatmap(
        lambda name: st.sampled_from(
            [Begins(name, value[:length]) for value in (*_VALUES[name], "y" * 3000) for length in (1, 2, 5, 3000)]
        )
    ),
    st.sampled_from(_WORDS).map(Says),
    st.sampled_from([SaysBeginning(word[:length]) for word in _WORDS for length in (1, 2, 3, 64)]),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, max_size=3).map(tuple).map(All),
        st.lists(inner, max_size=3).map(tuple).map(AnyOf),
    ),
    max_leaves=6,
)
BEGIN_MS = NOW_MS // HOUR_MS * HOUR_MS - 4 * DAY_MS


def made(account: Account, given_events: Any) -> list[Event]:
    """Events of the account."""
    return [event_at(account, BEGIN_MS + after, kind, **keys) for (kind, keys), after in given_events]


async def filled(store: PostgresStore, given_events: Any) -> tuple[Account, list[Numbered]]:
    """A new account with these events, and all of its records, the oldest first."""
    account = await add_account(store)
    events = made(account, given_events)
    if events:
        await append(store, account, *events[: len(events) // 2])
        await append(store, account, *events[len(events) // 2 :])
    entries = await store.log(account.no, 0, 1000)
    assert [one.record for one in entries[1:]] == [one.record for one in events]
    return account, sorted(entries, key=lambda one: (one.created_ms, one.seq))


async def pages(store: PostgresStore, search: Search) -> list[Numbered]:
    """All that is found, page by page."""
    found: list[Numbered] = []
    while True:
        page = await store.search(search)
        assert len(page.records) <= search.limit
        found += page.records
        if page.rest is None:
            return found
        search = replace(search, after=page.rest, skip=0)


def naive(entries: list[Numbered], search: Search) -> list[Numbered]:
    """What should be found, by looking at each record."""
    there = [
        one
        for one in entries
        if search.since_ms <= one.created_ms < search.until_ms
        and matches(search.condition, parse_record(one.kind, one.record))
    ]
    return (there[::-1] if search.newest_first else there)[search.skip :]


@settings(max_examples=150)
@given(
    given_events=_MADE,
    conditions=st.lists(CONDITIONS, min_size=1, max_size=8),
    asked=st.builds(
        Search,
        st.just(0),
        newest_first=st.booleans(),
        limit=st.integers(1, 7),
        skip=st.sampled_from([0, 0, 3]),
        since_ms=st.sampled_from([0, BEGIN_MS, BEGIN_MS + 1]),
        until_ms=st.sampled_from([1 << 50, BEGIN_MS + HOUR_MS, BEGIN_MS + DAY_MS]),
    ),
)
def test_what_is_found_is_what_a_look_at_each_record_finds(
    store: PostgresStore,
    runner: asyncio.Runner,
    given_events: Any,
    conditions: list[Condition],
    asked: Search,
) -> None:
    """Whatever is asked for: each record once, in order, and no other account's."""

    async def check() -> None:
        account, entries = await filled(store, given_events)
        for condition in conditions:
            search = replace(asked, account_no=account.no, condition=condition)
            assert await pages(store, search) == naive(entries, search), search

    runner.run(check())


@settings(max_examples=150)
@given(
    given_events=_MADE,
    conditions=st.lists(
        st.one_of(
            CONDITIONS,
            st.sampled_from([EVERYTHING, Is("kind", "action"), AnyOf((Is("type", "tag"), Is("type", "pipe")))]),
            st.sampled_from([Is(name, value) for name in TALLIED for value in _VALUES[name]]),
        ),
        min_size=1,
        max_size=8,
    ),
    asked=st.builds(
        Question,
        st.sampled_from([(0, 1 << 50), (BEGIN_MS + 1, BEGIN_MS + DAY_MS + 7), (BEGIN_MS + 1, BEGIN_MS + HOUR_MS)]).map(
            lambda window: Search(0, EVERYTHING, *window)
        ),
        by=st.sampled_from([None, *FIELDS]),
        interval_ms=st.sampled_from([None, 60_000, HOUR_MS, DAY_MS]),
        top=st.integers(1, 4),
    ),
)
def test_how_many_there_are_is_what_a_look_at_each_record_counts(
    store: PostgresStore,
    runner: asyncio.Runner,
    given_events: Any,
    conditions: list[Condition],
    asked: Question,
) -> None:
    """In all, in each interval, and of each value; by the tally or not."""

    async def check() -> None:
        account, entries = await filled(store, given_events)
        for condition in conditions:
            question = replace(asked, search=replace(asked.search, account_no=account.no, condition=condition))
            assert await store.summarize(question) == summed_up(entries, question), question

    runner.run(check())


def summed_up(entries: list[Numbered], question: Question) -> Summary:
    """What should be counted."""
    there = naive(entries, question.search)
    interval_ms, by = question.interval_ms, question.by
    buckets = Counter(one.created_ms // interval_ms * interval_ms for one in there) if interval_ms else {}
    found = [value_of(parse_record(one.kind, one.record), by) for one in there] if by else []
    values = Counter(value for value in found if value is not None)
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0].encode()))
    return Summary(len(there), dict(buckets), ordered[: question.top], question.search.since_ms)


# What takes long.


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two quick ways of a search do not come to their end in time, and stretches are short."""

    async def fetch_slowly(
        connection: Connection, seconds: float, statement: str, values: Any, *, without: str | None = None
    ) -> list[Row] | None:
        if " record FROM" in statement and without != "enable_bitmapscan":
            return await fetch_within(connection, 0.001, "SELECT pg_sleep(60)", [])
        return await fetch_within(connection, seconds, statement, values, without=without)

    monkeypatch.setattr(searching, "fetch_within", fetch_slowly)
    monkeypatch.setattr(searching, "_SHORT_STRETCH", 2)
    monkeypatch.setattr(searching, "_LONG_STRETCH", 5)


@settings(max_examples=40)
@given(
    given_events=_MADE,
    condition=CONDITIONS,
    newest_first=st.booleans(),
    limit=st.integers(1, 7),
    seconds=st.sampled_from([0.0, 2.0]),
)
def test_a_search_that_takes_long_has_short_pages_and_finds_the_same(
    slow: None,
    store: PostgresStore,
    runner: asyncio.Runner,
    given_events: Any,
    **asked: Any,
) -> None:
    """Where the time is over at once, each page is of one stretch, and says where to go on."""

    async def check() -> None:
        account, entries = await filled(store, given_events)
        search = Search(account.no, **asked)
        assert await pages(store, search) == naive(entries, search), search

    runner.run(check())


async def test_a_search_says_how_far_it_came_although_it_has_found_nothing(
    slow: None, store: PostgresStore, runner: asyncio.Runner
) -> None:
    """So whoever asks goes on from there, rather than from the beginning."""
    account = await add_account(store)
    times = [NOW_MS + number for number in range(20)]
    await append(store, account, *[event_at(account, at_ms) for at_ms in times])
    nothing = Not(Is("action", "update"))
    condition = All((nothing, Not(Is("action", "create"))))
    found = await store.search(Search(account.no, condition, seconds=0))
    assert found == Found([], Position(times[-2], 19))
    found = await store.search(Search(account.no, condition, seconds=0, after=found.rest))
    assert found == Found([], Position(times[-4], 17))
    found = await store.search(Search(account.no, condition, NOW_MS, newest_first=False, seconds=0))
    assert found == Found([], Position(times[1], 2))


async def test_a_page_that_is_too_far_away_to_be_counted_to_is_refused(
    slow: None, store: PostgresStore, runner: asyncio.Runner
) -> None:
    """Nobody could go on from there without having counted."""
    account = await add_account(store)
    await append(store, account, *[event_at(account, NOW_MS + number) for number in range(20)])
    search = Search(account.no, Is("action", "update"), skip=10, limit=5)
    assert len((await store.search(search)).records) == 5
    with pytest.raises(InvalidParameter, match="narrow it, with 'since' and 'until' closer together"):
        await store.search(replace(search, seconds=0))


async def test_a_statement_that_takes_too_long_ends_and_its_connection_goes_on(
    store: PostgresStore, url: str, runner: asyncio.Runner
) -> None:
    """No other operation notices."""
    pool = Pool(parse_dsn(url))
    async with pool.connection() as connection:
        process = connection.info.backend_pid
        assert await fetch_within(connection, 0.02, "SELECT pg_sleep(%s)", [60]) is None
        assert await fetch_within(connection, 20, "SELECT %s::int", [7]) == [(7,)]
        assert await fetch_within(connection, 20, "SHOW enable_seqscan", [], without="enable_seqscan") == [("off",)]
        timeout = await connection.execute("SELECT current_setting('statement_timeout')")
        assert await timeout.fetchone() == ("1min",)
        assert connection.info.backend_pid == process
    await pool.close()


async def test_of_too_many_entries_the_newest_are_counted(
    store: PostgresStore, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said from when on, which is the beginning of an interval; if there are too many of those, too: no."""
    account = await add_account(store)
    await append(store, account, *[event_at(account, BEGIN_MS + number * HOUR_MS // 4) for number in range(40)])
    entries = sorted(await store.log(account.no, 0, 100), key=lambda one: one.created_ms)
    question = Question(Search(account.no, Is("user_id", USER_ID)), "action", HOUR_MS)
    too_slow = [True, True, False, True, True, True]

    async def fetch_slowly(connection: Connection, seconds: float, statement: str, values: Any) -> list[Row] | None:
        if too_slow.pop(0):
            return await fetch_within(connection, 0.001, "SELECT pg_sleep(60)", [])
        return await fetch_within(connection, seconds, statement, values)

    monkeypatch.setattr(summarizing, "fetch_within", fetch_slowly)
    monkeypatch.setattr(summarizing, "_NEWEST", (30, 10))
    summary = await store.summarize(question)
    assert summary.since_ms == BEGIN_MS + 8 * HOUR_MS
    assert summary.total == 8
    assert summary == summed_up(entries, replace(question, search=replace(question.search, since_ms=summary.since_ms)))
    with pytest.raises(InvalidParameter, match="too many to count: narrow the search"):
        await store.summarize(question)


# The check, and what mends what it finds.

_SPOILT = {
    "UPDATE entry SET words = '' WHERE account_no = %s AND seq = 1": "the search words are not those of the record",
    "UPDATE entry SET words = words || '8wann' WHERE account_no = %s AND seq = 1": "the search words are not",
    "UPDATE tally SET count = count + 1 WHERE account_no = %s AND key = 'action' AND value = 'update'": (
        "the tally has 2 of action update (kind 1) in the hour 2021-07-30T16, but there are 1"
    ),
    "DELETE FROM tally WHERE account_no = %s AND key = 'scope'": "the tally has 0 of scope api (kind 2) in the hour",
    "INSERT INTO tally VALUES (%s, 1, '', 3, '', 5)": (
        "the tally has 5 of entries (kind 1) in the hour 1970-01-01T03, but there are 0"
    ),
}


@pytest.mark.parametrize("statement", _SPOILT)
async def test_what_is_wrong_with_the_search_is_found_and_mended(
    store: PostgresStore, runner: asyncio.Runner, url: str, statement: str
) -> None:
    """By name of the account; afterwards all is well."""
    account = await add_account(store)
    await append(store, account, event(account), event(account, Kind.TOKEN))
    assert await store.check(no_progress) == []
    with psycopg.connect(url, autocommit=True) as connection:
        assert connection.execute(statement.encode(), (account.no,)).rowcount == 1
    (finding,) = await store.check(no_progress)
    assert finding.account == account.name
    assert _SPOILT[statement] in finding.problem
    assert await store.rebuild_search(no_progress) > 0
    assert await store.check(no_progress) == []


async def test_what_is_not_stored_is_not_counted(store: PostgresStore, runner: asyncio.Runner) -> None:
    """A duplicate, alone or among others, and what is refused."""
    account = await add_account(store)
    known, new = event(account, _id=new_id()), event(account, _id=new_id())
    await append(store, account, known)
    await append(store, account, known, new, event(account))
    await append(store, account, new)
    other = event(account, _id=known.id.hex(), action="delete")
    (refused,) = await store.append([Submission(account.no, [event(account), other])])
    assert isinstance(refused, IdConflict)
    summary = await store.summarize(Question(Search(account.no), "action", HOUR_MS))
    assert (summary.total, summary.values) == (4, [("update", 3), ("create", 1)])
    assert await store.check(no_progress) == []


# Lexemes.


@given(given_events=_MADE.filter(bool))
def test_a_record_has_a_lexeme_for_each_word_but_those_of_its_ids(given_events: Any) -> None:
    """And each is there once, with the account's number before it."""
    account = Account(7, "org-7", 0, Frontier(), 0)
    for one in made(account, given_events):
        lexemes_of_it = lexemes(7, one.body)
        found = read_lexemes(lexemes_of_it)
        assert len(found) == int.from_bytes(lexemes_of_it[:4], "big")
        words = {lexeme[2:].decode() for lexeme in found if lexeme[1:2] in b"wW"}
        ids = {lexeme[2:].decode() for lexeme in found if lexeme[1:2] in b"uUKg"}
        assert words | ids == words_of(one.body)
        assert all(lexeme.startswith(b"7") for lexeme in found)


def test_of_a_record_with_too_many_words_those_are_searched_by_that_count() -> None:
    """The model and the index stop at the same word."""
    one = event("org-7", reason=" ".join(f"word{number}" for number in range(200)), metadata={"a": [*range(100, 900)]})
    found = {lexeme[2:].decode() for lexeme in read_lexemes(lexemes(7, one.body)) if lexeme[1:2] in b"wu"}
    assert found == words_of(one.body)


@given(CONDITIONS, st.sampled_from(Kind), _MADE)
def test_a_condition_narrowed_to_a_kind_holds_for_the_same_of_it(
    condition: Condition, kind: Kind, given_events: Any
) -> None:
    """And none of its parts is about something that records of that kind do not have."""
    narrow = narrowed(condition, kind)
    account = Account(7, "org-7", 0, Frontier(), 0)
    for one in made(account, given_events):
        if one.kind == kind:
            assert matches(narrow, one.body) == matches(condition, one.body)
    assert narrow == NOTHING or NOTHING not in getattr(narrow, "parts", ())
