"""Faults, on a real server: no space, a second server, signals, ``kill -9`` under load, more load than it takes.

What has no ``store_url`` is about the file of a SQLite store: its disk, its lock, the process that writes it.
"""

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running import (
    ACTIONS,
    DEADLINE_SECONDS,
    TOKEN_USES,
    Running,
    Tenant,
    eventually,
    head,
    problem,
    read_answer,
    tenant_of,
)
from tests.building import action, flat, new_id, no_progress
from tests.stores import run

from whodid.store.base import Scope
from whodid.store.opening import open_store


class Space:
    """How much a server may still write: taken away and given back by a limit of its process, without privileges."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._path = server.path

    def end(self) -> None:
        """No file may grow; what was written already stays. SQLite meets it as a write that fails."""
        wal = self._path.with_name(self._path.name + "-wal")
        self._limit(max(self._path.stat().st_size, wal.stat().st_size))

    def none(self) -> None:
        """Nothing may be written to any file at all: as if it were not writable."""
        self._limit(0)

    def free(self) -> None:
        """There is space again."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size_bytes: int) -> None:
        for pid in self._server.pids:  # Python ignores the signal that comes with it
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


class SmallDisk:
    """A filesystem of 24 MB, and a file on it that takes what is left: so that what is freed later is enough."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def end(self) -> None:
        """Fill it to the last byte."""
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def free(self) -> None:
        """There is space again."""
        self._ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A real full disk, where the machine lets us mount one; elsewhere the limit of the process stands in for it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"only root may mount a small disk ({mounted.stderr.strip()}); the test with a limit ran instead")
    yield SmallDisk(folder)
    subprocess.run(["umount", folder], check=True)


def large() -> dict[str, Any]:
    """An event of about 60 KB that does not compress."""
    return action(metadata={"noise": "".join(new_id()[::-1] + str(hash(new_id())) for _ in range(1400))})


def fill_and_recover(server: Running, tenant: Tenant, space: "Space | SmallDisk") -> None:
    """What must hold while there is no space, and after."""
    text = tenant.token()
    kept = server.post(ACTIONS, text, [action(type="before") for _ in range(50)]).json["data"]
    size = tenant.size()
    space.end()

    # Appends fail with 503 and say why; nothing of them is stored.
    eventually("an append to fail", lambda: server.post(ACTIONS, text, large()).status == 503)
    refused = server.post(ACTIONS, text, large())
    problem(refused, 503)
    assert int(refused.header("retry-after") or 0) >= 1
    problem(server.get("/ready"), 503)
    assert server.get("/health").status == 200
    assert [line for line in server.log if line["message"].startswith("the store takes no appends: ")]
    for _ in range(3):
        assert server.post(ACTIONS, text, large()).status == 503

    # Reading goes on, and so do the checks of tokens; the uses wait.
    reads = [server.get(f"{ACTIONS}?type=before&count=50", text) for _ in range(5)]
    assert all([one["_id"] for one in kept][::-1] == [one["_id"] for one in read.records] for read in reads)
    problem(server.get(ACTIONS, tenant.token(Scope.LOGS_WRITE)), 403)
    problem(server.get(ACTIONS), 401)
    waiting = {read.header("x-request-id") for read in reads}

    # As soon as there is space, it records again, without a restart, and late what waited.
    space.free()
    eventually("recording again", lambda: server.post(ACTIONS, text, action(type="after")).status == 201)
    eventually("being ready again", lambda: server.get("/ready").status == 200)
    eventually("the token uses", lambda: waiting <= {use["request_id"] for use in tenant.uses(size)})
    uses = [use["request_id"] for use in tenant.uses(size)]
    assert len(uses) == len(set(uses))
    assert [line for line in server.log if line["message"] == "the store takes appends again"]
    records = [json.loads(entry.record) for entry in tenant.log(size)]
    assert {one["type"] for one in records if "type" in one} <= {"pipeline", "after"}


def test_without_space_reading_goes_on_and_recording_comes_back(tmp_path: Path) -> None:
    """503 with the reason in the log; nothing lost, nothing half-written; no restart."""
    with Running(tmp_path) as server, tenant_of(server) as tenant:
        tenant.token(Scope.LOGS_WRITE)
        for _ in range(2):
            fill_and_recover(server, tenant, Space(server))
        assert tenant.check() == []


def test_a_disk_that_is_full_is_told_as_such(small_disk: SmallDisk, tmp_path: Path) -> None:
    """The same with ENOSPC from a real filesystem."""
    path = small_disk.folder / "whodid.db"
    with Running(tmp_path, f"sqlite:///{path}") as server, tenant_of(server) as tenant:
        tenant.token(Scope.LOGS_WRITE)
        for _ in range(2):
            fill_and_recover(server, tenant, small_disk)
        assert [line for line in server.log if line["message"].endswith(f"the disk of {path} is full")]
        assert tenant.check() == []


def test_a_store_that_can_not_be_written_at_all_comes_back_too(tmp_path: Path) -> None:
    """Every write fails, down to the first byte; what is owed is recorded before a stopping server ends."""
    with Running(tmp_path) as server, tenant_of(server) as tenant:
        text = tenant.token()
        assert server.post(ACTIONS, text, action(type="before")).status == 201
        log = server.log_path  # which the limit holds for, too
        size = tenant.size()
        Space(server).none()
        said = log.stat().st_size
        problem(server.post(ACTIONS, text, action()), 503)
        read = server.get(f"{ACTIONS}?type=before", text)
        assert len(read.records) == 1
        assert log.stat().st_size == said
        Space(server).free()
        assert server.stop() == 0
        assert read.header("x-request-id") in {use["request_id"] for use in tenant.uses(size)}
        assert tenant.check() == []


def test_a_second_server_on_the_same_file_refuses_to_start_and_says_why(tmp_path: Path) -> None:
    """It names the one that serves; that one is not disturbed. After a kill -9, the file is free."""
    with Running(tmp_path) as server:
        link = tmp_path / "other-name.db"
        link.symlink_to(server.path)
        for path in (server.path, link):
            second = subprocess.run(
                [sys.executable, "-m", "whodid", "serve", "--store", f"sqlite:///{path}", "--port", "0"],
                capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
            )  # fmt: skip
            assert second.returncode != 0
            assert f"another server (process {server.process.pid}) serves" in second.stderr
            assert "Traceback" not in second.stderr
            assert second.stdout == ""
        assert server.get("/ready").status == 200
        server.kill()
    with Running(tmp_path) as server:
        assert server.get("/ready").status == 200


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """Before the store is touched."""
    with Running(tmp_path) as server:
        path = tmp_path / "new.db"
        second = subprocess.run(
            [sys.executable, "-m", "whodid", "serve", "--store", f"sqlite:///{path}", "--port", str(server.port)],
            capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False,
        )  # fmt: skip
        assert second.returncode != 0
        assert f"can't listen on 127.0.0.1 port {server.port}: Address already in use" in second.stderr
        assert not path.exists()


class Load:
    """Producers that record, each over a connection of its own, until the server is gone."""

    def __init__(self, server: Running, text: str, producers: int = 6) -> None:
        self._server = server
        self._text = text
        self.acknowledged: list[dict[str, Any]] = []
        self.refused = 0
        self.unexpected: list[Any] = []
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(producers)
        self._work = [self._pool.submit(self._produce, at) for at in range(producers)]

    def _produce(self, number: int) -> None:
        with suppress(OSError, http.client.HTTPException), self._server.connect() as connection:
            while not self._stop.is_set():
                events = [action(_id=new_id()) for _ in range((1, 3, 200)[number % 3])]
                body = json.dumps(events).encode()
                request = head("POST", ACTIONS, self._text, Content_Length=str(len(body)))
                connection.sendall(request.replace(b"close", b"keep-alive") + body)
                answer = read_answer(connection)
                if answer.status == 201:
                    self.acknowledged += answer.json["data"]
                elif answer.status == 503 and answer.header("retry-after"):
                    self.refused += 1
                else:
                    self.unexpected.append(answer)

    def has(self, count: int) -> bool:
        """Whether more events than so many were acknowledged."""
        return len(self.acknowledged) > count

    def finish(self) -> None:
        """Wait until all producers are through."""
        self._stop.set()
        for work in self._work:
            work.result(DEADLINE_SECONDS)
        self._pool.shutdown()


@contextmanager
def load_on(server: Running, text: str, producers: int = 6) -> Iterator[Load]:
    """A load that has begun to be acknowledged, and is through at the end of the block."""
    load = Load(server, text, producers)
    try:
        eventually("some events", partial(load.has, 300))
        yield load
    finally:
        load.finish()


def check_acknowledged(url: str, name: str, acknowledged: list[dict[str, Any]]) -> set[str]:
    """Everything acknowledged is in the log, at its number, once, and the store is clean; the ids of all its events."""

    async def look() -> set[str]:
        store = open_store(url)
        try:
            account = await store.account(name)
            assert account is not None
            records = [json.loads(entry.record) for entry in await flat(store.entries(account.no))]
            ids = [record["_id"] for record in records]
            assert [place for place in acknowledged if ids[place["seq"]] != place["_id"]] == []
            assert len(ids) == len(set(ids)) == account.frontier.size
            assert await store.check(no_progress) == []
            return {record["_id"] for record in records if record.get("type") == "pipeline"}
        finally:
            await store.close()

    return run(look())


def test_kill_9_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path, store_url: str) -> None:
    """A few rounds on one store: every acknowledged event is there after a restart, and nothing is half-written."""
    acknowledged: list[dict[str, Any]] = []
    for _ in range(4):
        with Running(tmp_path, store_url) as server, tenant_of(server, "org-killed") as tenant:
            with load_on(server, tenant.token()) as load:
                server.kill()
            assert load.unexpected == []
            acknowledged += load.acknowledged
    with Running(tmp_path, store_url) as server, tenant_of(server, "org-killed") as tenant:
        assert len(server.get(f"{ACTIONS}?type=pipeline", tenant.token()).records) == 1000
    check_acknowledged(store_url, "org-killed", acknowledged)


def test_a_writing_process_that_is_killed_is_replaced(tmp_path: Path) -> None:
    """Whoever waited for it is told 503; the next one writes on where the last commit ended."""
    with Running(tmp_path) as server, tenant_of(server, "org-bereft") as tenant:
        text = tenant.token()
        with load_on(server, text) as load:
            for _ in range(3):
                for child in server.pids[1:]:
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)
                so_far = len(load.acknowledged)
                eventually("events again", partial(load.has, so_far + 300))
        assert load.unexpected == []
        eventually("being ready", lambda: server.get("/ready").status == 200)
    check_acknowledged(server.url, "org-bereft", load.acknowledged)


def test_a_writing_process_does_not_outlive_its_server(tmp_path: Path) -> None:
    """However the server ends."""
    for stop in (Running.stop, Running.kill):
        with Running(tmp_path) as server, tenant_of(server) as tenant:
            assert server.post(ACTIONS, tenant.token(), action()).status == 201
            children = server.pids[1:]
            stop(server)
            eventually("its end", partial(ended, children))


def ended(pids: list[int]) -> bool:
    """Whether none of these processes runs; one that nobody waited for yet (a zombie) does not."""
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_answers_what_it_accepted(tmp_path: Path, store_url: str, number: signal.Signals) -> None:
    """Under load: it ends by itself, with status 0, and everything that was answered is there."""
    with Running(tmp_path, store_url) as server, tenant_of(server, "org-stopped") as tenant:
        with load_on(server, tenant.token()) as load:
            server.process.send_signal(number)
            assert server.wait() == 0
        assert load.unexpected == []
        assert [line["message"] for line in server.log if line["logger"] == "whodid.web.server"] == [
            "serving", "stopping: answering what was taken", "stopped",
        ]  # fmt: skip
        assert [line for line in server.log if line["level"] in ("error", "warning")] == []
    recorded = check_acknowledged(store_url, "org-stopped", load.acknowledged)
    assert recorded == {place["_id"] for place in load.acknowledged}


def test_a_call_that_was_begun_before_the_signal_is_finished_after_it(tmp_path: Path, store_url: str) -> None:
    """Its body still comes while the server is stopping; then the server ends, and takes no new connection."""
    body = json.dumps(action(type="late")).encode()
    with Running(tmp_path, store_url) as server, tenant_of(server) as tenant:
        text = tenant.token()
        with server.connect() as begun, server.connect() as idle:
            begun.sendall(head("POST", ACTIONS, text, Content_Length=str(len(body)), Expect="100-continue"))
            assert begun.recv(1000).startswith(b"HTTP/1.1 100")
            server.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b""  # a connection without a call is closed at once
            with pytest.raises(OSError, match="refused"), server.connect():
                pass
            begun.sendall(body)
            answer = read_answer(begun)
        assert answer.status == 201
        assert server.wait() == 0
        (late,) = [json.loads(entry.record) for entry in tenant.log() if b'"late"' in entry.record]
        assert late["_id"] == answer.json["data"][0]["_id"]
        assert tenant.check() == []


def test_a_server_that_stopped_leaves_one_whole_file(tmp_path: Path) -> None:
    """Its write-ahead log is back in the file: whoever copies that has everything."""
    with Running(tmp_path) as server:
        with tenant_of(server) as tenant:
            text = tenant.token()
        assert server.post(ACTIONS, text, action()).status == 201
        assert server.get(ACTIONS, text).status == 200
        assert server.stop() == 0
        assert not list(tmp_path.glob("*-wal"))


def test_a_client_that_never_finishes_does_not_keep_a_server_from_stopping(tmp_path: Path, store_url: str) -> None:
    """After shutdown_seconds the server ends all the same."""
    with Running(tmp_path, store_url, shutdown_seconds=1) as server, tenant_of(server) as tenant:
        with server.connect() as begun:
            begun.sendall(head("POST", ACTIONS, tenant.token(), Content_Length="50", Expect="100-continue"))
            assert begun.recv(1000).startswith(b"HTTP/1.1 100")
            assert server.stop() == 0
        assert tenant.check() == []


def test_overload_is_answered_503_and_loses_nothing_acknowledged(tmp_path: Path, store_url: str) -> None:
    """A queue of 20 events: some calls are refused, at once and whole; memory stays small."""
    with Running(tmp_path, store_url, queue_events=20) as server, tenant_of(server, "org-busy") as tenant:
        text = tenant.token()
        with load_on(server, text, producers=16) as load:
            eventually("some refusals", lambda: load.refused > 20)
        assert load.unexpected == []
        assert server.get("/ready").status == 200
        assert server.post(ACTIONS, text, action()).status == 201
        assert server.peak_mib < 200
        answered = server.metrics()
        key = f'whodid_requests_total{{method="POST",route="{ACTIONS}",status="503"}}'
        assert answered[key] == load.refused
        assert answered["whodid_queue_events"] == 0
    check_acknowledged(store_url, "org-busy", load.acknowledged)


def test_commands_may_write_while_the_server_does(tmp_path: Path, store_url: str) -> None:
    """Another process changes users under load, faster than people do: no call fails, and the sequence has no gap."""
    with Running(tmp_path, store_url) as server, tenant_of(server, "org-both") as tenant:
        with load_on(server, tenant.token()) as load:
            for at in range(20):
                tenant.add_user(f"user{at}@acme.example")
                eventually("more events", partial(load.has, len(load.acknowledged) + 300))
        assert load.unexpected == []
        assert load.refused == 0
        assert len([one for one in tenant.log() if b'"type":"user"' in one.record]) == 21
        assert len(server.get(TOKEN_USES, tenant.token()).records) > 10
    check_acknowledged(store_url, "org-both", load.acknowledged)
