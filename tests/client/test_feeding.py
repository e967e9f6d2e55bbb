"""The feed: every record, in order, from where the last consumer stopped; whatever crashes."""

from itertools import islice
from pathlib import Path

import httpx
import pytest
from tests.acceptance.running import ACTIONS, Tenant
from tests.building import action
from tests.client.conftest import url_of
from tests.client.driving import Clients
from tests.client.misbehaving import Doing, between, hang_up, lose_the_answer, refuse, say

from whodid import Client
from whodid.client import ApiError, InvalidAnswer
from whodid.client.calls import Call
from whodid.client.position import read_position
from whodid.client.retrying import LONGEST_PAUSE_SECONDS
from whodid.client.sending import Sender
from whodid.errors import InvalidParameter


def fill(tenant: Tenant, count: int, first: int = 0, kind: str = "task") -> None:
    """Record so many actions in one call."""
    events = [action(type=kind, target_id=f"t{n}") for n in range(first, first + count)]
    assert tenant.server.post(ACTIONS, tenant.token(), events).status == 201


@pytest.fixture
def cursor_file(tmp_path: Path) -> Path:
    """Where a consumer keeps its place."""
    return tmp_path / "cursor"


def test_a_feed_has_every_record_once_in_order(clients: Clients, tenant: Tenant) -> None:
    """Up to where the log ended as it began, over all pages, whatever breaks between."""
    fill(tenant, 250)
    with between(lose_the_answer, hang_up, port=tenant.server.port) as server:
        read = list(clients(server.url, tenant.token()).feed(follow=False, limit=100))
    assert [one["seq"] for one in read] == list(range(len(read)))
    assert [one["target_id"] for one in read if one.get("type") == "task"] == [f"t{n}" for n in range(250)]


def test_a_feed_goes_on_where_the_file_says(client: Client, tenant: Tenant, cursor_file: Path) -> None:
    """So each run has what is new since the last one, and nothing twice."""
    runs = []
    for n in range(3):
        fill(tenant, 5, n * 5)
        runs.append([one["seq"] for one in client.feed(cursor_file=cursor_file, follow=False)])
    seqs = [seq for run in runs for seq in run]
    assert all(runs)
    assert seqs == list(range(len(seqs)))


def test_what_was_not_consumed_comes_again(client: Client, tenant: Tenant, cursor_file: Path) -> None:
    """Who stops in the middle of a page, or crashes, gets that page again, and what was before it not."""
    fill(tenant, 30)
    taken = [one["seq"] for one in islice(client.feed(cursor_file=cursor_file, limit=10), 15)]
    assert taken == list(range(15))
    again = [one["seq"] for one in client.feed(cursor_file=cursor_file, limit=10, follow=False)]
    assert again == list(range(10, again[-1] + 1))


def test_a_page_is_consumed_when_what_follows_is_asked_for(client: Client, tenant: Tenant, cursor_file: Path) -> None:
    """Not before: its last record may still be in the works."""
    fill(tenant, 30)
    feed = client.feed(cursor_file=cursor_file, limit=10)
    for _ in islice(feed, 10):
        assert not cursor_file.exists()
    next(feed)
    first = read_position(cursor_file)
    for _ in islice(feed, 9):
        assert read_position(cursor_file) == first
    next(feed)
    assert read_position(cursor_file) != first


def test_who_keeps_the_cursor_with_the_records_has_each_once(client: Client, tenant: Tenant) -> None:
    """In one transaction of theirs, say: a page says where to go on."""
    fill(tenant, 30)
    page = next(client.feed_pages(limit=7))
    assert [one["seq"] for one in page.records] == list(range(7))
    assert page.head > 30
    assert next(client.feed(page.cursor))["seq"] == 7


def test_a_feed_follows_what_comes(client: Client, tenant: Tenant) -> None:
    """From now on, for as long as it is asked."""
    fill(tenant, 5)
    start = client.feed_page("end", limit=1)
    assert start.records == []
    feed = client.feed(start.cursor, type="task")
    for n in (5, 6):
        fill(tenant, 1, n)
        assert next(feed)["target_id"] == f"t{n}"


@pytest.mark.parametrize("trouble", [hang_up, say(429), say(502), say(503, retry_after="3"), say(504)])
def test_what_follows_is_not_ended_by_trouble(clients: Clients, tenant: Tenant, trouble: Doing) -> None:
    """However long it takes, and whatever limits there are for other calls."""
    fill(tenant, 1)
    with between(*[trouble] * 60, port=tenant.server.port) as server:
        client = clients(server.url, tenant.token(), deadline_seconds=5, attempts=2)
        assert next(client.feed(type="task"))["target_id"] == "t0"
    assert sum(clients.pauses) > 100
    assert max(clients.pauses) <= 3 + LONGEST_PAUSE_SECONDS


@pytest.mark.parametrize("status", [400, 401, 403, 410])
def test_what_follows_is_ended_by_a_refusal(clients: Clients, status: int) -> None:
    """It would be the same the next time."""
    with between(refuse(status, "some_code")) as server, pytest.raises(ApiError):
        next(clients(server.url).feed())
    assert len(server.asked) == 1


def test_a_filtered_feed_ends_where_the_log_does(client: Client, tenant: Tenant, cursor_file: Path) -> None:
    """Also where nothing is found; and what was passed over is not looked at again."""
    fill(tenant, 20)
    assert list(client.feed(follow=False, cursor_file=cursor_file, type="policy")) == []
    before = read_position(cursor_file)
    assert before is not None
    fill(tenant, 2, kind="policy")
    fill(tenant, 2, kind="task")
    found = list(client.feed(follow=False, cursor_file=cursor_file, type="policy", limit=1))
    assert [one["target_id"] for one in found] == ["t0", "t1"]
    assert read_position(cursor_file) != before


def test_a_feed_begins_after_a_number(client: Client, tenant: Tenant) -> None:
    """That of the last entry that is known."""
    fill(tenant, 5)
    assert next(client.feed(3))["seq"] == 4


def test_a_cursor_of_another_account_is_refused(clients: Clients, tenant: Tenant, cursor_file: Path) -> None:
    """A file that was mixed up must not skip anything."""
    fill(tenant, 1)
    client = clients(url_of(tenant), tenant.token())
    list(client.feed(follow=False, cursor_file=cursor_file))
    text = cursor_file.read_text()
    cursor_file.write_text(text[:10] + ("A" if text[10] != "A" else "B") + text[11:])
    with pytest.raises(ApiError) as told:
        next(client.feed(cursor_file=cursor_file))
    assert told.value.code == "invalid_cursor"
    assert f"the cursor is that of the file {cursor_file}" in told.value.message


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\n", b"x" * 500, b"a;b"])
def test_a_file_that_holds_no_cursor_is_refused(clients: Clients, cursor_file: Path, content: bytes) -> None:
    """Rather than to begin anew by itself, or to send what is in it."""
    cursor_file.write_bytes(content)
    with between() as server, pytest.raises(InvalidParameter, match="holds no cursor"):
        next(clients(server.url).feed(cursor_file=cursor_file))
    assert server.asked == []


def test_a_file_of_another_kind_is_named(client: Client, cursor_file: Path) -> None:
    """Also where only the server can tell that it holds no cursor."""
    cursor_file.write_text("hello")
    with pytest.raises(ApiError, match=f"that of the file {cursor_file}: to begin anew, remove it"):
        next(client.feed(cursor_file=cursor_file))


def test_a_file_that_can_not_be_kept_is_an_error(client: Client, tenant: Tenant, tmp_path: Path) -> None:
    """The consumer must know that it would get the page again."""
    fill(tenant, 1)
    with pytest.raises(InvalidParameter, match="can't write the cursor file"):
        list(client.feed(follow=False, cursor_file=tmp_path / "nowhere" / "cursor"))


def test_a_feed_must_wait_between_calls(client: Client) -> None:
    """Following without a wait would be one call after the other."""
    for wait_seconds in (0, 61):
        with pytest.raises(InvalidParameter, match="wait_seconds must be from 1 to 60"):
            next(client.feed(wait_seconds=wait_seconds))


def test_a_server_may_let_a_feed_wait_longer_than_it_may_be_silent(clients: Clients) -> None:
    """Long polling is not a server that hangs."""
    with between(say(200, {"data": [{"seq": 0}], "next": "AQ", "head": 1})) as server:
        assert next(clients(server.url).feed(wait_seconds=50)) == {"seq": 0}
    assert "wait=50" in server.asked[0].path
    with httpx.Client() as http:
        request = Sender(server.url, 2).request(http, Call("GET", "/", wait_seconds=50))
    assert request.extensions["timeout"] == {"connect": 2, "read": 52, "write": 2, "pool": 2}


def test_cursors_of_another_version_are_not_guessed_at(clients: Clients) -> None:
    """A client that can't tell whether it is at the end says so."""
    page = say(200, {"data": [{"seq": 3, "account": "a"}], "next": "ZZnew", "head": 9})
    with between(page) as server, pytest.raises(InvalidAnswer, match="install the server's version"):
        list(clients(server.url).feed(follow=False))
