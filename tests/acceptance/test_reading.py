"""The two reading calls, over a socket: what they answer by default, by each parameter, and to a wrong one."""

import itertools
import random
import re
from typing import Any

import pytest
from tests.acceptance.running import ACTIONS, TOKEN_USES, Running, Tenant, head, problem, read_answer, tenant_of
from tests.building import TOKEN_ID, USER_ID, action, new_id, token_use

from whodid.clock import wall_clock
from whodid.records import parse_time, render_time
from whodid.store.base import Scope

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000

SAMPLE_ACTION = (
    b'{"_id":"61042540e1d666c9ded178c4","user_id":"5e1cbf251c26d68f7ce6361e","user_email":"support@opsera.io",'
    b'"type":"pipeline","action":"update","target_id":"5fbe589a0fae8b021e137534","account":"org-opsera-dnd-acc0",'
    b'"createdAt":"2021-07-30T16:13:52.109Z","updatedAt":"2021-07-30T16:13:52.109Z","__v":0}'
)
SAMPLE_USE = (
    b'{"_id":"61057f3a1429a35336563240","token_id":"61043b2bbcb6d95b55adc5fd","scope":"api",'
    b'"target":"/v1/logs/user/tokens","user_id":"5e1cbf251c26d68f7ce6361e","account":"org-opsera-dnd-acc0",'
    b'"createdAt":"2021-07-31T16:50:02.242Z","updatedAt":"2021-07-31T16:50:02.242Z","__v":0}'
)


def ago(milliseconds: int) -> str:
    """The time so long ago, as on the wire."""
    return render_time(wall_clock() - milliseconds)


def record(tenant: Tenant, path: str, *events: dict[str, Any]) -> list[str]:
    """Record events; their ids."""
    answer = tenant.server.post(path, tenant.token(), list(events))
    assert answer.status == 201, answer.body
    return [place["_id"] for place in answer.json["data"]]


def ids(tenant: Tenant, path: str, query: str = "") -> list[str]:
    """The ids of a page, in its order; without the actions that tell of the account's own users and tokens."""
    records = tenant.server.get(f"{path}{query}", tenant.token(Scope.SECURITY_LOGS)).records
    return [one["_id"] for one in records if one.get("type") not in ("account", "user", "access_token")]


@pytest.mark.parametrize(
    ("path", "sample", "day"), [(ACTIONS, SAMPLE_ACTION, "2021-07-30"), (TOKEN_USES, SAMPLE_USE, "2021-07-31")]
)
def test_a_sample_record_comes_back_byte_for_byte(server: Running, path: str, sample: bytes, day: str) -> None:
    """All but updatedAt, which says when the log recorded it: keys, their order, no white space, nothing added."""
    with tenant_of(server, "org-opsera-dnd-acc0") as tenant:
        assert server.post(path, tenant.token(), sample).status == 201
        answer = server.get(f"{path}?date={day}", tenant.token())
    page = re.fullmatch(rb'\{"count":1,"data":\[(.*"updatedAt":")([^"]+)(".*)\]\}', answer.body)
    assert page is not None, answer.body
    created = re.findall(rb'"createdAt":"([^"]+)"', sample)[0]
    assert page[1] + created + page[3] == sample
    assert abs(parse_time(page[2].decode()) - wall_clock()) < MINUTE
    assert answer.header("content-type") == "application/json"


def test_a_live_event_has_all_keys_and_one_time(tenant: Tenant) -> None:
    """What the producer left out is filled in, in the order of the wire form; both times are the same."""
    record(tenant, ACTIONS, action())
    (shown,) = tenant.server.get(f"{ACTIONS}?type=pipeline", tenant.token()).records
    assert list(shown) == [
        "_id", "user_id", "user_email", "type", "action", "target_id", "account", "createdAt", "updatedAt", "__v",
    ]  # fmt: skip
    assert (shown["user_email"], shown["target_id"], shown["account"], shown["__v"]) == (None, None, tenant.name, 0)
    assert shown["createdAt"] == shown["updatedAt"]
    assert int(shown["_id"][:8], 16) == parse_time(shown["createdAt"]) // 1000


def test_keys_that_need_not_be_there_follow_in_their_order(tenant: Tenant) -> None:
    """Whatever order the producer had."""
    more = {
        "target_name": "naïve “name” \\ 🎉", "outcome": "denied", "reason": "no", "ip_address": "2001:db8::1",
        "user_agent": "curl/8", "request_id": "r", "session_id": "s", "changes": {"a": {"old": None, "new": [1, 2.5]}},
        "metadata": {"z": {"b": 1, "a": True}},
    }  # fmt: skip
    record(tenant, ACTIONS, dict(reversed(action(**more).items())))
    (shown,) = tenant.server.get(f"{ACTIONS}?type=pipeline", tenant.token()).records
    assert list(shown)[10:] == list(more)
    assert {key: shown[key] for key in more} == more


def test_by_default_the_newest_of_the_last_7_days_come_newest_first(tenant: Tenant) -> None:
    """Also when they were recorded in another order; what is older is not shown."""
    ages = [DAY, 7 * DAY - MINUTE, 0, 3 * HOUR, 7 * DAY + MINUTE, 400 * DAY]
    made = record(tenant, ACTIONS, *(action(createdAt=ago(age)) for age in ages))
    assert ids(tenant, ACTIONS) == [made[2], made[3], made[0], made[1]]


def test_at_most_1000_records_come_whatever_count_says(tenant: Tenant) -> None:
    """The newest 1000; and as few as count asks for."""
    made = record(tenant, ACTIONS, *(action(type="bulk", createdAt=ago(2000 - at)) for at in range(1100)))
    made.reverse()
    for query in ("", "&count=1000", "&count=1001", "&count=99999999999999999999", "&timescale=1d"):
        assert ids(tenant, ACTIONS, f"?type=bulk{query}") == made[:1000], query
    for count, shown in (("1", 1), ("5", 5), ("007", 7), ("999", 999)):
        assert ids(tenant, ACTIONS, f"?count={count}&type=bulk") == made[:shown]


def test_date_is_that_utc_day_and_nothing_else(tenant: Tenant) -> None:
    """From its first to its last millisecond, however long ago."""
    times = ["2021-07-29T23:59:59.999Z", "2021-07-30T00:00:00.000Z", "2021-07-30T23:59:59.999Z",
             "2021-07-31T00:00:00.000Z", "2021-07-30T23:30:00-01:00", "2021-07-30T00:30:00+01:00"]  # fmt: skip
    made = record(tenant, ACTIONS, *(action(createdAt=time) for time in times))
    assert ids(tenant, ACTIONS, "?date=2021-07-30") == [made[2], made[1]]
    assert ids(tenant, ACTIONS, "?date=2021-07-29") == [made[0], made[5]]
    assert ids(tenant, ACTIONS, "?date=2021-07-31") == [made[4], made[3]]
    assert ids(tenant, ACTIONS, "?date=1970-01-01") == []
    assert ids(tenant, ACTIONS, "?date=2024-02-29") == []


@pytest.mark.parametrize(
    ("timescale", "within", "past"),
    [("30s", 10 * SECOND, 40 * SECOND), ("13m", 12 * MINUTE, 14 * MINUTE), ("1h", 59 * MINUTE, 61 * MINUTE),
     ("3d", 3 * DAY - MINUTE, 3 * DAY + MINUTE), ("2w", 14 * DAY - MINUTE, 14 * DAY + MINUTE),
     ("999999999w", 20_000 * DAY, 999_999_999 * 7 * DAY)],
)  # fmt: skip
def test_timescale_is_since_that_long_ago(tenant: Tenant, timescale: str, within: int, past: int) -> None:
    """In seconds, minutes, hours, days and weeks; also further back than the usual 7 days."""
    first, _ = record(tenant, ACTIONS, action(createdAt=ago(within)), action(createdAt=ago(min(past, 20_500 * DAY))))
    shown = ids(tenant, ACTIONS, f"?timescale={timescale}")
    assert shown[0] == first
    assert len(shown) == (2 if timescale == "999999999w" else 1)


def test_every_combination_agrees_with_a_filter_by_hand(tenant: Tenant, rng: random.Random) -> None:
    """Type, window and count together, against a naive filter over all that was recorded."""
    types = ["pipeline", "task", "policy", "tag-2"]
    now_ms = wall_clock()
    events = [
        action(_id=new_id(), type=rng.choice(types), createdAt=render_time(now_ms - at * 5 * HOUR)) for at in range(100)
    ]
    shuffled = rng.sample(events, len(events))
    record(tenant, ACTIONS, *shuffled[:50])
    record(tenant, ACTIONS, *shuffled[50:])
    day = render_time(now_ms - 3 * DAY)[:10]
    windows = {
        "": lambda time: now_ms - parse_time(time) <= 7 * DAY - HOUR,
        "timescale=14d": lambda time: now_ms - parse_time(time) <= 14 * DAY - HOUR,
        "timescale=100h": lambda time: now_ms - parse_time(time) < 100 * HOUR,
        f"date={day}": lambda time: time[:10] == day,
    }
    for (window, inside), kind, count in itertools.product(windows.items(), [*types, "none"], (None, 1, 7)):
        query = "&".join(part for part in (f"type={kind}", window, f"count={count}" if count else "") if part)
        expected = [one["_id"] for one in events if one["type"] == kind and inside(one["createdAt"])]
        assert ids(tenant, ACTIONS, f"?{query}") == expected[: count or 1000], query


def test_an_unheard_of_type_is_no_error_but_empty(tenant: Tenant) -> None:
    """A vocabulary grows; an answer without records has the same form."""
    record(tenant, ACTIONS, action())
    answer = tenant.server.get(f"{ACTIONS}?type=unheard-of", tenant.token())
    assert (answer.status, answer.body) == (200, b'{"count":0,"data":[]}')
    assert tenant.server.get(f"{TOKEN_USES}?scope=unheard-of", tenant.token()).records == []


def test_values_that_are_alike_are_not_the_same(tenant: Tenant) -> None:
    """A filter is exact: no prefix, no part, no folding of separators."""
    made = record(tenant, ACTIONS, *(action(type=kind) for kind in ("a-b", "a_b", "ab", "a", "b", "a-b-c")))
    for at, kind in enumerate(("a-b", "a_b", "ab", "a", "b", "a-b-c")):
        assert ids(tenant, ACTIONS, f"?type={kind}") == [made[at]]


def test_token_uses_are_read_by_scope_and_window(tenant: Tenant) -> None:
    """The token log takes the same parameters, with scope in the place of type."""
    made = record(
        tenant,
        TOKEN_USES,
        token_use(scope="pipeline", createdAt=ago(2 * DAY)),
        token_use(scope="pipeline", createdAt=ago(8 * DAY)),
        token_use(scope="registry", createdAt="2021-07-31T16:50:02.242Z"),
    )
    assert ids(tenant, TOKEN_USES, "?scope=pipeline") == [made[0]]
    assert ids(tenant, TOKEN_USES, "?scope=pipeline&timescale=2w") == [made[0], made[1]]
    assert ids(tenant, TOKEN_USES, "?scope=pipeline&timescale=2w&count=1") == [made[0]]
    assert ids(tenant, TOKEN_USES, "?date=2021-07-31") == [made[2]]
    (shown,) = tenant.server.get(f"{TOKEN_USES}?date=2021-07-31", tenant.token()).records
    assert list(shown) == [
        "_id", "token_id", "scope", "target", "user_id", "account", "createdAt", "updatedAt", "__v",
    ]  # fmt: skip
    assert (shown["token_id"], shown["user_id"]) == (TOKEN_ID, USER_ID)


def test_actions_and_token_uses_never_mix(tenant: Tenant) -> None:
    """Each call reads one of the two logs."""
    record(tenant, ACTIONS, action())
    record(tenant, TOKEN_USES, token_use())
    actions = tenant.server.get(ACTIONS, tenant.token()).records
    uses = tenant.server.get(TOKEN_USES, tenant.token()).records
    assert all("token_id" not in one and "action" in one for one in actions)
    assert all("token_id" in one and "action" not in one for one in uses)
    assert len(actions) + len(uses) == tenant.size()


REFUSED = [
    ("count=0", "count must be a whole number from 1 to 1000", '"0"'),
    ("count=00", "count must be a whole number from 1 to 1000", '"00"'),
    ("count=ten", "count must be a whole number from 1 to 1000", '"ten"'),
    ("count=-5", "count must be", '"-5"'),
    ("count=5.0", "count must be", '"5.0"'),
    ("count=1e2", "count must be", '"1e2"'),
    ("count=%2B5", "count must be", '"+5"'),
    ("count=+5", "count must be", '" 5"'),
    ("count=", "count must be", '""'),
    ("count=%D9%A3", "count must be", '"٣"'),
    ("count=" + "9" * 5000, "count must be", "…"),
    ("date=30-07-2021", "date must be a day like 2021-07-30 (YYYY-MM-DD)", '"30-07-2021"'),
    ("date=2021-7-3", "YYYY-MM-DD", '"2021-7-3"'),
    ("date=2021-02-30", "date must be a day", '"2021-02-30"'),
    ("date=2023-02-29", "date must be a day", '"2023-02-29"'),
    ("date=20210730", "date must be a day", '"20210730"'),
    ("date=2021-W30-5", "date must be a day", '"2021-W30-5"'),
    ("date=1969-12-31", "between 1970 and 2109", '"1969-12-31"'),
    ("date=9999-12-31", "between 1970 and 2109", '"9999-12-31"'),
    ("date=0000-00-00", "date must be a day", '"0000-00-00"'),
    ("date=2021-07-30T00:00:00Z", "date must be a day", "T00"),
    ("date=", "date must be a day", '""'),
    ("timescale=3", "like 30s, 13m, 1h, 3d, 2w", '"3"'),
    ("timescale=0d", "timescale must be", '"0d"'),
    ("timescale=-3d", "timescale must be", '"-3d"'),
    ("timescale=3y", "timescale must be", '"3y"'),
    ("timescale=3D", "timescale must be", '"3D"'),
    ("timescale=1d2h", "timescale must be", '"1d2h"'),
    ("timescale=9999999999d", "timescale must be", '"9999999999d"'),
    ("date=2021-07-30&timescale=3d", "date and timescale exclude each other", "one of them"),
    ("tpye=x", "there is no parameter", "there are date, timescale, type, count"),
    ("Type=pipeline", "there is no parameter", '"Type"'),
    ("scope=api", "there is no parameter", '"scope"'),
    ("=x", "there is no parameter", '""'),
    ("page=2", "there is no parameter", '"page"'),
    ("type=a&type=b", "type is given more than once", "once"),
    ("type=a&type=a", "type is given more than once", "once"),
    ("count=5&type=a&count=5", "count is given more than once", "once"),
    ("type=", "type must be 1 to 64 lower-case letters", '""'),
    ("type=Pipeline", "type must be", '"Pipeline"'),
    ("type=a+b", "type must be", '"a b"'),
    ("type=a%20b", "type must be", '"a b"'),
    ("type=a%00", "type must be", "type"),
    ("type=%0A", "type must be", "type"),
    ("type=pipeline%0A", "type must be", "type"),
    ("type=" + "a" * 65, "type must be 1 to 64", "…"),
    ('type=a"%20OR%20"b', "type must be", "OR"),
    ("type=%C3%A9", "type must be", '"é"'),
    ("type=%ff", "percent-encoded UTF-8", "name=value"),
    ("type=%ed%a0%80", "percent-encoded UTF-8", "name=value"),
    ("type", "name=value", ""),
    ("&", "name=value", ""),
    ("type=a&&count=1", "name=value", ""),
    ("&".join(["type=a"] * 101), "name=value", ""),
]


@pytest.mark.parametrize(("query", "wrong", "right"), REFUSED, ids=[query[:30] for query, _, _ in REFUSED])
def test_a_wrong_parameter_is_400_and_says_what_would_be_right(
    tenant: Tenant, query: str, wrong: str, right: str
) -> None:
    """A slip never widens an answer; the refused call is in the token log all the same."""
    told = problem(tenant.server.get(f"{ACTIONS}?{query}", tenant.token()), 400, wrong, right)
    assert told["code"] == "invalid_parameter"
    assert (tenant.last_use()["outcome"], tenant.last_use()["target"]) == ("failure", "/v1/logs/user/actions")


def test_the_token_log_refuses_the_parameters_of_the_other(tenant: Tenant) -> None:
    """And names its own."""
    problem(tenant.server.get(f"{TOKEN_USES}?type=a", tenant.token()), 400, "there are date, timescale, scope, count")
    problem(tenant.server.get(f"{TOKEN_USES}?scope=API", tenant.token()), 400, "scope must be", '"API"')


@pytest.mark.parametrize("query", ["type=feature%5Fflags", "ty%70e=feature_flags", "%74%79%70%65=%66eature_flags"])
def test_percent_encoding_is_undone_in_names_and_values(tenant: Tenant, query: str) -> None:
    """Whoever encodes more than is needed gets the same answer."""
    made = record(tenant, ACTIONS, action(type="feature_flags"), action(type="other"))
    assert ids(tenant, ACTIONS, f"?{query}") == [made[0]]


def test_an_empty_query_is_no_query(tenant: Tenant) -> None:
    """A question mark with nothing after it."""
    made = record(tenant, ACTIONS, action())
    assert ids(tenant, ACTIONS, "?") == made


def test_bytes_that_belong_into_no_url_are_refused(tenant: Tenant) -> None:
    """Raw bytes beyond ASCII, in path and query: an answer of 400 or 404, or the end of the connection."""
    for path in (f"{ACTIONS}?type=\xff", f"{ACTIONS}?type=é", "/api/\xff", "/é"):
        with tenant.server.connect() as connection:
            connection.sendall(head("GET", path, tenant.token()).decode().encode("latin-1"))
            assert read_answer(connection).status in (400, 404)
    assert tenant.server.get(ACTIONS, tenant.token()).status == 200
