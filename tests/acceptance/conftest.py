"""One server for most of the acceptance tests, and an account of its own for each test."""

from collections.abc import Iterator

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.stores import made_store


@pytest.fixture(scope="session")
def server(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that most tests share, one for each kind of store; it must outlive all of them.

    Its log must hold none of their tokens.
    """
    folder = tmp_path_factory.mktemp("server")
    with made_store(store_kind, folder) as url, Running(folder, url) as running:
        yield running


@pytest.fixture
def tenant(server: Running) -> Iterator[Tenant]:
    """A new account on the shared server."""
    with tenant_of(server) as made:
        yield made
