"""Streams of the feed and of exports: readers that are slow, that vanish, that are too many, and that lose their right.

And what exports leave in the log.
"""

import contextlib
import http.client
import json
import random
import socket
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from tests.acceptance.running import (
    ACTIONS,
    DEADLINE_SECONDS,
    Running,
    Tenant,
    eventually,
    head,
    problem,
    read_answer,
    tenant_of,
)
from tests.building import USER_ID, action

from whodid.clock import wall_clock
from whodid.records import MAX_EVENT_BYTES, render_time
from whodid.store.base import Role
from whodid.tokens import PREFIX

FEED = "/api/v2/logs/feed"
EXPORT = "/api/v2/logs/export"
IMPATIENT = """
from whodid.web import permission, server, streaming
streaming.Stream.__init__.__kwdefaults__["stalled_seconds"] = server.STALLED_SECONDS = 1.5
permission.RECHECKED_SECONDS = 0.0
"""
LINES, EVENTS = "application/x-ndjson", "text/event-stream"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """An account with a log of some 30 MB, on a server with four places for streams that rechecks at each piece."""
    with (
        Running(tmp_path_factory.mktemp("impatient"), before=IMPATIENT, streams=4) as server,
        tenant_of(server) as tenant,
    ):
        fill(tenant)
        yield tenant


def fill(tenant: Tenant) -> None:
    """Record some 30 MB that don't become much less when packed."""
    for number in range(50):
        texts = random.Random(number).randbytes(20 * 15_000).hex()
        events = [action(metadata={"text": texts[at : at + 30_000]}) for at in range(0, len(texts), 30_000)]
        assert tenant.server.post(ACTIONS, tenant.token(), events).status == 201


@contextlib.contextmanager
def reader(
    tenant: Tenant, path: str, accept: str = LINES, receive_bytes: int = 4096, token: str | None = None
) -> Iterator[socket.socket]:
    """A connection that has asked for a stream, and takes little at a time."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(("127.0.0.1", tenant.server.port))
        connection.sendall(head("GET", path, token or tenant.token(), Accept=accept))
        yield connection


def status_of(connection: socket.socket) -> bytes:
    """The status of the answer that begins."""
    return connection.recv(12, socket.MSG_WAITALL).removeprefix(b"HTTP/1.1 ")


def there_is_room(tenant: Tenant) -> bool:
    """Whether the server takes another stream."""
    answer = tenant.server.get(f"{FEED}?after=end", tenant.token(), Accept=LINES)
    assert answer.status in (200, 503)
    return answer.status == 200


@pytest.mark.on_sqlite_only("the stream is held up by its reader, whatever the store")
@pytest.mark.parametrize("path", [FEED, EXPORT, f"{EXPORT}?compression=gzip&format=csv"])
def test_a_reader_that_takes_nothing_is_cut_off(impatient: Tenant, path: str) -> None:
    """After the time for one piece; it never sees the proper end, so it can't take what it has for the whole."""
    size = impatient.size()
    with reader(impatient, path) as connection:
        assert status_of(connection) == b"200"
        with reader(impatient, FEED) as another:
            assert status_of(another) == b"200"
            assert not there_is_room(impatient)
        eventually("there is room again", lambda: there_is_room(impatient))
        eventually("the server has let go", lambda: not connections_to(impatient.server, connection))
        assert broke_off(connection)
    assert impatient.size() > size


def broke_off(connection: socket.socket) -> bool:
    """Whether a stream of some 30 MB breaks off, without an end that looks like one."""
    got = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            got += piece
    return len(got) < 12_000_000 and not got.endswith(b"0\r\n\r\n")


def connections_to(server: Running, connection: socket.socket) -> bool:
    """Whether the server still holds its side of a connection."""
    port = connection.getsockname()[1]
    wanted = f":{server.port:04X} 0100007F:{port:04X} 01"
    return wanted in Path("/proc/net/tcp").read_text()


@pytest.mark.on_sqlite_only("the stream is held up by its reader, whatever the store")
def test_slow_readers_cost_bounded_memory(tmp_path: Path) -> None:
    """Twelve of them hold up a log of 30 MB each, and the server has at most a few megabytes for each."""
    with Running(tmp_path) as server, tenant_of(server) as tenant:
        fill(tenant)
        assert server.get(FEED, tenant.token(), Accept=LINES).status == 200
        before = server.peak_mib
        with contextlib.ExitStack() as stack:
            for path in (FEED, EXPORT) * 6:
                connection = stack.enter_context(reader(tenant, path))
                assert status_of(connection) == b"200"
            for _ in range(20):  # the server is busy with other things, and has time to read ahead
                assert server.get("/api/v2/logs?limit=10", tenant.token()).status == 200
            assert server.peak_mib - before < 12 * 8


@pytest.mark.parametrize("accept", [LINES, EVENTS])
@pytest.mark.on_sqlite_only("whether somebody is there is a matter of the socket")
def test_readers_that_vanish_make_room_at_once(impatient: Tenant, accept: str) -> None:
    """Whether they close, or break off with a reset; a reader too many is told to come again later."""
    for reset in (False, True):
        eventually("there is room", lambda: there_is_room(impatient))
        path = f"{FEED}?after=end{'&wait=60' if accept == LINES else ''}"
        with reader(impatient, path, accept) as one, reader(impatient, FEED, accept) as other:
            assert status_of(one) == status_of(other) == b"200"
            answer = impatient.server.get(f"{FEED}?after=end", impatient.token(), Accept=accept)
            assert problem(answer, 503, "2 streams and exports", "of one account")["code"] == "overloaded"
            assert answer.header("retry-after") is not None
            if reset:
                for connection in (one, other):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        eventually("there is room again", lambda: there_is_room(impatient))


@pytest.mark.on_sqlite_only("the places are counted in the server, whatever the store")
def test_places_are_shared_by_exports_and_streams_and_by_accounts(impatient: Tenant) -> None:
    """Half of them are one account's; a refusal says which limit it is, leaves no action, and a use that failed."""
    with tenant_of(impatient.server) as other, tenant_of(impatient.server) as third, contextlib.ExitStack() as stack:
        eventually("there is room", lambda: there_is_room(impatient))
        for path in (EXPORT, FEED):
            assert status_of(stack.enter_context(reader(impatient, path))) == b"200"
        size = impatient.size()
        told = problem(impatient.server.get(EXPORT, impatient.token()), 503, "2 streams and exports", "of one account")
        assert told["code"] == "overloaded"
        assert impatient.last_use()["outcome"] == "failure"
        assert impatient.size() == size + 1
        for _ in range(2):
            following = stack.enter_context(reader(other, f"{FEED}?after=end", EVENTS))
            assert status_of(following) == b"200"
        answer = third.server.get(f"{FEED}?after=end", third.token(), Accept=LINES)
        assert "of one account" not in problem(answer, 503, "4 streams and exports")["detail"]
        assert third.server.get(f"{FEED}?after=end", third.token()).status == 200


@pytest.mark.on_sqlite_only("whether a token is good is asked of the same gate, whatever the store")
@pytest.mark.parametrize("path", [FEED, EXPORT])
@pytest.mark.parametrize("expired", [True, False])
def test_a_stream_breaks_off_when_its_token_is_no_longer_good(impatient: Tenant, path: str, *, expired: bool) -> None:
    """Expired, or its owner deactivated: in the middle of what there was, and it is logged and counted."""
    owner = impatient.add_user(f"{path[-1]}{expired}@acme.example", Role.AUDITOR)
    token, text = impatient.new_token(owner)
    with reader(impatient, path, token=text) as connection:
        assert status_of(connection) == b"200"
        if expired:
            impatient.expire(token)
        else:
            impatient.update(owner, active=False)
        assert broke_off(connection)
    key = f'whodid_requests_total{{method="GET",route="{path}",status="401"}}'
    eventually("it is counted", lambda: impatient.server.metrics().get(key, 0) >= 1)
    assert [line for line in impatient.server.log if line["message"].startswith("an answer broke off")]
    assert not [line for line in impatient.server.log if "exception" in line]


@pytest.mark.on_sqlite_only("whether somebody reads is a matter of the socket")
@pytest.mark.parametrize("behind", ["", EXPORT])
def test_whoever_does_not_read_a_page_is_cut_off(impatient: Tenant, behind: str) -> None:
    """Also where another call waits behind it: that holds no place for ever."""
    request = head("GET", "/api/v2/logs?limit=1000", impatient.token()).replace(b"Connection: close\r\n", b"")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", impatient.server.port))
        connection.sendall(request + (head("GET", behind, impatient.token()) * 2 if behind else b""))
        eventually("the server holds it", lambda: connections_to(impatient.server, connection))
        eventually("the server has let go", lambda: not connections_to(impatient.server, connection))
    eventually("there is room", lambda: there_is_room(impatient))
    assert [line for line in impatient.server.log if line["message"].startswith("a reader takes next to nothing")]
    assert not [line for line in impatient.server.log if "exception" in line]


@pytest.mark.on_sqlite_only("the end is a number, whatever the store")
def test_an_export_is_what_was_there_before_the_call(impatient: Tenant) -> None:
    """Also what is dated ahead; but not what comes meanwhile, whatever its date, and what tells of the call itself."""
    soon = action(createdAt=render_time(wall_clock() + 200_000))
    impatient.server.post(ACTIONS, impatient.token(), soon)
    size = impatient.size()
    with reader(impatient, EXPORT, receive_bytes=65536) as connection:
        eventually("it is recorded", lambda: impatient.size() == size + 2)
        impatient.server.post(ACTIONS, impatient.token(), [soon, action(), action(createdAt="2020-02-02T02:02:02Z")])
        seqs = [json.loads(line)["seq"] for line in read_answer(connection).body.splitlines()]
    assert sorted(seqs) == list(range(size))


def exported(tenant: Tenant, query: list[tuple[str, str]], text: str) -> dict[str, Any]:
    """What the log tells of an export."""
    assert tenant.server.get(f"{EXPORT}?{urlencode(query)}", text).status == 200
    record = tenant.log(tenant.size() - 1)[0].record
    assert len(record) < MAX_EVENT_BYTES // 2
    told: dict[str, Any] = json.loads(record)
    assert (told["type"], told["action"]) == ("export", "export")
    return told


def test_an_export_says_what_was_asked_for_beside_who_asked(tenant: Tenant) -> None:
    """So nobody can name another token than the one that was used, by a filter of that name."""
    token, text = tenant.new_token(tenant.user())
    told = exported(tenant, [("token_id", USER_ID), ("outcome", "failure"), ("type", "a"), ("type", "b")], text)
    selection = {"token_id": USER_ID, "outcome": "failure", "type": "a, b"}
    assert told["metadata"] == {"via": "api", "token_id": token.id, "selection": selection}


@pytest.mark.parametrize("prefix", [PREFIX, quote(PREFIX.replace("_", "%5F"))])
def test_an_export_does_not_tell_a_token(tenant: Tenant, prefix: str) -> None:
    """That somebody searches for by mistake, also where it is percent-encoded once too often."""
    secret = "A1b2C3d4" * 5
    for name in ("q", "target_id"):
        told = exported(tenant, [(name, prefix + secret)], tenant.token())["metadata"]["selection"]
        assert secret not in told[name]
        assert PREFIX in told[name]


def test_an_export_of_much_text_is_told_in_bounds(tenant: Tenant) -> None:
    """Long values are cut, which shows; short ones are told as they were."""
    query = [("q", "ä" * 4096), *[("target_id", "\t" * 256)] * 50, ("format", "csv")]
    told = exported(tenant, query, tenant.token())["metadata"]["selection"]
    assert told["format"] == "csv"
    assert [told[name][-1] for name in ("q", "target_id")] == ["…", "…"]
    assert 4000 < sum(map(len, told.values())) < 4200


@pytest.mark.parametrize(("path", "accept"), [(EXPORT, "*/*"), (FEED, LINES), (FEED, EVENTS)])
def test_the_headers_of_a_stream_can_be_asked_for_alone(tenant: Tenant, path: str, accept: str) -> None:
    """At once, with nothing made: so there is no export that the log could tell of, but the call."""
    text = tenant.token()
    size = tenant.size()
    for _ in range(2):
        answer = tenant.server.call("HEAD", path, text, headers={"Accept": accept})
        assert (answer.status, answer.body) == (200, b"")
        assert (answer.header("content-type") or "").startswith(LINES if accept == "*/*" else accept)
    assert tenant.server.get("/api/v2/me", text).status == 200
    uses = [json.loads(entry.record) for entry in tenant.log(size)]
    assert [use.get("method") for use in uses] == ["HEAD", "HEAD", "GET"]


GAP = """
from whodid import feed
feed.CHUNK = 2
"""


@pytest.mark.on_sqlite_only("nothing removes entries yet: they are removed by hand, from the file")
def test_a_part_that_is_removed_meanwhile_is_not_passed_over(tmp_path: Path) -> None:
    """A stream breaks off before it, a page ends before it, and the next one says where to go on."""
    with Running(tmp_path, before=GAP) as server, tenant_of(server) as tenant:
        for _ in range(9):
            server.post(ACTIONS, tenant.token(), action())
        with contextlib.closing(sqlite3.connect(server.path)) as store, store:
            number = tenant.account.no
            store.execute("DELETE FROM entry WHERE account_no = ? AND seq BETWEEN 5 AND 8", (number,))
        token = tenant.token()
        page = server.get(FEED, token).json
        assert [one["seq"] for one in page["data"]] == [0, 1, 2, 3, 4]
        for accept in (LINES, EVENTS):
            with server.connect() as connection:
                connection.sendall(head("GET", f"{FEED}?after=1", token, Accept=accept))
                with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
                    read_answer(connection)
        problem(server.get(f"{FEED}?after={page['next']}", token), 503)
        with contextlib.closing(sqlite3.connect(server.path)) as store, store:
            store.execute("UPDATE account SET kept_from = 9 WHERE account_no = ?", (number,))
        told = problem(server.get(f"{FEED}?after={page['next']}", token), 410, "before 9")
        onward = told["detail"].partition("after=")[2].split()[0]
        assert server.get(f"{FEED}?after={onward}", token).json["data"][0]["seq"] == 9
        assert not [line for line in server.log if "exception" in line]


@pytest.mark.on_sqlite_only("nothing removes entries yet: the mark is set by hand, in the file")
def test_a_cursor_of_a_part_that_is_gone_says_where_to_go_on(tmp_path: Path) -> None:
    """410 with the cursor of the first entry that is kept, in each form; what is kept is still served."""
    with Running(tmp_path) as server, tenant_of(server) as tenant:
        token = tenant.token()
        for _ in range(3):
            server.post(ACTIONS, token, action())
        kept_from = tenant.size() - 2
        with contextlib.closing(sqlite3.connect(server.path)) as store, store:
            store.execute("UPDATE account SET kept_from = ? WHERE account_no = ?", (kept_from, tenant.account.no))
        for accept in (LINES, EVENTS, "application/json"):
            told = problem(server.get(f"{FEED}?after={kept_from - 2}", token, Accept=accept), 410, str(kept_from))
            assert told["code"] == "gone"
            assert tenant.last_use()["outcome"] == "failure"
            onward = told["detail"].partition("after=")[2].split()[0]
            lines = server.get(f"{FEED}?after={onward}", token, Accept=LINES).body.splitlines()
            assert json.loads(lines[0])["seq"] == kept_from
