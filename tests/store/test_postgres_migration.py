"""The migration that makes entries searchable: beside a server of before, and what it leaves to the planner."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from tests.postgres import drop_database, new_database
from tests.postgresql.test_schema import OLD_ENTRIES, SEARCHABLE, bring_to, fill

from whodid.store.opening import bring_up
from whodid.store.postgres import filling

_INDEXES = "SELECT count(*) FROM pg_class c JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'gin'"
_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
def url() -> Iterator[str]:
    """A database with entries, as it was before."""
    made = new_database()
    bring_to(made, SEARCHABLE - 1)
    fill(made, SEARCHABLE - 1)
    yield made
    drop_database(made)


def test_the_migration_waits_for_an_append_and_neither_keeps_the_other_from_its_end(url: str) -> None:
    """A server of before locks the account's head, then adds its entry: both are done, one after the other."""
    migration = threading.Thread(target=bring_up, args=(url,))
    with psycopg.connect(url, autocommit=True) as watching, psycopg.connect(url) as old_server:
        old_server.execute("SELECT size FROM head WHERE account_no = 1 FOR UPDATE")
        migration.start()
        while watching.execute(_WAITING).fetchone() != (1,):
            assert migration.is_alive()
        old_server.execute("SET LOCAL lock_timeout = '10s'")
        old_server.execute(
            "INSERT INTO entry SELECT account_no, %s, recorded_ms, created_ms, kind, salt, commitment, record, type, "
            "action, user_id FROM entry WHERE seq = 1",
            (OLD_ENTRIES,),
        )
        old_server.commit()
        migration.join()
        counted = watching.execute("SELECT sum(count) FROM tally WHERE key = ''").fetchone()
        assert counted == (OLD_ENTRIES + 1,)
        assert watching.execute("SELECT count(*) FROM entry WHERE words = ''").fetchone() == (0,)


def test_the_index_is_made_after_the_filling_and_the_planner_is_told(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made in one go, not entry by entry; and without statistics, nobody knows which words are frequent."""
    made: list[object] = []

    def fill_and_look(connection: psycopg.Connection[tuple[object, ...]]) -> None:
        filling.fill_search(connection)
        made.append(connection.execute(_INDEXES).fetchone())

    monkeypatch.setitem(filling.STEPS, SEARCHABLE, fill_and_look)
    bring_up(url)
    assert made == [(0,)]
    with psycopg.connect(url) as connection:
        assert connection.execute(_INDEXES).fetchone() == (2,)  # of the table, and of its partition
        known = connection.execute(
            "SELECT tablename FROM pg_stats WHERE tablename IN ('entry', 'tally') AND attname IN ('words', 'hour')"
        ).fetchall()
        assert {name for (name,) in known} == {"entry", "tally"}
        assert connection.execute(
            "SELECT reltuples FROM pg_class WHERE relname = %s", ("entry_2021_07",)
        ).fetchone() == (OLD_ENTRIES,)
