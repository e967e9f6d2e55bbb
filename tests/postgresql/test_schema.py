"""The schema of a PostgreSQL database: each one that ever landed is carried along, by whoever is first."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from tests.building import NOW_MS, USER_ID, append, event, flat, no_progress, token, user
from tests.postgres import drop_database, new_database
from tests.postgresql.serving import with_store

from whodid.commitment import commit
from whodid.conditions import All, Is, Says
from whodid.errors import StoreUnusable
from whodid.merkle import Frontier, hash_leaf
from whodid.merkle import append as grow
from whodid.records import DAY_MS, Event, Kind
from whodid.store.base import Head, KeptCheckpoint, Query, Question, Search, Standing, WitnessState
from whodid.store.opening import bring_up
from whodid.store.postgres import PostgresStore
from whodid.store.postgres.connection import parse_dsn
from whodid.store.postgres.schema import migrate, migrations
from whodid.store.postgres.tally import tally_of
from whodid.store.postgres.terms import lexemes, read_lexemes

NEWEST = migrations()[-1][0]
OLD_ENTRIES = 300
"""More than a block of the tree."""

SEARCHABLE = 3
"""The first schema whose entries have words, and a tally."""


@pytest.fixture
def url() -> Iterator[str]:
    """An empty database."""
    made = new_database()
    yield made
    drop_database(made)


def bring_to(url: str, version: int) -> None:
    """Make the schema as the Whodid of then made it: by the files that landed up to this version."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE whodid_schema (version int PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())"
        )
        for number, statements in migrations():
            if number <= version:
                connection.execute(statements.encode())
                connection.execute("INSERT INTO whodid_schema (version) VALUES (%s)", (number,))


def versions(url: str) -> list[int]:
    """The migrations that were made."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute("SELECT version FROM whodid_schema ORDER BY version")]


ANN = user()
LAPTOP = token(ANN)
EVENTS = [event("org-old", Kind.ACTION if number % 2 else Kind.TOKEN) for number in range(OLD_ENTRIES)]


def fill(url: str, version: int) -> None:
    """Rows in each table of a schema, as the Whodid of then wrote them; by SQL, which does not change."""
    sealed = [(number.to_bytes(16, "big"), one) for number, one in enumerate(EVENTS)]
    frontier, blocks = grow(Frontier(), [hash_leaf(commit(salt, one.record)) for salt, one in sealed])
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO account (name, created_ms) VALUES ('org-old', %s)", (NOW_MS,))
        connection.execute("INSERT INTO head VALUES (1, %s, %s, 2)", (frontier.size, frontier.to_bytes()))
        connection.execute(
            f"CREATE TABLE entry_2021_07 PARTITION OF entry FOR VALUES FROM ({NOW_MS - 1}) TO ({NOW_MS + 1})"
        )
        with connection.cursor() as cursor:
            if version < SEARCHABLE:
                cursor.executemany(f"INSERT INTO entry VALUES ({', '.join(['%s'] * 17)})", rows_of(sealed))
            else:
                cursor.executemany(
                    f"INSERT INTO entry VALUES ({', '.join(['%s'] * 17)}, array_to_tsvector(%s))",
                    [(*row, words_of_entry(one)) for row, one in zip(rows_of(sealed), EVENTS, strict=True)],
                )
                cursor.executemany(
                    "INSERT INTO tally VALUES (1, %s, %s, %s, %s, %s)",
                    [(*key, value.encode(), count) for (*key, value), count in tally_of(EVENTS).items()],
                )
            cursor.executemany(
                "INSERT INTO record_id VALUES (1, %s, %s, %s)",
                [(one.id, seq, NOW_MS) for seq, one in enumerate(EVENTS)],
            )
            cursor.executemany("INSERT INTO block_root VALUES (1, %s, %s, %s)", blocks)
        fill_identity(connection)
        connection.execute("INSERT INTO checkpoint VALUES (1, 'signed', 300, 'signed note')")
        connection.execute("INSERT INTO checkpoint VALUES (1, 'published', 299, 'published note')")
        connection.execute("INSERT INTO witness VALUES (1, 'w.example', 298, %s, NULL, %s)", (NOW_MS, NOW_MS + 1))


def rows_of(sealed: list[tuple[bytes, Any]]) -> Iterator[tuple[Any, ...]]:
    """The rows of table ``entry``."""
    for seq, (salt, one) in enumerate(sealed):
        body, is_action = one.body, one.kind == Kind.ACTION
        yield (
            1, seq, NOW_MS, one.created_ms, one.kind.value, salt, commit(salt, one.record), one.record,
            body.type.encode() if is_action else None, body.action.encode() if is_action else None,
            bytes.fromhex(body.user_id), None, None,
            None if is_action else bytes.fromhex(body.token_id), None if is_action else body.scope.encode(),
            body.outcome.encode() if body.outcome else None, None,
        )  # fmt: skip


def words_of_entry(one: Event) -> list[str]:
    """What an entry of account 1 is searched by."""
    return [lexeme.decode() for lexeme in read_lexemes(lexemes(1, one.body))]


def fill_identity(connection: psycopg.Connection[Any]) -> None:
    """A user, and a token of hers."""
    user_id, token_id = bytes.fromhex(ANN.id), bytes.fromhex(LAPTOP.id)
    connection.execute(
        """INSERT INTO "user" VALUES (1, %s, %s, %s, %s, %s, %s, %s)""",
        (user_id, ANN.email, ANN.email, ANN.name, ANN.role.value, ANN.active, ANN.created_ms),
    )
    connection.execute(
        "INSERT INTO token VALUES (1, %s, %s, %s, %s, %s, %s, %s, NULL)",
        (token_id, user_id, LAPTOP.name, LAPTOP.scope.value, LAPTOP.digest, LAPTOP.created_ms, LAPTOP.expires_ms),
    )
    connection.execute("INSERT INTO token_digest VALUES (%s, 1)", (LAPTOP.digest,))


async def check_old(store: PostgresStore) -> None:
    """Check that all that was filled in is there, and that the log goes on."""
    (account,) = await store.accounts()
    assert (account.no, account.name, account.created_ms, account.identity_version) == (1, "org-old", NOW_MS, 2)
    assert await store.check(no_progress) == []
    assert [entry.record for entry in await flat(store.entries(1))] == [one.record for one in EVENTS]
    assert await store.users(1) == [ANN]
    assert await store.tokens(1) == [LAPTOP]
    credential = await store.credential(LAPTOP.digest)
    assert credential is not None
    assert (credential.token, credential.user) == (LAPTOP, ANN)
    newest = await store.newest(Query(1, Kind.ACTION, 0, NOW_MS + 1, 5, (("type", "pipeline"),)))
    assert newest == [one.record for one in reversed(EVENTS) if one.kind == Kind.ACTION][:5]
    await check_search(store)
    assert await store.checkpoint(1, Standing.SIGNED) == KeptCheckpoint(1, Standing.SIGNED, 300, "signed note")
    assert await store.checkpoint(1, Standing.PUBLISHED) == KeptCheckpoint(1, Standing.PUBLISHED, 299, "published note")
    assert await store.witness_states() == [WitnessState(1, "w.example", 298, NOW_MS, None, NOW_MS + 1)]
    assert (await append(store, account, event(account))).seqs == [OLD_ENTRIES]
    assert await store.signing_key() is None
    assert await store.settle_signing_key(bytes(32), []) == bytes(32)
    assert await store.lease("witnesses", b"me", 60)
    assert await store.check(no_progress) == []


async def check_search(store: PostgresStore) -> None:
    """Check that what was filled in is found, and counted."""
    is_update = Search(1, All((Is("action", "update"), Says(USER_ID))), limit=1000)
    found = await store.search(is_update)
    updates = [one.record for one in EVENTS if one.kind == Kind.ACTION]
    assert [one.record for one in found.records] == updates[::-1]
    summary = await store.summarize(Question(Search(1), by="type", interval_ms=DAY_MS))
    assert (summary.total, summary.values) == (OLD_ENTRIES, [("pipeline", len(updates))])
    assert await store.heads([1]) == {1: Head(OLD_ENTRIES, 2, 0)}


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_each_schema_that_landed_is_carried_along_with_all_that_is_in_it(url: str, version: int) -> None:
    """Until then it is refused, with the command that brings it up to date."""
    bring_to(url, version)
    fill(url, version)
    if version < NEWEST:
        with pytest.raises(StoreUnusable, match=rf"has schema {version}, and {NEWEST} is needed; 'whodid db init'"):
            PostgresStore(url)
        assert bring_up(url) == f"the database's schema went from version {version} to {NEWEST}"
    assert versions(url) == list(range(1, NEWEST + 1))
    assert bring_up(url) == f"the database has schema {NEWEST} already"
    with_store(url, check_old)


@pytest.mark.parametrize("version", range(NEWEST + 1))
def test_many_bring_a_database_up_at_once_and_one_does_it(url: str, version: int) -> None:
    """All of them succeed, whatever was there."""
    if version:
        bring_to(url, version)
    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda _: migrate(parse_dsn(url)), range(8)))
    assert sorted(done) == [(version, NEWEST)] + [(NEWEST, NEWEST)] * 7
    assert versions(url) == list(range(1, NEWEST + 1))


@pytest.mark.parametrize("version", range(NEWEST))
def test_an_interrupted_migration_leaves_what_was_there(url: str, version: int) -> None:
    """Schema and rows; the next attempt does it."""
    if version:
        bring_to(url, version)
        fill(url, version)

    def fail(connection: psycopg.Connection[Any]) -> None:
        assert connection.execute("SELECT max(version) FROM whodid_schema").fetchone() == (NEWEST,)
        raise KeyboardInterrupt

    before = tables(url)
    with pytest.raises(KeyboardInterrupt):
        migrate(parse_dsn(url), fail)
    assert tables(url) == before
    with pytest.raises(StoreUnusable, match="'whodid db init' brings it up to date"):
        PostgresStore(url)
    bring_up(url)
    if version:
        with_store(url, check_old)


def tables(url: str) -> list[tuple[str, str]]:
    """All columns of all tables that there are."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "ORDER BY table_name, ordinal_position"
        ).fetchall()


def test_an_entry_that_nobody_would_find_is_refused(url: str) -> None:
    """A server of before the upgrade, which is running still, fails rather than to add what no search finds."""
    bring_to(url, NEWEST)
    with pytest.raises(psycopg.errors.NotNullViolation, match='"words"'):
        fill(url, SEARCHABLE - 1)


def test_partitions_of_before_and_after_are_indexed_alike(url: str) -> None:
    """What is waiting in the index to be sorted in is as much in each of them, and in those that are yet to be made."""
    bring_to(url, SEARCHABLE - 1)
    fill(url, SEARCHABLE - 1)
    bring_up(url)
    with_store(url, check_old)
    with psycopg.connect(url) as connection:
        options = connection.execute(
            "SELECT c.reloptions FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'gin'"
        ).fetchall()
    assert len(options) >= 3
    assert {tuple(sorted(made)) for (made,) in options} == {("fastupdate=on", "gin_pending_list_limit=4096")}


def test_a_schema_of_a_newer_whodid_is_refused(url: str) -> None:
    """By whoever opens it, and by whoever would bring it up."""
    bring_up(url)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO whodid_schema (version) VALUES (%s)", (NEWEST + 1,))
    for refused in (PostgresStore, bring_up):
        with pytest.raises(StoreUnusable, match=f"schema {NEWEST + 1}, of a newer Whodid"):
            refused(url)
