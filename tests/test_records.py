"""Records: the wire form byte for byte, times, ids, and what counts as the same content."""

import contextlib
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.building import NOW_MS, action, completed, token_use

from whodid.records import (
    MAX_TIME_MS,
    MODELS,
    Action,
    IdMaker,
    IdMakers,
    Kind,
    TokenUse,
    complete,
    parse_record,
    parse_time,
    render_time,
    same_content,
)

# DESIGN.md §3, the two examples, as one line each.
ACTION = (
    b'{"_id":"61042540e1d666c9ded178c4","user_id":"5e1cbf251c26d68f7ce6361e","user_email":"support@opsera.io",'
    b'"type":"pipeline","action":"update","target_id":"5fbe589a0fae8b021e137534","account":"org-opsera-dnd-acc0",'
    b'"createdAt":"2021-07-30T16:13:52.109Z","updatedAt":"2021-07-30T16:13:52.109Z","__v":0}'
)
TOKEN_USE = (
    b'{"_id":"61057f3a1429a35336563240","token_id":"61043b2bbcb6d95b55adc5fd","scope":"api",'
    b'"target":"/v1/logs/user/tokens","user_id":"5e1cbf251c26d68f7ce6361e","account":"org-opsera-dnd-acc0",'
    b'"createdAt":"2021-07-31T16:50:02.242Z","updatedAt":"2021-07-31T16:50:02.242Z","__v":0}'
)

times = st.integers(0, MAX_TIME_MS)


def test_an_action_is_rendered_byte_for_byte_as_the_design_says() -> None:
    """The order of keys, no white space, times with milliseconds and Z."""
    body = Action(
        user_id="5e1cbf251c26d68f7ce6361e",
        user_email="support@opsera.io",
        type="pipeline",
        action="update",
        target_id="5fbe589a0fae8b021e137534",
    )
    made = complete(
        body,
        kind=Kind.ACTION,
        record_id="61042540e1d666c9ded178c4",
        account="org-opsera-dnd-acc0",
        created_ms=NOW_MS,
        recorded_ms=NOW_MS,
    )
    assert made.record == ACTION
    assert made.id.hex() == "61042540e1d666c9ded178c4"
    assert made.created_ms == parse_time("2021-07-30T16:13:52.109Z")


def test_a_token_use_is_rendered_byte_for_byte_as_the_design_says() -> None:
    """A token use has no ``user_email`` and no ``target_id``, not even as null."""
    body = TokenUse(
        token_id="61043b2bbcb6d95b55adc5fd",
        scope="api",
        target="/v1/logs/user/tokens",
        user_id="5e1cbf251c26d68f7ce6361e",
    )
    time_ms = parse_time("2021-07-31T16:50:02.242Z")
    made = complete(
        body,
        kind=Kind.TOKEN,
        record_id="61057f3a1429a35336563240",
        account="org-opsera-dnd-acc0",
        created_ms=time_ms,
        recorded_ms=time_ms,
    )
    assert made.record == TOKEN_USE


@pytest.mark.parametrize(("kind", "record"), [(Kind.ACTION, ACTION), (Kind.TOKEN, TOKEN_USE)])
def test_a_record_that_is_parsed_and_rendered_is_the_same_bytes(kind: Kind, record: bytes) -> None:
    """What is kept can be read by the model that made it, and nothing is lost or moved."""
    assert msgspec.json.encode(parse_record(kind, record)) == record


def test_keys_that_are_always_there_come_first_and_in_order() -> None:
    """What a producer did not give is null, or made by the log; optional keys come after, only where given."""
    (made,) = completed("org-acme", [action(reason="why", metadata={"b": 1, "a": 2})])
    assert tuple(json.loads(made.record)) == (*Action.ALWAYS, "reason", "metadata")
    assert json.loads(made.record)["user_email"] is None
    assert json.loads(made.record)["target_id"] is None
    (used,) = completed("org-acme", [token_use(method="GET", outcome="denied")], Kind.TOKEN)
    assert tuple(json.loads(used.record)) == (*TokenUse.ALWAYS, "method", "outcome")


@pytest.mark.parametrize("kind", Kind)
def test_the_keys_that_are_always_there_are_the_models_first(kind: Kind) -> None:
    """``ALWAYS`` is the beginning of the wire form."""
    model: Any = MODELS[kind]
    names = [field.encode_name for field in msgspec.structs.fields(model)]
    assert tuple(names[: len(model.ALWAYS)]) == model.ALWAYS


@given(times)
def test_a_rendered_time_reads_back(time_ms: int) -> None:
    """Every millisecond that can be recorded survives, and is written as Python's own calendar says."""
    text = render_time(time_ms)
    assert parse_time(text) == time_ms
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    assert text == moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@given(times, st.integers(-23 * 60 - 59, 23 * 60 + 59), st.sampled_from("Tt"), st.integers(0, 999_999))
def test_a_time_of_any_zone_is_understood(time_ms: int, offset_minutes: int, letter: str, beyond: int) -> None:
    """Offsets are counted in, and digits past the milliseconds are dropped."""
    zone = timezone(timedelta(minutes=offset_minutes))
    try:
        moment = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)).astimezone(zone)
    except OverflowError:
        return
    text = moment.isoformat(timespec="milliseconds").replace("T", letter)
    assert parse_time(text[:23] + f"{beyond:06d}" + text[23:]) == time_ms


@pytest.mark.parametrize(
    "text",
    [
        "2021-07-30",
        "2021-07-30T16:13Z",
        "2021-07-30T16:13:52",
        "2021-07-30 16:13:52Z",
        "2021-07-30T16:13:52.Z",
        "2021-07-30T16:13:52.1234567890Z",
        "2021-07-30T16:13:52Z\n",
        " 2021-07-30T16:13:52Z",
        "2021-07-30T16:13:60Z",
        "2021-07-30T24:00:00Z",
        "2021-02-29T00:00:00Z",
        "2021-07-30T16:13:52+24:00",
        "2021-07-30T16:13:52+0000",
        "٢٠٢١-07-30T16:13:52Z",
        "1969-12-31T23:59:59.999Z",
        "1970-01-01T00:30:00+01:00",
        "0001-01-01T00:00:00+23:59",
        "2109-05-15T07:35:11.104Z",
        "9999-12-31T23:59:59-23:59",
        "",
    ],
)
def test_what_is_no_time_or_out_of_range_is_refused(text: str) -> None:
    """Only RFC 3339, from 1970 to the last millisecond that a store can keep."""
    with pytest.raises(ValueError, match=r".+"):
        parse_time(text)


@given(st.text())
def test_any_text_is_a_time_or_refused(text: str) -> None:
    """Nothing but ``ValueError`` comes out."""
    with contextlib.suppress(ValueError):
        assert 0 <= parse_time(text) <= MAX_TIME_MS


@given(moments=st.lists(times, min_size=1, max_size=50))
@example(moments=[MAX_TIME_MS, 0])
def test_ids_begin_with_the_second_and_are_never_the_same(moments: list[int]) -> None:
    """An id is an ObjectId as far as anyone may rely on it, whatever the times are."""
    make_id = IdMaker(random.Random(1).randbytes)
    ids = [make_id(moment) for moment in moments]
    assert len(set(ids)) == len(ids)
    for made, moment in zip(ids, moments, strict=True):
        assert len(made) == 24
        assert int(made[:8], 16) == moment // 1000 % 2**32  # four bytes of seconds end in 2106


def test_ids_of_live_events_are_ordered(rng: random.Random) -> None:
    """Later events have higher ids, those of one millisecond too."""
    make_id = IdMaker(rng.randbytes)
    moments = sorted(NOW_MS + rng.randrange(3000) for _ in range(5000))
    ids = [make_id(moment) for moment in moments]
    assert ids == sorted(ids)


def test_threads_may_share_a_maker(rng: random.Random) -> None:
    """Large bodies are parsed in threads: still no id comes twice, and each has the second of its own event."""
    make_id = IdMaker(rng.randbytes)
    moments = [[NOW_MS + thread * 1000] * 5000 for thread in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(len(moments)) as threads:
            ids = list(threads.map(lambda mine: [make_id(moment) for moment in mine], moments))
    finally:
        sys.setswitchinterval(interval)
    assert len({made for mine in ids for made in mine}) == 20_000
    for thread, mine in enumerate(ids):
        assert {int(made[:8], 16) for made in mine} == {NOW_MS // 1000 + thread}


def test_makers_do_not_meet(rng: random.Random) -> None:
    """Two makers give different ids at the same time; each account has one of its own, and keeps it."""
    makers = IdMakers(rng.randbytes)
    one, other = makers.of("org-one"), makers.of("org-other")
    assert one(NOW_MS) != other(NOW_MS)
    assert makers.of("org-one") is one


def changed(**values: object) -> bytes:
    """The example action with some keys changed."""
    return json.dumps(json.loads(ACTION) | values).encode()


def test_the_same_content_may_have_been_recorded_at_another_time() -> None:
    """``updatedAt`` and what the log filled in are not the producer's content; all else is."""
    assert same_content(ACTION, changed(updatedAt="2022-01-01T00:00:00.000Z"), ())
    assert same_content(ACTION, changed(createdAt="2022-01-01T00:00:00.000Z"), ("createdAt",))
    assert not same_content(ACTION, changed(createdAt="2022-01-01T00:00:00.000Z"), ())
    assert not same_content(ACTION, changed(reason="another"), ())
    assert not same_content(changed(reason="another"), ACTION, ())


@pytest.mark.parametrize(
    ("one", "other"), [(1, True), (0, False), (1, 1.0), ("1", 1), (None, 0), ([1], [True]), ({"x": 1}, {"x": True})]
)
def test_values_that_are_only_alike_in_python_are_other_content(one: object, other: object) -> None:
    """``1`` and ``true`` are not the same in JSON, though Python thinks so."""
    assert not same_content(changed(metadata={"a": one}), changed(metadata={"a": other}), ())
    assert same_content(changed(metadata={"a": one}), changed(metadata={"a": one}), ())


def test_the_order_of_keys_is_not_content() -> None:
    """A producer whose JSON library orders keys otherwise at the next try has still sent the same."""
    one = changed(metadata={"a": 1, "b": {"c": 2, "d": 3}})
    other = changed(metadata={"b": {"d": 3, "c": 2}, "a": 1})
    assert same_content(one, other, ())
