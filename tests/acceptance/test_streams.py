"""Streams of the feed and of exports: readers that are slow, that vanish, and that are too many."""

import contextlib
import json
import random
import socket
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.running import ACTIONS, DEADLINE_SECONDS, Running, Tenant, eventually, head, problem, tenant_of
from tests.building import action

FEED = "/api/v2/logs/feed"
EXPORT = "/api/v2/logs/export"
STALLED = "from whodid.web.streaming import Stream; Stream.__init__.__kwdefaults__['stalled_seconds'] = 1.0"
LINES, EVENTS = "application/x-ndjson", "text/event-stream"


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tenant]:
    """An account with a log of some 30 MB, on a server that takes two streams and gives a reader one second."""
    with (
        Running(tmp_path_factory.mktemp("impatient"), before=STALLED, streams=2) as server,
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
def reader(tenant: Tenant, path: str, accept: str = LINES, receive_bytes: int = 4096) -> Iterator[socket.socket]:
    """A connection that has asked for a stream, and takes little at a time."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        connection.settimeout(DEADLINE_SECONDS)
        connection.connect(("127.0.0.1", tenant.server.port))
        connection.sendall(head("GET", path, tenant.token(), Accept=accept))
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
        if path == FEED:
            with reader(impatient, FEED) as another:
                assert status_of(another) == b"200"
                assert not there_is_room(impatient)
        eventually("there is room again", lambda: there_is_room(impatient))
        eventually("the server has let go", lambda: not connections_to(impatient.server, connection))
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                got += piece
    assert len(got) < 12_000_000
    assert not got.endswith(b"0\r\n\r\n")
    assert impatient.size() > size


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
        with reader(impatient, f"{FEED}?wait=60&after=end", accept) as one, reader(impatient, FEED, accept) as other:
            assert status_of(one) == status_of(other) == b"200"
            answer = impatient.server.get(f"{FEED}?after=end", impatient.token(), Accept=accept)
            assert problem(answer, 503, "2 readers of streams")["code"] == "overloaded"
            assert answer.header("retry-after") is not None
            if reset:
                for connection in (one, other):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        eventually("there is room again", lambda: there_is_room(impatient))


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
