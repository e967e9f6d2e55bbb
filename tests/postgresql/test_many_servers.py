"""Many servers on one database: each log is one, whoever appends to it, reads it or signs it."""

import asyncio
import contextlib
import itertools
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.acceptance.running import eventually
from tests.building import action, flat, new_id, no_progress
from tests.postgres import drop_database, new_database
from tests.postgresql.serving import Answer, Home, Server, Tenant, Threads
from tests.witnessing import WitnessServer, witness_server

from whodid.checkpoint import SignedCheckpoint, open_checkpoint
from whodid.evidence.witnesses import parse_witnesses
from whodid.merkle import hash_leaf, root_of
from whodid.proofs import check_consistency
from whodid.store.base import Entry
from whodid.store.postgres import PostgresStore

SERVERS = 4
LOAD_SECONDS = 6.0


@dataclass
class Load:
    """What became of some seconds in which all servers were appended to."""

    home: Home
    shared: Tenant
    own: list[Tenant]
    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict)
    """By account, the place of each event."""
    twins: list[tuple[Answer, Answer]] = field(default_factory=list)
    """The answers to one event that was sent to two servers at once."""
    followed: list[list[Entry]] = field(default_factory=list)
    """What each reader saw of the shared log, in the order in which it did."""
    sizes: list[int] = field(default_factory=list)
    """The sizes of the checkpoints that one server after the other gave while the log grew."""
    checkpoints: list[SignedCheckpoint] = field(default_factory=list)
    """One of each server, at the end."""
    growth: list[dict[str, Any]] = field(default_factory=list)
    """Of each server, that the log of the first of these checkpoints grew to that of the last."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def acknowledge(self, tenant: Tenant, answer: Answer) -> None:
        """Remember a receipt: no event has two places."""
        with self.lock:
            known = self.acknowledged.setdefault(tenant.name, {})
            for record_id, seq in answer.places.items():
                assert known.setdefault(record_id, seq) == seq

    def entries(self, tenant: Tenant) -> list[Entry]:
        """The account's whole log."""
        return self.home.beside(lambda store: flat(store.entries(tenant.no)))


def produce(load: Load, threads: Threads, server: Server, own: Tenant, batch: int) -> None:
    """Record in the shared account and in one of the server's own, in turn."""
    with server.client() as client:
        for tenant in itertools.cycle([load.shared, own]):
            if threads.over.is_set():
                return
            answer = client.post(tenant.text, [action(action="record") for _ in range(batch)])
            assert answer.status == 201, answer.body
            load.acknowledge(tenant, answer)


def produce_twins(load: Load, threads: Threads, pair: tuple[Server, Server]) -> None:
    """Send the same event, with an ``_id`` of its own, to two servers at the same moment, again and again."""
    together = threading.Barrier(2)

    def send(server: Server, event: dict[str, object], answers: list[Answer]) -> None:
        with server.client() as client:
            client.call("GET", "/health")  # connected
            together.wait(10)
            answers.append(client.post(load.shared.text, event))

    while not threads.over.is_set():
        event, answers = action(_id=new_id(), action="twin"), list[Answer]()
        with Threads() as two:
            for server in pair:
                two.start(send, server, event, answers)
        load.twins.append((answers[0], answers[1]))
        for answer in answers:
            load.acknowledge(load.shared, answer)


def follow(load: Load, threads: Threads) -> None:
    """Read the shared log by sequence as it grows, as a feed will."""
    asyncio.run(_follow(load, threads))


async def _follow(load: Load, threads: Threads) -> None:
    seen: list[Entry] = []
    load.followed.append(seen)
    store = PostgresStore(load.home.url)
    last = False
    while True:
        over = threads.over.is_set()
        account = await store.account(load.shared.name)
        assert account is not None
        async for chunk in store.entries(load.shared.no, len(seen)):
            assert [entry.seq for entry in chunk] == list(range(len(seen), len(seen) + len(chunk)))
            seen += chunk
        assert len(seen) >= account.frontier.size, "the head was ahead of the entries"
        if last:
            break
        last = over  # once more after the end
    await store.close()


def ask(load: Load, threads: Threads, servers: list[Server]) -> None:
    """Ask one server after the other for the checkpoint of the shared log."""
    for server in itertools.cycle(servers):
        if threads.over.is_set():
            return
        load.sizes.append(server.checkpoint(load.shared.name).checkpoint.size)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    """Some seconds in which four servers are appended to, followed, and asked."""
    url = new_database()
    home = Home(url, tmp_path_factory.mktemp("load"))
    made = Load(home, home.tenant("org-shared"), [home.tenant() for _ in range(SERVERS)])
    with home.servers(SERVERS) as servers:
        append_to_all(made, servers)
        newest = max(made.acknowledged[made.shared.name].values())
        eventually("it is signed", lambda: servers[0].checkpoint(made.shared.name).checkpoint.size > newest)
        made.checkpoints = [server.checkpoint(made.shared.name) for server in servers]
        old, new = made.sizes[0], made.checkpoints[-1].checkpoint.size
        for server in servers:
            answer = server.get(f"/api/v2/log/consistency?from={old}&to={new}", made.shared.text)
            assert answer.status == 200, answer.body
            made.growth.append(answer.json)
    yield made
    drop_database(url)


def append_to_all(load: Load, servers: list[Server]) -> None:
    """Let all work be done at once, for some seconds."""
    with Threads() as following:
        for _ in range(2):
            following.start(follow, load, following)
        with Threads() as threads:
            for number, (server, own) in enumerate(zip(servers, load.own, strict=True)):
                threads.start(produce, load, threads, server, own, 1)
                if number % 2:
                    threads.start(produce, load, threads, server, own, 40)
            threads.start(produce_twins, load, threads, (servers[0], servers[1]))
            threads.start(produce_twins, load, threads, (servers[2], servers[3]))
            threads.start(ask, load, threads, servers)
            threads.over.wait(LOAD_SECONDS)


def parsed(entry: Entry) -> dict[str, Any]:
    """An entry's record."""
    body: dict[str, Any] = json.loads(entry.record)
    return body


def recorded(entries: list[Entry]) -> list[tuple[str, int]]:
    """The ``_id`` and the place of each event that a producer recorded."""
    bodies = ((parsed(entry), entry.seq) for entry in entries)
    return [(body["_id"], seq) for body, seq in bodies if body.get("action") in ("record", "twin")]


def test_each_event_is_at_the_place_that_its_receipt_says(load: Load) -> None:
    """All that was acknowledged is there, each once, and nothing else; no number is missing."""
    for tenant in [load.shared, *load.own]:
        entries = load.entries(tenant)
        assert [entry.seq for entry in entries] == list(range(len(entries)))
        places = recorded(entries)
        assert len(places) == len(dict(places))
        assert dict(places) == load.acknowledged[tenant.name]
        assert len(places) > 20, "there was some load"


def test_an_event_sent_to_two_servers_at_once_is_recorded_once(load: Load) -> None:
    """One of them says that it did, the other one that it is there already, at the same place."""
    assert len(load.twins) > 20
    for answers in load.twins:
        assert sorted(answer.status for answer in answers) == [200, 201]
        assert sorted(answer.json["duplicates"] for answer in answers) == [0, 1]
        assert answers[0].places == answers[1].places


def test_whoever_follows_by_sequence_misses_nothing(load: Load) -> None:
    """What was seen at any moment was whole (checked as it was read), and in the end it is the log."""
    entries = load.entries(load.shared)
    for seen in load.followed:
        assert seen == entries[: len(seen)]
        assert {seq for _, seq in recorded(seen)} == set(load.acknowledged[load.shared.name].values())


def test_all_servers_signed_one_log(load: Load) -> None:
    """The checkpoint of each server is that of a beginning of the one tree that the commitments make."""
    entries = load.entries(load.shared)
    leaves = [hash_leaf(entry.commitment) for entry in entries]
    account = load.home.beside(lambda store: store.account(load.shared.name))
    assert account is not None
    assert account.frontier.size == len(leaves)
    assert account.frontier.root() == root_of(leaves)
    assert len(load.checkpoints) == SERVERS
    for signed in load.checkpoints:
        assert signed.checkpoint.root == root_of(leaves[: signed.checkpoint.size])
    assert load.checkpoints[-1].checkpoint.size > max(load.acknowledged[load.shared.name].values())


def test_each_server_proves_that_the_log_only_grew(load: Load) -> None:
    """From the first checkpoint that was asked for to the last one, whoever signed them."""
    leaves = [hash_leaf(entry.commitment) for entry in load.entries(load.shared)]
    old, new = load.sizes[0], load.checkpoints[-1].checkpoint
    assert old < new.size
    for growth in load.growth:
        assert (growth["from"], growth["to"]) == (old, new.size)
        proof = [b64decode(hash_) for hash_ in growth["proof"]]
        check_consistency(old, new.size, root_of(leaves[:old]), new.root, proof)


def test_a_checkpoint_never_shrinks_whichever_server_is_asked(load: Load) -> None:
    """One after the other, while all append."""
    assert len(load.sizes) > 2 * SERVERS
    assert load.sizes == sorted(load.sizes)
    assert load.sizes[0] < load.sizes[-1]


def test_the_database_is_sound_after_it(load: Load) -> None:
    """Trees, ids, search columns: all agrees with the records."""
    assert load.home.beside(lambda store: store.check(no_progress)) == []


# What they agree on.


async def test_of_servers_that_start_at_once_one_says_which_key_signs(home: Home) -> None:
    """And of those that would ask the witnesses, one does."""
    stores = [PostgresStore(home.url) for _ in range(8)]
    try:
        keys = [bytes([number]) * 32 for number in range(8)]
        for _ in range(5):
            settled = await asyncio.gather(*map(PostgresStore.settle_signing_key, stores, keys, [keys] * 8))
            assert await stores[0].signing_key() in settled
            settled = await asyncio.gather(*map(PostgresStore.settle_signing_key, stores, keys, [[]] * 8))
            assert len(set(settled)) == 1
            leased = await asyncio.gather(
                *(store.lease("witnesses", key, 60) for store, key in zip(stores, keys, strict=True))
            )
            assert leased.count(True) == 1
            assert await stores[0].lease("witnesses", keys[leased.index(True)], 0)
    finally:
        for store in stores:
            await store.close()


# Witnesses.


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[WitnessServer]:
    """A witness."""
    with witness_server("w.example", tmp_path / "w") as server:
        yield server


@dataclass
class Witnessed:
    """Servers with a witness, and the log of one account."""

    home: Home
    peer: WitnessServer
    tenant: Tenant
    sizes: list[int] = field(default_factory=list)
    """Of all published checkpoints that were seen, whoever showed them."""

    def server(self) -> Server:
        """A server that asks the witness each second."""
        return self.home.server(witnesses=self.peer.setting, witness_seconds=1)

    def cosigned(self, *servers: Server) -> None:
        """Record, and wait until each server shows a cosigned checkpoint that has it."""
        (seq,) = servers[-1].post(self.tenant.text, action()).places.values()
        verifiers = [witness.verifier for witness in parse_witnesses(self.peer.setting)]

        def shown(server: Server) -> bool:
            answer = server.get(f"/log/{self.tenant.name}/checkpoint")
            signed = open_checkpoint(answer.body, [self.home.verifier(self.tenant.name)], verifiers)
            self.sizes.append(signed.checkpoint.size)
            return signed.checkpoint.size > seq and len(signed.cosigners) == 1

        eventually("each server shows it, cosigned", lambda: all(list(map(shown, servers))))

    def holder(self) -> tuple[bytes, bool] | None:
        """Who asks the witness, and whether that still holds."""
        with psycopg.connect(self.home.url) as connection:
            found = connection.execute("SELECT holder, until > now() FROM lease WHERE work = 'witnesses'").fetchone()
        return None if found is None else (bytes(found[0]), bool(found[1]))


@pytest.fixture
def witnessed(home: Home, peer: WitnessServer) -> Witnessed:
    """An account whose log the witness trusts."""
    tenant = home.tenant()
    peer.witness.trust(str(home.verifier(tenant.name)))
    return Witnessed(home, peer, tenant)


def test_one_server_at_a_time_asks_the_witness_and_another_one_takes_over(witnessed: Witnessed) -> None:
    """When it stops, at once; when it is killed, as soon as its lease has run out. No checkpoint shrinks meanwhile."""
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(witnessed.server())
        witnessed.cosigned(one)
        first = witnessed.holder()
        two = stack.enter_context(witnessed.server())
        for _ in range(2):
            witnessed.cosigned(one, two)
        assert witnessed.holder() == first
        one.stop()
        witnessed.cosigned(two)
        second = witnessed.holder()
        assert second is not None
        assert first is not None
        assert second[0] != first[0]
        three = stack.enter_context(witnessed.server())
        witnessed.cosigned(two, three)
        two.kill()
        asked = len(witnessed.peer.witness.asked)
        assert three.post(witnessed.tenant.text, action()).status == 201
        assert witnessed.holder() == second, "it holds until it has run out"
        assert len(witnessed.peer.witness.asked) == asked
        with psycopg.connect(witnessed.home.url) as connection:
            connection.execute("UPDATE lease SET until = now()")
        witnessed.cosigned(three)
        third = witnessed.holder()
        assert third is not None
        assert third[0] not in (first[0], second[0])
    assert witnessed.sizes == sorted(witnessed.sizes)
    olds = [old for _, old, _ in witnessed.peer.witness.asked]
    assert olds == sorted(set(olds)), "nobody asked for what was cosigned already"
