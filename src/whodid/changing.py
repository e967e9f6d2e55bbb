"""Changing: one call that changes users or tokens, from its checks to the action that it leaves in the log.

The token use of the call, the change and the action that tells of it are one submission, the token use first, under the
very identity version that the caller was checked under: nobody changes anything with a right that was just taken away.
Where the change is refused, or nothing is to be changed, the token use is recorded by itself.

The changes of one account are made one after another, so that those of one process never overtake each other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from msgspec.structs import replace

from whodid.auth import ATTEMPTS, Call, Gate, Operation, Principal, refuse
from whodid.errors import StaleIdentity, Unauthenticated, WhodidError
from whodid.identity import Actor, Identity
from whodid.records import Event
from whodid.sequencer import Sequencer
from whodid.store.base import Account, Store, Submission

_T = TypeVar("_T")
_Asked = TypeVar("_Asked")


def actor_of(principal: Principal, call: Call) -> Actor:
    """Who acts by a call, as the action tells that it leaves."""
    return Actor(
        principal.user_id,
        principal.user_email,
        {"via": "api", "token_id": principal.token_id},
        call.ip_address,
        call.user_agent,
        call.request_id,
    )


class Caller:
    """Who asks for a change, in the caller's own account."""

    def __init__(self, principal: Principal, account: Account, call: Call, identity: Identity) -> None:
        self.principal = principal
        self.account = account
        self.identity = identity
        """Makes the change."""
        self.actor = actor_of(principal, call)

    def must(self, operation: Operation) -> None:
        """Raise ``Forbidden`` unless the caller may do this, too."""
        if refusal := refuse(self.principal, operation):
            raise refusal


class Changer:
    """Makes the changes that callers ask for."""

    def __init__(self, store: Store, sequencer: Sequencer, gate: Gate, identity: Identity) -> None:
        self._store = store
        self._sequencer = sequencer
        self._gate = gate
        self._identity = identity
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """By account; those that somebody has, or waits for."""

    async def change(
        self,
        bearer: str | None,
        call: Call,
        operation: Operation,
        ask: Callable[[], Awaitable[_Asked]],
        work: Callable[[Caller, _Asked], Awaitable[_T]],
    ) -> _T:
        """Do the work of a call; what it is about is asked for, by ``ask``, only if the caller may do this.

        ``work`` makes at most one change, by the caller's ``identity``. It is done anew where users or tokens of the
        account changed meanwhile. Raises what ``Gate.admit``, ``ask`` and ``work`` raise.
        """
        try:
            account_no = (await self._permitted(bearer, operation)).account_no
            asked = await ask()
            async with self._turns.setdefault(account_no, asyncio.Lock()):
                done, made = await self._attempt(bearer, call, operation, lambda caller: work(caller, asked))
        except Unauthenticated:
            raise
        except WhodidError as fault:
            await self._gate.admit(bearer, call, operation, fault)
            raise
        if not made:
            await self._gate.admit(bearer, call, operation)
        return done

    async def _permitted(self, bearer: str | None, operation: Operation) -> Principal:
        """Who calls, and may do this. Raises ``Unauthenticated`` and ``Forbidden``."""
        principal = await self._gate.identify(bearer)
        if refuse(principal, operation):
            self._gate.forget(principal)  # what is remembered may be of yesterday
            principal = await self._gate.identify(bearer)
        if refusal := refuse(principal, operation):
            raise refusal
        return principal

    async def _attempt(
        self, bearer: str | None, call: Call, operation: Operation, work: Callable[[Caller], Awaitable[_T]]
    ) -> tuple[_T, bool]:
        """What the work gives, and whether it changed anything: if so, the call is recorded."""
        for _ in range(ATTEMPTS):
            principal = await self._permitted(bearer, operation)
            commit = _Commit(self._sequencer, principal, self._gate.use_of(principal, call))
            try:
                done = await work(await self._caller(principal, call, commit))
            except StaleIdentity:
                self._gate.forget_account(principal.account_no)
                continue
            if commit.made:
                self._gate.forget_account(principal.account_no)
            return done, commit.made
        raise StaleIdentity

    async def _caller(self, principal: Principal, call: Call, commit: "_Commit") -> Caller:
        """The caller, as known now. Raises ``StaleIdentity`` where that is not what was checked."""
        account = await self._store.account(principal.account)
        if account is None or account.identity_version != principal.identity_version:
            raise StaleIdentity
        return Caller(principal, account, call, self._identity.through(commit))


class _Commit:
    """Appends a change together with the token use of the call that asks for it."""

    def __init__(self, sequencer: Sequencer, principal: Principal, use: Event) -> None:
        self._sequencer = sequencer
        self._version = principal.identity_version
        self._use = use
        self.made = False
        """Whether there was a change."""

    async def __call__(self, submission: Submission) -> None:
        """Append it. Raises ``StaleIdentity`` where the caller was checked under another version."""
        if submission.identity_version != self._version:
            raise StaleIdentity
        await self._sequencer.append(replace(submission, events=[self._use, *submission.events]))
        self.made = True
