"""Taking over: chunks of a log that is already there elsewhere, in the right partitions, all of one or nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.building import NOW_MS, ManualClock, accepted, event, event_at, flat, no_progress, token, user
from tests.moving import ACME
from tests.stores import made_store

from whodid.commitment import commit
from whodid.errors import Conflict
from whodid.merkle import Frontier
from whodid.records import MAX_CLOCK_LEAD_MS, Event, Kind, parse_time
from whodid.store.base import Account, Kept, KeptCheckpoint, PutUser, Query, Standing, Submission, WitnessState
from whodid.store.postgres import PostgresStore
from whodid.store.postgres.takeover import Takeover, taken_at
from whodid.store.taking import Belongings, Taken

THERE = Account(77, ACME, NOW_MS - 1000, Frontier(), 0)
"""The account in the store that it comes from, which has a number of its own for it."""

DAY_MS = 86_400_000


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database of the test's own."""
    with made_store("postgresql", tmp_path) as made:
        yield made


@pytest.fixture
def store(url: str, runner: asyncio.Runner, clock: ManualClock) -> Iterator[PostgresStore]:
    """An empty store in it, in the year 2021."""
    opened = PostgresStore(url, clock=clock)
    yield opened
    runner.run(opened.close())


@pytest.fixture
def takeover(store: PostgresStore) -> Takeover:
    """What takes over into the store."""
    return store.takeover()


def taken(*events: Event) -> list[Taken]:
    """Events as entries that were found sound."""
    return [Taken(one, bytes(16), commit(bytes(16), one.record)) for one in events]


async def home(store: PostgresStore, name: str = ACME) -> Account:
    """The account, which is there."""
    account = await store.account(name)
    assert account is not None
    return account


async def test_an_account_begins_with_its_first_chunk(store: PostgresStore, takeover: Takeover) -> None:
    """With name, time and entries; it is not there before, and no second one is made."""
    first, more = taken(event(ACME), event(ACME, Kind.TOKEN)), taken(event(ACME))
    assert await store.accounts() == []
    await takeover.take(THERE, 0, first)
    await takeover.take(THERE, 2, more)
    (account,) = await store.accounts()
    assert (account.name, account.created_ms, account.frontier.size) == (ACME, THERE.created_ms, 3)
    found = await flat(store.entries(account.no))
    assert [(one.seq, one.salt, one.commitment, one.record) for one in found] == [
        (seq, one.salt, one.commitment, one.event.record) for seq, one in enumerate(first + more)
    ]
    assert await store.check(no_progress) == []


@pytest.mark.parametrize("first", [0, 1, 3])
async def test_a_chunk_that_does_not_follow_is_refused(store: PostgresStore, takeover: Takeover, first: int) -> None:
    """The log has ended elsewhere: somebody else has written. Nothing is changed."""
    await takeover.take(THERE, 0, taken(event(ACME), event(ACME)))
    with pytest.raises(Conflict, match=f"has 2 entries in the database by now, not {first}"):
        await takeover.take(THERE, first, taken(event(ACME)))
    assert (await home(store)).frontier.size == 2
    assert await store.check(no_progress) == []


async def test_an_account_that_is_not_there_can_not_go_on(store: PostgresStore, takeover: Takeover) -> None:
    """Nor can it be given people."""
    with pytest.raises(Conflict, match="is gone"):
        await takeover.take(THERE, 5, taken(event(ACME)))
    with pytest.raises(Conflict, match="is gone"):
        await takeover.furnish(THERE, Belongings(1, [user()], [], []))
    assert await store.accounts() == []


async def test_an_id_that_the_log_has_is_refused(store: PostgresStore, takeover: Takeover) -> None:
    """A source that has an id twice is not sound; nothing of the chunk is there."""
    twice = event(ACME)
    await takeover.take(THERE, 0, taken(twice))
    with pytest.raises(Conflict, match="entries 1 to 2 of org-acme is an _id that the log has already"):
        await takeover.take(THERE, 1, taken(event(ACME), twice))
    assert (await home(store)).frontier.size == 1
    assert await store.check(no_progress) == []


# Partitions.


@given(
    created_ms=st.integers(0, NOW_MS + 100 * DAY_MS),
    recorded_ms=st.integers(0, NOW_MS + 100 * DAY_MS),
)
def test_an_entry_is_where_readers_look_for_it(created_ms: int, recorded_ms: int) -> None:
    """By its updatedAt, but not later than now, and never before something of its time can have been recorded."""
    one = event_at(Account(1, ACME, 0, Frontier(), 0), created_ms)
    assert parse_time(str(one.body.updatedAt)) == created_ms
    one.body.updatedAt = event_at(Account(1, ACME, 0, Frontier(), 0), recorded_ms).body.createdAt
    place_ms = taken_at(taken(one)[0], NOW_MS)
    assert place_ms >= created_ms - MAX_CLOCK_LEAD_MS
    assert place_ms in (recorded_ms, NOW_MS, created_ms - MAX_CLOCK_LEAD_MS)
    assert place_ms <= max(NOW_MS, created_ms - MAX_CLOCK_LEAD_MS)


async def test_entries_go_to_the_partition_of_their_recording(
    store: PostgresStore, takeover: Takeover, url: str
) -> None:
    """Partitions that are missing are made, back to 1970, and a page finds what is in them."""
    account = Account(0, ACME, 0, Frontier(), 0)
    times = {"entry_1970_01": 0, "entry_2019_03": parse_time("2019-03-31T23:59:59.999Z"), "entry_2021_07": NOW_MS}
    await takeover.take(THERE, 0, taken(*(event_at(account, at_ms) for at_ms in times.values())))
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT tableoid::regclass::text, created_ms FROM entry").fetchall()
    assert dict(found) == times
    for at_ms in times.values():
        page = await store.newest(Query((await home(store)).no, Kind.ACTION, at_ms, at_ms + 1, 10))
        assert len(page) == 1


# What an account has beside its log.


async def test_people_are_those_of_the_other_store(store: PostgresStore, takeover: Takeover) -> None:
    """All of them, as they are there; those that it has no more are gone, and so are their tokens."""
    await takeover.take(THERE, 0, taken(event(ACME)))
    ann, bob = user("Ann@acme.example", name="Zoë"), user("bob@acme.example", active=False)
    anns, bobs = token(ann, expired_ms=NOW_MS), token(bob)
    await takeover.furnish(await home(store), Belongings(4, [ann, bob], [anns, bobs], []))
    no = (await home(store)).no
    assert await store.users(no) == [ann, bob]
    assert sorted(await store.tokens(no), key=lambda one: one.id) == [anns, bobs]
    assert await store.user(no, email="ANN@ACME.example") == ann
    await takeover.furnish(await home(store), Belongings(5, [replace(ann, name="Ann")], [anns], []))
    assert await store.users(no) == [replace(ann, name="Ann")]
    assert await store.credential(bobs.digest) is None
    credential = await store.credential(anns.digest)
    assert credential is not None
    assert credential.account.identity_version == 5


async def test_a_token_of_another_account_is_refused(store: PostgresStore, takeover: Takeover) -> None:
    """A token opens one account; the other one's people stay as they are."""
    other = Account(78, "org-other", NOW_MS, Frontier(), 0)
    ann, eve = user(), user()
    mine = token(ann)
    await takeover.take(THERE, 0, taken(event(ACME)))
    await takeover.take(other, 0, taken(event(other)))
    await takeover.furnish(await home(store), Belongings(2, [ann], [mine], []))
    with pytest.raises(Conflict, match="a token of org-other is one of another account"):
        await takeover.furnish(
            await home(store, other.name), Belongings(2, [eve], [token(eve, digest=mine.digest)], [])
        )
    credential = await store.credential(mine.digest)
    assert credential is not None
    assert credential.account.name == ACME
    found = await store.account("org-other")
    assert found is not None
    assert (found.identity_version, await store.users(found.no)) == (0, [])


async def test_other_servers_are_told_of_new_people(store: PostgresStore, takeover: Takeover, url: str) -> None:
    """Once, where they have changed; not where they are the same."""
    await takeover.take(THERE, 0, taken(event(ACME)))
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN whodid_identity")
        await takeover.furnish(await home(store), Belongings(2, [user()], [], []))
        await takeover.furnish(await home(store), Belongings(2, [], [], []))
        listener.execute("NOTIFY whodid_identity, 'the end'")
        told = [message.payload for message in listener.notifies(stop_after=2)]
    no = (await home(store)).no
    assert told == [str(no), "the end"]
    assert len(await store.users(no)) == 1


async def test_what_was_signed_comes_under_the_number_of_this_store(store: PostgresStore, takeover: Takeover) -> None:
    """Checkpoints and witnesses; a checkpoint of fewer entries replaces none of more."""
    await takeover.take(THERE, 0, taken(event(ACME)))
    no = (await home(store)).no
    assert no != THERE.no
    for size in (30, 20, 40):
        kept: list[Kept] = [
            KeptCheckpoint(THERE.no, Standing.SIGNED, size, f"{size}\n"),
            WitnessState(THERE.no, "witness.example", size, size, None, size),
        ]
        await takeover.furnish(await home(store), Belongings(0, [], [], kept))
        largest = 40 if size == 40 else 30
        assert await store.checkpoint(no, Standing.SIGNED) == KeptCheckpoint(
            no, Standing.SIGNED, largest, f"{largest}\n"
        )
        assert await store.witness_states() == [WitnessState(no, "witness.example", size, size, None, size)]


async def test_what_a_server_has_changed_since_is_left_as_it_is(store: PostgresStore, takeover: Takeover) -> None:
    """Who was deactivated there meanwhile is not let in again by what the source has."""
    await takeover.take(THERE, 0, taken(event(ACME)))
    compared = await home(store)
    ann = user()
    await takeover.furnish(compared, Belongings(1, [ann], [], []))
    accepted(*await store.append([Submission(compared.no, [event(ACME)], (PutUser(replace(ann, active=False)),))]))
    with pytest.raises(Conflict, match="has changed in the database since it was compared"):
        await takeover.furnish(compared, Belongings(2, [ann], [], []))
    with pytest.raises(Conflict, match="has changed in the database since it was compared"):
        await takeover.furnish(await home(store), Belongings(1, [ann], [], []))
    assert [one.active for one in await store.users(compared.no)] == [False]
