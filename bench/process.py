"""Server processes, seen from outside: started, stopped, and what the kernel says about them."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.load import answer_bytes
from bench.places import Place

_ROOT = Path(__file__).parent.parent
_LONGEST_HEAD = 8192
_TICKS = os.sysconf("SC_CLK_TCK")


class Server(AbstractContextManager["Server"]):
    """A server of one store, in a process of its own, ready to be called."""

    def __init__(self, place: Place, *, behind_ms: int = 0, public_log: bool = False) -> None:
        arguments = [*place.flags(), "--behind-ms", str(behind_ms)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.server", *arguments, *(["--public-log"] if public_log else [])],
            cwd=_ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        address = re.search(r":(\d+) ", line)
        if address is None:
            self._stop()
            raise RuntimeError(f"the server did not start; it said {line!r}")
        self.port = int(address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def peak_memory_mb(self) -> float:
        """The most memory that server and writing process have had so far (``VmHWM``), added up, in 10^6 bytes."""
        return sum(_memory_bytes(process, "VmHWM") for process in self._processes()) / 1e6

    def memory_mb(self) -> float:
        """The memory that server and writing process have now (``VmRSS``), added up, in 10^6 bytes."""
        return sum(_memory_bytes(process, "VmRSS") for process in self._processes()) / 1e6

    def cpu_seconds(self) -> float:
        """How much processor time server and writing process have used so far."""
        return sum(_cpu_seconds(process) for process in self._processes())

    def _processes(self) -> list[int]:
        """The server and its children."""
        return [self._process.pid, *_children(self._process.pid)]

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


@contextmanager
def started(places: Sequence[Place]) -> Iterator[list[Server]]:
    """A server of each of these stores."""
    with ExitStack() as stack:
        yield [stack.enter_context(Server(place)) for place in places]


def _memory_bytes(process: int, which: str) -> int:
    found = re.search(rf"{which}:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text("ascii"))
    assert found is not None
    return int(found[1]) * 1024


def cpu_seconds_with_children(process: int) -> float:
    """How much processor time a process has used so far, and its children: those that live, and those that ended."""
    return _cpu_seconds(process, ended_children=True) + sum(map(_cpu_seconds, _children(process)))


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text("ascii").split()]


def _cpu_seconds(process: int, *, ended_children: bool = False) -> float:
    """0 where it has just ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11 : 15 if ended_children else 13])) / _TICKS


class Caller(AbstractContextManager["Caller"]):
    """One keep-alive connection that makes one call after another."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._room = memoryview(bytearray(4 * 1024 * 1024))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def call(self, request: bytes) -> memoryview:
        """The body of the answer, until the next call. Raises ``UnexpectedAnswer``."""
        self._socket.sendall(request)
        got = self._receive(0)
        while (end := bytes(self._room[: min(got, _LONGEST_HEAD)]).find(b"\r\n\r\n")) < 0:
            got += self._receive(got)
        start = end + 4
        size = answer_bytes(bytes(self._room[:end]))
        while got < start + size:
            got += self._receive(got)
        return self._room[start:got]

    def _receive(self, at: int) -> int:
        count = self._socket.recv_into(self._room[at:])
        if not count:
            raise ConnectionError("the server closed the connection")
        return count
