"""Users and tokens that are changed anywhere hold, or hold no longer, at every server."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import psycopg
import pytest
from tests.acceptance.running import eventually
from tests.building import action
from tests.postgresql.serving import (
    ACTIONS,
    DEADLINE_SECONDS,
    OPERATOR,
    Home,
    Tenant,
    make_tenant,
)

from whodid.auth import READ_LOG, RECORD, Call, Gate
from whodid.clock import wall_clock
from whodid.errors import Forbidden, Unauthenticated
from whodid.identity import Identity
from whodid.metrics import Metrics
from whodid.records import IdMakers
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Role
from whodid.store.postgres import PostgresStore, listening

CALL = Call("GET", "/v1/logs/user/actions", "r1")
LISTENING = "FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN whodid_identity'"
"""The backends of servers that have begun to listen, some seconds ago at most."""


def deafen(home: Home) -> int:
    """Cut the connections over which servers hear of changes; how many there were."""
    with psycopg.connect(home.url, autocommit=True) as connection:
        return len(connection.execute(f"SELECT pg_terminate_backend(pid) {LISTENING}").fetchall())


def ears(home: Home) -> int:
    """How many servers hear of changes."""
    with psycopg.connect(home.url, autocommit=True) as connection:
        return len(connection.execute(f"SELECT 1 {LISTENING}").fetchall())


# Over HTTP.


@pytest.mark.parametrize("deaf", [False, True])
def test_an_expired_token_is_refused_by_every_server_at_once(home: Home, deaf: bool) -> None:
    """It was used at all of them a moment ago; whether they hear of changes or not."""
    tenant = home.tenant()
    with home.servers(3) as servers:
        for server in servers:
            assert server.post(tenant.text, action()).status == 201
            assert server.get(ACTIONS, tenant.text).status == 200
        if deaf:
            eventually("all listen", lambda: ears(home) == len(servers))
            assert deafen(home) == len(servers)
        home.beside(lambda store: expire(store, tenant))
        for server in servers:
            assert server.post(tenant.text, action()).status == 401
            assert server.get(ACTIONS, tenant.text).status == 401
            assert server.get("/api/nowhere", tenant.text).status == 401


def test_what_commands_change_holds_at_servers_that_run(home: Home) -> None:
    """A new token works; a role that was taken away opens nothing; a deactivated user and an expired token don't."""
    tenant = home.tenant()
    of = ("--account", tenant.name)
    ann = (*of, "--email", tenant.user.email)
    with home.servers(2) as servers:

        def statuses(text: str) -> set[int]:
            return {server.post(text, action()).status for server in servers}

        other = home.command("token", "create", *ann, "--scope", "logs-write", "--name", "ci").strip()
        assert statuses(tenant.text) == statuses(other) == {201}
        home.command("token", "expire", *of, tenant.token.id)
        assert statuses(tenant.text) == {401}
        home.command("user", "update", *ann, "--role", "auditor")
        assert statuses(other) == {403}
        home.command("user", "update", *ann, "--role", "service")
        assert statuses(other) == {201}
        home.command("user", "deactivate", *ann)
        assert statuses(other) == {401}


async def expire(store: PostgresStore, tenant: Tenant) -> None:
    """Expire the tenant's token."""
    await Identity(store, clock=wall_clock).expire_token(tenant.account, OPERATOR, tenant.token)


async def deactivate(store: PostgresStore, tenant: Tenant) -> None:
    """Deactivate the tenant's user."""
    await Identity(store, clock=wall_clock).update_user(tenant.account, OPERATOR, tenant.user, active=False)


async def demote(store: PostgresStore, tenant: Tenant) -> None:
    """Take the right to record away."""
    await Identity(store, clock=wall_clock).update_user(tenant.account, OPERATOR, tenant.user, role=Role.AUDITOR)


Change: TypeAlias = Callable[[PostgresStore, Tenant], Coroutine[Any, Any, None]]
CHANGES: list[tuple[Change, type[Exception]]] = [
    (expire, Unauthenticated), (deactivate, Unauthenticated), (demote, Forbidden),
]  # fmt: skip


# The gate of one server, and what it remembers.


@dataclass
class House:
    """The gate of a server that listens, and the store of another one."""

    gate: Gate
    elsewhere: PostgresStore
    tenant: Tenant
    heard: list[int | None] = field(default_factory=list)

    @property
    def remembers(self) -> bool:
        """Whether the gate would not look the token up."""
        return self.tenant.token.digest in self.gate._known

    def changed(self, account_no: int | None) -> None:
        """What the store tells a server that watches it."""
        self.heard.append(account_no)
        self.gate.forget_account(account_no)


@asynccontextmanager
async def house(home: Home) -> AsyncIterator[House]:
    """A gate that listens and has let the tenant in."""
    stores = [PostgresStore(home.url), PostgresStore(home.url)]
    sequencer = Sequencer(stores[0], limits=Limits(), observer=Metrics(), monotonic=asyncio.get_running_loop().time)
    gate = Gate(stores[0], sequencer, clock=wall_clock, ids=IdMakers(random.Random(8).randbytes), cache_size=10)
    made = House(gate, stores[1], await make_tenant(stores[1]))
    stores[0].watch(made.changed)
    try:
        await until("it listens", lambda: made.heard == [None])
        await gate.admit(made.tenant.text, CALL, RECORD)
        assert made.remembers
        yield made
    finally:
        await gate.close()
        await sequencer.close()
        for store in stores:
            await store.close()


async def until(what: str, check: Callable[[], object], seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until something is true."""
    try:
        async with asyncio.timeout(seconds):
            while not check():  # noqa: ASYNC110 (what is waited for may be in the database)
                await asyncio.sleep(0.005)  # between two looks
    except TimeoutError:
        raise AssertionError(f"waited {seconds} seconds in vain: {what}") from None


@pytest.mark.parametrize(("change", "error"), CHANGES)
async def test_a_server_hears_of_a_change_and_forgets_whom_it_knew(
    home: Home, change: Change, error: type[Exception]
) -> None:
    """Within a second, and only those of the account."""
    async with house(home) as h:
        other = await make_tenant(h.elsewhere)
        await until("the other account's changes are heard of", lambda: h.heard.count(other.no) == 2)
        await h.gate.admit(other.text, CALL, READ_LOG)
        await change(h.elsewhere, h.tenant)
        await until("it is heard of", lambda: h.heard[-1] == h.tenant.no, 1.0)
        assert not h.remembers
        assert other.token.digest in h.gate._known
        with pytest.raises(error):
            await h.gate.admit(h.tenant.text, CALL, RECORD)


@pytest.mark.parametrize(("change", "error"), CHANGES)
async def test_a_server_that_hears_nothing_lets_nobody_in_either(
    home: Home, change: Change, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit of the token use finds it out, though the gate remembers otherwise."""
    monkeypatch.setattr(listening, "_PAUSE_SECONDS", 3600)
    async with house(home) as h:
        assert deafen(home) == 1
        await change(h.elsewhere, h.tenant)
        assert h.heard == [None]
        assert h.remembers
        with pytest.raises(error):
            await h.gate.admit(h.tenant.text, CALL, RECORD)


async def test_a_server_listens_again_after_its_connection_broke(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It forgets everybody then: it may have missed something."""
    monkeypatch.setattr(listening, "_PAUSE_SECONDS", 0.01)
    async with house(home) as h:
        for times in range(2, 5):
            assert deafen(home) == 1
            await until("it listens again", lambda: h.heard.count(None) == times)  # noqa: B023 (used at once)
            assert not h.remembers
            await h.gate.admit(h.tenant.text, CALL, RECORD)
            assert h.remembers
        await expire(h.elsewhere, h.tenant)
        await until("it is heard of", lambda: h.heard[-1] == h.tenant.no, 1.0)
        assert not h.remembers
