"""A primary that dies and a standby that takes its place: Whodid goes on there, and knows what it signed."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running import eventually
from tests.building import action, flat
from tests.postgresql.cluster import Cluster, clusters
from tests.postgresql.producing import Producers, check_kept
from tests.postgresql.serving import Home, Server, Tenant, Threads

from whodid.checkpoint import SignedCheckpoint
from whodid.merkle import hash_leaf, root_of

STANDBY = "standby"
STREAMS = f"SELECT sync_state FROM pg_stat_replication WHERE application_name = '{STANDBY}' AND state = 'streaming'"
CAUGHT_UP = f"""
    SELECT 1 FROM pg_stat_replication
    WHERE application_name = '{STANDBY}' AND replay_lsn >= pg_current_wal_flush_lsn()
"""
SYNCHRONOUS = f"ALTER SYSTEM SET synchronous_standby_names = {STANDBY}"


class Pair:
    """A primary, and a standby that streams from it."""

    def __init__(self, folder: Path) -> None:
        self.primary = Cluster.make(folder / "a")
        self.primary.start()
        self.primary.execute("CREATE DATABASE whodid")
        self.standby = self.primary.copy(folder / "b", STANDBY)
        self.standby.start()
        eventually("it streams", lambda: self.primary.execute(STREAMS) == [("async",)])

    @property
    def url(self) -> str:
        """Whichever of both is the primary."""
        return f"postgresql://postgres@/whodid?host={self.primary.folder},{self.standby.folder}"

    def synchronize(self) -> None:
        """From now on nothing is acknowledged that is not on both."""
        self.primary.execute(SYNCHRONOUS, "SELECT pg_reload_conf()")
        eventually("it is synchronous", lambda: self.primary.execute(STREAMS) == [("sync",)])

    def part(self) -> None:
        """Stop the standby when it has all that there is: the primary goes on alone."""
        eventually("it has caught up", lambda: self.primary.execute(CAUGHT_UP))
        self.standby.stop("fast")

    def fail_over(self) -> None:
        """Let the primary crash, and the standby take its place."""
        self.primary.stop("immediate")
        if not self.standby.runs:
            self.standby.start()
        self.standby.promote()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both run."""
    with clusters() as folder:
        yield Pair(folder)


def extends(home: Home, tenant: Tenant, *signed: SignedCheckpoint) -> bool:
    """Whether each of these checkpoints is that of a beginning of the log as it is."""
    leaves = [hash_leaf(entry.commitment) for entry in home.beside(lambda store: flat(store.entries(tenant.no)))]
    return all(
        one.checkpoint.size <= len(leaves) and one.checkpoint.root == root_of(leaves[: one.checkpoint.size])
        for one in signed
    )


def covering(server: Server, tenant: Tenant, seq: int) -> SignedCheckpoint:
    """A checkpoint of the log that has this entry; the server may show one that is a second old."""
    return eventually(
        f"entry {seq} is covered",
        lambda: signed if (signed := server.checkpoint(tenant.name)).checkpoint.size > seq else None,
    )


def contradiction(server: Server, tenant: Tenant) -> Any:
    """What the server says that refuses to sign; None where it shows a checkpoint."""
    answer = server.get(f"/log/{tenant.name}/checkpoint")
    return None if answer.status == 200 else answer.json


def ready(server: Server) -> bool:
    """Whether it says so."""
    return server.get("/ready").status == 200


def test_what_was_acknowledged_is_on_the_standby_that_takes_over(pair: Pair, tmp_path: Path) -> None:
    """Replication being synchronous. No server is restarted, and each checkpoint is one of the log's beginnings."""
    home = Home(pair.url, tmp_path)
    tenant = home.tenant()
    pair.synchronize()
    with home.servers(2) as servers:
        with Threads() as threads:
            made = Producers(tenant, threads)
            made.start(servers, 4)
            made.more(200)
            before = [server.checkpoint(tenant.name) for server in servers]
            pair.fail_over()
            made.more(200)
        for server in servers:
            eventually("each server is ready", partial(ready, server))
        after = [covering(server, tenant, made.newest) for server in servers]
    check_kept(home, made)
    assert extends(home, tenant, *before, *after)


def test_nothing_is_acknowledged_that_the_standby_does_not_have(pair: Pair, tmp_path: Path) -> None:
    """While a synchronous standby is away, appends wait; what was not acknowledged may be gone, and nothing else."""
    home = Home(pair.url, tmp_path)
    tenant = home.tenant()
    pair.synchronize()
    with home.server() as server, Threads() as threads:
        made = Producers(tenant, threads)
        made.start([server])
        made.more(50)
        pair.standby.stop("fast")
        eventually("an append waits", lambda: waiting(pair.primary))
        acknowledged, before = len(made.places), set(waiting(pair.primary))
        pair.primary.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
        eventually("whoever asks what became of it waits, too", lambda: set(waiting(pair.primary)) - before)
        assert len(made.places) == acknowledged
        pair.fail_over()
        made.more(50)
        assert len(made.places) > acknowledged
    check_kept(home, made)


def waiting(primary: Cluster) -> list[object]:
    """The commits that wait for the standby."""
    return list(primary.execute("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"))


def test_a_standby_that_lacks_what_was_signed_is_not_signed_for(pair: Pair, tmp_path: Path) -> None:
    """Its log contradicts the ledger: no checkpoint of it, however long it grows. Recording and other logs go on."""
    home = Home(pair.url, tmp_path)
    hurt, whole = home.tenant(), home.tenant()
    with home.server() as server:
        for tenant in (hurt, whole):
            assert server.post(tenant.text, [action()] * 10).status == 201
        before = {tenant.name: server.checkpoint(tenant.name) for tenant in (hurt, whole)}
        pair.part()
        lost = server.post(hurt.text, [action() for _ in range(5)]).places
        signed = covering(server, hurt, max(lost.values()))
        pair.fail_over()
        eventually("the server is ready", partial(ready, server))
        for count in (1, 1, 50):
            assert server.post(hurt.text, [action() for _ in range(count)]).status == 201
            answer = eventually("it is looked at again", lambda: contradiction(server, hurt))
            assert answer["code"] == "inconsistent_log"
        assert server.post(whole.text, action()).status == 201
        after = covering(server, whole, before[whole.name].checkpoint.size)
    assert [line for line in server.log if "entries" in line["message"] and line.get("account") == hurt.name]
    assert extends(home, whole, before[whole.name], after)
    assert extends(home, hurt, before[hurt.name])
    assert not extends(home, hurt, signed)
    with home.server(signed_dir=server.signed_dir) as again:  # it knows what it signed after a restart, too
        assert contradiction(again, hurt)["code"] == "inconsistent_log"
        assert again.post(hurt.text, action()).status == 201
