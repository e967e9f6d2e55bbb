"""``whodid migrate-store``, as a process, from a SQLite file into a real PostgreSQL."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import apsw
import psycopg
import pytest
from tests.building import event
from tests.cli.running import ACCOUNT, Whodid, action
from tests.moving import everything
from tests.postgres import drop_database, new_database
from tests.stores import made_store

from whodid.config import Settings
from whodid.evidence.keyring import Keyring
from whodid.evidence.opening import open_signer
from whodid.store.base import Submission
from whodid.store.postgres import PostgresStore
from whodid.store.sqlite import SqliteStore

pytestmark = pytest.mark.on_sqlite_only("the source is a SQLite store")


@pytest.fixture
def empty() -> Iterator[str]:
    """The URL of a database without a schema."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[str]:
    """The URL of a database with a schema, and nothing else."""
    with made_store("postgresql", tmp_path) as made:
        yield made


def migrate(acme: Whodid, database: str, *more: str, status: int = 0) -> Any:
    """Migrate the store of the command; the result."""
    return acme("migrate-store", "--from", acme.url, "--to", database, *more, status=status)


def append(acme: Whodid, count: int) -> None:
    """Append to the account's log."""

    async def work() -> None:
        store = SqliteStore(acme.store_path)
        account = await store.account(ACCOUNT)
        assert account is not None
        await store.append([Submission(account.no, [event(account) for _ in range(count)])])
        await store.close()

    asyncio.run(work())


def sign(acme: Whodid) -> None:
    """Let the log be signed, with a key beside the store."""

    async def work() -> None:
        store = SqliteStore(acme.store_path)
        signer = await open_signer(Settings(store=acme.url, public_host="audit.acme.example"), store)
        await signer.newest(ACCOUNT)
        await store.close()

    asyncio.run(work())


def contents(acme: Whodid, database: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """All that is in the source, and all that is in the database."""

    async def work() -> tuple[dict[str, Any], dict[str, Any]]:
        stores = SqliteStore(acme.store_path), PostgresStore(database)
        there = [await everything(store) for store in stores]
        for store in stores:
            await store.close()
        return there[0], there[1]

    return asyncio.run(work())


def assert_same(acme: Whodid, database: str) -> None:
    """The database has what the source has."""
    source, target = contents(acme, database)
    assert target == source
    assert target != {}


def test_it_tells_what_it_did_and_what_comes_next(acme: Whodid, database: str) -> None:
    """How much was copied, and how servers of the database are started; nothing of a key where there is none."""
    told = migrate(acme, database)
    assert told.out == (
        "copied 2 entries; all 2 entries of 1 account are in the database, and the roots of their logs are the same\n"
    )
    assert "whodid serve --store 'postgresql://" in told.err  # quoted: it may be copied
    assert "--signing-key" not in told.err
    assert "--signed-dir" not in told.err
    assert_same(acme, database)
    assert migrate(acme, database).out.startswith("copied 0 entries; all 2 entries")


def test_a_program_is_told_the_same_as_json(acme: Whodid, database: str) -> None:
    """With the settings that name what must come along, as far as it is there."""
    expected = {
        "same": True, "complete": True, "accounts": 1, "entries": 2, "copied": 2, "different": [], "behind": [],
        "settings": {},
    }  # fmt: skip
    assert migrate(acme, database, "--json").json == expected
    sign(acme)
    settings = {"signing_key": f"{acme.store_path}.key", "signed_dir": f"{acme.store_path}.signed"}
    assert migrate(acme, database, "--json").json == expected | {"copied": 0, "settings": settings}


def test_the_logs_go_on_being_signed_with_their_key(acme: Whodid, database: str) -> None:
    """The settings that it prints are the right ones: the database is sound with them, and has settled on the key."""
    sign(acme)
    told = migrate(acme, database)
    settings = ["--signing-key", f"{acme.store_path}.key", "--signed-dir", f"{acme.store_path}.signed"]
    assert " ".join(settings) in " ".join(told.err.replace("\\\n", "").split())
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT public_key FROM signing_key").fetchall() == [
            (Keyring(acme.store_path.with_name("whodid.db.key")).current().public_key,)
        ]
    key, folder = settings[1], settings[3]
    shown = acme("verify-store", "--store", database, WHODID_SIGNING_KEY=key, WHODID_SIGNED_DIR=folder).out
    assert shown == "the store is sound: 1 account, 2 entries, 1 signed checkpoint compared\n"
    assert_same(acme, database)


def test_a_database_whose_logs_are_signed_with_another_key_is_refused(acme: Whodid, database: str) -> None:
    """Before anything is copied."""
    sign(acme)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("INSERT INTO signing_key (public_key) VALUES (%s)", (bytes(32),))
    assert "another key" in migrate(acme, database, status=1).err
    assert contents(acme, database)[1] == {}


def test_it_runs_beside_the_server_of_the_source(acme: Whodid, database: str) -> None:
    """Which has the store to itself otherwise; what is recorded later comes with the next run."""
    server = SqliteStore(acme.store_path, exclusive=True)
    try:
        migrate(acme, database)
    finally:
        asyncio.run(server.close())
    append(acme, 3)
    assert migrate(acme, database, "--json").json["copied"] == 3
    assert_same(acme, database)


def test_a_source_that_grows_during_the_run_is_told(acme: Whodid, database: str) -> None:
    """What was there at the beginning is copied; it says how far that goes, and to run it again. Status 0."""
    with psycopg.connect(database) as other, acme.running("migrate-store", "--from", acme.url, "--to", database) as run:
        other.execute("LOCK TABLE entry IN SHARE MODE")
        until_blocked(database, run)
        append(acme, 3)
        other.rollback()
        out, err = run.communicate(timeout=30)
    assert run.returncode == 0
    assert out.decode().startswith("copied 2 entries; all 2 entries of 1 account")
    assert f"{ACCOUNT} has grown meanwhile: 2 of its 5 entries are copied\n" in err.decode()
    assert "run the command again: it copies the rest" in err.decode()
    assert migrate(acme, database, "--json").json["copied"] == 3
    assert_same(acme, database)


def test_a_run_that_is_killed_in_a_chunk_goes_on(acme: Whodid, database: str) -> None:
    """SIGKILL while the database works on the second chunk: the first is there, and the next run copies the rest."""
    append(acme, 4998)
    migrate(acme, database)
    append(acme, 5500)
    with psycopg.connect(database) as other, acme.running("migrate-store", "--from", acme.url, "--to", database) as run:
        other.execute("LOCK TABLE block_root IN SHARE MODE")  # the entries are copied, then it waits
        until_blocked(database, run)
        run.kill()
        run.wait(10)
    source, target = contents(acme, database)
    assert target[ACCOUNT]["entries"] == source[ACCOUNT]["entries"][:5000]
    assert migrate(acme, database, "--json").json["copied"] == 5500
    assert_same(acme, database)
    assert acme("verify-store", "--store", database).out.startswith("the store is sound: 1 account, 10500 entries")


def until_blocked(database: str, run: subprocess.Popen[bytes]) -> None:
    """Until the run waits for a lock in the database."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with psycopg.connect(database, autocommit=True) as watcher:
        while watcher.execute(waiting).fetchone() is None:
            assert run.poll() is None
            time.sleep(0.01)  # between two looks


def test_a_damaged_entry_is_named_and_not_copied(acme: Whodid, database: str) -> None:
    """Status 1, one line, and where to look further."""
    acme("import", "--account", ACCOUNT, acme.write("records.ndjson", [action(1), action(2)]))
    connection = apsw.Connection(str(acme.store_path))
    connection.execute("UPDATE entry SET salt = zeroblob(16) WHERE seq = 2")
    connection.close()
    told = migrate(acme, database, status=1)
    assert told.out == ""
    assert f"entry 2 of {ACCOUNT} is not sound in the source" in told.err
    assert "verify-store" in told.err
    assert contents_of(database) == {}


def contents_of(database: str) -> dict[str, Any]:
    """All that is in the database."""

    async def work() -> dict[str, Any]:
        store = PostgresStore(database)
        there = await everything(store)
        await store.close()
        return there

    return asyncio.run(work())


def test_a_database_that_differs_in_the_end_is_told(acme: Whodid, database: str) -> None:
    """Status 1, with the account; the users and tokens stay where they are."""
    migrate(acme, database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE entry SET commitment = sha256('') WHERE seq = 0")
    told = migrate(acme, database, status=1)
    assert told.out == ""
    assert f"the log of {ACCOUNT} is not the same in the database as in the source" in told.err
    assert "whodid serve" not in told.err
    result = migrate(acme, database, "--json", status=1).json
    assert (result["same"], result["complete"], result["different"]) == (False, False, [ACCOUNT])


def test_another_history_is_refused(acme: Whodid, database: str) -> None:
    """An account of this name that was made in the database itself."""
    acme("account", "add", ACCOUNT, "--store", database)
    before = contents_of(database)
    assert "is another one in the target" in migrate(acme, database, status=1).err
    assert contents_of(database) == before


def test_a_database_without_a_schema_is_refused(acme: Whodid, empty: str) -> None:
    """The command that makes it is named."""
    assert "whodid db init" in migrate(acme, empty, status=1).err


def test_a_source_that_is_not_there_is_refused(whodid: Whodid, database: str) -> None:
    """And not made."""
    assert "there is no store at" in migrate(whodid, database, status=1).err
    assert not whodid.store_path.exists()


WRONG = {
    "--from postgresql://ann:s3cret@db.example/x --to postgresql://ann@db.example/y": "--from must be a SQLite store",
    "--from whodid.db --to postgresql://ann@db.example/y": "--from must be a SQLite store",
    "--from sqlite:///whodid.db --to sqlite:///copy.db": "--to must be a database",
    "--from sqlite:///whodid.db --to mysql://ann:s3cret@db.example/y": "--to must be a database",
    "--from sqlite:///whodid.db": "--to",
    "--to postgresql://ann:s3cret@db.example/y": "--from",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_url_is_told_without_its_password(acme: Whodid, line: str) -> None:
    """Status 2, one line that says what would be right."""
    told = acme("migrate-store", *line.split(), status=2)
    assert told.out == ""
    assert WRONG[line] in told.err
    assert told.err.count("\n") == 1
    assert "s3cret" not in told.err


def test_a_password_is_never_shown(acme: Whodid, database: str) -> None:
    """Neither where it works, nor where nobody answers."""
    parts = urlsplit(database)
    password = parts.password or "s3cret"
    name, _, host = parts.netloc.rpartition("@")
    told = migrate(acme, urlunsplit(parts._replace(netloc=f"{name.partition(':')[0]}:{password}@{host}")))
    assert ":…@" in told.err
    assert password not in told.out + told.err
    gone = migrate(acme, "postgresql://ann:s3cret@127.0.0.1:1/whodid", status=1)
    assert "s3cret" not in gone.out + gone.err


def test_its_help_has_an_example(whodid: Whodid) -> None:
    """Something to copy, and that it may run beside a server."""
    shown = " ".join(whodid("migrate-store", "--help").out.split())
    assert "Example: whodid db init" in shown
    assert "whodid migrate-store --from sqlite:///data/whodid.db \\ --to" in shown
    assert "may be served meanwhile" in shown
