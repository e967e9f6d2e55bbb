"""Searching, summing up and reading by number, on each store, beside a naive model that looks at every record."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.building import NOW_MS, add_account, append, event_at, flat, no_progress
from tests.store.contract.opening import Open

from whodid.conditions import (
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
from whodid.records import DAY_MS, MAX_TIME_MS, Event, Kind, parse_record
from whodid.store.base import (
    AFTER_ALL,
    BEFORE_ALL,
    UNBOUNDED,
    Account,
    Head,
    Numbered,
    Position,
    Question,
    Search,
    Store,
    Summary,
)

HOUR_MS = 3_600_000
ID_A, ID_B = "5e1cbf251c26d68f7ce6361e", "5e1cbf251c26d68f7ce6361f"
LONG = "x" * 230

_EMAILS = ("ann@acme.example", "Ann.Lee@acme.example", "bob@other.example", "ann@other.example", f"{LONG}@acme.example")
_TEXTS = (
    "Nightly build",
    "nightly",
    "a b",
    'quote " OR NOT',
    "Ärger mit Straße",
    "7aw:ann",
    "x",
    LONG,
    "per cent %_\\",
    "all organizations moved",
    "organization",
    "the cafe\u0301 and CAFÉ",
)
_VALUES: dict[str, tuple[str, ...]] = {
    "kind": ("action", "token", "neither"),
    "type": ("pipeline", "pipeline_template", "tag"),
    "action": ("create", "update"),
    "user_id": (ID_A, ID_B),
    "user_email": (*_EMAILS, "nobody@acme.example"),
    "target_id": (
        "prod",
        "Prod",
        "prod-1",
        "a b",
        LONG,
        ID_A,
        "'); DROP TABLE entry; --",
        "^p",
        "ä:*&|!",
        "\U0010ffff\ud7ff",
    ),
    "token_id": (ID_A, ID_B),
    "scope": ("api", "api-readonly"),
    "outcome": ("success", "denied"),
    "ip_address": ("192.0.2.17", "2001:db8::1"),
}
_WORDS = (
    "ann",
    "lee",
    "acme",
    "other",
    "nightly",
    "build",
    "prod",
    "or",
    "not",
    "straße",
    "strasse",
    "42",
    ID_A,
    "x" * 64,
    "organization"[:11],
    "organization",
    "organizational",
    "café",
)


def _optional(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    return st.one_of(st.none(), st.sampled_from(values))


_metadata = st.one_of(
    st.none(), st.fixed_dictionaries({"a": st.sampled_from(_TEXTS), "b": st.lists(st.integers(40, 43))})
)
_common = {
    "user_id": st.sampled_from(_VALUES["user_id"]),
    "outcome": _optional(_VALUES["outcome"]),
    "ip_address": _optional(_VALUES["ip_address"]),
    "target_name": _optional(_TEXTS),
    "reason": _optional(_TEXTS),
    "user_agent": _optional(_TEXTS),
    "metadata": _metadata,
}
_actions = st.fixed_dictionaries(
    {
        "type": st.sampled_from(_VALUES["type"]),
        "action": st.sampled_from(_VALUES["action"]),
        "user_email": _optional(_EMAILS),
        "target_id": _optional(_VALUES["target_id"]),
        **_common,
    }
)
_token_uses = st.fixed_dictionaries(
    {
        "token_id": st.sampled_from(_VALUES["token_id"]),
        "scope": st.sampled_from(_VALUES["scope"]),
        "request_id": _optional(_TEXTS),
        **_common,
    }
)
_times = st.one_of(st.integers(0, 3), st.integers(0, 40).map(lambda hours: hours * HOUR_MS)).map(
    lambda before: NOW_MS - DAY_MS + before
)
_events = st.lists(
    st.one_of(st.tuples(st.just(Kind.ACTION), _times, _actions), st.tuples(st.just(Kind.TOKEN), _times, _token_uses)),
    max_size=12,
)


def _beginnings(name: str) -> st.SearchStrategy[Condition]:
    starts = [value[:size] for value in _VALUES[name] for size in (1, 2, 5, 220)]
    return st.sampled_from(starts).map(lambda start: Begins(name, start))


_leaves: st.SearchStrategy[Condition] = st.one_of(
    st.sampled_from([Is(name, value) for name, values in _VALUES.items() for value in values]),
    st.sampled_from(sorted(set(FIELDS) - {"kind"})).flatmap(_beginnings),
    st.sampled_from(_WORDS).map(Says),
    st.sampled_from([word[:size] for word in _WORDS for size in (1, 3)]).map(SaysBeginning),
)
_conditions = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        inner.map(Not),
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: AnyOf(tuple(parts))),
    ),
    max_leaves=6,
)


@dataclass
class _Log:
    """An account with what was appended to it."""

    store: Store
    account: Account
    records: list[Numbered] = field(default_factory=list)

    async def append(self, made: list[tuple[Kind, int, dict[str, Any]]]) -> None:
        """Append events, each in a batch of its own."""
        for kind, created_ms, given_values in made:
            values = {key: value for key, value in given_values.items() if value is not None}
            await self.append_event(event_at(self.account, created_ms, kind, **values))

    async def append_event(self, event: Event) -> None:
        """Append one event."""
        (seq,) = (await append(self.store, self.account, event)).seqs
        self.records.append(Numbered(seq, event.kind, event.created_ms, event.record))

    def matching(self, search: Search) -> list[Numbered]:
        """What a search must find, naively."""
        found = [
            one
            for one in self.records
            if search.since_ms <= one.created_ms < search.until_ms
            and matches(search.condition, parse_record(one.kind, one.record))
        ]
        return sorted(found, key=lambda one: (one.created_ms, one.seq), reverse=search.newest_first)


async def _log(store: Store) -> _Log:
    account = await add_account(store)
    return _Log(store, account, await store.log(account.no, 0, 10))


async def _all_pages(store: Store, search: Search) -> list[Numbered]:
    found: list[Numbered] = []
    while True:
        page = await store.search(search)
        assert len(page.records) <= search.limit
        assert len(page.records) < 2 or sum(len(one.record) for one in page.records) <= search.most_bytes
        found += page.records
        if page.rest is None:
            return found
        search = Search(
            **{name: getattr(search, name) for name in Search.__struct_fields__} | {"after": page.rest, "skip": 0}
        )


@settings(max_examples=60)
@given(
    events=_events, conditions=st.lists(_conditions, min_size=1, max_size=4), limit=st.integers(1, 7), data=st.data()
)
def test_pages_have_every_matching_record_once_and_in_order(
    *, store: Store, runner: asyncio.Runner, events: Any, conditions: list[Condition], limit: int, data: st.DataObject
) -> None:
    """In whatever order, window and size of page: the pages together are what the naive model finds."""

    async def check() -> None:
        log = await _log(store)
        await log.append(events)
        other = await _log(log.store)
        await other.append(events)
        since = data.draw(st.sampled_from([0, NOW_MS - DAY_MS, NOW_MS - DAY_MS + HOUR_MS]))
        until = data.draw(st.sampled_from([MAX_TIME_MS + 1, NOW_MS - DAY_MS + 2, NOW_MS]))
        skip = data.draw(st.integers(0, 3))
        most_bytes = data.draw(st.sampled_from([1, 1000, UNBOUNDED]))
        seconds = data.draw(st.sampled_from([0.0, 2.0])) if not skip else 2.0
        for condition in conditions:
            for newest_first in (True, False):
                search = Search(log.account.no, condition, since, until, newest_first, limit, None, skip, seconds)
                search = replace(search, most_bytes=most_bytes)
                assert await _all_pages(log.store, search) == log.matching(search)[skip:]

    runner.run(check())


@settings(max_examples=30)
@given(events=_events, meanwhile=_events, condition=_conditions, newest_first=st.booleans(), limit=st.integers(1, 4))
def test_pages_neither_skip_nor_repeat_while_events_arrive(
    *,
    store: Store,
    runner: asyncio.Runner,
    events: Any,
    meanwhile: Any,
    condition: Condition,
    newest_first: bool,
    limit: int,
) -> None:
    """Events that are appended between two pages, late-dated ones among them, disturb nothing that was there before."""

    async def check() -> None:
        log = await _log(store)
        await log.append(events)
        search = Search(log.account.no, condition, newest_first=newest_first, limit=limit)
        before = log.matching(search)
        late = iter(meanwhile)
        found: list[Numbered] = []
        after: Position | None = None
        while True:
            page = await log.store.search(
                Search(log.account.no, condition, newest_first=newest_first, limit=limit, after=after)
            )
            found += page.records
            after = page.rest
            if after is None:
                break
            await log.append([one for one in [next(late, None)] if one is not None])
        assert len(found) == len({one.seq for one in found})
        assert found == sorted(found, key=lambda one: (one.created_ms, one.seq), reverse=newest_first)
        assert [one for one in found if one in before] == before

    runner.run(check())


@settings(max_examples=60)
@given(
    events=_events,
    condition=_conditions,
    by=st.sampled_from([None, *FIELDS]),
    interval_ms=st.sampled_from([None, 60_000, HOUR_MS, DAY_MS]),
    window=st.sampled_from(
        [(0, MAX_TIME_MS + 1), (NOW_MS - DAY_MS, NOW_MS), (NOW_MS - DAY_MS + 1, NOW_MS - DAY_MS + 5 * HOUR_MS - 1)]
    ),
    top=st.integers(1, 4),
)
def test_a_summary_counts_what_a_search_finds(
    *,
    store: Store,
    runner: asyncio.Runner,
    events: Any,
    condition: Condition,
    by: str | None,
    interval_ms: int | None,
    window: tuple[int, int],
    top: int,
) -> None:
    """Totals, intervals and the most frequent values are those of the records that a search finds."""

    async def check() -> None:
        log = await _log(store)
        await log.append(events)
        await (await _log(log.store)).append(events)
        for asked in (condition, All(()), Is("kind", "action"), Is("type", "pipeline")):
            search = Search(log.account.no, asked, *window)
            found = log.matching(search)
            values = Counter(value_of(parse_record(one.kind, one.record), by) for one in found) if by else Counter()
            del values[None]
            buckets = Counter(one.created_ms // interval_ms * interval_ms for one in found) if interval_ms else {}
            ranked = sorted(((str(value), count) for value, count in values.items()), key=lambda one: (-one[1], one[0]))
            expected = Summary(len(found), dict(sorted(buckets.items())), ranked[:top], window[0])
            assert await log.store.summarize(Question(search, by, interval_ms, top)) == expected

    runner.run(check())


async def test_a_word_of_very_many_addresses_is_found(store: Store) -> None:
    """However many addresses have a word: who searches for it, or for what is without it, finds the right records."""
    log = await _log(store)
    for number in range(230):
        domain = "rare.example" if number == 7 else "acme.example"
        await log.append_event(event_at(log.account, NOW_MS + number, user_email=f"user{number}@{domain}"))
    for condition in (
        Says("acme"),
        SaysBeginning("user"),
        Begins("user_email", "user"),
        Not(Says("acme")),
        All((Says("acme"), Says("user9"))),
        All((Not(Begins("user_email", "user1")), Not(SaysBeginning("user2")))),
        AnyOf((Says("rare"), Not(SaysBeginning("use")))),
    ):
        search = Search(log.account.no, condition, limit=50)
        assert await _all_pages(store, search) == log.matching(search)


async def test_going_on_between_records(store: Store) -> None:
    """A place need not be that of a record: before all, or after all, of a millisecond."""
    log = await _log(store)
    for created_ms in (NOW_MS, NOW_MS, NOW_MS + 1, NOW_MS + 1, NOW_MS + 2):
        await log.append_event(event_at(log.account, created_ms))
    times = {
        (True, BEFORE_ALL): [NOW_MS, NOW_MS],
        (True, AFTER_ALL): [NOW_MS + 1, NOW_MS + 1, NOW_MS, NOW_MS],
        (False, BEFORE_ALL): [NOW_MS + 1, NOW_MS + 1, NOW_MS + 2],
        (False, AFTER_ALL): [NOW_MS + 2],
    }
    for (newest_first, seq), expected in times.items():
        found = await store.search(
            Search(log.account.no, since_ms=NOW_MS, newest_first=newest_first, after=Position(NOW_MS + 1, seq))
        )
        assert ([one.created_ms for one in found.records], found.rest) == (expected, None)


async def test_a_summary_has_addresses_without_words(store: Store) -> None:
    """Such as have single letters alone."""
    log = await _log(store)
    for email in ("a@b.c", "ann@b.c", "a@b.c"):
        await log.append([(Kind.ACTION, NOW_MS, {"user_email": email, "type": "tag"})])
    summary = await store.summarize(Question(Search(log.account.no, Is("type", "tag")), "user_email"))
    assert summary.values == [("a@b.c", 2), ("ann@b.c", 1)]
    assert await store.check(no_progress) == []


async def test_the_log_by_number(store: Store) -> None:
    """By number there is every record, late-dated ones where they were appended, and the head says how many."""
    log = await _log(store)
    other = await _log(store)
    for created_ms in (NOW_MS, NOW_MS - 5 * DAY_MS, NOW_MS + 1):
        await log.append_event(event_at(log.account, created_ms))
    assert await store.log(log.account.no, 0, 100) == log.records
    assert await store.log(log.account.no, 1, 2) == log.records[1:3]
    assert await store.log(log.account.no, 4, 100) == []
    sizes = list(accumulate(len(one.record) for one in log.records))
    for most_bytes, number in ((0, 1), (sizes[0], 1), (sizes[1] - 1, 1), (sizes[1], 2), (sizes[3], 4)):
        assert await store.log(log.account.no, 0, 100, most_bytes) == log.records[:number]
    heads = await store.heads([log.account.no, other.account.no, 10_000])
    assert heads == {log.account.no: Head(4, 0, 0), other.account.no: Head(1, 0, 0)}
    assert await store.heads([]) == {}


async def test_what_is_searched_by_is_made_anew(open_store: Open) -> None:
    """Made anew, index and counts are as they were, and the check of the store finds nothing."""
    store = open_store()
    log = await _log(store)
    await log.append([(Kind.ACTION, NOW_MS, {"user_email": "ann@acme.example", "target_name": "Nightly build"})])
    await store.rebuild_search(no_progress)
    search = Search(log.account.no, All((Says("nightly"), Says("acme"))))
    assert (await store.search(search)).records == log.records[1:]
    question = Question(Search(log.account.no), "user_email", HOUR_MS)
    assert (await store.summarize(question)).values == [("ann@acme.example", 1)]
    assert await store.check(no_progress) == []
    assert [entry.seq for entry in await flat(store.entries(log.account.no))] == [0, 1]


def _nested(levels: int) -> Condition:
    """A condition of so many levels, of all that can be in each other; it holds for actions of type tag."""
    condition: Condition = Is("type", "tag")
    for level in range(levels):
        beside = Is("action", f"a{level}")
        condition = (AnyOf((beside, condition)), All((Not(beside), condition)), Not(Not(condition)))[level % 3]
    return condition


async def test_deep_conditions_are_answered(store: Store) -> None:
    """As deep as the language lets them be, and deeper."""
    log = await _log(store)
    await log.append([(Kind.ACTION, NOW_MS + at, {"type": "tag", "action": f"b{at}"}) for at in range(3)])
    for levels in (1, 10, 20, 30):
        for condition in (_nested(levels), Not(_nested(levels))):
            search = Search(log.account.no, condition)
            assert (await store.search(search)).records == log.matching(search)


async def test_a_search_that_takes_too_long_goes_on_where_it_was_broken_off(store: Store) -> None:
    """Also within one millisecond, and where each record must be looked at; its summary counts nothing half."""
    log = await _log(store)
    long = "organizational-unit-of-considerable-length"
    await log.append([(Kind.ACTION, NOW_MS, {"reason": f"{long} {at % 2}{at % 3}"}) for at in range(12)])
    condition = AnyOf((Says("organizational"), Says("organizationaltoo")))
    for newest_first in (True, False):
        search = Search(log.account.no, condition, newest_first=newest_first, seconds=0)
        assert await _all_pages(store, search) == log.matching(search)
    summary = await store.summarize(Question(Search(log.account.no, condition, seconds=0), "type", HOUR_MS))
    assert summary.total == sum(summary.buckets.values()) == sum(count for _, count in summary.values)
    assert summary.total in (0, 12)
