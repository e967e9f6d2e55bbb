"""Changing: a call's token use, its change and the action are one, under the identity that the caller has then."""

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.building import ManualClock, flat, no_progress

from whodid.auth import ATTEMPTS, MANAGE_TOKENS, MANAGE_USERS, READ_USERS, Call, Gate
from whodid.changing import Caller, Changer
from whodid.errors import Conflict, Forbidden, StaleIdentity, StoreUnavailable, Unauthenticated
from whodid.identity import Actor, Identity
from whodid.metrics import Metrics
from whodid.records import IdMakers, Kind
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Account, Result, Role, Scope, User
from whodid.store.sqlite import SqliteStore

OPERATOR = Actor()
CALL = Call("POST", "/v2/users", "r1", "192.0.2.1", "probe/1")


class FaultyStore(SqliteStore):
    """The real store, on a disk that may be full."""

    full = False

    async def append(self, batch: Any) -> list[Result]:
        """Append, unless the disk is full."""
        if self.full:
            raise StoreUnavailable("the disk is full")
        return await super().append(batch)


class House:
    """What makes changes, before a store with one account and one user; and the operator beside it."""

    def __init__(self, store: FaultyStore, clock: ManualClock, account: Account) -> None:
        self.store = store
        self.clock = clock
        self.account = account
        self.operator = Identity(store, clock=clock)
        ids = IdMakers(random.Random(8).randbytes)
        sequencer = Sequencer(store, limits=Limits(), observer=Metrics(), monotonic=clock.monotonic)
        self.gate = Gate(store, sequencer, clock=clock, ids=ids, cache_size=10)
        identity = Identity(store, clock=clock, append=sequencer.append)
        self.changer = Changer(store, sequencer, self.gate, identity)

    async def ann(self, role: Role = Role.ADMINISTRATOR) -> tuple[User, str]:
        """A user, and the text of a token of the user's."""
        ann = await self.operator.add_user(self.account, OPERATOR, email="ann@acme.example", role=role)
        made = await self.operator.create_token(
            self.account, OPERATOR, ann, scope=Scope.API, name="laptop", life_ms=60_000
        )
        return ann, made[1]

    async def add(self, bearer: str, work: Any = None) -> Any:
        """A call that adds Bob, or does something else."""

        async def ask() -> str:
            return "bob@acme.example"

        async def add(caller: Caller, email: str) -> User:
            return await caller.identity.add_user(caller.account, caller.actor, email=email, role=Role.USER)

        return await self.changer.change(bearer, CALL, MANAGE_USERS, ask, work or add)

    async def records(self) -> list[dict[str, Any]]:
        """The log, in order."""
        return [json.loads(entry.record) for entry in await flat(self.store.entries(self.account.no))]

    async def uses(self) -> list[str]:
        """The outcomes of the token uses in the log."""
        entries = await flat(self.store.entries(self.account.no))
        return [json.loads(entry.record)["outcome"] for entry in entries if entry.kind == Kind.TOKEN]


@asynccontextmanager
async def house(path: Path, clock: ManualClock) -> AsyncIterator[House]:
    """A new one, closed at the end."""
    store = FaultyStore(path, create=True)
    try:
        account = await Identity(store, clock=clock).add_account("org-acme", OPERATOR)
        yield House(store, clock, account)
    finally:
        await store.close()


async def test_a_call_is_recorded_with_its_change_and_before_it(store_path: Path, clock: ManualClock) -> None:
    """The action names the caller, its token and where it called from."""
    async with house(store_path, clock) as h:
        ann, text = await h.ann()
        bob = await h.add(text)
        use, action = (await h.records())[-2:]
        assert (use["outcome"], use["request_id"], use["user_id"]) == ("success", "r1", ann.id)
        assert (action["user_id"], action["user_email"], action["target_id"]) == (ann.id, ann.email, bob.id)
        assert (action["ip_address"], action["user_agent"], action["request_id"]) == ("192.0.2.1", "probe/1", "r1")
        assert action["metadata"] == {"via": "api", "token_id": use["token_id"]}
        assert await h.store.check(no_progress) == []


async def test_a_right_that_is_remembered_is_not_used_after_it_is_gone(store_path: Path, clock: ManualClock) -> None:
    """Neither a role nor a token; what was begun with it leaves nothing but the use."""
    async with house(store_path, clock) as h:
        ann, text = await h.ann()
        await h.gate.identify(text)

        async def demoted(caller: Caller, _: str) -> User:
            await h.operator.update_user(h.account, OPERATOR, ann, role=Role.AUDITOR)
            return await caller.identity.add_user(caller.account, caller.actor, email="b@x", role=Role.USER)

        with pytest.raises(Forbidden, match="administrator"):
            await h.add(text, demoted)
        with pytest.raises(Forbidden):
            await h.add(text)
        await h.operator.update_user(h.account, OPERATOR, ann, active=False)
        with pytest.raises(Unauthenticated):
            await h.add(text)
        assert await h.uses() == ["denied", "denied"]
        assert [user.email for user in await h.store.users(h.account.no)] == [ann.email]


async def test_a_right_that_was_given_just_now_is_not_refused(store_path: Path, clock: ManualClock) -> None:
    """What is remembered may be of yesterday; the call is in the log once."""
    async with house(store_path, clock) as h:
        ann, text = await h.ann(Role.USER)
        with pytest.raises(Forbidden):
            await h.add(text)
        await h.operator.update_user(h.account, OPERATOR, ann, role=Role.ADMINISTRATOR)
        await h.add(text)
        await h.operator.update_user(h.account, OPERATOR, ann, role=Role.AUDITOR)
        await h.gate.admit(text, CALL, READ_USERS)
        await h.operator.update_user(h.account, OPERATOR, ann, role=Role.ADMINISTRATOR)

        async def look(caller: Caller, _: str) -> None:
            caller.must(MANAGE_TOKENS)

        await h.add(text, look)
        assert await h.uses() == ["denied", "success", "success", "success"]


async def test_a_change_that_is_overtaken_is_made_anew_and_at_last_given_up(
    store_path: Path, clock: ManualClock
) -> None:
    """With an error that says to try again; each attempt sees what the others did."""
    async with house(store_path, clock) as h:
        _, text = await h.ann()
        attempts: list[int] = []

        def overtaken(times: int) -> Any:
            async def add(caller: Caller, email: str) -> User:
                attempts.append(len(await h.store.users(h.account.no)))
                if len(attempts) <= times:
                    await h.operator.add_user(
                        h.account, OPERATOR, email=f"u{len(attempts)}.{times}@acme.example", role=Role.USER
                    )
                return await caller.identity.add_user(caller.account, caller.actor, email=email, role=Role.USER)

            return add

        await h.add(text, overtaken(2))
        assert attempts == [1, 2, 3]
        assert await h.uses() == ["success"]
        attempts.clear()
        with pytest.raises(StaleIdentity):
            await h.add(text, overtaken(ATTEMPTS))
        assert len(attempts) == ATTEMPTS
        assert await h.uses() == ["success", "failure"]


async def test_what_is_refused_or_changes_nothing_leaves_the_use_alone(store_path: Path, clock: ManualClock) -> None:
    """As a failure, or as a success."""
    async with house(store_path, clock) as h:
        ann, text = await h.ann()
        size = len(await h.records())

        async def leave(caller: Caller, _: str) -> User:
            return await caller.identity.update_user(caller.account, caller.actor, ann, active=False)

        async def nothing(caller: Caller, _: str) -> User:
            return await caller.identity.update_user(caller.account, caller.actor, ann, active=True)

        with pytest.raises(Conflict):
            await h.add(text, leave)
        assert await h.add(text, nothing) == ann
        assert await h.uses() == ["failure", "success"]
        assert len(await h.records()) == size + 2


async def test_where_nothing_can_be_written_nothing_is_changed(store_path: Path, clock: ManualClock) -> None:
    """The use of the token is recorded as soon as the store takes it."""
    async with house(store_path, clock) as h:
        _, text = await h.ann()
        h.store.full = True
        with pytest.raises(StoreUnavailable):
            await h.add(text)
        h.store.full = False
        clock.advance(10)
        await h.gate.close()
        assert await h.uses() == ["failure"]
        assert len(await h.store.users(h.account.no)) == 1
