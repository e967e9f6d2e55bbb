"""The gate: its checks in order, what it remembers, and the token uses it owes while the store takes no appends."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.building import ManualClock, flat, no_progress

from whodid import auth
from whodid.auth import NOTHING, READ_LOG, RECORD, Call, Gate
from whodid.errors import (
    Forbidden,
    InvalidParameter,
    NotFound,
    StaleIdentity,
    StoreUnavailable,
    Unauthenticated,
    WhodidError,
)
from whodid.identity import Actor, Identity
from whodid.metrics import Metrics
from whodid.records import IdMakers, Kind
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Account, Result, Role, Scope, User
from whodid.store.sqlite import SqliteStore
from whodid.tokens import PREFIX

ACTOR = Actor()
CALL = Call("GET", "/v1/logs/user/actions", "r1")


class FaultyStore(SqliteStore):
    """The real store, on a disk that fails: before the commit, or when all of it is done."""

    fails: str = ""

    async def append(self, batch: Any) -> list[Result]:
        """Append, or fail as told."""
        if self.fails == "before":
            raise StoreUnavailable("the disk is full")
        results = await super().append(batch)
        if self.fails == "after":
            raise StoreUnavailable("the disk failed at the very end")
        return results


class House:
    """A gate before a store with one account."""

    def __init__(self, store: FaultyStore, clock: ManualClock, account: Account, cache_size: int) -> None:
        self.store = store
        self.clock = clock
        self.account = account
        self.identity = Identity(store, clock=clock, random_bytes=random.Random(7).randbytes)
        self.sequencer = Sequencer(store, limits=Limits(), observer=Metrics(), monotonic=clock.monotonic)
        ids = IdMakers(random.Random(8).randbytes)
        self.gate = Gate(store, self.sequencer, clock=clock, ids=ids, cache_size=cache_size)

    async def user(self, email: str = "ann@acme.example", role: Role = Role.ADMINISTRATOR) -> User:
        """A new user."""
        return await self.identity.add_user(self.account, ACTOR, email=email, role=role)

    async def token(self, owner: User, scope: Scope = Scope.API, name: str = "t", life_ms: int = 60_000) -> str:
        """A new token's text."""
        made = await self.identity.create_token(
            self.account, ACTOR, owner, scope=scope, name=name, life_ms=life_ms
        )  # fmt: skip
        return made[1]

    async def uses(self) -> list[dict[str, Any]]:
        """The token uses in the log, the oldest first."""
        entries = await flat(self.store.entries(self.account.no))
        return [json.loads(entry.record) for entry in entries if entry.kind == Kind.TOKEN]


@asynccontextmanager
async def house(path: Path, clock: ManualClock, *, cache_size: int = 100) -> AsyncIterator[House]:
    """A new one, closed at the end."""
    store = FaultyStore(path, create=True)
    try:
        account = await Identity(store, clock=clock).add_account("org-acme-acc0", ACTOR)
        yield House(store, clock, account, cache_size)
    finally:
        await store.close()


async def test_the_five_checks_are_made_in_order(store_path: Path, clock: ManualClock) -> None:
    """Of several reasons to refuse, the first one counts; the first three leave no trace."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user(role=Role.USER), Scope.LOGS_WRITE)
        fault = InvalidParameter("count must be a number")
        with pytest.raises(Forbidden, match="scope"):
            await h.gate.admit(text, CALL, READ_LOG, fault)
        with pytest.raises(Forbidden, match="role"):
            await h.gate.admit(text, CALL, RECORD, fault)
        with pytest.raises(InvalidParameter):
            await h.gate.admit(text, CALL, NOTHING, fault)
        assert (await h.gate.admit(text, CALL, NOTHING)).account == "org-acme-acc0"
        clock.advance(60)
        for bearer in (text, None, "", "garbage", text[:-1], text + "0", PREFIX + "0" * 46):
            with pytest.raises(Unauthenticated):
                await h.gate.admit(bearer, CALL, READ_LOG, fault)
        assert [use["outcome"] for use in await h.uses()] == ["denied", "denied", "failure", "success"]


async def test_a_token_holds_up_to_its_last_millisecond(store_path: Path, clock: ManualClock) -> None:
    """And not in the one that it expires in."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user(), life_ms=1000)
        clock.advance(0.999)
        await h.gate.identify(text)
        clock.advance(0.001)
        with pytest.raises(Unauthenticated):
            await h.gate.identify(text)


async def test_more_tokens_than_are_remembered_work_all_the_same(store_path: Path, clock: ManualClock) -> None:
    """Those that came first are looked up again; a cache of nothing is one, too."""
    for cache_size in (0, 2):
        path = store_path.with_suffix(f".{cache_size}")
        async with house(path, clock, cache_size=cache_size) as h:
            ann = await h.user()
            texts = [await h.token(ann, name=str(at)) for at in range(5)]
            for text in [*texts, *texts]:
                await h.gate.admit(text, CALL, READ_LOG)
            assert len(await h.uses()) == 10


async def test_what_is_remembered_counts_only_while_it_is_true(store_path: Path, clock: ManualClock) -> None:
    """The commit of the token use finds out that users or tokens changed, and the checks are made again."""
    async with house(store_path, clock) as h:
        ann = await h.user()
        text = await h.token(ann)
        await h.gate.admit(text, CALL, READ_LOG)
        ann = await h.identity.update_user(h.account, ACTOR, ann, role=Role.USER)
        with pytest.raises(Forbidden):
            await h.gate.admit(text, CALL, READ_LOG)
        await h.identity.update_user(h.account, ACTOR, ann, active=False)
        with pytest.raises(Unauthenticated):
            await h.gate.admit(text, CALL, READ_LOG)
        assert [use["outcome"] for use in await h.uses()] == ["success", "denied"]


async def test_checks_that_are_overtaken_each_time_end_at_last(
    store_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that says to try again; no use is recorded under an identity that is not true."""
    async with house(store_path, clock) as h:
        ann = await h.user()
        text = await h.token(ann)
        look_up = h.gate.identify
        emails = iter(range(100))

        async def overtaken(bearer: str | None) -> auth.Principal:
            principal = await look_up(bearer)
            await h.user(f"u{next(emails)}@acme.example")
            return principal

        monkeypatch.setattr(h.gate, "identify", overtaken)
        with pytest.raises(StaleIdentity):
            await h.gate.admit(text, CALL, READ_LOG)
        assert next(emails) == auth.ATTEMPTS
        assert await h.uses() == []


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_use_that_could_not_be_recorded_is_recorded_once_later(
    store_path: Path, clock: ManualClock, fails: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the failure hit the very end of a commit, which was then done: it is not there twice, nor stuck."""
    monkeypatch.setattr(auth, "_SETTLE_SECONDS", 0.001)
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        h.store.fails = fails
        for at in range(3):
            await h.gate.admit(text, Call("GET", "/x", f"r{at}"), READ_LOG)
            clock.advance(10)  # the sequencer tries again, and fails again
        assert caplog.text.count("a token use waits for the store") == 3
        h.store.fails = ""
        clock.advance(10)
        await h.gate.close()
        assert "could not be recorded" not in caplog.text
        assert sorted(use["request_id"] for use in await h.uses()) == ["r0", "r1", "r2"]
        await h.gate.admit(text, CALL, READ_LOG)
        assert await h.store.check(no_progress) == []


async def test_refusals_are_owed_too_and_expiries_hold_without_appends(store_path: Path, clock: ManualClock) -> None:
    """The store can be read; so nobody gets in whom it no longer knows."""
    async with house(store_path, clock) as h:
        ann = await h.user()
        text, other = await h.token(ann), await h.token(ann, Scope.LOGS_WRITE, "other")
        await h.gate.admit(text, CALL, READ_LOG)
        expired = (await h.store.tokens(h.account.no))[-1]
        await h.identity.expire_token(h.account, ACTOR, expired)
        h.store.fails = "before"
        with pytest.raises(Unauthenticated):
            await h.gate.admit(text, CALL, READ_LOG)
        with pytest.raises(Forbidden):
            await h.gate.admit(other, CALL, READ_LOG)
        with pytest.raises(NotFound):
            await h.gate.admit(other, CALL, NOTHING, NotFound("nothing here"))
        h.store.fails = ""
        clock.advance(10)
        await h.gate.close()
        assert [use["outcome"] for use in await h.uses()] == ["success", "denied", "failure"]


async def test_only_so_many_uses_are_owed(
    store_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past that, reading stops too: a call that leaves no trace is not answered, and memory is bounded."""
    monkeypatch.setattr(auth, "MOST_OWED", 3)
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        h.store.fails = "before"
        for _ in range(3):
            await h.gate.admit(text, CALL, READ_LOG)
        with pytest.raises(StoreUnavailable, match="too many token uses wait"):
            await h.gate.admit(text, CALL, READ_LOG)
        h.store.fails = ""
        clock.advance(10)
        await h.gate.close()
        assert len(await h.uses()) == 3


async def test_a_gate_that_closes_says_what_it_still_owes(
    store_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It tries for a moment; then the server's own log is where those uses are."""
    monkeypatch.setattr(auth, "_LAST_SECONDS", 0.01)
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        h.store.fails = "before"
        await h.gate.admit(text, CALL, READ_LOG)
        await h.gate.close()
        assert "1 token uses could not be recorded" in caplog.text
        (line,) = [one for one in caplog.records if one.getMessage() == "a token use waits for the store"]
        assert json.loads(vars(line)["record"])["request_id"] == "r1"
        assert text not in caplog.text
        h.store.fails = ""


async def test_calls_at_once_are_committed_together(store_path: Path, clock: ManualClock) -> None:
    """Each leaves its own use; that is what makes a durable record of every call affordable."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        calls = [h.gate.admit(text, Call("GET", "/x", f"r{at}"), READ_LOG) for at in range(50)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert not [one for one in outcomes if isinstance(one, WhodidError)]
        assert {use["request_id"] for use in await h.uses()} == {f"r{at}" for at in range(50)}
