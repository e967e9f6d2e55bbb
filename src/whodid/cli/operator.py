"""The operator at the command line: who that is, and the store as the operator uses it."""

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from whodid.clock import wall_clock
from whodid.config import load_settings
from whodid.evidence.keyring import Keyring
from whodid.evidence.opening import open_keyring, open_signer
from whodid.evidence.signing import Signer
from whodid.identity import Actor, Identity
from whodid.store.base import Store
from whodid.store.opening import open_store


@dataclass(frozen=True, slots=True)
class Operator:
    """A store, open for one command, and who commands."""

    store: Store
    identity: Identity
    actor: Actor


@asynccontextmanager
async def operate(url: str | None, *, create: bool = False, exclusive: bool = False) -> AsyncIterator[Operator]:
    """Open the store, making a SQLite store where there is none if ``create`` says so; close it afterwards.

    Without ``url`` it is the store of the settings: of the environment or the settings file, if they name one.
    ``exclusive`` refuses a store that a server serves.

    Raises ``InvalidSetting``, ``StoreUnusable`` or ``StoreUnavailable``.
    """
    store = open_store(load_settings({"store": url}).store, create=create, exclusive=exclusive)
    try:
        yield Operator(store, Identity(store, clock=wall_clock), operator_actor())
    finally:
        await store.close()


async def signing(operator: Operator, url: str | None) -> tuple[Keyring, Signer]:
    """The keys of the operator's store, and what signs with them. Raises ``InvalidSetting`` or ``StoreUnavailable``."""
    settings = load_settings({"store": url})
    keyring = await open_keyring(settings, operator.store)
    signer = await open_signer(settings, operator.store, keyring)
    await signer.recall_host()
    return keyring, signer


def operator_actor() -> Actor:
    """Who makes the changes of a command. The system says who that is, not the environment, which anyone may set."""
    user_id = os.getuid()
    try:
        name = pwd.getpwuid(user_id).pw_name
    except KeyError:
        name = str(user_id)
    return Actor(details={"via": "command line", "os_user": name})
