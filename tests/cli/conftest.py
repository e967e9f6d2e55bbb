"""What the tests of the command line share: the command as a real process, and a store with an account."""

import asyncio
import os
from pathlib import Path

import pytest
from tests.cli.running import ACCOUNT, EMAIL, Whodid

from whodid.identity import Actor, Identity
from whodid.store.base import Role
from whodid.store.sqlite import SqliteStore


@pytest.fixture
def whodid(tmp_path: Path) -> Whodid:
    """The command, with a store of its own that is not there yet."""
    return Whodid(tmp_path)


@pytest.fixture
def acme(whodid: Whodid) -> Whodid:
    """The command, with a store that has an account with one user, an administrator."""
    asyncio.run(_found(whodid.store_path))
    return whodid


async def _found(path: Path) -> None:
    store = SqliteStore(path, create=True)
    identity = Identity(store, clock=lambda: 1_600_000_000_000, random_bytes=os.urandom)
    account = await identity.add_account(ACCOUNT, Actor())
    await identity.add_user(account, Actor(), email=EMAIL, role=Role.ADMINISTRATOR)
    await store.close()
