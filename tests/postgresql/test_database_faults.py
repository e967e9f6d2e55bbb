"""A database that breaks off, stops, or takes no writes, and servers that are killed: nothing acknowledged is lost."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from tests.acceptance.running import eventually
from tests.building import action, new_id
from tests.postgresql.cluster import Cluster, How, clusters
from tests.postgresql.producing import Producers, check_kept, refused
from tests.postgresql.serving import ACTIONS, Answer, Home, Server, Threads

SOON_SECONDS = 15.0
"""Within what time a call must be answered while the database is away."""


def timed(call: Callable[[], Answer]) -> Answer:
    """The answer of a call, which must come soon."""
    began = time.monotonic()
    answer = call()
    seconds = time.monotonic() - began
    assert seconds < SOON_SECONDS, f"answered after {seconds:.1f} seconds"
    return answer


def cut(home: Home) -> int:
    """Cut all connections of servers to the database; how many there were."""
    with psycopg.connect(home.url, autocommit=True) as connection:
        return len(
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND application_name = 'whodid'"
            ).fetchall()
        )


def test_connections_that_are_cut_again_and_again_lose_and_double_nothing(home: Home) -> None:
    """Under load, by producers that repeat what was not acknowledged; and at no time is there another answer."""
    tenant = home.tenant()
    with home.servers(2) as servers, Threads() as threads:
        made = Producers(tenant, threads)
        made.start(servers[:1], 3)
        made.start(servers[1:], 3, batch=30)
        for _ in range(20):
            made.more(60)
            assert cut(home) >= 2
        made.more(60)
    check_kept(home, made)


def test_a_server_that_is_killed_leaves_what_it_acknowledged(home: Home) -> None:
    """Another one goes on at once, though the first one was in the middle of appends."""
    tenant = home.tenant()
    with home.servers(3) as servers, Threads() as threads:
        made = Producers(tenant, threads)
        made.start(servers, 6)
        for server in servers[:2]:
            made.more(100)
            server.kill()
        made.more(100)
    check_kept(home, made)


# A database that is away.


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where clusters are."""
    with clusters() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(folder: Path) -> Cluster:
    """A PostgreSQL that tests may stop; it runs."""
    made = Cluster.make(folder / "c")
    made.start()
    return made


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Home:
    """A database in it."""
    name = f"whodid_{new_id()}"
    cluster.execute(f"CREATE DATABASE {name}")
    return Home(cluster.url(name), tmp_path)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_a_database_that_stops_is_told_and_comes_back_without_a_restart(own: Home, cluster: Cluster, how: How) -> None:
    """Meanwhile nothing is answered but 503, soon; afterwards all is as before, and nothing is lost."""
    tenant = own.tenant()
    with own.server() as server, Threads() as threads:
        made = Producers(tenant, threads)
        made.start([server])
        made.more(100)
        cluster.stop(how)
        refused(timed(lambda: server.post(tenant.text, action())))
        refused(timed(lambda: server.get(ACTIONS, tenant.text)))
        refused(timed(lambda: server.get(f"/log/{tenant.name}/checkpoint")))
        refused(timed(lambda: server.get("/ready")))
        assert timed(lambda: server.get("/health")).status == 200
        known = len(made.places)
        cluster.start()
        eventually("the server is ready", lambda: server.get("/ready").status == 200)
        assert server.get(ACTIONS, tenant.text).status == 200
        made.more(100)
        assert known < len(made.places)
        newest = made.newest
        eventually("it is signed", lambda: server.checkpoint(tenant.name).checkpoint.size > newest)
    check_kept(own, made)


def test_a_database_that_takes_no_writes_is_told_until_it_does(own: Home, cluster: Cluster) -> None:
    """As a whole, for all its connections; and one that only newer connections may not write to."""
    tenant = own.tenant()
    name = own.database
    with own.server() as server:
        assert server.post(tenant.text, action()).status == 201
        for forbid, allow in [
            ("ALTER SYSTEM SET default_transaction_read_only = on", "ALTER SYSTEM RESET default_transaction_read_only"),
            (
                f"ALTER DATABASE {name} SET default_transaction_read_only = on",
                f"ALTER DATABASE {name} RESET default_transaction_read_only",
            ),
        ]:
            cluster.execute(forbid, "SELECT pg_reload_conf()")
            cut(own) if "DATABASE" in forbid else None
            eventually("it is noticed", lambda: server.post(tenant.text, action()).status == 503)
            refused(timed(lambda: server.post(tenant.text, action())))
            refused(timed(lambda: server.get("/ready")))
            assert server.get("/health").status == 200
            cluster.execute(allow, "SELECT pg_reload_conf()")
            eventually("the server is ready", lambda: server.get("/ready").status == 200)
            assert server.post(tenant.text, action()).status == 201


# A server that stands still.


def test_a_server_that_freezes_in_the_middle_of_an_append_holds_up_nobody_for_long(own: Home) -> None:
    """The database ends its transaction; when the server wakes up, it finds that out, and records what it had begun."""
    impatient = Home(f"{own.url}&options=-c%20transaction_timeout%3D1s", own.folder)
    tenant = own.tenant()
    with impatient.servers(2) as (frozen, other), Threads() as threads:
        made = Producers(tenant, threads)
        made.start([frozen], 4)
        made.more(100)
        eventually("it is stopped while it has the head of the log", lambda: stopped_with_the_head(own, frozen), 60)
        before = len(made.places)
        assert timed(lambda: other.post(tenant.text, action())).status == 201
        assert len(made.places) == before
        frozen.process.send_signal(signal.SIGCONT)
        made.more(100)
    check_kept(own, made)


def stopped_with_the_head(home: Home, server: Server) -> bool:
    """Stop a server; whether it is in the middle of a transaction. Else it goes on."""
    server.process.send_signal(signal.SIGSTOP)
    with psycopg.connect(home.url, autocommit=True) as connection:
        eventually(
            "what was begun has ended, or waits for the server",
            # A bulk copy that waits for the server's bytes is at work, in the eyes of the database.
            lambda: (
                not connection.execute(
                    f"SELECT {IN_HAND} AND state = 'active' AND wait_event IS DISTINCT FROM 'ClientRead'"
                ).fetchall()
            ),
        )
        if connection.execute(f"SELECT {IN_HAND} AND state = 'idle in transaction'").fetchall():
            return True
    server.process.send_signal(signal.SIGCONT)
    return False


IN_HAND = "1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'whodid'"
"""What servers do in the database."""
