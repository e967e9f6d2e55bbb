"""One server for most of the acceptance tests, and an account of its own for each test."""

from collections.abc import Iterator

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that most tests share; it must outlive all of them, and its log must hold none of their tokens."""
    with Running(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def tenant(server: Running) -> Iterator[Tenant]:
    """A new account on the shared server."""
    with tenant_of(server) as made:
        yield made
