"""What tests are built of: a clock, events as producers give them, accounts with a log."""

import itertools
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar

import msgspec

from whodid.errors import WhodidError
from whodid.ingest import Completer, Directory
from whodid.records import MODELS, OPERATOR_ID, Action, Event, IdMaker, Kind, complete
from whodid.store.base import Account, Receipt, Result, Role, Scope, Store, Submission, Token, User
from whodid.tokens import digest_of

NOW_MS = 1_627_661_632_109
"""2021-07-30T16:13:52.109Z"""

USER_ID = "5e1cbf251c26d68f7ce6361e"
TOKEN_ID = "61043b2bbcb6d95b55adc5fd"

_T = TypeVar("_T")
_numbers = itertools.count(1)


class ManualClock:
    """Epoch milliseconds and monotonic seconds that move only when told to."""

    def __init__(self, now_ms: int = NOW_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Epoch milliseconds."""
        return self.now_ms

    def monotonic(self) -> float:
        """Seconds."""
        return self.now_ms / 1000

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


def new_id(number: int | None = None) -> str:
    """An id that no other has, or that of a number."""
    return f"{next(_numbers) if number is None else number:024x}"


def action(**given: Any) -> dict[str, Any]:
    """An action as a producer gives it, as JSON."""
    return {"user_id": USER_ID, "type": "pipeline", "action": "update", **given}


def token_use(**given: Any) -> dict[str, Any]:
    """A token use as a producer gives it, as JSON."""
    return {"token_id": TOKEN_ID, "scope": "api", "target": "/v1/logs/user/actions", "user_id": USER_ID, **given}


def completed(
    account: str,
    given: Iterable[dict[str, Any]],
    kind: Kind = Kind.ACTION,
    *,
    now_ms: int = NOW_MS,
    users: dict[str, str] | None = None,
    keep_recorded: bool = False,
) -> list[Event]:
    """Events of an account, completed as ingest completes them."""
    completer = Completer(account, Directory(users or {}), IdMaker(random.randbytes), lambda: now_ms)
    return completer.complete([msgspec.convert(one, MODELS[kind]) for one in given], kind, keep_recorded=keep_recorded)


def event(account: Account | str, kind: Kind = Kind.ACTION, **given: Any) -> Event:
    """One event of an account."""
    name = account if isinstance(account, str) else account.name
    made = action(**given) if kind == Kind.ACTION else token_use(**given)
    return completed(name, [made], kind)[0]


def event_at(account: Account, created_ms: int, kind: Kind = Kind.ACTION, **given: Any) -> Event:
    """One event of an account, at a time that ingest would not take from a producer perhaps."""
    made = action(**given) if kind == Kind.ACTION else token_use(**given)
    body = msgspec.convert(made, MODELS[kind])
    return complete(
        body, kind=kind, record_id=new_id(), account=account.name, created_ms=created_ms, recorded_ms=created_ms
    )


def user(email: str = "ann@acme.example", **given: Any) -> User:
    """A user, an administrator unless said otherwise."""
    made = User(id=new_id(), email=email, name="", role=Role.ADMINISTRATOR, active=True, created_ms=NOW_MS)
    return msgspec.structs.replace(made, **given)


def token(owner: User, name: str = "laptop", **given: Any) -> Token:
    """A token of a user."""
    made = Token(
        id=new_id(),
        user_id=owner.id,
        name=name,
        scope=Scope.API,
        digest=digest_of(f"{owner.id} {name} {next(_numbers)}"),
        created_ms=NOW_MS,
        expires_ms=NOW_MS + 86_400_000,
    )
    return msgspec.structs.replace(made, **given)


async def add_account(store: Store, name: str | None = None) -> Account:
    """A new account, whose log has one entry."""
    name = name or f"org-{next(_numbers)}"
    body = Action(user_id=OPERATOR_ID, type="account", action="create", target_name=name)
    first = complete(
        body, kind=Kind.ACTION, record_id=new_id(), account=name, created_ms=NOW_MS - 1000, recorded_ms=NOW_MS - 1000
    )
    return await store.add_account(name, NOW_MS - 1000, first)


async def append(store: Store, account: Account, *events: Event) -> Receipt:
    """Append events to an account as one submission; raises what the store refuses it with."""
    return accepted(*await store.append([Submission(account.no, list(events))]))


def accepted(result: Result) -> Receipt:
    """The receipt that a result is; raises the error that it is instead."""
    if isinstance(result, WhodidError):
        raise result
    return result


async def flat(chunks: AsyncIterator[list[_T]]) -> list[_T]:
    """Everything in the chunks."""
    return [item async for chunk in chunks for item in chunk]


def no_progress(done: int, total: int) -> None:
    """For what reports its progress."""
