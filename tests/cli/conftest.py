"""What the tests of the command line share: the command as a real process, and a store with an account."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.running import ACCOUNT, EMAIL, Whodid
from tests.stores import made_store, run

from whodid.identity import Actor, Identity
from whodid.store.base import Role
from whodid.store.opening import open_store


@pytest.fixture
def whodid(tmp_path: Path, store_url: str) -> Whodid:
    """The command, with a store of its own: a SQLite file that is not there yet, or a database without accounts."""
    return Whodid(tmp_path, store_url)


@pytest.fixture
def acme(whodid: Whodid) -> Whodid:
    """The command, with a store that has an account with one user, an administrator."""
    run(found(whodid.url))
    return whodid


@pytest.fixture
def other(tmp_path: Path, store_kind: str) -> Iterator[Whodid]:
    """The command, with a second store, of which the same is true as of that of ``whodid``."""
    with made_store(store_kind, tmp_path, "other.db") as url:
        yield Whodid(tmp_path, url)


async def found(url: str) -> None:
    """An account with one user, in a store that may have to be made."""
    store = open_store(url, create=True)
    identity = Identity(store, clock=lambda: 1_600_000_000_000, random_bytes=os.urandom)
    account = await identity.add_account(ACCOUNT, Actor())
    await identity.add_user(account, Actor(), email=EMAIL, role=Role.ADMINISTRATOR)
    await store.close()
