"""A tenant of a store under measurement: an account, its administrator, and tokens to call with."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.places import Place
from whodid.clock import wall_clock
from whodid.identity import Actor, Identity
from whodid.records import DAY_MS
from whodid.store.base import Account, Role, Scope, Store


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


async def make_store(place: Place, *, accounts: int = 1) -> list[Tenant]:
    """Fill a new store with some accounts, and close it."""
    store = place.open()
    try:
        return [await add_tenant(store, f"org-acme-acc{number}") for number in range(accounts)]
    finally:
        await store.close()
