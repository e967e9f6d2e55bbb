"""A tenant of a store under measurement: an account, its administrator, and tokens to call with."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.files import store_url
from whodid.identity import Actor, Identity
from whodid.records import DAY_MS
from whodid.service import wall_clock
from whodid.store.base import Account, Role, Scope, Store
from whodid.store.opening import open_store


@dataclass(frozen=True, slots=True)
class Tenant:
    """An account, and its tokens' texts by scope."""

    account: Account
    tokens: dict[Scope, str]


async def add_tenant(store: Store, name: str, *, clock: Callable[[], int] = wall_clock) -> Tenant:
    """Add an account with an administrator who has a token to read with and one to record with."""
    identity = Identity(store, clock=clock)
    account = await identity.add_account(name, Actor())
    ann = await identity.add_user(account, Actor(), email=f"ann@{name}.example", role=Role.ADMINISTRATOR)
    tokens: dict[Scope, str] = {}
    for scope in (Scope.SECURITY_LOGS, Scope.LOGS_WRITE):
        _, tokens[scope] = await identity.create_token(
            account, Actor(), ann, scope=scope, name=f"bench {scope}", life_ms=365 * DAY_MS
        )
    return Tenant(account, tokens)


async def make_store(file: Path) -> Tenant:
    """Make a store with one account, and close it."""
    store = open_store(store_url(file), create=True)
    try:
        return await add_tenant(store, "org-acme-acc0")
    finally:
        await store.close()
