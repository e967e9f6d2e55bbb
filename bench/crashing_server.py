"""Crashes of a real server under load over HTTP: of the whole server, or of its writing process only.

The load brings its own ``_id``s, so what a crash cut off can be sent again, and must then be there exactly once.
"""

import asyncio
import functools
import http.client
import itertools
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from bench.crashing import ACCOUNTS, FULL_ENTRIES, Ledger, Tally, Violation, judge
from bench.crashing_child import LATE_MS, Place
from bench.files import store_url
from bench.tenant import add_tenant
from whodid.clock import wall_clock
from whodid.records import render_time
from whodid.store.base import Scope
from whodid.store.sqlite import SqliteStore

CONNECTIONS = 4

_DEADLINE_SECONDS = 20
_ORPHAN_SECONDS = 2
_RETRY_SECONDS = 0.05
_SIZES = (1, 1, 3, 20, 100)
_ROOT = Path(__file__).parent.parent


class Request(NamedTuple):
    """One recording call; sent again, as it is, until it is acknowledged."""

    account: str
    token: str
    events: list[dict[str, str]]


class ServerProcess:
    """``whodid serve`` on one store."""

    def __init__(self, file: Path) -> None:
        command = [sys.executable, "-m", "whodid", "serve", "--store", store_url(file), "--port", "0"]
        self._log = file.with_suffix(".log")
        with self._log.open("ab") as log:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self._process = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=log, env=environment)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        address = re.search(r":(\d+) \(", line)
        if address is None:
            self.kill()
            raise Violation(f"the server does not start; it said {line!r}, see {self._log}")
        self.port = int(address[1])

    def children(self) -> list[int]:
        """The processes that it has started."""
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text("ascii").split()]

    def kill(self) -> None:
        """``kill -9``."""
        self._process.kill()
        self._await_end()

    def stop(self) -> None:
        """Stop it in order. Raises ``Violation`` where it fails."""
        self._process.terminate()
        if status := self._await_end():
            raise Violation(f"the server ended with status {status}, see {self._log}")

    def _await_end(self) -> int:
        assert self._process.stdout is not None
        with self._process.stdout:
            try:
                return self._process.wait(_DEADLINE_SECONDS)
            except subprocess.TimeoutExpired as error:
                self._process.kill()
                self._process.wait()
                raise Violation(f"the server did not stop within {_DEADLINE_SECONDS} seconds") from error


class ServerRounds:
    """Crashes of a server under load, on one store after another."""

    def __init__(self, folder: Path, seed: int, *, writer_only: bool = False) -> None:
        self._folder = folder
        self._random = random.Random(seed)
        self._writer_only = writer_only
        self._server: ServerProcess | None = None
        self._entries = 0
        self.tally = Tally("writer" if writer_only else "server")

    def round(self) -> None:
        """Load the server, kill, look; send again what was cut off, and look again. Raises ``Violation``."""
        if self._server is None or self._entries >= FULL_ENTRIES:
            self.close()
            self._file = self._folder / f"{self.tally.mode}-{self.tally.rounds}.db"
            self._ledger = Ledger(self.tally)
            self._tokens = asyncio.run(_make_tenants(self._file))
            self._server = ServerProcess(self._file)
        load = Load(self._server.port, self._tokens, self._ledger, random.Random(self._random.getrandbits(64)))
        if self._writer_only:
            load.run(self._random.uniform(0.01, 0.3), functools.partial(_kill_writer, self._server))
        else:
            load.run(self._random.uniform(0.01, 0.3), self._kill_server, breaking_off=True)
        self.tally.kills += 1
        self.tally.unacknowledged += load.repeated_events
        if self._writer_only or self._random.random() < 0.5:  # else the server is the first to open what is left
            self._entries = asyncio.run(judge(self._file, self._ledger))
        if not self._writer_only:
            self._redeliver(load.owed)
        self.tally.rounds += 1
        self.tally.walked += self._entries

    def close(self) -> None:
        """Stop the server in order."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def _kill_server(self) -> None:
        """Kill the server; its writing process must end by itself."""
        server, self._server = self._server, None
        assert server is not None
        children = [(pid, os.pidfd_open(pid)) for pid in server.children()]
        server.kill()
        for pid, watch in children:
            with os.fdopen(watch, "rb"):  # closes it
                if not select.select([watch], [], [], _ORPHAN_SECONDS)[0]:
                    raise Violation(f"the writing process {pid} outlives its server")

    def _redeliver(self, owed: list[Request]) -> None:
        """Start the server again, and send it what was cut off."""
        self._server = ServerProcess(self._file)
        with closing(_connect(self._server.port)) as connection:
            for request in owed:
                self.tally.unacknowledged += len(request.events)
                self._ledger.add(request.account, deliver(connection, request)[0])
        self._entries = asyncio.run(judge(self._file, self._ledger))


def _kill_writer(server: ServerProcess) -> None:
    children = server.children()
    if len(children) != 1:
        raise Violation(f"the server has {len(children)} writing processes")
    os.kill(children[0], signal.SIGKILL)


async def _make_tenants(file: Path) -> dict[str, str]:
    """A new store; each account's token to record with."""
    store = SqliteStore(file, create=True)
    tenants = [await add_tenant(store, name) for name in ACCOUNTS]
    await store.close()
    return {tenant.account.name: tenant.tokens[Scope.LOGS_WRITE] for tenant in tenants}


def _connect(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=_DEADLINE_SECONDS)


def deliver(connection: http.client.HTTPConnection, request: Request) -> tuple[list[Place], int]:
    """Send a request until it is acknowledged; where its events are, and how often it was refused.

    Raises ``Violation`` for any other answer; ``OSError`` or ``HTTPException`` where the connection breaks.
    """
    headers = {"Authorization": f"Bearer {request.token}", "Content-Type": "application/json"}
    give_up = time.monotonic() + _DEADLINE_SECONDS
    for refused in itertools.count():
        connection.request("POST", "/api/v1/logs/user/actions", json.dumps(request.events), headers)
        response = connection.getresponse()
        body = response.read()
        if response.status in (200, 201):
            return _places(request, json.loads(body)["data"]), refused
        if response.status != 503 or time.monotonic() > give_up:
            raise Violation(f"the server answers {response.status}: {body.decode()}")
        time.sleep(_RETRY_SECONDS)
    raise AssertionError("counting does not end")


def _places(request: Request, told: list[dict[str, Any]]) -> list[Place]:
    return [Place(one["seq"], one["_id"], event["target_id"]) for event, one in zip(request.events, told, strict=True)]


class Load:
    """Several connections that send one request after another while something is killed."""

    def __init__(self, port: int, tokens: dict[str, str], ledger: Ledger, chance: random.Random) -> None:
        self._port = port
        self._tokens = tokens
        self._ledger = ledger
        self._random = chance
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._breaking_off = False
        self.owed: list[Request] = []
        """What was sent and not acknowledged."""
        self.repeated_events = 0
        """How many events were acknowledged only after a refusal."""

    def run(self, seconds: float, kill: Callable[[], None], *, breaking_off: bool = False) -> None:
        """Load for so long, ``kill``, and let every connection finish, or break off if the kill does that."""
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            working = [threads.submit(self._work) for _ in range(CONNECTIONS)]
            try:
                time.sleep(seconds)
                self._breaking_off = breaking_off
                kill()
            finally:
                self._ending.set()
            for work in working:
                work.result()

    def _work(self) -> None:
        with closing(_connect(self._port)) as connection:
            while not self._ending.is_set():
                with self._lock:
                    request = self._request()
                try:
                    places, refused = deliver(connection, request)
                except (OSError, http.client.HTTPException) as error:
                    if not self._breaking_off:
                        raise Violation(f"the server broke a connection off: {error!r}") from error
                    self.owed.append(request)
                    return
                with self._lock:
                    self._ledger.add(request.account, places)
                    self.repeated_events += len(places) if refused else 0

    def _request(self) -> Request:
        chance = self._random
        account, token = chance.choice(list(self._tokens.items()))
        count, name = chance.choice(_SIZES), f"{chance.getrandbits(64):x}"
        return Request(account, token, [self._event(f"{name}.{at}.{count}") for at in range(count)])

    def _event(self, mark: str) -> dict[str, str]:
        event = {
            "_id": f"{self._random.getrandbits(96):024x}",
            "user_id": "5e1cbf251c26d68f7ce6361e",
            "type": "pipeline",
            "action": "update",
            "target_id": mark,
        }
        if self._random.random() < 0.2:
            event["createdAt"] = render_time(wall_clock() - self._random.randrange(LATE_MS))
        return event
