"""What every store promises (``whodid.store.base``), tried on each store."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.building import (
    NOW_MS,
    accepted,
    action,
    add_account,
    append,
    completed,
    event,
    event_at,
    flat,
    new_id,
    no_progress,
    token,
    token_use,
    user,
)
from tests.store.contract.opening import Open

from whodid.commitment import SALT_BYTES, commit
from whodid.errors import IdConflict, NameTaken, NotFound, StaleIdentity, StoreUnavailable
from whodid.merkle import Frontier, hash_leaf, root_of
from whodid.records import MAX_TIME_MS, Event, Kind, render_time
from whodid.store.base import Account, Entry, PutToken, PutUser, Query, Role, Store, Submission

few = settings(max_examples=25)


async def entries_of(store: Store, account: Account) -> list[Entry]:
    """An account's whole log, which has no gaps."""
    entries = await flat(store.entries(account.no))
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    return entries


async def records_of(store: Store, account: Account) -> list[bytes]:
    """The records of an account's log, without its first entry."""
    return [entry.record for entry in (await entries_of(store, account))[1:]]


async def head_of(store: Store, account: Account) -> Account:
    """The account as it is now."""
    head = await store.account(account.name)
    assert head is not None
    return head


def everything(account: Account, kind: Kind = Kind.ACTION, **more: Any) -> Query:
    """A query for all of one log."""
    return Query(account.no, kind, **{"since_ms": 0, "until_ms": MAX_TIME_MS + 1, "limit": 1000, **more})


# The log.


async def test_a_record_reads_back_byte_for_byte(store: Store) -> None:
    """With the salt and the commitment that bind it, its kind, time and place."""
    account = await add_account(store)
    changes = {"rôle": {"old": {"b": 1, "a": [1.50, None, "\u2028"]}, "new": "\U0001f600"}}
    rich = event(
        account, changes=changes, metadata={"z": 1, "a": {}}, reason='"\\/\x7f', createdAt="2020-02-29T23:59:59.999Z"
    )
    used = event(account, Kind.TOKEN, method="GET", outcome="denied")
    large = event(account, metadata={"text": "x" * 65_000})
    await append(store, account, rich, used, large)
    for made, entry in zip([rich, used, large], (await entries_of(store, account))[1:], strict=True):
        assert entry.record == made.record
        assert (entry.kind, entry.created_ms) == (made.kind, made.created_ms)
        assert len(entry.salt) == SALT_BYTES
        assert entry.commitment == commit(entry.salt, made.record)


async def test_salts_are_fresh_for_each_entry(store: Store) -> None:
    """The same record twice has two commitments: who guesses a record can't find it in the tree."""
    account = await add_account(store)
    for _ in range(3):
        await append(store, account, *(event(account) for _ in range(400)))
    salts = [entry.salt for entry in await entries_of(store, account)]
    assert len(set(salts)) == len(salts) == 1201


async def test_the_head_is_the_tree_of_all_commitments(store: Store) -> None:
    """At any size, after any batches."""
    account = await add_account(store)
    for count in (1, 2, 253, 1, 300):
        await append(store, account, *(event(account) for _ in range(count)))
        head = await head_of(store, account)
        entries = await entries_of(store, account)
        assert head.frontier.size == len(entries)
        assert head.frontier.root() == root_of(hash_leaf(entry.commitment) for entry in entries)
    assert await store.check(no_progress) == []


@few
@given(data=st.data())
def test_every_account_has_a_sequence_of_its_own_without_gaps(
    store: Store, runner: asyncio.Runner, data: st.DataObject
) -> None:
    """Whatever accounts share a batch, each gets its next numbers, in the order in which its events were handed in."""

    async def story() -> None:
        accounts = [await add_account(store) for _ in range(3)]
        expected: list[list[bytes]] = [[], [], []]
        batches = st.lists(
            st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), min_size=1, max_size=5), max_size=4
        )
        for batch in data.draw(batches):
            submissions = [
                Submission(accounts[at].no, [event_at(accounts[at], NOW_MS) for _ in range(count)])
                for at, count in batch
            ]
            results = await store.append(submissions)
            for (at, _), submission, result in zip(batch, submissions, results, strict=True):
                first = len(expected[at]) + 1
                assert accepted(result).seqs == list(range(first, first + len(submission.events)))
                expected[at] += [made.record for made in submission.events]
        for account, records in zip(accounts, expected, strict=True):
            assert await records_of(store, account) == records

    runner.run(story())


async def test_a_prepared_submission_is_appended_like_any_other(store: Store) -> None:
    """Preparing takes no number yet: the order is that of appending."""
    account = await add_account(store)
    first, second = event(account), event(account)
    later = store.prepare(Submission(account.no, [second]))
    results = await store.append([Submission(account.no, [first]), later])
    assert [accepted(result).seqs for result in results] == [[1], [2]]
    assert await records_of(store, account) == [first.record, second.record]


async def test_an_empty_batch_and_an_empty_submission_do_nothing(store: Store) -> None:
    """They are no error."""
    account = await add_account(store)
    assert await store.append([]) == []
    assert accepted(*await store.append([Submission(account.no, [])])).seqs == []
    assert (await append(store, account, event(account))).seqs == [1]


async def test_an_unknown_account_refuses_only_its_own_submission(store: Store) -> None:
    """The others of the batch are committed."""
    account = await add_account(store)
    stray, good = await store.append(
        [Submission(account.no + 9, [event(account)]), Submission(account.no, [event(account)])]
    )
    assert isinstance(stray, NotFound)
    assert accepted(good).seqs == [1]


async def test_a_log_is_read_in_chunks_from_any_place(store: Store) -> None:
    """Complete and in order, however long it is."""
    account = await add_account(store)
    made = [event(account, target_id=str(number)) for number in range(2500)]
    await append(store, account, *made)
    chunks = [chunk async for chunk in store.entries(account.no)]
    assert len(chunks) > 1
    assert [entry.record for chunk in chunks for entry in chunk][1:] == [one.record for one in made]
    assert [entry.seq for entry in await flat(store.entries(account.no, 1700))] == list(range(1700, 2501))
    assert await flat(store.entries(account.no, 2501)) == []
    assert await flat(store.entries(account.no + 1)) == []


async def test_a_log_may_grow_while_it_is_read(store: Store) -> None:
    """What comes in between chunks is read too, once."""
    account = await add_account(store)
    await append(store, account, *(event(account) for _ in range(1500)))
    seen: list[int] = []
    async for chunk in store.entries(account.no):
        if not seen:
            await append(store, account, event(account), event(account))
        seen += [entry.seq for entry in chunk]
    assert seen == list(range(1503))


# Duplicates and conflicts, beside a naive book of what was recorded.

Given: TypeAlias = tuple[int | None, str]
"""An event: the number of its own ``_id``, or None; and its content."""
Outcome: TypeAlias = tuple[Literal["receipt"], list[int], frozenset[int]] | tuple[Literal["conflict"], int]


@dataclass
class Book:
    """The naive reference: what a log must be."""

    log: list[Given] = field(default_factory=lambda: [(None, "first")])

    def append(self, submission: list[Given]) -> Outcome:
        """Append a submission, or refuse it."""
        log = list(self.log)
        seqs: list[int] = []
        duplicates: set[int] = set()
        for place, (number, content) in enumerate(submission):
            known = [seq for seq, (other, _) in enumerate(log) if number is not None and number == other]
            if known and log[known[0]][1] != content:
                return "conflict", place
            if known:
                duplicates.add(place)
                seqs.append(known[0])
            else:
                seqs.append(len(log))
                log.append((number, content))
        self.log = log
        return "receipt", seqs, frozenset(duplicates)


events_given = st.tuples(st.none() | st.integers(1, 4), st.sampled_from("ab"))
submissions_given = st.lists(events_given, max_size=5)


@few
@given(batches=st.lists(st.lists(submissions_given, min_size=1, max_size=4), min_size=1, max_size=5))
@example(batches=[[[(1, "a")], [(None, "b"), (1, "b")], [(1, "a"), (2, "a")]], [[(2, "b")]]])
@example(batches=[[[(1, "a"), (1, "a")], [(1, "a")]], [[(1, "a"), (None, "a"), (1, "b")]]])
def test_duplicates_and_conflicts_are_those_of_a_naive_book(
    store: Store, runner: asyncio.Runner, batches: list[list[list[Given]]]
) -> None:
    """Within a submission, within a batch, across batches; a submission that conflicts leaves nothing behind."""

    async def story() -> None:
        account = await add_account(store)
        book = Book()
        ids = {number: new_id() for number in range(1, 5)}

        def make(number: int | None, content: str) -> Event:
            own = {} if number is None else {"_id": ids[number]}
            (made,) = completed(account.name, [action(target_id=content, **own)])
            return made

        for batch in batches:
            submissions = [Submission(account.no, [make(*one) for one in submission]) for submission in batch]
            for submission, result in zip(batch, await store.append(submissions), strict=True):
                match book.append(submission):
                    case ("receipt", seqs, duplicates):
                        assert (accepted(result).seqs, accepted(result).duplicates) == (seqs, duplicates)
                    case ("conflict", place):
                        assert isinstance(result, IdConflict)
                        number = submission[place][0]
                        assert number is not None
                        assert (result.index, result.record_id) == (place, ids[number])
        records = [json.loads(record) for record in await records_of(store, account)]
        assert [record["target_id"] for record in records] == [content for _, content in book.log[1:]]

    runner.run(story())


async def test_an_event_that_is_sent_again_later_is_a_duplicate(store: Store) -> None:
    """Though the log filled in another time of recording, another time of occurring, and by now knows the user."""
    account = await add_account(store)
    given_ = action(_id=new_id(), reason="first")
    await append(store, account, *completed(account.name, [given_]))
    users = {given_["user_id"]: "ann@acme.example"}
    again = completed(account.name, [given_], now_ms=NOW_MS + 86_400_000, users=users)
    receipt = await append(store, account, *again)
    assert (receipt.seqs, receipt.duplicates) == ([1], frozenset({0}))
    assert len(await records_of(store, account)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"reason": "other"},
        {"type": "tag"},
        {"createdAt": "2020-01-01T00:00:00Z"},
        {"metadata": {"n": 1.0}},
        {"target_id": "x"},
    ],
)
async def test_the_same_id_with_other_content_is_a_conflict(store: Store, change: dict[str, Any]) -> None:
    """Nothing of the submission is stored, and what was recorded stays."""
    account = await add_account(store)
    given_ = action(_id=new_id(), metadata={"n": 1})
    (first,) = completed(account.name, [given_])
    await append(store, account, first)
    with pytest.raises(IdConflict) as caught:
        await append(store, account, *completed(account.name, [action(), given_ | change, action(_id=new_id())]))
    assert (caught.value.index, caught.value.record_id) == (1, given_["_id"])
    assert await records_of(store, account) == [first.record]
    assert await store.newest(everything(account, limit=1)) == [first.record]


async def test_two_accounts_may_have_the_same_id(store: Store) -> None:
    """Ids are unique in an account; nobody can tell from a conflict what another account has."""
    one, other = await add_account(store), await add_account(store)
    own = new_id()
    await append(store, one, *completed(one.name, [action(_id=own, reason="one")]))
    receipt = await append(store, other, *completed(other.name, [action(_id=own, reason="other")]))
    assert receipt.duplicates == frozenset()


async def test_an_id_that_the_log_made_and_that_is_taken_refuses_only_its_own_submission(store: Store) -> None:
    """A producer may guess the next ids and bring them itself; that must not keep others from recording."""
    account, other = await add_account(store), await add_account(store)
    own = new_id()
    await append(store, account, *completed(account.name, [action(_id=own)]))
    guessed = msgspec.structs.replace(event(account), id=bytes.fromhex(own))
    submissions = [Submission(other.no, [event(other)]), Submission(account.no, [event(account), guessed])]
    before, refused, behind = await store.append([*submissions, Submission(account.no, [event(account)])])
    assert accepted(before).seqs == [1]
    assert isinstance(refused, StoreUnavailable)
    assert accepted(behind).seqs == [2]
    assert await store.check(no_progress) == []


async def test_a_caller_that_goes_away_leaves_no_answer_behind(store: Store) -> None:
    """What was appended for it is in the log, and the next caller gets its own answer."""
    account = await add_account(store)
    for _ in range(5):
        gone = asyncio.create_task(append(store, account, event(account), event(account)))
        probe = asyncio.create_task(store.probe())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.cancel()
        probe.cancel()
        size = len(await records_of(store, account))
        receipt = await append(store, account, event(account))
        assert receipt.seqs[0] >= size + 1
        assert receipt.seqs[0] == len(await records_of(store, account))


async def test_an_id_serves_one_event_of_either_kind(store: Store) -> None:
    """An action and a token use of one account can't have the same ``_id``."""
    account = await add_account(store)
    own = new_id()
    await append(store, account, *completed(account.name, [action(_id=own)]))
    with pytest.raises(IdConflict):
        await append(store, account, *completed(account.name, [token_use(_id=own)], Kind.TOKEN))


# Users and tokens.


async def test_users_and_tokens_read_back(store: Store) -> None:
    """As they were put, by all the ways that lead to them."""
    account = await add_account(store)
    ann = user("Ann@Straße.example", name="Ann Ä", role=Role.SECURITY_MANAGER, created_ms=7)
    bob = user("bob@acme.example", active=False)
    first, second = token(bob, "first", created_ms=1), token(bob, "second", created_ms=2, expired_ms=3)
    changes = (PutUser(bob), PutUser(ann), PutToken(first), PutToken(second))
    accepted(*await store.append([Submission(account.no, [event(account)], changes)]))
    assert await store.users(account.no) == [ann, bob]
    assert await store.user(account.no, email="ANN@STRASSE.example") == ann
    assert await store.user(account.no, email="nobody@acme.example") is None
    assert await store.addresses(account.no) == {ann.id: ann.email, bob.id: bob.email}
    assert await store.tokens(account.no) == [second, first]
    credential = await store.credential(second.digest)
    assert credential is not None
    assert (credential.token, credential.user, credential.account) == (second, bob, await head_of(store, account))
    assert await store.credential(bytes(32)) is None


async def test_nobody_sees_another_accounts_users_and_tokens(store: Store) -> None:
    """The same address and the same id are other users elsewhere."""
    one, other = await add_account(store), await add_account(store)
    ann = user()
    accepted(*await store.append([Submission(one.no, [], (PutUser(ann), PutToken(token(ann))))]))
    assert await store.users(other.no) == []
    assert await store.tokens(other.no) == []
    assert await store.addresses(other.no) == {}
    assert await store.user(other.no, email=ann.email) is None
    other_ann = user(id=ann.id, role=Role.USER)
    accepted(*await store.append([Submission(other.no, [], (PutUser(other_ann),))]))
    assert await store.users(one.no) == [ann]
    refused = (await store.append([Submission(other.no, [], (PutToken(token(user())),))]))[0]
    assert isinstance(refused, NotFound)


async def test_accounts_are_listed_by_name_and_named_once(store: Store) -> None:
    """A name that is taken leaves nothing behind."""
    names = [(await add_account(store, name)).name for name in ("org-b", "org-a", "org-c")]
    assert [account.name for account in await store.accounts()] == sorted(names)
    with pytest.raises(NameTaken):
        await add_account(store, "org-b")
    account = await head_of(store, Account(0, "org-b", 0, Frontier(), 0))
    assert (await append(store, account, event(account))).seqs == [1]
    assert await store.account("org-none") is None
    assert await store.identity_version(10**6) is None
    assert await store.check(no_progress) == []


async def test_a_change_of_identity_counts_the_version_up(store: Store) -> None:
    """So whoever was checked before knows that the check holds no longer; appends alone change nothing."""
    account = await add_account(store)
    before = await store.identity_version(account.no)
    await append(store, account, event(account))
    assert await store.identity_version(account.no) == before
    ann = user()
    accepted(*await store.append([Submission(account.no, [event(account)], (PutUser(ann),))]))
    between = await store.identity_version(account.no)
    accepted(*await store.append([Submission(account.no, [event(account)], (PutToken(token(ann)),))]))
    after = await store.identity_version(account.no)
    assert before is not None
    assert between is not None
    assert after is not None
    assert before < between < after
    assert (await head_of(store, account)).identity_version == after


async def test_what_was_checked_under_another_version_is_refused(store: Store) -> None:
    """In the same batch too: what comes behind a change was checked before it."""
    account = await add_account(store)
    version = await store.identity_version(account.no)

    def checked() -> Submission:
        return Submission(account.no, [event(account)], identity_version=version)

    change = Submission(account.no, [event(account)], (PutUser(user()),), version)
    before, changing, behind, unchecked = await store.append(
        [checked(), change, checked(), Submission(account.no, [event(account)])]
    )
    assert accepted(before).seqs == [1]
    assert accepted(changing).seqs == [2]
    assert isinstance(behind, StaleIdentity)
    assert accepted(unchecked).seqs == [3]
    (later,) = await store.append([checked()])
    assert isinstance(later, StaleIdentity)
    assert len(await records_of(store, account)) == 3


async def test_a_change_and_its_action_are_made_together_or_not_at_all(store: Store) -> None:
    """A change that is refused leaves neither itself, nor the others with it, nor its action; nor does a conflict."""
    account = await add_account(store)
    ann = user()
    accepted(*await store.append([Submission(account.no, [event(account)], (PutUser(ann), PutToken(token(ann))))]))
    version = await store.identity_version(account.no)
    bob = user("bob@acme.example")
    same_address = PutUser(user("ANN@acme.example"))
    same_name = PutToken(token(ann))
    for changes in ((same_address,), (same_name,), (PutUser(bob), same_address), (PutUser(bob), same_name)):
        refused, good = await store.append(
            [Submission(account.no, [event(account)], changes), Submission(account.no, [event(account)])]
        )
        assert isinstance(refused, NameTaken)
        accepted(good)
    own = new_id()
    await append(store, account, *completed(account.name, [action(_id=own, reason="a")]))
    conflicting = completed(account.name, [action(_id=own, reason="b")])
    (refused,) = await store.append([Submission(account.no, conflicting, (PutUser(bob),))])
    assert isinstance(refused, IdConflict)
    assert await store.users(account.no) == [ann]
    assert len(await store.tokens(account.no)) == 1
    assert await store.identity_version(account.no) == version
    assert len(await records_of(store, account)) == 6


async def test_a_users_own_address_and_an_expired_tokens_name_may_be_put_again(store: Store) -> None:
    """What is replaced does not stand in its own way."""
    account = await add_account(store)
    ann = user()
    first = token(ann)
    accepted(*await store.append([Submission(account.no, [], (PutUser(ann), PutToken(first)))]))
    renamed = msgspec.structs.replace(ann, email="ANN@acme.example", role=Role.USER)
    expired = msgspec.structs.replace(first, expired_ms=NOW_MS)
    second = token(ann, created_ms=NOW_MS + 1)
    changes = (PutUser(renamed), PutToken(expired), PutToken(second))
    accepted(*await store.append([Submission(account.no, [], changes)]))
    assert await store.users(account.no) == [renamed]
    assert await store.tokens(account.no) == [second, expired]


# Search.

VALUES = (
    "pipeline", "Pipeline", "pipelin", "pipeline2", "a b", "a", "b", 'say "hi"', '" OR *', "* OR a", "NEAR(a b)",
    "a*", "^a", "^", "^^", "^20", "^~", "A", "^a^", "é", "É", "e\u0301", "\u2028", "\t", "-", "a:b", "a+b", "{a}",
    "\U0001f600", "'", ";--", "x" * 200, "x" * 201, "x" * 255 + "y", "x" * 255 + "z", "\u007f", "\u0001", "ß", "ss",
    "null", "NULL", "AND", "\u00a0",
)  # fmt: skip
TIMES = (0, 1, 999, NOW_MS - 1, NOW_MS, NOW_MS + 1, MAX_TIME_MS)

values = st.sampled_from(VALUES) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)
times = st.sampled_from(TIMES) | st.integers(0, MAX_TIME_MS)
Spec: TypeAlias = tuple[int, Kind, int, dict[str, Any]]
"""Of an event: which account, its kind, time and fields."""


def specs(kind: Kind) -> st.SearchStrategy[Spec]:
    """Events with values that a search index may stumble over."""
    names = st.sampled_from(["pipeline", "tag", "a", "aa", "_", "-"])
    ids = st.sampled_from(["0" * 24, "a" * 24, "a" * 23 + "b"])
    shared = {"user_id": ids}
    optional: dict[str, st.SearchStrategy[Any]] = {
        "outcome": st.sampled_from(["success", "denied"]),
        "ip_address": st.sampled_from(["::1", "::A", "::a", "192.0.2.1", "192.0.2.11"]),
    }
    if kind == Kind.ACTION:
        shared |= {"type": names, "action": names}
        emails = st.sampled_from(["a@b", "A@b", "a@b.c", 'a"@b', "a^@b", "é@b", "*@b"])
        optional |= {"target_id": values | st.none(), "user_email": emails | st.none()}
    else:
        shared |= {"token_id": ids, "scope": names}
    fields = st.fixed_dictionaries(shared, optional=optional)
    return st.tuples(st.integers(0, 1), st.just(kind), times, fields)


any_spec = st.sampled_from(Kind).flatmap(specs)


def keys_of(kind: Kind) -> list[str]:
    """The keys by which records of a kind are found."""
    both = ["user_id", "outcome", "ip_address"]
    return both + (["type", "action", "user_email", "target_id"] if kind == Kind.ACTION else ["token_id", "scope"])


@few
@given(data=st.data(), made=st.lists(st.lists(any_spec, max_size=6), min_size=1, max_size=4))
def test_search_finds_what_a_naive_filter_finds(
    store: Store, runner: asyncio.Runner, data: st.DataObject, made: list[list[Spec]]
) -> None:
    """Newest first; of equal times, what was recorded last comes first; nothing of another account or kind."""

    async def story() -> None:
        accounts = [await add_account(store), await add_account(store)]
        recorded: list[tuple[Spec, bytes]] = []
        for at, account in enumerate(accounts):
            (first,) = await entries_of(store, account)
            recorded.append(((at, first.kind, first.created_ms, json.loads(first.record)), first.record))
        for batch in made:
            events = [event_at(accounts[at], time, kind, **fields) for at, kind, time, fields in batch]
            submissions = [Submission(accounts[spec[0]].no, [one]) for spec, one in zip(batch, events, strict=True)]
            for result in await store.append(submissions):
                accepted(result)
            recorded += [(spec, one.record) for spec, one in zip(batch, events, strict=True)]
        for _ in range(8):
            await ask(accounts, recorded)

    async def ask(accounts: list[Account], recorded: list[tuple[Spec, bytes]]) -> None:
        kind = data.draw(st.sampled_from(Kind))
        at = data.draw(st.integers(0, 1))
        near = [spec[3] for spec, _ in recorded]
        pairs = st.sampled_from(keys_of(kind)).flatmap(
            lambda key: st.tuples(
                st.just(key), st.sampled_from([fields[key] for fields in near if fields.get(key)] or ["x"]) | values
            )
        )
        equals = tuple(data.draw(st.lists(pairs, max_size=3)))
        since_ms, until_ms = sorted((data.draw(times), data.draw(times | st.just(MAX_TIME_MS + 1))))
        limit = data.draw(st.integers(1, 8))
        naive = [
            (time, place, record)
            for place, ((whose, what, time, fields), record) in enumerate(recorded)
            if (whose, what) == (at, kind)
            and since_ms <= time < until_ms
            and all(fields.get(key) == value for key, value in equals)
        ]
        expected = [record for _, _, record in sorted(naive, reverse=True)][:limit]
        query = Query(accounts[at].no, kind, since_ms, until_ms, limit, equals)
        assert await store.newest(query) == expected

    runner.run(story())


async def test_every_value_is_found_by_itself_and_by_nothing_else(store: Store) -> None:
    """Capitals, spaces, quotes, the index's own escapes, and what would be syntax in a query."""
    account = await add_account(store)
    made = {value: event(account, target_id=value) for value in VALUES}
    await append(store, account, *made.values())
    for value, one in made.items():
        assert await store.newest(everything(account, equals=(("target_id", value),))) == [one.record]
    assert await store.newest(everything(account, equals=(("target_id", "unheard of"),))) == []


async def test_a_window_has_its_first_and_not_its_last_moment(store: Store) -> None:
    """Windows that touch share nothing; one that ends before it begins, or lies beyond all time, is empty."""
    account = await add_account(store)
    made = {time: event_at(account, time, target_id="x") for time in (0, 1000, 1001, MAX_TIME_MS)}
    await append(store, account, *made.values())
    far = 1 << 60
    for since_ms, until_ms, expected in [
        (0, 1000, [0]), (0, 1001, [1000, 0]), (1000, 1001, [1000]), (1001, 1000, []), (1000, 1000, []),
        (MAX_TIME_MS, MAX_TIME_MS + 1, [MAX_TIME_MS]), (1001, MAX_TIME_MS, [1001]), (-far, 1, [0]), (-far, 0, []),
        (MAX_TIME_MS, far, [MAX_TIME_MS]), (MAX_TIME_MS + 1, far, []), (far, far + 1, []),
    ]:  # fmt: skip
        query = everything(account, since_ms=since_ms, until_ms=until_ms, equals=(("target_id", "x"),))
        assert await store.newest(query) == [made[time].record for time in expected]
        listed = await flat(store.window(account.no, since_ms, until_ms, Kind.ACTION))
        assert [entry.record for entry in listed if b'"target_id":"x"' in entry.record] == [
            made[time].record for time in reversed(expected)
        ]


async def test_what_is_acknowledged_is_seen_at_once(store: Store, open_store: Open) -> None:
    """By search and by sequence, by this process and by another."""
    account = await add_account(store)
    other = open_store()
    for number in range(20):
        one = event(account, target_id=str(number))
        await append(store, account, one)
        for reader in (store, other):
            assert await reader.newest(everything(account, equals=(("target_id", str(number)),))) == [one.record]
            assert [entry.record for entry in await flat(reader.entries(account.no, number + 1))] == [one.record]


@few
@given(made=st.lists(st.tuples(st.sampled_from(Kind), times), max_size=12), data=st.data())
def test_a_window_of_time_is_complete_and_in_order(
    store: Store, runner: asyncio.Runner, made: list[tuple[Kind, int]], data: st.DataObject
) -> None:
    """Oldest first, of either kind or both; of equal times in the order of recording."""

    async def story() -> None:
        account, stranger = await add_account(store), await add_account(store)
        events = [event_at(account, time, kind) for kind, time in made]
        await append(store, account, *events)
        await append(store, stranger, *(event_at(stranger, time, kind) for kind, time in made))
        first = (await flat(store.entries(account.no)))[0]
        every = [
            (first.created_ms, first.kind, first.record),
            *((one.created_ms, one.kind, one.record) for one in events),
        ]
        for kind in (None, *Kind):
            since_ms, until_ms = data.draw(times), data.draw(times)
            listed = await flat(store.window(account.no, since_ms, until_ms, kind))
            expected = [one for one in every if since_ms <= one[0] < until_ms and kind in (None, one[1])]
            assert [entry.record for entry in listed] == [
                record for *_, record in sorted(expected, key=lambda one: one[0])
            ]

    runner.run(story())


async def test_a_long_window_is_read_in_chunks(store: Store) -> None:
    """Complete, though thousands of entries are of one millisecond."""
    account = await add_account(store)
    made = [event_at(account, NOW_MS + number // 2000) for number in range(4000)]
    await append(store, account, *made)
    listed = await flat(store.window(account.no, NOW_MS, NOW_MS + 2, None))
    assert [entry.record for entry in listed] == [one.record for one in made]


async def test_late_events_take_their_place_in_time_and_the_next_number(store: Store) -> None:
    """Sequence is when it was recorded, time is when it occurred."""
    account = await add_account(store)
    days = [render_time(NOW_MS - day * 86_400_000) for day in (1, 9, 5, 9, 3)]
    for day in days:
        await append(store, account, *completed(account.name, [action(createdAt=day)]))
    entries = (await entries_of(store, account))[1:]
    assert [render_time(entry.created_ms) for entry in entries] == days
    found = [json.loads(record)["createdAt"] for record in await store.newest(everything(account))]
    assert found[1:] == sorted(days, reverse=True)
    assert await store.check(no_progress) == []


async def test_many_events_of_one_millisecond_are_kept_apart(store: Store) -> None:
    """Of several accounts, in several batches, with others before and after."""
    one, other = await add_account(store), await add_account(store)
    expected: list[bytes] = []
    for shift in (0, 1, 0, -1, 0):
        mine = [event_at(one, NOW_MS + shift, target_id=str(number)) for number in range(300)]
        submissions = [Submission(account.no, [made]) for made in mine for account in (one,)]
        submissions += [Submission(other.no, [event_at(other, NOW_MS + shift)])]
        for result in await store.append(submissions):
            accepted(result)
        expected += [made.record for made in mine if shift == 0]
    found = await store.newest(everything(one, since_ms=NOW_MS, until_ms=NOW_MS + 1))
    assert found == expected[::-1]


# Several processes, and the whole.


async def test_two_processes_that_append_in_turn_keep_one_sequence(open_store: Open) -> None:
    """Whoever appends reads the head in the same transaction that moves it."""
    stores = [open_store(), open_store()]
    account = await add_account(stores[0])
    for turn in range(10):
        receipt = await append(stores[turn % 2], account, event(account), event(account))
        assert receipt.seqs == [2 * turn + 1, 2 * turn + 2]
    assert len(await records_of(stores[1], account)) == 20
    assert await stores[0].check(no_progress) == []


async def test_two_processes_that_append_at_once_keep_one_sequence(open_store: Open) -> None:
    """Each gets numbers of its own, none is missing."""
    stores = [open_store(), open_store()]
    accounts = [await add_account(stores[0]), await add_account(stores[1])]

    async def keep_appending(store: Store) -> list[tuple[int, int]]:
        places: list[tuple[int, int]] = []
        for _ in range(15):
            results = await store.append(
                [Submission(account.no, [event(account) for _ in range(3)]) for account in accounts]
            )
            places += [(at, seq) for at, result in enumerate(results) for seq in accepted(result).seqs]
        return places

    first, second = await asyncio.gather(*map(keep_appending, stores))
    assert sorted(first + second) == [(at, seq) for at in (0, 1) for seq in range(1, 91)]
    assert await stores[1].check(no_progress) == []


async def test_the_search_index_is_made_anew_while_appends_go_on(open_store: Open) -> None:
    """Nothing is missing from the new index, of what was there before, and of what came meanwhile, late events too."""
    server, command = open_store(), open_store()
    account, other = await add_account(server), await add_account(server)
    await append(server, account, *(event_at(account, NOW_MS + number, target_id="old") for number in range(6000)))
    rebuilding = asyncio.create_task(command.rebuild_search(no_progress))
    appended = 0
    while not rebuilding.done():
        late = event_at(account, appended % 7, target_id="new")
        await append(server, account, event_at(account, NOW_MS + 10_000 + appended, target_id="new"), late)
        await append(server, other, event_at(other, NOW_MS))
        appended += 2
    assert await rebuilding >= 6002
    assert appended
    found = await server.newest(everything(account, limit=100_000, equals=(("target_id", "new"),)))
    assert len(found) == appended
    assert len(await command.newest(everything(account, limit=10_000, equals=(("target_id", "old"),)))) == 6000
    assert await server.check(no_progress) == []


async def test_work_reports_its_progress(store: Store) -> None:
    """Up to the whole."""
    account = await add_account(store)
    await append(store, account, *(event(account) for _ in range(10)))
    reports: list[tuple[int, int]] = []
    assert await store.check(lambda done, total: reports.append((done, total))) == []
    assert reports[-1] == (11, 11)
    reports.clear()
    assert await store.rebuild_search(lambda done, total: reports.append((done, total))) == 11
    assert reports[-1] == (11, 11)


async def test_a_probe_changes_nothing(store: Store) -> None:
    """It writes, but no entry."""
    account = await add_account(store)
    await store.probe()
    assert len(await entries_of(store, account)) == 1
    assert await store.check(no_progress) == []


async def do_append(store: Store, account: Account, count: int) -> None:
    """Append as many events."""
    await append(store, account, *(event(account) for _ in range(count)))


async def do_append_late(store: Store, account: Account, count: int) -> None:
    """Append events of long ago, several of one millisecond."""
    await append(store, account, *(event_at(account, count + at % 3, Kind.TOKEN) for at in range(count)))


async def do_append_twice(store: Store, account: Account, count: int) -> None:
    """Append events with ids of their own, and the same again."""
    made = completed(account.name, [action(_id=new_id()) for _ in range(count)])
    receipt = await append(store, account, *made, *made)
    assert len(receipt.duplicates) == count
    assert (await append(store, account, *made)).seqs == receipt.seqs[:count]


async def do_change_users(store: Store, account: Account, count: int) -> None:
    """Add a user."""
    change = PutUser(user(f"{count}-{new_id()}@acme.example"))
    accepted(*await store.append([Submission(account.no, [event(account)], (change,))]))


async def do_rebuild(store: Store, account: Account, count: int) -> None:
    """Make the search index anew."""
    assert await store.rebuild_search(no_progress) > 0


Operation: TypeAlias = Callable[[Store, Account, int], Coroutine[Any, Any, None]]
operations = st.sampled_from([do_append, do_append_late, do_append_twice, do_change_users, do_rebuild])


@settings(max_examples=10)
@given(todo=st.lists(st.tuples(operations, st.integers(0, 2), st.integers(1, 300)), min_size=1, max_size=10))
def test_a_check_finds_nothing_after_any_operations(
    store: Store, runner: asyncio.Runner, todo: list[tuple[Operation, int, int]]
) -> None:
    """Across blocks of 256 entries, with several accounts, duplicates, changes of users, and a new index."""

    async def story() -> None:
        accounts = [await add_account(store) for _ in range(3)]
        for operation, at, count in todo:
            await operation(store, accounts[at], count)
        for account in accounts:
            await entries_of(store, account)
        assert await store.check(no_progress) == []

    runner.run(story())
