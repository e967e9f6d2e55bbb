"""The store of each test of the contract, which runs once for each kind of store."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.contract.opening import STORES, Open

from whodid.store.base import Store


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Open]:
    """Opens the one store of the test, again and again; all is closed at the end."""
    open_one = STORES[request.param](tmp_path)
    opened: list[Store] = []

    def open_and_remember() -> Store:
        opened.append(open_one())
        return opened[-1]

    yield open_and_remember
    for store in reversed(opened):
        runner.run(store.close())


@pytest.fixture
def store(open_store: Open) -> Store:
    """A store, empty at first."""
    return open_store()
