"""The demonstration's account in a store: its people, its month, and fresh tokens to look at it with."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from whodid.demo.month import activity
from whodid.demo.people import DOMAIN, PEOPLE
from whodid.errors import Conflict, NotFound, WhodidError
from whodid.identity import Actor, Identity
from whodid.ingest import Completer, Directory
from whodid.records import DAY_MS, Body, Event, IdMaker, Kind
from whodid.store.base import Account, Role, Scope, Store, Submission, Token, User

ACCOUNT = "org-acme-acc0"
MONTH_DAYS = 30

_FILLED = 1000
"""An account with so many entries has had its month."""

_BATCH = 1000
_FRESH = {"demo reading": Scope.SECURITY_LOGS, "demo recording": Scope.API}


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What someone needs to look at the demonstration."""

    account: str
    entries: int
    reading_token: str
    recording_token: str


async def prepare(store: Store, actor: Actor, *, clock: Callable[[], int]) -> Demonstration:
    """Make the account with its people and its month, unless it is there, and two fresh tokens for Ann.

    Tokens of earlier starts are expired. Raises ``Conflict`` where the store has accounts besides: what is made up
    must not get between what is true.
    """
    others = [account.name for account in await store.accounts() if account.name != ACCOUNT]
    if others:
        raise Conflict(f"the demonstration wants a store of its own; this one has the account {others[0]}")
    account = await store.account(ACCOUNT)
    if account is None or account.frontier.size < _FILLED:
        await _fill(store, actor, account, until_ms=clock())
    identity = Identity(store, clock=clock)
    account = await identity.account(ACCOUNT)
    ann = await _ensure_user(identity, account, actor, 0)
    reading, recording = await _make_fresh(store, identity, account, actor, ann)
    account = await identity.account(ACCOUNT)
    return Demonstration(account.name, account.frontier.size, reading, recording)


async def _fill(store: Store, actor: Actor, account: Account | None, *, until_ms: int) -> None:
    began_ms = until_ms - (MONTH_DAYS + 1) * DAY_MS
    identity = Identity(store, clock=lambda: began_ms)
    account = account or await identity.add_account(ACCOUNT, actor)
    users = [await _ensure_user(identity, account, actor, place) for place in range(len(PEOPLE))]
    tokens = await _program_tokens(store, identity, account, actor, users)
    addresses = Directory(await store.addresses(account.no))
    completer = Completer(account.name, addresses, IdMaker(secrets.token_bytes), lambda: until_ms)
    events = [
        _complete(completer, kind, body)
        for kind, body in activity(account.name, users, tokens, until_ms=until_ms, days=MONTH_DAYS)
    ]
    for first in range(0, len(events), _BATCH):
        (result,) = await store.append([Submission(account.no, events[first : first + _BATCH])])
        if isinstance(result, WhodidError):
            raise result


def _complete(completer: Completer, kind: Kind, body: Body) -> Event:
    (event,) = completer.complete([body], kind, keep_recorded=True)
    return event


async def _ensure_user(identity: Identity, account: Account, actor: Actor, place: int) -> User:
    person = PEOPLE[place]
    email = f"{person.login}@{DOMAIN}"
    try:
        return await identity.user(account, email)
    except NotFound:
        return await identity.add_user(account, actor, email=email, role=person.role, name=person.name)


async def _program_tokens(
    store: Store, identity: Identity, account: Account, actor: Actor, users: list[User]
) -> list[Token]:
    """The tokens that programs use all month; nobody knows their texts."""
    bot = next(user for user in users if user.role == Role.SERVICE)
    known = {(token.user_id, token.name): token for token in await store.tokens(account.no)}
    tokens = []
    for owner, name, scope in ((bot, "nightly builds", Scope.LOGS_WRITE), (users[0], "SIEM", Scope.SECURITY_LOGS)):
        token = known.get((owner.id, name))
        if token is None:
            token, _ = await identity.create_token(account, actor, owner, scope=scope, name=name, life_ms=365 * DAY_MS)
        tokens.append(token)
    return tokens


async def _make_fresh(store: Store, identity: Identity, account: Account, actor: Actor, owner: User) -> list[str]:
    for token in await store.tokens(account.no):
        if token.user_id == owner.id and token.name in _FRESH and token.expired_ms is None:
            await identity.expire_token(account, actor, token)
    texts = []
    for name, scope in _FRESH.items():
        _, text = await identity.create_token(
            account, actor, owner, scope=scope, name=name, life_ms=MONTH_DAYS * DAY_MS
        )
        texts.append(text)
    return texts
