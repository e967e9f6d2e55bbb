"""What the tests of the client share: a server with an account, and both clients."""

import asyncio
from collections.abc import Iterator

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.building import ManualClock
from tests.client.driving import KINDS, Clients
from tests.stores import made_store

from whodid import Client


@pytest.fixture(scope="session")
def server(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server, one for each kind of store."""
    folder = tmp_path_factory.mktemp("server")
    with made_store(store_kind, folder) as url, Running(folder, url) as running:
        yield running


@pytest.fixture
def tenant(server: Running) -> Iterator[Tenant]:
    """A new account on the server."""
    with tenant_of(server) as made:
        yield made


@pytest.fixture(params=KINDS)
def clients(request: pytest.FixtureRequest, runner: asyncio.Runner, clock: ManualClock) -> Iterator[Clients]:
    """Makes clients, of both kinds in turn."""
    made = Clients(request.param, runner, clock)
    yield made
    made.close()


@pytest.fixture
def client(clients: Clients, tenant: Tenant) -> Client:
    """A client of the account's administrator."""
    return clients(url_of(tenant), tenant.token())


def url_of(tenant: Tenant) -> str:
    """Where the account's server is."""
    return f"http://127.0.0.1:{tenant.server.port}"
