"""Recording: every event once, whatever happens to requests and answers."""

import itertools
import json
import os
import re
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.acceptance.running import Tenant
from tests.building import NOW_MS, TOKEN_ID, USER_ID
from tests.client.conftest import url_of
from tests.client.driving import Clients
from tests.client.misbehaving import between, hang_up, lose_the_answer, refuse, say

from whodid import Client
from whodid.client import ActionEvent, ApiError, NoAnswer
from whodid.client.batches import MOST_BYTES, MOST_EVENTS, Ids, batches
from whodid.errors import InvalidParameter
from whodid.records import Kind

ID = re.compile("[0-9a-f]{24}").fullmatch


def event(number: int = 0, **more: Any) -> ActionEvent:
    """An action; each number is another one."""
    made = {"user_id": USER_ID, "type": "task", "action": "create", "target_id": str(number), **more}
    return cast("ActionEvent", made)


def targets(tenant: Tenant) -> list[str]:
    """What the log's tasks are about, in order."""
    records = [json.loads(entry.record) for entry in tenant.log() if entry.kind == Kind.ACTION]
    return [record["target_id"] for record in records if record["type"] == "task"]


def test_an_action_is_recorded(client: Client, tenant: Tenant) -> None:
    """With everything that was told, and is told where it stands."""
    recorded = client.record_action(
        user_email=tenant.user().email,
        type="policy",
        action="update",
        target_id="p1",
        outcome="denied",
        createdAt=datetime(2021, 7, 30, 16, 13, 52, 109000, UTC),
        changes={"limit": {"old": 1, "new": 2}},
        metadata={"why": "a \N{SNOWMAN}"},
    )
    (entry,) = [entry for entry in tenant.log() if entry.seq == recorded.seq]
    record = json.loads(entry.record)
    assert record["_id"] == recorded.id
    assert record["createdAt"] == "2021-07-30T16:13:52.109Z"
    assert recorded.id.startswith(f"{1_627_661_632:08x}")
    assert (record["user_id"], record["outcome"]) == (tenant.user().id, "denied")
    assert (record["changes"], record["metadata"]) == ({"limit": {"old": 1, "new": 2}}, {"why": "a \N{SNOWMAN}"})


def test_token_uses_are_recorded(client: Client, tenant: Tenant) -> None:
    """In the other log."""
    use: Any = {"token_id": TOKEN_ID, "scope": "api", "target": "/v1/builds", "user_id": USER_ID, "method": "GET"}
    (recorded,) = client.record_token_uses([use])
    assert {**client.record(recorded.id)} | use == client.record(recorded.id)


def test_a_lost_answer_records_nothing_twice(clients: Clients, tenant: Tenant) -> None:
    """The request is repeated with the same ids, and the server knows them."""
    with between(lose_the_answer, lose_the_answer, hang_up, port=tenant.server.port) as server:
        recorded = clients(server.url, tenant.token()).record_actions([event(n) for n in range(3)])
    assert targets(tenant) == ["0", "1", "2"]
    assert [one.seq for one in recorded] == [*range(recorded[0].seq, recorded[0].seq + 3)]
    assert len(server.asked) == 4
    assert len({asked.body for asked in server.asked}) == 1


def test_own_ids_make_a_repeated_call_harmless(clients: Clients, tenant: Tenant) -> None:
    """Also after the client gave up: who keeps the ids can send again tomorrow."""
    client = clients(url_of(tenant), tenant.token())
    events = [event(n, _id=client.new_id()) for n in range(2)]
    with between(*[lose_the_answer] * 2, port=tenant.server.port) as server, pytest.raises(NoAnswer):
        clients(server.url, tenant.token(), attempts=2).record_actions(events)
    assert [one.id for one in client.record_actions(events)] == [one["_id"] for one in events]
    assert targets(tenant) == ["0", "1"]


def test_many_events_go_in_several_requests(clients: Clients, tenant: Tenant) -> None:
    """In order, from anything that can be iterated, and nothing of the caller's is changed."""
    given = [event(n) for n in range(MOST_EVENTS + 1)]
    with between(port=tenant.server.port) as server:
        recorded = clients(server.url, tenant.token()).record_actions(iter(given))
    assert len(server.asked) == 2
    assert [one.seq for one in recorded] == sorted(one.seq for one in recorded)
    assert targets(tenant) == [str(n) for n in range(MOST_EVENTS + 1)]
    assert not any("_id" in one for one in given)


def test_nothing_is_sent_for_no_events(clients: Clients) -> None:
    """There is nothing to record."""
    with between() as server:
        assert clients(server.url).record_actions([]) == []
    assert server.asked == []


def test_a_proxy_with_a_smaller_limit_gets_smaller_requests(clients: Clients, tenant: Tenant) -> None:
    """413 was said before anything was recorded: halves go through."""
    with between(say(413), say(413), port=tenant.server.port) as server:
        recorded = clients(server.url, tenant.token()).record_actions([event(n) for n in range(5)])
    assert targets(tenant) == ["0", "1", "2", "3", "4"]
    assert [one.seq for one in recorded] == sorted(one.seq for one in recorded)
    assert [asked.body.count(b"\n") for asked in server.asked] == [5, 2, 1, 1, 3]


def test_an_event_that_is_too_large_alone_is_refused(clients: Clients) -> None:
    """It can't be halved."""
    with between(*[refuse(413, "body_too_large")] * 3) as server, pytest.raises(ApiError) as told:
        clients(server.url).record_actions([event(0), event(1)])
    assert told.value.code == "body_too_large"
    assert len(server.asked) == 2


def test_a_refusal_tells_what_was_recorded_before(clients: Clients, tenant: Tenant) -> None:
    """And names events by their places in what was given, not in the request."""
    bad: Any = {"user_id": USER_ID, "type": "Task", "action": "create"}
    given = [*[event(n) for n in range(MOST_EVENTS + 4)], bad, event(9)]
    with pytest.raises(ApiError) as told:
        clients(url_of(tenant), tenant.token()).record_actions(given)
    error = told.value
    assert (error.status, error.code) == (422, "invalid_events")
    assert [(fault.index, fault.field) for fault in error.errors] == [(MOST_EVENTS + 4, "type")]
    assert f"event {MOST_EVENTS + 4}: type must be" in error.message
    assert len(error.recorded) == len(targets(tenant)) == MOST_EVENTS


def test_what_json_can_not_tell_is_refused(clients: Clients) -> None:
    """Before anything is sent."""
    with between() as server:
        for odd in (event(metadata={"x": object()}), event(metadata={"x": {1j: 2}})):
            with pytest.raises(InvalidParameter, match="JSON"):
                clients(server.url).record_actions([odd])
    assert server.asked == []


@given(
    st.lists(st.integers(0, 3 * 1024 * 1024), max_size=12),
    st.lists(st.sampled_from([1, 40, 25_000]), max_size=2),
)
def test_batches_hold_all_events_within_the_limits(sizes: list[int], runs: list[int]) -> None:
    """In order, each in one batch, with its own id; no batch is empty."""
    given = [
        {"n": n, "x": "x" * size} for n, size in enumerate([*sizes, *itertools.chain(*([9] * run for run in runs))])
    ]
    made = list(batches(given, Ids(os.urandom), lambda: NOW_MS))
    lines = [line for batch in made for line in batch.lines]
    assert [batch.first for batch in made] == [0, *itertools.accumulate(len(batch.lines) for batch in made)][:-1]
    assert all(1 <= len(batch.lines) <= MOST_EVENTS and len(batch.body) <= MOST_BYTES for batch in made)
    told = [json.loads(line) for line in lines]
    ids = [one.pop("_id") for one in told]
    assert told == given
    assert len(set(ids)) == len(ids)
    assert all(map(ID, ids))


def test_a_forked_process_makes_other_ids() -> None:
    """Servers for web applications fork with everything that is in memory."""
    ids = Ids(os.urandom)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, ids.make(NOW_MS).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as pipe:
        theirs = pipe.read()
    ours = ids.make(NOW_MS)
    assert ID(theirs)
    assert theirs[-6:] != ours[-6:]


def test_an_event_in_the_wrong_place_is_told_what_is_right(clients: Clients) -> None:
    """One alone is named arguments, many are a list of dicts."""
    given: Any = event()
    with between() as server:
        client: Any = clients(server.url)
        with pytest.raises(TypeError, match=r"record_action\(\*\*event\), or record_actions\(\[event\]\)"):
            client.record_action(given)
        for wrong in (given, "text", [5]):
            with pytest.raises(InvalidParameter, match=r"an event must be a dict, not .*\[event\]"):
                client.record_actions(wrong)
    assert server.asked == []
