"""What a database must be like, and what Whodid sees to by itself."""

from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from tests.building import add_account
from tests.postgres import drop_database, new_database, server_url

from whodid.errors import StoreUnusable
from whodid.store.postgres import PostgresStore, bring_up


@pytest.fixture
def url() -> Iterator[str]:
    """A database of the test's own."""
    made = new_database()
    yield made
    drop_database(made)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_does_not_speak_utf_8_is_refused(url: str, encoding: str) -> None:
    """Before anything is made in it; the error says how to make one that does."""
    name = urlsplit(url).path.removeprefix("/")
    drop_database(url)
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )
    with pytest.raises(StoreUnusable, match=f"not {encoding}: createdb --encoding=UTF8"):
        bring_up(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT to_regclass('account')").fetchone() == (None,)


async def test_what_the_environment_says_of_encodings_does_not_count(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whodid's text is UTF-8."""
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    store = PostgresStore(url, create=True)
    try:
        account = await add_account(store)
        assert (await store.accounts())[0].name == account.name
        async with store._pool.connection() as connection:
            found = await connection.execute("SHOW client_encoding")
            assert await found.fetchone() == ("UTF8",)
    finally:
        await store.close()


@pytest.mark.parametrize(("given", "kept"), [("off", "on"), ("remote_apply", "remote_apply"), ("local", "local")])
async def test_a_commit_is_durable_when_it_returns(url: str, given: str, kept: str) -> None:
    """Where the database's default is that it is not, Whodid asks for it; what is chosen on purpose, stays."""
    with psycopg.connect(url, autocommit=True) as connection:
        name = urlsplit(url).path.removeprefix("/")
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = '{given}'")
    store = PostgresStore(url, create=True)
    try:
        async with store._pool.connection() as connection:
            found = await connection.execute("SHOW synchronous_commit")
            assert await found.fetchone() == (kept,)
    finally:
        await store.close()


async def test_limits_in_the_url_go_before_ours(url: str) -> None:
    """An operator who knows that a command takes long may give it the time."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, "options=-c%20statement_timeout%3D10min")))
    store = PostgresStore(urlunsplit(parts._replace(query=query)), create=True)
    try:
        async with store._pool.connection() as connection:
            found = await connection.execute(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
            )
            assert await found.fetchone() == ("10min", "5s")
    finally:
        await store.close()
