"""A network that breaks: stands between a store and PostgreSQL, and cuts a connection between any two messages."""

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import psycopg
from psycopg.conninfo import make_conninfo

Direction = Literal["to the database", "from the database"]


class Network:
    """Passes on what is said, message by message, and counts; cuts where it was told to."""

    def __init__(self, url: str, folder: Path) -> None:
        with psycopg.connect(url) as connection:
            host, port = connection.info.host, connection.info.port
        self._upstream: str | tuple[str, int] = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
        self.url = make_conninfo(url, host=str(folder), port=5432)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(f"{folder}/.s.PGSQL.5432")
        self._listening.listen()
        self._lock = threading.Lock()
        self._said: dict[Direction, int] = {"to the database": 0, "from the database": 0}
        self._cuts: list[tuple[Direction, int]] = []
        self._open: set[socket.socket] = set()
        self.down = False
        """Whether new connections are refused."""
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, direction: Direction, *after: int) -> None:
        """Cut a connection when, from now on, so many messages went this way; the next one after so many more."""
        with self._lock:
            self._said[direction] = 0
            self._cuts = [(direction, count) for count in after]

    def count(self) -> dict[Direction, int]:
        """How many messages went each way since this was asked."""
        with self._lock:
            said, self._said = self._said, dict.fromkeys(self._said, 0)
            return said

    @property
    def whole(self) -> bool:
        """Whether no cut is to come."""
        return not self._cuts

    def close(self) -> None:
        """Cut everything."""
        self._listening.close()
        for one in list(self._open):
            _hang_up(one)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                if self.down:
                    client.close()
                    continue
                database = _connect(self._upstream)
                self._open |= {client, database}
                threading.Thread(target=self._pass, args=("to the database", client, database), daemon=True).start()
                threading.Thread(target=self._pass, args=("from the database", database, client), daemon=True).start()

    def _pass(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError), source.makefile("rb") as stream:
            if direction == "to the database":  # how a connection begins has no type
                head = stream.read(4)
                target.sendall(head + stream.read(int.from_bytes(head) - 4))
            while head := stream.read(5):
                message = head + stream.read(int.from_bytes(head[1:]) - 4)
                if self._is_cut(direction):
                    break
                target.sendall(message)
        for one in (source, target):
            _hang_up(one)

    def _is_cut(self, direction: Direction) -> bool:
        """Whether this message is not passed on, nor anything after it."""
        with self._lock:
            if self._cuts and self._cuts[0] == (direction, self._said[direction]):
                del self._cuts[0]
                self._said[direction] = 0
                return True
            self._said[direction] += 1
            return False


@contextlib.contextmanager
def network(url: str) -> Iterator[Network]:
    """A network before the database at ``url``."""
    folder = Path(tempfile.mkdtemp(prefix="whodid-net-"))  # short: it is in the name of a socket
    made = Network(url, folder)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder)


def _connect(place: str | tuple[str, int]) -> socket.socket:
    if isinstance(place, tuple):
        return socket.create_connection(place)
    made = socket.socket(socket.AF_UNIX)
    made.connect(place)
    return made


def _hang_up(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
