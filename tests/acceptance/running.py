"""A real server process, spoken to over a real socket; and the store that it serves, opened beside it."""

import contextlib
import http.client
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.building import flat, no_progress
from tests.stores import beside, run

from whodid.clock import wall_clock
from whodid.identity import Actor, Identity
from whodid.records import DAY_MS, Kind
from whodid.store.base import Account, Entry, Finding, Role, Scope, Store, Token, User
from whodid.store.opening import open_store
from whodid.store.urls import sqlite_path
from whodid.tokens import PREFIX

ACTIONS = "/api/v1/logs/user/actions"
TOKEN_USES = "/api/v1/logs/user/tokens"
LOGS = {Kind.ACTION: ACTIONS, Kind.TOKEN: TOKEN_USES}

DEADLINE_SECONDS = 20.0
"""How long anything may take that a test waits for."""

OPERATOR = Actor()

# What a server is started with: the settings as JSON. A test may put lines before it.
_PROGRAM = """
import json, sys
from whodid.config import load_settings
from whodid.web.server import serve
{before}
raise SystemExit(serve(load_settings(json.loads(sys.argv[1]))))
"""

_READY = re.compile(r"Whodid serves .* at http://127\.0\.0\.1:(\d+) \(Ctrl-C stops it\)\n").fullmatch
_numbers = itertools.count(1)
_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """A header that is there at most once; None if it is not."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1
        return values[0] if values else None

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return json.loads(self.body)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The records of a page; they must be as many as it says."""
        assert self.status == 200, self.body
        page = self.json
        assert page["count"] == len(page["data"])
        return list(page["data"])


def eventually(what: str, check: Callable[[], _T | None], seconds: float = DEADLINE_SECONDS) -> _T:
    """What ``check`` gives as soon as it is true; fails where that takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)  # between two looks
    raise AssertionError(f"waited {seconds} seconds in vain: {what}")


class Running:
    """A server process. Whatever a test does to it, it must end in order and have told no token to anybody."""

    def __init__(self, folder: Path, url: str | None = None, *, before: str = "", **settings: Any) -> None:
        """Start it in a folder, and wait until it is ready. ``before`` is Python to run first in its process.

        ``url`` names its store, which is a SQLite file in the folder otherwise.
        """
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'whodid.db'}"
        self.log_path = folder / f"server-{next(_numbers)}.log"
        given = {"store": self.url, "port": 0, "log_level": "debug", **settings}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM.format(before=before), json.dumps(given)],
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                text=True,
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ready = _READY(line)
        assert ready is not None, f"not ready: {line!r} {self.log_path.read_text()}"
        self.port = int(ready[1])
        self.issued: list[str] = []
        self._connection: http.client.HTTPConnection | None = None

    @property
    def path(self) -> Path:
        """The file of its store, which must be a SQLite store."""
        return sqlite_path(self.url)

    @property
    def signed_dir(self) -> Path:
        """The folder that keeps what it signed."""
        return beside(self.url, self.folder, ".signed")

    # Calls.

    def call(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call over a connection that is kept; ``path`` and ``body`` go as they are."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_SECONDS)
        given = dict(headers or {})
        if token is not None:
            given["Authorization"] = f"Bearer {token}"
        try:
            self._connection.request(method, path, body, given)
            response = self._connection.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        except BaseException:
            self.hang_up()
            raise

    def get(self, path: str, token: str | None = None, **headers: str) -> Answer:
        """``GET``."""
        return self.call("GET", path, token, headers=headers)

    def post(self, path: str, token: str | None, content: Any, **headers: str) -> Answer:
        """``POST`` JSON, or bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.call("POST", path, token, body, {"Content-Type": "application/json", **headers})

    def hang_up(self) -> None:
        """Let go of the connection that is kept."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_SECONDS) as connection:
            yield connection

    def say(self, *pieces: bytes, finish: bool = False) -> bytes:
        """Everything that comes back for these bytes until the server closes; ``finish`` closes our side first."""
        with self.connect() as connection:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
                if finish:
                    connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def metrics(self) -> dict[str, float]:
        """The metrics, each by its name with its labels."""
        lines = self.get("/metrics").body.decode().splitlines()
        return {key: float(value) for key, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}

    # The process.

    @property
    def log(self) -> list[dict[str, Any]]:
        """What the server logged: each line must be JSON."""
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    @property
    def pids(self) -> list[int]:
        """The process, and those that it started."""
        pids = [self.process.pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                pids += [int(child) for child in children.read_text().split()]
        return pids

    @property
    def peak_mib(self) -> float:
        """The most memory that the server ever had (VmHWM), all its processes together."""
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids]
        return sum(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) for status in statuses) / 1024

    def stop(self) -> int:
        """Stop it in order; the exit status."""
        self.hang_up()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.hang_up()
        self.wait()

    def wait(self) -> int:
        """Wait for the end of the process."""
        status = self.process.wait(DEADLINE_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.check_log()
        return status

    def check_log(self) -> None:
        """Every line is JSON of the known shape, and none holds a token."""
        for line in self.log:
            assert {"time", "level", "logger", "message"} <= line.keys()
        text = self.log_path.read_text()
        assert not [token for token in self.issued if token in text]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        if self.process.poll() is None:
            if failure[0] is not None:
                self.kill()
                return
            assert self.stop() == 0, self.log_path.read_text()[-2000:]


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes, or breaks off."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            pieces.append(piece)
    return b"".join(pieces)


def read_answer(connection: socket.socket) -> Answer:
    """The next answer on a bare connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    return Answer(response.status, response.getheaders(), response.read())


def head(method: str, path: str, token: str | None = None, **headers: str) -> bytes:
    """A request's head, as bytes; underscores in names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: whodid", "Connection: close"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Tenant:
    """An account of a running server, changed as an operator changes it: by another process, beside the server."""

    server: Running
    store: Store
    identity: Identity
    account: Account
    users: dict[Role, User] = field(default_factory=dict)
    texts: dict[tuple[Role, Scope], str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The account's name."""
        return self.account.name

    def user(self, role: Role = Role.ADMINISTRATOR) -> User:
        """The user with this role, made when first asked for."""
        if role not in self.users:
            email = f"{role.value}@acme.example"
            there = run(self.store.user(self.account.no, email=email))
            self.users[role] = there or self.add_user(email, role)
        return self.users[role]

    def add_user(self, email: str, role: Role = Role.USER, **more: Any) -> User:
        """A new user."""
        return run(self.identity.add_user(self.account, OPERATOR, email=email, role=role, **more))

    def update(self, user: User, **changes: Any) -> User:
        """Change a user."""
        return run(self.identity.update_user(self.account, OPERATOR, user, **changes))

    def token(self, scope: Scope = Scope.API, role: Role = Role.ADMINISTRATOR) -> str:
        """The token of this scope of the user with this role, made when first asked for."""
        if (role, scope) not in self.texts:
            self.texts[role, scope] = self.new_token(self.user(role), scope)[1]
        return self.texts[role, scope]

    def new_token(self, owner: User, scope: Scope = Scope.API, life_ms: int = DAY_MS) -> tuple[Token, str]:
        """A new token, and its text."""
        made = run(
            self.identity.create_token(
                self.account, OPERATOR, owner, scope=scope, name=f"token {next(_numbers)}", life_ms=life_ms
            )
        )
        self.server.issued.append(made[1])
        return made

    def expire(self, token: Token) -> None:
        """Expire a token."""
        run(self.identity.expire_token(self.account, OPERATOR, token))

    def log(self, first: int = 0) -> list[Entry]:
        """The account's log, by sequence."""
        entries = run(flat(self.store.entries(self.account.no, first)))
        assert [entry.seq for entry in entries] == list(range(first, first + len(entries)))
        return entries

    def size(self) -> int:
        """How many entries the account's log has."""
        account = run(self.store.account(self.name))
        assert account is not None
        return account.frontier.size

    def uses(self, first: int = 0) -> list[dict[str, Any]]:
        """The token uses of the account's log, the oldest first."""
        return [json.loads(entry.record) for entry in self.log(first) if entry.kind == Kind.TOKEN]

    def last_use(self) -> dict[str, Any]:
        """The newest token use."""
        return self.uses(max(self.size() - 5, 0))[-1]

    def check(self) -> list[Finding]:
        """What ``verify-store`` finds wrong."""
        return run(self.store.check(no_progress))


def open_tenant(server: Running, name: str | None = None) -> Tenant:
    """A new account, or that of this name, beside a running server."""
    store = open_store(server.url)
    identity = Identity(store, clock=wall_clock)
    wanted = name or f"org-{next(_numbers)}"
    account = run(store.account(wanted)) or run(identity.add_account(wanted, OPERATOR))
    return Tenant(server, store, identity, account)


@contextlib.contextmanager
def tenant_of(server: Running, name: str | None = None) -> Iterator[Tenant]:
    """The same, closed at the end of the block."""
    tenant = open_tenant(server, name)
    try:
        yield tenant
    finally:
        run(tenant.store.close())


def problem(answer: Answer, status: int, *parts: str) -> dict[str, Any]:
    """The problem that an answer tells: of this status, with these parts in its ``detail``."""
    assert answer.status == status, answer.body
    assert answer.header("content-type") == "application/problem+json"
    told: dict[str, Any] = answer.json
    assert {"status", "title", "detail", "code"} <= told.keys() <= {"status", "title", "detail", "code", "errors"}
    assert told["status"] == status
    for part in parts:
        assert part in told["detail"], told["detail"]
    assert PREFIX not in answer.body.decode()
    return told
