"""Recording where the store fails: what the producer is told is true, and repeating the request puts it right."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.building import ManualClock, action, flat, new_id
from tests.test_auth import ACTOR, House, house

from whodid.auth import Call, Principal
from whodid.errors import IdConflict, Overloaded, StoreUnavailable
from whodid.recording import Content, Recorded, Recorder
from whodid.records import IdMakers, Kind

CALL = Call("POST", "/v1/logs/user/actions", "r1")


async def send(h: House, text: str, *events: dict[str, Any]) -> Recorded:
    """One request."""
    ids = IdMakers(random.Random(9).randbytes)
    recorder = Recorder(h.store, h.sequencer, h.gate, clock=h.clock, ids=ids)

    async def fetch(_: Principal) -> Content:
        return Content(json.dumps(events).encode(), lines=False)

    return await recorder.record(text, CALL, Kind.ACTION, fetch)


@pytest.mark.parametrize("fails", ["before", "after"])
async def test_a_request_that_failed_can_be_repeated(store_path: Path, clock: ManualClock, fails: str) -> None:
    """With ids of its own, an event is there once, whether the failed commit was done or not."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        events = [action(_id=new_id()) for _ in range(3)]
        h.store.fails = fails
        with pytest.raises(StoreUnavailable):
            await send(h, text, *events)
        h.store.fails = ""
        clock.advance(10)
        recorded = await send(h, text, *events)
        assert recorded.duplicates == (3 if fails == "after" else 0)
        entries = await flat(h.store.entries(h.account.no))
        places = {json.loads(entry.record)["_id"]: entry.seq for entry in entries}
        assert len(places) == len(entries)
        assert [places[event["_id"]] for event in events] == recorded.seqs
        await h.gate.close()
        outcomes = [use["outcome"] for use in await h.uses()]
        assert sorted(outcomes) == (["failure", "success"] if fails == "before" else ["failure", "success", "success"])


async def test_a_conflict_names_the_place_in_the_request(store_path: Path, clock: ManualClock) -> None:
    """Not that in the submission, which begins with the token use."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        one = action(_id=new_id())
        await send(h, text, one)
        with pytest.raises(IdConflict) as caught:
            await send(h, text, action(), one | {"action": "delete"})
        assert caught.value.index == 1


async def test_a_body_that_finds_no_room_leaves_a_token_use(store_path: Path, clock: ManualClock) -> None:
    """Like every other call of a token that was let in."""
    async with house(store_path, clock) as h:
        text = await h.token(await h.user())
        recorder = Recorder(h.store, h.sequencer, h.gate, clock=clock, ids=IdMakers(random.Random(9).randbytes))

        async def fetch(_: Principal) -> Content:
            raise Overloaded("no room")

        with pytest.raises(Overloaded):
            await recorder.record(text, CALL, Kind.ACTION, fetch)
        assert [use["outcome"] for use in await h.uses()] == ["failure"]


async def test_the_directories_of_many_accounts_are_not_all_kept(
    store_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Completion is right all the same."""
    monkeypatch.setattr("whodid.recording._MOST_DIRECTORIES", 1)
    async with house(store_path, clock) as h:
        recorder = Recorder(h.store, h.sequencer, h.gate, clock=clock, ids=IdMakers(random.Random(9).randbytes))
        ann = await h.user()
        first = await h.token(ann)
        h.account = await h.identity.add_account("org-other", ACTOR)
        bob = await h.user("bob@acme.example")
        second = await h.token(bob)
        for text, user_id, email in (
            (first, ann.id, ann.email),
            (second, bob.id, bob.email),
            (first, ann.id, ann.email),
        ):
            body = json.dumps({"type": "a", "action": "b", "user_id": user_id}).encode()

            async def fetch(_: Principal, data: bytes = body) -> Content:
                return Content(data, lines=False)

            await recorder.record(text, CALL, Kind.ACTION, fetch)
            assert len(recorder._directories) == 1
            accounts = await h.store.accounts()
            records = [
                json.loads(entry.record) for one in accounts for entry in await flat(h.store.entries(one.no))
            ]  # fmt: skip
            assert {one["user_email"] for one in records if one.get("user_id") == user_id and "type" in one} == {email}
