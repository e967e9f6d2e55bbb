"""Opening a store's file: what is refused and why, who may serve it, and that two may open it at once."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apsw
import pytest
from tests.building import add_account, append, event, flat, no_progress

from whodid.errors import InvalidSetting, StoreUnavailable, StoreUnusable
from whodid.store.opening import open_store
from whodid.store.sqlite import SqliteStore
from whodid.store.sqlite.connection import PAGE_BYTES, make_file, open_writer
from whodid.store.sqlite.schema import APPLICATION_ID, migrations, prepare_file
from whodid.store.urls import sqlite_path


def close(store: SqliteStore) -> None:
    """Close a store that was opened outside of an event loop."""
    asyncio.run(store.close())


def make_store(path: Path) -> None:
    """Make an empty store."""
    close(SqliteStore(path, create=True))


def test_a_missing_store_is_refused_unless_it_may_be_made(tmp_path: Path) -> None:
    """A slip in the path must not make an empty store, nor leave anything else behind."""
    path = tmp_path / "data" / "whodid.db"
    for exclusive in (False, True):
        with pytest.raises(StoreUnusable, match="there is no store at"):
            SqliteStore(path, exclusive=exclusive)
    assert list(tmp_path.iterdir()) == []
    close(SqliteStore(path, create=True, exclusive=True))
    close(SqliteStore(path, exclusive=True))


def test_a_new_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    """The file, what SQLite puts beside it, the lock, and the folder that was made for it."""
    path = tmp_path / "data" / "whodid.db"
    before = os.umask(0)
    try:
        store = SqliteStore(path, create=True, exclusive=True)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    close(store)


def test_a_new_store_is_durable_by_its_settings(store_path: Path) -> None:
    """A commit is on disk before it returns: write-ahead log, synchronous FULL."""
    make_store(store_path)
    connection = open_writer(store_path)
    assert connection.pragma("journal_mode") == "wal"
    assert connection.pragma("synchronous") == 2
    assert connection.pragma("foreign_keys") == 1
    assert connection.pragma("page_size") == PAGE_BYTES
    assert connection.pragma("application_id") == APPLICATION_ID
    connection.close()


def test_another_programs_sqlite_file_is_refused_and_left_alone(store_path: Path) -> None:
    """With tables, or with another program's mark."""
    for statement in ("CREATE TABLE things (a)", "PRAGMA application_id = 7"):
        store_path.unlink(missing_ok=True)
        with sqlite3.connect(store_path) as connection:
            connection.execute(statement)
        connection.close()
        before = store_path.read_bytes()
        for create in (False, True):
            with pytest.raises(StoreUnusable, match="not a store of Whodid"):
                SqliteStore(store_path, create=create, exclusive=True)
        assert store_path.read_bytes() == before


def test_what_is_no_sqlite_file_is_refused_and_left_alone(store_path: Path) -> None:
    """A text, a folder."""
    store_path.write_text("This is a text, and long enough to be taken for a database perhaps. " * 100)
    before = store_path.read_bytes()
    with pytest.raises(StoreUnusable, match="is not a SQLite file"):
        SqliteStore(store_path, create=True)
    assert store_path.read_bytes() == before
    with pytest.raises(StoreUnusable):
        SqliteStore(store_path.parent, create=True)
    with pytest.raises(StoreUnusable):
        SqliteStore(store_path / "below", create=True)


def test_a_newer_schema_is_refused(store_path: Path) -> None:
    """A store that a newer Whodid made is not touched by an older one."""
    make_store(store_path)
    newest = migrations()[-1][0]
    connection = apsw.Connection(str(store_path))
    connection.pragma("user_version", newest + 1)
    connection.close()
    with pytest.raises(StoreUnusable, match=f"has schema {newest + 1}; this Whodid knows {newest} at most"):
        SqliteStore(store_path)


def test_a_refused_file_can_be_served_as_soon_as_it_is_right(store_path: Path) -> None:
    """A failed attempt to serve leaves no lock behind in this process."""
    store_path.write_text("not a store" * 1000)
    with pytest.raises(StoreUnusable):
        SqliteStore(store_path, exclusive=True)
    store_path.unlink()
    close(SqliteStore(store_path, create=True, exclusive=True))


def test_migrations_are_numbered_without_gaps() -> None:
    """One after another, from 1 on."""
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_migrating_twice_changes_nothing(store_path: Path) -> None:
    """A file that is up to date is left as it is."""
    make_store(store_path)
    before = store_path.read_bytes()
    prepare_file(store_path)
    prepare_file(store_path)
    assert store_path.read_bytes() == before


def test_many_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    """Each finds it made, once; two processes that start together are nothing special."""

    def open_it(path: Path) -> None:
        make_file(path)
        prepare_file(path)

    with ThreadPoolExecutor(4) as threads:
        for attempt in range(10):
            path = tmp_path / f"{attempt}.db"
            for done in [threads.submit(open_it, path) for _ in range(4)]:
                done.result()
            connection = open_writer(path)
            assert connection.pragma("user_version") == migrations()[-1][0]
            assert connection.pragma("page_size") == PAGE_BYTES
            assert connection.execute("SELECT count(*) FROM dictionary").get == 1
            connection.close()


# Serving.


def test_a_store_has_one_server(store_path: Path) -> None:
    """The second is refused, and told which process has it, by whatever name it comes; commands may work beside it."""
    serving = SqliteStore(store_path, create=True, exclusive=True)
    link = store_path.with_name("link.db")
    link.symlink_to(store_path)
    for path in (store_path, link, store_path.parent / "." / store_path.name):
        with pytest.raises(StoreUnusable, match=rf"process {os.getpid()}\) serves"):
            SqliteStore(path, exclusive=True)
    close(SqliteStore(store_path))
    close(serving)
    close(SqliteStore(link, exclusive=True))


SERVE = """
import sys
from pathlib import Path
from whodid.store.sqlite import SqliteStore
SqliteStore(Path(sys.argv[1]), create=True, exclusive=True)
print("serving", flush=True)
sys.stdin.read()
"""


def test_the_right_to_serve_dies_with_its_process(store_path: Path) -> None:
    """After ``kill -9`` the next server starts at once; before, it is told the number of the first."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(store_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"serving\n"
        with pytest.raises(StoreUnusable, match=rf"process {process.pid}\)"):
            SqliteStore(store_path, exclusive=True)
        process.send_signal(signal.SIGKILL)
    close(SqliteStore(store_path, exclusive=True))


async def test_a_store_reached_by_a_link_is_the_same_store(store: SqliteStore, store_path: Path) -> None:
    """SQLite's own files are found by either name."""
    link = store_path.with_name("link.db")
    link.symlink_to(store_path)
    beside = SqliteStore(link)
    account = await add_account(store)
    await append(store, account, event(account))
    await append(beside, account, event(account))
    assert [entry.seq for entry in await flat(store.entries(account.no))] == [0, 1, 2]
    await beside.close()
    assert await store.check(no_progress) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_file_that_may_not_be_written_refuses_appends_and_is_read(store_path: Path) -> None:
    """And says so."""
    make_store(store_path)
    store_path.chmod(0o400)
    with pytest.raises((StoreUnavailable, StoreUnusable), match=r"whodid\.db"):
        SqliteStore(store_path)


# Names of stores.


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///data/whodid.db", "data/whodid.db"),
        ("sqlite:////var/lib/whodid.db", "/var/lib/whodid.db"),
        ("sqlite:///with%20space.db", "with space.db"),
        ("sqlite:///100%25.db", "100%.db"),
    ],
)
def test_a_stores_url_names_its_file(url: str, path: str) -> None:
    """Relative with three slashes, absolute with four."""
    assert sqlite_path(url) == Path(path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "data/whodid.db",
        "sqlite:",
        "sqlite:///",
        "sqlite://host/x.db",
        "sqlite:///a.db?x=1",
        "mysql:///x",
        "sqlite://[/x",
    ],
)
def test_what_is_no_stores_url_is_refused(url: str) -> None:
    """With an example of one."""
    with pytest.raises(InvalidSetting, match=r"sqlite:///data/whodid\.db"):
        open_store(url)


def test_a_url_opens_its_store(tmp_path: Path) -> None:
    """As the command line does it."""
    store = open_store(f"sqlite:///{tmp_path}/whodid.db", create=True)
    assert asyncio.run(store.accounts()) == []
    asyncio.run(store.close())
