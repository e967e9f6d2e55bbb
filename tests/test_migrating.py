"""Migrating a SQLite store into a real PostgreSQL: everything arrives, whatever happens, or it is refused."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import psycopg
import pytest
from msgspec.structs import replace
from tests.building import accepted, add_account, append, event, flat, no_progress, token, user
from tests.moving import ACME, EMPTY, QUIET, everything, fill, grow, sign
from tests.stores import made_store

from whodid.commitment import commit
from whodid.errors import Conflict, InconsistentLog, StoreUnavailable
from whodid.merkle import hash_leaf, root_of
from whodid.migrating import CHUNK_ENTRIES, Behind, Migration, check_sound
from whodid.records import Event, Kind
from whodid.store.base import Account, Entry, PutToken, PutUser, Standing, Store, Submission
from whodid.store.postgres import PostgresStore
from whodid.store.postgres.copying import BulkCopy
from whodid.store.sqlite import SqliteStore


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database of the test's own."""
    with made_store("postgresql", tmp_path) as made:
        yield made


@pytest.fixture
def target(url: str, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """An empty store in it."""
    opened = PostgresStore(url)
    yield opened
    runner.run(opened.close())


def migration(source: Store, target: PostgresStore, chunk_entries: int = CHUNK_ENTRIES) -> Migration:
    """A run that is about to begin."""
    return Migration(source, target, target.takeover(), chunk_entries=chunk_entries)


async def migrate(source: Store, target: PostgresStore, chunk_entries: int = CHUNK_ENTRIES) -> int:
    """A whole run, which finds the same in the target; how many entries it copied."""
    run = migration(source, target, chunk_entries)
    await run.begin()
    copied = await finish(run)
    assert await run.behind() == []
    return copied


async def finish(run: Migration) -> int:
    """Steps 3 to 5 of a run that has begun."""
    copied = await run.copy(no_progress)
    assert await run.verify(no_progress) == []
    await run.furnish()
    return copied


async def find_sound(target: PostgresStore) -> None:
    """The check of a store finds nothing wrong in the target."""
    assert await target.check(no_progress) == []


def tamper(path: Path, statement: str) -> None:
    """Change a store's file behind its back."""
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    connection.close()


@pytest.mark.parametrize("chunk_entries", [CHUNK_ENTRIES, 100, 7])
async def test_everything_is_there_afterwards(store: SqliteStore, target: PostgresStore, chunk_entries: int) -> None:
    """Every entry with number, salt and commitment, the trees, users, tokens, and what was signed."""
    await fill(store)
    copied = await migrate(store, target, chunk_entries)
    there = await everything(target)
    assert list(there) == [ACME, EMPTY, QUIET]
    assert there == await everything(store)
    assert copied == sum(len(one["entries"]) for one in there.values())
    await find_sound(target)


async def test_a_second_run_copies_nothing(store: SqliteStore, target: PostgresStore) -> None:
    """It finds everything there, and changes nothing."""
    await fill(store)
    await migrate(store, target)
    assert await migrate(store, target) == 0
    assert await everything(target) == await everything(store)


async def test_an_empty_store_is_migrated(store: SqliteStore, target: PostgresStore) -> None:
    """There is nothing to do, and nothing wrong."""
    assert await migrate(store, target) == 0
    assert await everything(target) == {}


async def test_progress_goes_from_what_is_there_to_all(store: SqliteStore, target: PostgresStore) -> None:
    """In entries; a run that goes on begins with those that are there."""
    account = await add_account(store, ACME)
    await grow(store, account, 9)
    await migrate(store, target)
    await grow(store, account, 10)
    told: list[tuple[int, int]] = []
    run = migration(store, target, 4)
    await run.begin()
    await run.copy(lambda done, total: told.append((done, total)))
    assert told == [(10, 20), (14, 20), (18, 20), (20, 20)]
    told.clear()
    await run.verify(lambda done, total: told.append((done, total)))
    assert told == [(0, 20), (20, 20)]


async def test_a_source_that_has_grown_is_told_and_caught_up_with(store: SqliteStore, target: PostgresStore) -> None:
    """A run copies what was there when it began; the next one brings the rest: entries, people, accounts."""
    account = await fill(store)
    size = (await account_of(store)).frontier.size
    run = migration(store, target)
    await run.begin()
    ann, *_ = await store.users(account.no)
    changes = (PutUser(replace(ann, name="Anna")), PutUser(user("eve@acme.example")), PutToken(token(ann, "phone")))
    accepted(*await store.append([Submission(account.no, [event(account)], changes)]))
    await sign(store, account, 605, 604)
    late = await add_account(store, "org-late")
    await finish(run)
    assert await run.behind() == [Behind(ACME, size, size + 1), Behind("org-late", 0, 1)]
    kept = await target.checkpoint((await account_of(target)).no, Standing.SIGNED)
    assert kept is not None
    assert kept.size == 300
    assert await migrate(store, target) == 2
    assert await everything(target) == await everything(store)
    assert (await account_of(target, late.name)).frontier.size == 1
    await find_sound(target)


async def account_of(store: Store, name: str = ACME) -> Account:
    """The account, which is there."""
    found = await store.account(name)
    assert found is not None
    return found


async def test_users_who_changed_addresses_with_each_other_are_taken_over(
    store: SqliteStore, target: PostgresStore
) -> None:
    """Between two runs, each has got the address that the other one had."""
    account = await fill(store)
    await migrate(store, target)
    ann, bob = await store.users(account.no)
    for one in (replace(ann, email="x@acme.example"), replace(bob, email=ann.email), replace(ann, email=bob.email)):
        accepted(*await store.append([Submission(account.no, [event(account)], (PutUser(one),))]))
    await migrate(store, target)
    assert await everything(target) == await everything(store)


async def test_what_was_signed_later_in_the_target_is_not_replaced(store: SqliteStore, target: PostgresStore) -> None:
    """A checkpoint of more entries stays; one of fewer is replaced."""
    account = await fill(store)
    await migrate(store, target)
    await sign(target, await account_of(target), 400, 100)
    await migrate(store, target)
    there = await everything(target)
    assert [one["size"] for one in there[ACME]["checkpoints"]] == [400, 200]
    assert there[ACME]["entries"] == await flat(store.entries(account.no))


async def test_appends_go_on_where_the_source_ended(store: SqliteStore, target: PostgresStore) -> None:
    """The next number, the same tree, ids that were recorded before, tokens that are valid still."""
    account = await fill(store)
    await migrate(store, target)
    size = (await account_of(store)).frontier.size
    home = await account_of(target)
    again = (await flat(store.entries(account.no)))[-3]
    assert (await append(target, home, event(home), event(home))).seqs == [size, size + 1]
    grown = await account_of(target)
    commitments = [entry.commitment for entry in await flat(target.entries(home.no))]
    assert grown.frontier.size == len(commitments) == size + 2
    assert grown.frontier.root() == root_of(map(hash_leaf, commitments))
    one = (await store.tokens(account.no))[0]
    credential = await target.credential(one.digest)
    assert credential is not None
    assert (credential.token, credential.account.name) == (one, ACME)
    found = await target.entry(home.no, id_of(again.record))
    assert found == again
    await find_sound(target)


def id_of(record: bytes) -> str:
    """The ``_id`` of a record."""
    return str(msgspec.json.decode(record)["_id"])


# Broken off.


class Stopped(Exception):
    """Somebody pulled the plug."""


@pytest.mark.parametrize("chunks", range(1, 8))
async def test_a_run_that_is_stopped_between_chunks_goes_on_there(
    store: SqliteStore, target: PostgresStore, chunks: int
) -> None:
    """What was copied is a whole log as far as it goes, without users and tokens; the next run copies only the rest."""
    await fill(store)

    def stop(done: int, total: int) -> None:
        nonlocal chunks
        chunks -= 1
        if chunks < 0:
            raise Stopped

    run = migration(store, target, 100)
    await run.begin()
    with pytest.raises(Stopped):
        await run.copy(stop)
    await find_sound(target)
    there, all_of_it = await everything(target), await everything(store)
    copied = sum(len(one["entries"]) for one in there.values())
    assert copied > 0
    for name, one in there.items():
        assert one["entries"] == all_of_it[name]["entries"][: len(one["entries"])] != []
        assert one["users"] == one["tokens"] == one["witnesses"] == []
    assert await migrate(store, target) == run.entries - copied
    assert await everything(target) == all_of_it
    await find_sound(target)


COPIES = ("entry", "record_id", "block_root", '"user"', "token", "token_digest")


@pytest.fixture
def break_at(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Breaks the connection before the n-th time that rows are copied into a table."""
    copy = BulkCopy.copy_made
    countdown: dict[str, int] = {}

    async def breaking(bulk: BulkCopy, connection: psycopg.AsyncConnection[Any], pieces: Any) -> None:
        table = bulk._statement.decode().split()[1]
        countdown[table] = countdown.get(table, 0) - 1
        if countdown[table] == 0:
            with psycopg.connect(url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        await copy(bulk, connection, pieces)

    monkeypatch.setattr(BulkCopy, "copy_made", breaking)
    return countdown.__setitem__


@pytest.mark.parametrize("table", COPIES)
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_run_whose_connection_breaks_leaves_nothing_half_made(
    store: SqliteStore, target: PostgresStore, break_at: Callable[[str, int], None], table: str, turn: int
) -> None:
    """A chunk is there or not, and so are an account's people; the next run completes them."""
    await fill(store)
    other, zoe = await add_account(store, "org-zoo"), user()  # a second one with people
    accepted(*await store.append([Submission(other.no, [event(other)], (PutUser(zoe), PutToken(token(zoe))))]))
    run = migration(store, target, 300)
    await run.begin()
    break_at(table, turn)
    with pytest.raises(StoreUnavailable):
        await finish(run)
    await find_sound(target)
    all_of_it = await everything(store)
    for name, one in (await everything(target)).items():
        for part in ("users", "tokens"):
            assert one[part] in ([], all_of_it[name][part])
        assert (one["account"]["identity_version"] == 0) == (one["users"] == [])
    await migrate(store, target)
    assert await everything(target) == all_of_it


async def test_a_run_that_is_cancelled_in_a_chunk_leaves_nothing_of_it(
    store: SqliteStore, target: PostgresStore, url: str
) -> None:
    """As by Ctrl-C, while the database works on it."""
    await fill(store)
    run = migration(store, target, 300)
    await run.begin()
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE block_root IN SHARE MODE")  # the entries are copied, then it waits
        task = asyncio.create_task(run.copy(no_progress))
        await asyncio.to_thread(until_blocked, url)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await target.accounts() == []
    await migrate(store, target)
    assert await everything(target) == await everything(store)


def until_blocked(url: str) -> None:
    """Until somebody waits for a lock in the database."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(url, autocommit=True) as watcher:
        while watcher.execute(waiting).fetchone() is None:
            time.sleep(0.01)  # between two looks


async def test_two_runs_at_once_do_not_mix(store: SqliteStore, target: PostgresStore) -> None:
    """The second to come is refused, and the log is whole."""
    await fill(store)
    first, second = migration(store, target, 50), migration(store, target, 50)
    await first.begin()
    await second.begin()
    outcomes = await asyncio.gather(first.copy(no_progress), second.copy(no_progress), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "int"]
    await find_sound(target)
    assert await migrate(store, target) == 0
    assert await everything(target) == await everything(store)


# Refused.


def entry_of(made: Event, seq: int = 0, **changed: Any) -> Entry:
    """The entry of an event, as a store has it."""
    salt = changed.pop("salt", bytes(16))
    record = changed.pop("record", made.record)
    return Entry(seq, made.kind, made.created_ms, salt, commit(salt, record), record)._replace(**changed)


@pytest.mark.parametrize("kind", Kind)
def test_a_sound_entry_is_taken_as_it_is(kind: Kind) -> None:
    """Record, salt and commitment; the id and the model are those of the record."""
    made = event(ACME, kind)
    taken = check_sound(ACME, 5, entry_of(made, 5))
    assert taken == (replace(made, filled=None), bytes(16), commit(bytes(16), made.record))


UNSOUND: dict[str, dict[str, Any]] = {
    "it is missing; the next there is 1": {"seq": 1},
    "do not make its commitment": {"salt": bytes(15)},
    "not make its commitment": {"commitment": bytes(32)},
    "its record is not valid": {"record": b"{}"},
    "record is not valid": {"record": b"\xff"},
    "names the account org-other": {"record": event("org-other").record},
    "is not that of its place": {"created_ms": 7},
}


@pytest.mark.parametrize("problem", UNSOUND)
def test_an_entry_that_is_not_sound_is_refused(problem: str) -> None:
    """The error says what is wrong with it."""
    with pytest.raises(InconsistentLog, match=f"entry 0 of org-acme is not sound in the source: .*{problem}"):
        check_sound(ACME, 0, entry_of(event(ACME), **UNSOUND[problem]))


@pytest.mark.parametrize(("key", "value"), [("_id", "ab"), ("user_id", "x" * 24), ("token_id", "AB" * 12)])
def test_a_record_whose_ids_are_none_is_refused(key: str, value: str) -> None:
    """There is no column that would hold them."""
    made = event(ACME, Kind.TOKEN)
    record = msgspec.json.encode(msgspec.json.decode(made.record) | {key: value})
    with pytest.raises(InconsistentLog, match="not valid: an id of it is not 24 hex digits"):
        check_sound(ACME, 0, entry_of(made, record=record))


async def test_another_history_is_refused(store: SqliteStore, target: PostgresStore) -> None:
    """An account of the same name whose log is not the beginning of the source's; nothing is changed, of no account."""
    await fill(store)
    await grow(target, await add_account(target, QUIET), 3)
    before = await everything(target)
    with pytest.raises(Conflict, match=f"the log of {QUIET} is another one in the target: its 4 entries"):
        await migration(store, target).begin()
    assert await everything(target) == before


async def test_another_history_of_the_same_size_is_refused(store: SqliteStore, target: PostgresStore) -> None:
    """The roots tell them apart."""
    await add_account(store, ACME)
    await add_account(target, ACME)
    with pytest.raises(Conflict, match="is another one"):
        await migration(store, target).begin()


async def test_a_target_that_is_longer_is_refused(store: SqliteStore, target: PostgresStore) -> None:
    """It was written since, or the source is an old copy."""
    await fill(store)
    await migrate(store, target)
    await grow(target, await account_of(target, QUIET), 2)
    before = await everything(target)
    with pytest.raises(Conflict, match=f"the log of {QUIET} has 23 entries in the target, but 21 in the source"):
        await migration(store, target).begin()
    assert await everything(target) == before


DAMAGES = {
    "UPDATE entry SET salt = zeroblob(16) WHERE seq = 150 AND account_no = 3": "do not make its commitment",
    "UPDATE entry SET commitment = zeroblob(32) WHERE seq = 150 AND account_no = 3": "do not make its commitment",
    "DELETE FROM entry WHERE seq = 150 AND account_no = 3": "it is missing; the next there is 151",
    "DELETE FROM entry WHERE seq >= 150 AND account_no = 3": "it is missing, and all after it",
    "UPDATE entry SET time_key = time_key + (7 << 21) WHERE seq = 150 AND account_no = 3": "is not that of its place",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_entry_ends_the_migration(
    store: SqliteStore, store_path: Path, target: PostgresStore, damage: str
) -> None:
    """The error names it; nothing from its chunk on is copied, and the account has neither users nor tokens."""
    await fill(store)
    tamper(store_path, damage)
    run = migration(store, target, 100)
    await run.begin()
    with pytest.raises(InconsistentLog, match=f"entry 150 of {ACME} is not sound in the source: .*{DAMAGES[damage]}"):
        await run.copy(no_progress)
    await find_sound(target)
    there = await account_of(target)
    assert there.frontier.size in (100, 150)
    assert await target.users(there.no) == []
    assert await target.tokens(there.no) == []


async def test_a_record_that_can_not_be_unpacked_ends_the_migration(
    store: SqliteStore, store_path: Path, target: PostgresStore
) -> None:
    """It is one of those that the store reads at once; what was copied before is sound."""
    await fill(store)
    tamper(store_path, "UPDATE entry SET record = zeroblob(40) WHERE seq = 150 AND account_no = 3")
    run = migration(store, target, 100)
    await run.begin()
    with pytest.raises(InconsistentLog, match="entry 150 can't be read"):
        await run.copy(no_progress)
    await find_sound(target)


async def test_an_entry_of_another_account_ends_the_migration(
    store: SqliteStore, store_path: Path, target: PostgresStore
) -> None:
    """Its record names the account that it is of."""
    account = await add_account(store, ACME)
    await append(store, account, event("org-other"))
    run = migration(store, target)
    await run.begin()
    with pytest.raises(InconsistentLog, match=r"entry 1 of org-acme .*names the account org-other"):
        await run.copy(no_progress)
    assert await target.accounts() == []


async def test_a_target_that_was_changed_meanwhile_is_found_out(
    store: SqliteStore, target: PostgresStore, url: str
) -> None:
    """A commitment that is another one or gone, or a head that is: the account is named, and gets no people."""
    await fill(store)
    run = migration(store, target)
    await run.begin()
    await run.copy(no_progress)
    no = (await account_of(target)).no
    with psycopg.connect(url, autocommit=True) as other:
        of_acme = f"account_no = {no}"
        other.execute(f"UPDATE entry SET commitment = sha256('') WHERE seq = 77 AND {of_acme}")
        other.execute("DELETE FROM entry WHERE seq = 20")
        other.execute(f"UPDATE head SET size = 0, frontier = '' WHERE size = 1 AND NOT {of_acme}")
    assert await run.verify(no_progress) == [ACME, EMPTY, QUIET]
    await run.furnish()
    assert await target.users(no) == []
