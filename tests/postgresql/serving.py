"""Servers of one database, as processes, and what a test does beside them."""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from whodid.checkpoint import SignedCheckpoint, open_checkpoint
from whodid.clock import wall_clock
from whodid.evidence.keyring import Keyring
from whodid.identity import Actor, Identity
from whodid.notes import Verifier
from whodid.records import DAY_MS
from whodid.store.base import Account, Role, Scope, Store, Token, User
from whodid.store.opening import bring_up
from whodid.store.postgres import PostgresStore

ACTIONS = "/api/v1/logs/user/actions"
DEADLINE_SECONDS = 20.0
"""How long anything may take that a test waits for."""

OPERATOR = Actor()

_READY = re.compile(r"Whodid serves .* at http://127\.0\.0\.1:(\d+) \(Ctrl-C stops it\)\n").fullmatch
_numbers = itertools.count(1)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)

    @property
    def places(self) -> dict[str, int]:
        """Of a receipt: each ``_id`` and its number."""
        assert self.status in (200, 201), self.body
        return {one["_id"]: one["seq"] for one in self.json["data"]}


class Server:
    """A server process. It must end in order, unless the test kills it."""

    def __init__(self, home: "Home", **settings: Any) -> None:
        """Start it; ``ready`` waits for it."""
        self.name = f"server-{next(_numbers)}"
        self.home = home
        self.log_path = home.folder / f"{self.name}.log"
        self.signed_dir = home.folder / f"{self.name}.signed"
        given = {
            "store": home.url, "port": 0, "log_level": "debug", "signing_key": home.key_path,
            "signed_dir": self.signed_dir, **settings,
        }  # fmt: skip
        flags = [part for name, value in given.items() for part in (f"--{name.replace('_', '-')}", str(value))]
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "whodid", "serve", "--public-log", *flags],
                stdout=subprocess.PIPE, stderr=log, text=True, cwd=home.folder, env=environ(),
            )  # fmt: skip
        self.port = 0
        self.killed = False

    def ready(self) -> Self:
        """Wait until it says where it serves."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ready = _READY(line)
        if ready is None:
            self.kill()
        assert ready is not None, f"not ready: {line!r} {self.log_path.read_text()}"
        self.port = int(ready[1])
        return self

    def call(
        self, method: str, path: str, token: str | None = None, content: Any = None, seconds: float = DEADLINE_SECONDS
    ) -> Answer:
        """One call, over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            return Client(connection).call(method, path, token, content)
        finally:
            connection.close()

    def get(self, path: str, token: str | None = None, seconds: float = DEADLINE_SECONDS) -> Answer:
        """``GET``."""
        return self.call("GET", path, token, seconds=seconds)

    def post(self, token: str, content: Any, seconds: float = DEADLINE_SECONDS) -> Answer:
        """Record actions."""
        return self.call("POST", ACTIONS, token, content, seconds)

    @contextlib.contextmanager
    def client(self) -> Iterator["Client"]:
        """Calls over one connection; for one thread."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        try:
            yield Client(connection)
        finally:
            connection.close()

    def checkpoint(self, account: str) -> SignedCheckpoint:
        """The published checkpoint of an account's log, which the one key of all servers must have signed."""
        answer = self.get(f"/log/{account}/checkpoint")
        assert answer.status == 200, answer.body
        return open_checkpoint(answer.body, [self.home.verifier(account)])

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it logged."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def stop(self) -> None:
        """Stop it in order."""
        self.process.terminate()
        assert self._wait() == 0, self.log_path.read_text()[-3000:]

    def kill(self) -> None:
        """``kill -9``, if it runs."""
        self.killed = True
        if self.process.poll() is None:
            self.process.kill()
        self._wait()

    def _wait(self) -> int:
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(40)

    def __enter__(self) -> Self:
        return self.ready() if not self.port else self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            if failure[0] is None:
                self.stop()
            else:
                self.kill()


class Client:
    """Calls over one connection."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def call(self, method: str, path: str, token: str | None = None, content: Any = None) -> Answer:
        """One call. Raises what the connection raises; the next one is made over a new connection then."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._connection.request(method, path, None if content is None else json.dumps(content), headers)
            response = self._connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except BaseException:
            self._connection.close()
            raise

    def post(self, token: str, content: Any) -> Answer:
        """Record actions."""
        return self.call("POST", ACTIONS, token, content)


@dataclass(frozen=True)
class Tenant:
    """An account, with an administrator and a token of hers."""

    account: Account
    user: User
    token: Token
    text: str

    @property
    def name(self) -> str:
        """The account's name."""
        return self.account.name

    @property
    def no(self) -> int:
        """The account's number."""
        return self.account.no


class Home:
    """A database with Whodid's schema, the key of its servers, and a folder for what belongs to them."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.key_path = folder / "whodid.key"
        bring_up(url)
        self._keys = Keyring.open(self.key_path, make=True).current()

    @property
    def database(self) -> str:
        """The name of the database."""
        return urlsplit(self.url).path.removeprefix("/")

    def server(self, **settings: Any) -> Server:
        """A server that is being started; ready when its block begins."""
        return Server(self, **settings)

    @contextlib.contextmanager
    def servers(self, count: int, **settings: Any) -> Iterator[list[Server]]:
        """Several servers, all ready."""
        with contextlib.ExitStack() as stack:
            starting = [self.server(**settings) for _ in range(count)]
            for server in starting:
                stack.callback(server.kill)  # where another one does not start
            yield [stack.enter_context(server) for server in starting]

    def verifier(self, account: str) -> Verifier:
        """Who signs an account's checkpoints."""
        return self._keys.verifiers(f"localhost/log/{account}")[0]

    def beside(self, work: Callable[[PostgresStore], Awaitable[_T]]) -> _T:
        """Do some work with a store of our own, as another process would."""
        return with_store(self.url, work)

    def tenant(self, name: str | None = None) -> Tenant:
        """A new account."""
        return self.beside(lambda store: make_tenant(store, name))

    def command(self, *arguments: str) -> str:
        """Run a command of ``whodid`` on the database; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "whodid", *arguments], capture_output=True, text=True, cwd=self.folder,
            env={**environ(), "WHODID_STORE": self.url}, timeout=DEADLINE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


async def make_tenant(store: Store, name: str | None = None) -> Tenant:
    """A new account with an administrator, and a token of hers."""
    identity = Identity(store, clock=wall_clock)
    account = await identity.add_account(name or f"org-{next(_numbers)}", OPERATOR)
    user = await identity.add_user(account, OPERATOR, email="ann@acme.example", role=Role.ADMINISTRATOR)
    token, text = await identity.create_token(
        account, OPERATOR, user, scope=Scope.API, name=f"token {next(_numbers)}", life_ms=DAY_MS
    )
    return Tenant(account, user, token, text)


def with_store(url: str, work: Callable[[PostgresStore], Awaitable[_T]]) -> _T:
    """Do some work with a store that is opened for it."""
    return asyncio.run(_with_store(url, work))


async def _with_store(url: str, work: Callable[[PostgresStore], Awaitable[_T]]) -> _T:
    store = PostgresStore(url)
    try:
        return await work(store)
    finally:
        await store.close()


class Threads:
    """Threads that work until they are done, or until ``over`` is set; what one of them raises fails the test."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def start(self, work: Callable[..., object], *args: Any) -> None:
        """Begin some work."""

        def guarded() -> None:
            try:
                work(*args)
            except BaseException as error:
                self._failures.append(error)
                self.over.set()

        self._threads.append(threading.Thread(target=guarded, daemon=True))
        self._threads[-1].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(2 * DEADLINE_SECONDS)
        if failure[0] is None:
            self.check()
            assert not [thread for thread in self._threads if thread.is_alive()], "a thread hangs"

    def check(self) -> None:
        """Raise what one of the threads raised."""
        if self._failures:
            raise self._failures[0]


def environ() -> dict[str, str]:
    """The environment of a process, without settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WHODID_")}
