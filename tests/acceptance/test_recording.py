"""Recording over a socket: what is taken, in which forms; what the log adds; duplicates; nothing after a refusal."""

import gzip
import json
from typing import Any

import pytest
from tests.acceptance.running import ACTIONS, TOKEN_USES, Tenant, head, problem, read_answer
from tests.building import USER_ID, action, new_id, token_use

from whodid.clock import wall_clock
from whodid.records import Kind, parse_time, render_time
from whodid.store.base import Role, Scope

MINUTE = 60_000


def stored(tenant: Tenant, first: int) -> list[dict[str, Any]]:
    """The log from ``first`` on, without the token uses of the calls."""
    return [json.loads(entry.record) for entry in tenant.log(first)[1:]]


def lines(*events: dict[str, Any]) -> bytes:
    """NDJSON."""
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


THREE = [action(target_id=f"t{at}") for at in range(3)]
ARRAY = json.dumps(THREE).encode()
JSON_TYPE = "application/json"
NDJSON = "application/x-ndjson"

FORMS: dict[str, tuple[bytes, dict[str, str], int]] = {
    "array": (ARRAY, {"Content-Type": JSON_TYPE}, 3),
    "object": (json.dumps(THREE[0]).encode(), {"Content-Type": JSON_TYPE}, 1),
    "object with white space around": (b" \r\n\t" + json.dumps(THREE[0], indent=2).encode() + b"\n ", {}, 1),
    "array of one": (json.dumps(THREE[:1]).encode(), {}, 1),
    "no content type": (ARRAY, {}, 3),
    "charset": (ARRAY, {"Content-Type": 'Application/JSON; charset="UTF-8"'}, 3),
    "NDJSON": (lines(*THREE), {"Content-Type": NDJSON}, 3),
    "NDJSON by its other name": (lines(*THREE), {"Content-Type": "application/ndjson; charset=utf-8"}, 3),
    "NDJSON without a last newline": (lines(*THREE).rstrip(), {"Content-Type": NDJSON}, 3),
    "NDJSON with CRLF and empty lines": (lines(*THREE).replace(b"\n", b"\r\n\n"), {"Content-Type": NDJSON}, 3),
    "gzip": (gzip.compress(ARRAY), {"Content-Encoding": "gzip"}, 3),
    "gzip in capitals": (gzip.compress(ARRAY), {"Content-Encoding": "GZIP"}, 3),
    "x-gzip": (gzip.compress(ARRAY), {"Content-Encoding": "x-gzip"}, 3),
    "gzip of several members": (gzip.compress(ARRAY[:9]) + gzip.compress(ARRAY[9:]), {"Content-Encoding": "gzip"}, 3),
    "gzipped NDJSON": (gzip.compress(lines(*THREE)), {"Content-Encoding": "gzip", "Content-Type": NDJSON}, 3),
    "identity": (ARRAY, {"Content-Encoding": "identity"}, 3),
}


@pytest.mark.parametrize("form", FORMS)
def test_events_are_taken_in_every_form(tenant: Tenant, form: str) -> None:
    """One object, an array, lines; plain or gzipped: 201, with id and number of each, in order."""
    body, headers, count = FORMS[form]
    text = tenant.token()
    size = tenant.size()
    answer = tenant.server.call("POST", ACTIONS, text, body, headers)
    assert answer.status == 201, answer.body
    places = [{"_id": one["_id"], "seq": size + 1 + at} for at, one in enumerate(stored(tenant, size))]
    assert answer.json == {"count": count, "duplicates": 0, "data": places}
    assert [one["target_id"] for one in stored(tenant, size)] == ["t0", "t1", "t2"][:count]


def test_a_chunked_body_is_taken(tenant: Tenant) -> None:
    """In pieces of any size, down to single bytes."""
    size_before = len(tenant.token()) and tenant.size()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in ARRAY) + b"0\r\nX-Trailer: x\r\n\r\n"
    with tenant.server.connect() as connection:
        connection.sendall(head("POST", ACTIONS, tenant.token(), Transfer_Encoding="chunked") + chunks)
        assert read_answer(connection).status == 201
    assert len(stored(tenant, size_before)) == 3


def test_who_expects_100_continue_is_told_to_go_on(tenant: Tenant) -> None:
    """As curl does with large bodies."""
    with tenant.server.connect() as connection:
        length = str(len(ARRAY))
        connection.sendall(head("POST", ACTIONS, tenant.token(), Content_Length=length, Expect="100-continue"))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(ARRAY)
        assert read_answer(connection).status == 201


def test_who_asks_for_another_protocol_is_answered_in_this_one(tenant: Tenant) -> None:
    """As curl --http2 does, which offers h2c with an Upgrade; a body follows all the same."""
    more = {"Upgrade": "h2c", "HTTP2_Settings": "AAMAAABkAAQCAAAAAAIAAAAA", "Content_Length": str(len(ARRAY))}
    request = head("POST", ACTIONS, tenant.token(), **more)
    with tenant.server.connect() as connection:
        connection.sendall(request.replace(b"Connection: close", b"Connection: Upgrade, HTTP2-Settings") + ARRAY)
        assert read_answer(connection).status == 201


def test_10000_events_and_16_mib_are_taken_at_once(tenant: Tenant) -> None:
    """The limits themselves are within the limits."""
    text = tenant.token()
    answer = tenant.server.post(ACTIONS, text, [action(type="many")] * 10_000)
    assert (answer.status, answer.json["count"]) == (201, 10_000)
    body = json.dumps([action(type="large", metadata={"a": "x" * 60_000})] * 250).encode()
    body += b" " * (16 * 1024 * 1024 - len(body))
    answer = tenant.server.post(ACTIONS, text, body)
    assert (answer.status, answer.json["count"]) == (201, 250)
    assert len(tenant.server.get(f"{ACTIONS}?type=many", text).records) == 1000
    assert len(tenant.server.get(f"{ACTIONS}?type=large", text).records) == 250


def test_an_event_of_64_kib_is_taken_and_no_larger_one(tenant: Tenant) -> None:
    """The limit is that of the record, as it is kept."""
    answer = tenant.server.post(ACTIONS, tenant.token(), action(metadata={"a": ""}))
    (record,) = stored(tenant, tenant.size() - 2)
    room = 65536 - len(json.dumps(record, separators=(",", ":")))
    assert tenant.server.post(ACTIONS, tenant.token(), action(metadata={"a": "x" * room})).status == 201
    answer = tenant.server.post(ACTIONS, tenant.token(), action(metadata={"a": "x" * (room + 1)}))
    (fault,) = problem(answer, 422)["errors"]
    assert fault == {"index": 0, "field": None, "detail": "the event has 65537 bytes; it may have 65536"}


def test_the_same_batch_again_is_a_duplicate(tenant: Tenant) -> None:
    """201, then 200 with the old numbers; a batch that is new in part stores that part."""
    batch = [action(_id=new_id(), createdAt="2021-07-30T16:13:52.109Z") for _ in range(5)]
    first = tenant.server.post(ACTIONS, tenant.token(), batch)
    assert (first.status, first.json["duplicates"]) == (201, 0)
    size = tenant.size()
    again = tenant.server.post(ACTIONS, tenant.token(), batch)
    assert (again.status, again.json) == (200, first.json | {"duplicates": 5})
    assert tenant.size() == size + 1  # the token use
    new = action(_id=new_id())
    mixed = tenant.server.post(ACTIONS, tenant.token(), [batch[3], new, batch[0], new])
    assert (mixed.status, mixed.json["duplicates"]) == (201, 3)
    seqs = [place["seq"] for place in first.json["data"]]
    assert [place["seq"] for place in mixed.json["data"]] == [seqs[3], size + 2, seqs[0], size + 2]
    assert tenant.size() == size + 3


def test_an_event_without_createdat_is_a_duplicate_of_itself(tenant: Tenant) -> None:
    """What the log filled in is not the producer's content; neither is the way in which a time is written."""
    live, dated = action(_id=new_id()), action(_id=new_id(), createdAt="2021-07-30T16:13:52.1Z")
    for status in (201, 200):
        assert tenant.server.post(ACTIONS, tenant.token(), live).status == status
        assert tenant.server.post(ACTIONS, tenant.token(), dated).status == status
    written_otherwise = dated | {"createdAt": "2021-07-30T18:13:52.100+02:00"}
    assert tenant.server.post(ACTIONS, tenant.token(), written_otherwise).status == 200


@pytest.mark.parametrize(
    "other", [{"action": "delete"}, {"target_id": "x"}, {"createdAt": "2021-07-30T16:13:52.110Z"}, {"metadata": {}}]
)
def test_the_same_id_with_other_content_is_409_and_names_the_index(tenant: Tenant, other: dict[str, Any]) -> None:
    """Whether it was recorded before, or stands in the same request; nothing is stored."""
    one = action(_id=new_id(), createdAt="2021-07-30T16:13:52.109Z")
    changed = one | other
    assert tenant.server.post(ACTIONS, tenant.token(), one).status == 201
    twice = action(_id=new_id(), createdAt="2021-07-30T16:13:52.109Z")
    for batch in ([action(), action(), changed], [action(), twice, twice | other]):
        size = tenant.size()
        told = problem(tenant.server.post(ACTIONS, tenant.token(), batch), 409, "event 2", "nothing was stored")
        assert told["code"] == "id_conflict"
        assert [(fault["index"], fault["field"]) for fault in told["errors"]] == [(2, "_id")]
        assert tenant.size() == size + 1
        assert tenant.last_use()["outcome"] == "failure"


def test_an_id_is_unique_over_both_logs_of_an_account(tenant: Tenant) -> None:
    """An action and a token use are different content."""
    one = new_id()
    assert tenant.server.post(ACTIONS, tenant.token(), action(_id=one)).status == 201
    problem(tenant.server.post(TOKEN_USES, tenant.token(), token_use(_id=one)), 409, "event 0")


def test_createdat_is_kept_from_1970_to_five_minutes_ahead(tenant: Tenant) -> None:
    """In any RFC 3339 form; rendered in the wire form. updatedAt is the log's own."""
    soon = render_time(wall_clock() + 4 * MINUTE)
    times = {
        "1970-01-01T00:00:00.000Z": "1970-01-01T00:00:00.000Z",
        "1970-01-01T01:00:00+01:00": "1970-01-01T00:00:00.000Z",
        "2021-07-30t16:13:52z": "2021-07-30T16:13:52.000Z",
        "2021-07-30T16:13:52.1099999Z": "2021-07-30T16:13:52.109Z",
        "2000-02-29T23:59:59.999-00:00": "2000-02-29T23:59:59.999Z",
        soon: soon,
    }
    size = len(tenant.token()) and tenant.size()
    events = [action(createdAt=time, updatedAt="2001-01-01T00:00:00.000Z") for time in times]
    assert tenant.server.post(ACTIONS, tenant.token(), events).status == 201
    records = stored(tenant, size)
    assert [one["createdAt"] for one in records] == list(times.values())
    assert all(abs(parse_time(one["updatedAt"]) - wall_clock()) < MINUTE for one in records)
    assert all(int(one["_id"][:8], 16) == parse_time(one["createdAt"]) // 1000 for one in records)


@pytest.mark.parametrize(
    "time",
    ["1969-12-31T23:59:59.999Z", "9999-01-01T00:00:00Z", "2021-07-30", "2021-07-30T16:13:52.109",
     "2021-02-30T00:00:00Z", "2021-07-30 16:13:52Z", "2021-07-30T24:00:00Z", "2021-07-30T16:13:60Z",
     "1627661632109000000000", "", None, 1627661632109, "2021-07-30T16:13:52.109Z\n",
     "\u0662\u0660\u0662\u0661-07-30T16:13:52Z", "2021-07-30T16:13:52+99:00"],
)  # fmt: skip
def test_any_other_createdat_is_refused(tenant: Tenant, time: Any) -> None:
    """Before 1970, no such day, no zone, not a string: 422 that says which form would be right."""
    (fault,) = problem(tenant.server.post(ACTIONS, tenant.token(), action(createdAt=time)), 422)["errors"]
    assert fault["field"] == "createdAt"
    assert "2021-07-30T16:13:52.109Z" in fault["detail"]


def test_a_time_more_than_five_minutes_ahead_is_refused(tenant: Tenant) -> None:
    """It names the server's own time, for whoever has to set a clock right."""
    ahead = render_time(wall_clock() + 6 * MINUTE)
    (fault,) = problem(tenant.server.post(ACTIONS, tenant.token(), action(createdAt=ahead)), 422)["errors"]
    assert fault["detail"].startswith(f"createdAt must not be more than five minutes ahead; {ahead} is, now is 20")


def test_the_address_is_completed_from_the_id_and_the_other_way_round(tenant: Tenant) -> None:
    """From the account's users; what the producer gave stays as it is."""
    ann = tenant.add_user("Ann@acme.example")
    events: list[dict[str, Any]] = [
        {"user_id": ann.id},
        {"user_email": "ann@ACME.example"},
        {"user_id": ann.id, "user_email": "other@acme.example"},
        {"user_id": ann.id, "user_email": None},
        {"user_id": USER_ID},
    ]
    size = len(tenant.token()) and tenant.size()
    body = [{"type": "task", "action": "start"} | event for event in events]
    assert tenant.server.post(ACTIONS, tenant.token(), body).status == 201
    assert [(one["user_id"], one["user_email"]) for one in stored(tenant, size)] == [
        (ann.id, "Ann@acme.example"),
        (ann.id, ann.email),
        (ann.id, "other@acme.example"),
        (ann.id, None),
        (USER_ID, None),
    ]


def test_a_new_user_and_a_new_address_are_used_at_once(tenant: Tenant) -> None:
    """Though the server has the account's users remembered, and another process made the change."""
    text = tenant.token(Scope.LOGS_WRITE, Role.SERVICE)

    def told(**given: str) -> tuple[int, Any]:
        size = tenant.size()
        answer = tenant.server.post(ACTIONS, text, {"type": "task", "action": "start", **given})
        return answer.status, answer.status == 201 and stored(tenant, size)[0]["user_email"]

    assert told(user_email="bob@acme.example")[0] == 422
    assert told(user_id=USER_ID) == (201, None)
    bob = tenant.add_user("bob@acme.example", user_id=USER_ID)
    assert told(user_id=USER_ID) == (201, "bob@acme.example")
    assert told(user_email="BOB@acme.example") == (201, "bob@acme.example")
    tenant.update(bob, email="robert@acme.example")
    assert told(user_id=USER_ID) == (201, "robert@acme.example")
    assert told(user_email="bob@acme.example")[0] == 422


def test_an_unknown_address_without_an_id_is_a_fault(tenant: Tenant) -> None:
    """And so is neither of both."""
    events = [{"type": "a", "action": "b"}, {"type": "a", "action": "b", "user_email": "x@y.example"}]
    faults = problem(tenant.server.post(ACTIONS, tenant.token(), events), 422)["errors"]
    assert [(fault["index"], fault["field"]) for fault in faults] == [(0, "user_id"), (1, "user_id")]


def test_one_bad_event_among_1000_stores_nothing_and_every_fault_is_listed(tenant: Tenant) -> None:
    """By index and field, with what would be right; the same for NDJSON."""
    events = [action() for _ in range(1000)]
    events[3] = {"user_id": USER_ID, "type": 5, "action": "Update!", "colour": "red"}
    events[999] = action(target_id=7, changes={"a": 1}, ip_address="here", outcome="maybe", user_id="x")
    tenant.token()
    for body, kind in ((json.dumps(events).encode(), JSON_TYPE), (lines(*events), NDJSON)):
        size = tenant.size()
        answer = tenant.server.call("POST", ACTIONS, tenant.token(), body, {"Content-Type": kind})
        told = problem(answer, 422, "2 events are not valid; nothing was stored")
        assert told["code"] == "invalid_events"
        assert sorted((fault["index"], fault["field"]) for fault in told["errors"]) == [
            (3, "action"), (3, "colour"), (3, "type"),
            (999, "changes"), (999, "ip_address"), (999, "outcome"), (999, "target_id"), (999, "user_id"),
        ]  # fmt: skip
        detail = {fault["field"]: fault["detail"] for fault in told["errors"]}
        assert detail["type"] == "type must be 1 to 64 lower-case letters, digits, '_' and '-', not 5"
        assert detail["colour"].startswith('"colour" is not known; known: _id, user_id, user_email, type,')
        assert tenant.size() == size + 1
    assert tenant.server.get(f"{ACTIONS}?type=pipeline", tenant.token()).records == []


def test_faults_that_only_the_second_look_finds_are_all_listed_too(tenant: Tenant) -> None:
    """Times, accounts and users are judged for every event, not up to the first."""
    events = [action(), action(createdAt="2021-02-30T00:00:00Z", account="other"), {"type": "a", "action": "b"}]
    size = len(tenant.token()) and tenant.size()
    faults = problem(tenant.server.post(ACTIONS, tenant.token(), events), 422)["errors"]
    assert sorted((fault["index"], fault["field"]) for fault in faults) == [
        (1, "account"), (1, "createdAt"), (2, "user_id"),
    ]  # fmt: skip
    assert tenant.size() == size + 1
    events[0] = {"type": 5}  # and where another event is not even well-formed
    faults = problem(tenant.server.post(ACTIONS, tenant.token(), events), 422)["errors"]
    assert [(fault["index"], fault["field"]) for fault in faults[-3:]] == [
        (1, "account"), (1, "createdAt"), (2, "user_id"),
    ]  # fmt: skip
    assert {fault["index"] for fault in faults} == {0, 1, 2}


def test_a_recording_call_takes_no_parameters(tenant: Tenant) -> None:
    """They would be ignored, and somebody would rely on them."""
    answer = tenant.server.post(f"{ACTIONS}?type=pipeline", tenant.token(), action())
    problem(answer, 400, "no parameters", "events are in the body")


def test_the_accounts_own_name_may_be_given_and_version_0(tenant: Tenant) -> None:
    """So a record that was read can be sent as it is."""
    record = action(account=tenant.name, __v=0, user_email=None, target_id=None)
    assert tenant.server.post(ACTIONS, tenant.token(), record).status == 201
    (fault,) = problem(tenant.server.post(ACTIONS, tenant.token(), action(__v=1)), 422)["errors"]
    assert fault["field"] == "__v"


def test_a_page_that_was_read_can_be_recorded_again(tenant: Tenant) -> None:
    """Every record that the server shows is one that it takes, and knows as its own."""
    assert (
        tenant.server.post(ACTIONS, tenant.token(), [action(changes={"a": {"old": 1, "new": None}})] * 3).status == 201
    )
    for path in (ACTIONS, TOKEN_USES):
        page = tenant.server.get(path, tenant.token()).records
        answer = tenant.server.post(path, tenant.token(), page)
        assert (answer.status, answer.json["duplicates"]) == (200, len(page)), answer.body


def test_users_and_tokens_that_an_operator_makes_are_in_the_log(tenant: Tenant) -> None:
    """The account's own log tells of its users and tokens, beside the events of producers."""
    token, _ = tenant.new_token(tenant.user())
    tenant.expire(token)
    records = [json.loads(entry.record) for entry in tenant.log() if entry.kind == Kind.ACTION]
    assert [(one["type"], one["action"]) for one in records] == [
        ("account", "create"), ("user", "create"), ("access_token", "create"), ("access_token", "expire"),
    ]  # fmt: skip
    assert {one["user_id"] for one in records} == {"0" * 24}
