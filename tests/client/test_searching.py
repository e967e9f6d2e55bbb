"""Searching with the client: pages, filters, times, and what else can be read."""

from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from tests.acceptance.running import ACTIONS, Tenant
from tests.building import action
from tests.client.conftest import url_of
from tests.client.driving import Clients
from tests.client.misbehaving import between, hang_up, say

from whodid import Client
from whodid.client import ApiError, Filters, InvalidAnswer
from whodid.errors import InvalidParameter
from whodid.store.base import Scope

EMPTY = say(200, {"data": [], "next": None})


def fill(tenant: Tenant, count: int) -> None:
    """Record actions about ``t0``, ``t1`` and so on, in the order of time."""
    events = [
        action(type="task", target_id=f"t{n}", createdAt=f"2021-07-30T16:{n // 60:02d}:{n % 60:02d}Z")
        for n in range(count)
    ]
    assert tenant.server.post(ACTIONS, tenant.token(), events).status == 201


def asked(path: str) -> dict[str, list[str]]:
    """The parameters of a request."""
    given: dict[str, list[str]] = {}
    for name, value in parse_qsl(urlsplit(path).query, keep_blank_values=True, strict_parsing=True):
        given.setdefault(name, []).append(value)
    return given


def test_a_search_goes_on_to_its_end(clients: Clients, tenant: Tenant) -> None:
    """Over all pages, also where one has to be asked for twice; with the number of each record."""
    fill(tenant, 2500)
    with between(hang_up, port=tenant.server.port) as server:
        found = list(clients(server.url, tenant.token()).search(type="task"))
    assert [one["target_id"] for one in found] == [f"t{n}" for n in reversed(range(2500))]
    assert len({one["seq"] for one in found}) == 2500
    assert len(server.asked) == 4


def test_a_search_ends_where_it_is_limited(client: Client, tenant: Tenant) -> None:
    """And begins where it is asked to."""
    fill(tenant, 20)
    found = list(client.search("type:task -target:t0", order="asc", limit=3))
    assert [one["target_id"] for one in found] == ["t1", "t2", "t3"]
    with pytest.raises(InvalidParameter, match="limit must be at least 1"):
        list(client.search(limit=0))


def test_pages_can_be_asked_for_one_by_one(client: Client, tenant: Tenant) -> None:
    """For who has the cursor in a browser's URL, say."""
    fill(tenant, 3)
    first = client.search_page(type="task", limit=2)
    assert [one["target_id"] for one in first.records] == ["t2", "t1"]
    second = client.search_page(type="task", limit=2, after=first.next)
    assert [one["target_id"] for one in second.records] == ["t0"]
    assert second.next is None


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": "task"}, {"type": ["task"]}),
        ({"type": ["task", "!policy"]}, {"type": ["task", "!policy"]}),
        ({"since": "7d", "until": date(2026, 1, 2)}, {"since": ["7d"], "until": ["2026-01-02"]}),
        ({"since": datetime(2026, 1, 2, 3, tzinfo=UTC)}, {"since": ["2026-01-02T03:00:00+00:00"]}),
        ({"since": 1_627_661_632_109}, {"since": ["1627661632109"]}),
        ({"user_email": "a+b&c=d@e.example"}, {"user_email": ["a+b&c=d@e.example"]}),
    ],
)
def test_filters_arrive_as_they_were_given(clients: Clients, filters: Any, expected: dict[str, list[str]]) -> None:
    """Several values, times of Python, and signs that mean something in a URL."""
    with between(EMPTY) as server:
        assert list(clients(server.url).search("a:b &?#", **filters)) == []
    assert asked(server.asked[0].path) == {"q": ["a:b &?#"], "order": ["desc"], "limit": ["1000"], **expected}


@pytest.mark.parametrize(
    "filters",
    [Filters(since=datetime(2026, 1, 2)), Filters(type=[])],  # noqa: DTZ001
    ids=["no time zone", "no values"],
)
def test_what_can_not_be_meant_is_refused(clients: Clients, filters: Filters) -> None:
    """A time without a zone is one of 24; an empty list would be no filter at all."""
    with between() as server, pytest.raises(InvalidParameter, match="must"):
        list(clients(server.url).search(**filters))
    assert server.asked == []


def test_a_filter_that_there_is_not_is_refused_at_the_call(clients: Clients) -> None:
    """Where the program says it, not where it looks at what was found."""
    wrong: Any = {"typ": "task"}
    with between() as server:
        client = clients(server.url)
        for call in (client.search, client.feed, client.feed_pages):
            with pytest.raises(InvalidParameter, match="there is no filter typ; there are kind, type, action"):
                call(**wrong)
    assert server.asked == []


def test_a_mistake_in_a_search_is_told_as_the_server_tells_it(client: Client) -> None:
    """With the place."""
    with pytest.raises(ApiError, match="character 1") as told:
        client.search_page("(type:task")
    assert (told.value.status, told.value.code) == (400, "invalid_parameter")


def test_a_page_that_is_none_is_refused(clients: Clients) -> None:
    """Rather than half a result."""
    contents: list[Any] = [{}, {"data": 5, "next": None}, {"data": []}, {"data": [], "next": 7}]
    for content in contents:
        with between(say(200, content)) as server, pytest.raises(InvalidAnswer):
            clients(server.url).search_page()


def test_a_record_is_read_by_its_id(client: Client, tenant: Tenant) -> None:
    """The same that a search finds; what is no id is not sent, as it might be another path."""
    fill(tenant, 1)
    (found,) = client.search("type:task")
    assert client.record(found["_id"]) == found
    with pytest.raises(ApiError) as told:
        client.record("0" * 24)
    assert told.value.code == "not_found"
    for text in ("../users", "summary", "A" * 24):
        with pytest.raises(InvalidParameter, match="24 hex digits"):
            client.record(text)


def test_a_summary_counts(client: Client, tenant: Tenant) -> None:
    """Over time, and by value."""
    fill(tenant, 90)
    summary = client.summary(by="type", interval="hour", since="2021-07-30", until="2021-07-31", type="task")
    assert (summary["total"], summary["complete"]) == (90, True)
    assert summary["values"] == [{"value": "task", "count": 90}]
    assert [bucket["count"] for bucket in summary["buckets"] if bucket["count"]] == [90]


def test_identity_is_read(clients: Clients, tenant: Tenant) -> None:
    """Who one is, and who else there is."""
    client = clients(url_of(tenant), tenant.token())
    me = client.me()
    assert (me["account"], me["user"]["email"]) == (tenant.name, tenant.user().email)
    assert [user["id"] for user in client.users()] == [tenant.user().id]
    tenant.token(Scope.LOGS_WRITE)
    assert {token["scope"] for token in client.tokens(user_id=tenant.user().id)} == {"api", "logs-write"}
    assert len(client.tokens()) == 2
