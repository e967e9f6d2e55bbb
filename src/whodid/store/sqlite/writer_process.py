"""The writer in a process of its own: for a server, which must parse requests while SQLite works.

In one process the two would share the interpreter's lock, and each of the dozen statements of a commit would wait for
it: at a hundred thousand events a second that is most of the time. So a server hands its batches, sealed, to a child
process over a pair of sockets, and gets the results back.

The child lives as long as its parent's end of the pair is open, however the parent ends; signals that are meant for
the server do not concern it. If the child dies, the batch in its hands has failed, as far as anyone knows, and the
next one starts another child.
"""

import asyncio
import contextlib
import logging
import signal
import socket
import struct
import subprocess
import sys
import traceback
from collections import deque
from pathlib import Path
from typing import TypeAlias

import msgspec
from msgspec import Struct

from whodid.errors import Conflict, IdConflict, NameTaken, NotFound, StaleIdentity, StoreUnavailable, WhodidError
from whodid.store.base import Kept, Receipt, Result
from whodid.store.sqlite.sealer import SealedSubmission
from whodid.store.sqlite.writer import Writer

log = logging.getLogger(__name__)

_LENGTH = struct.Struct(">I")
_END_SECONDS = 10


class _Append(Struct, tag=True, frozen=True):
    """Commit a batch."""

    batch: list[SealedSubmission]


class _Probe(Struct, tag=True, frozen=True):
    """Find out whether appends are possible."""


class _Keep(Struct, tag=True, frozen=True):
    """Keep checkpoints, and how far witnesses are."""

    kept: list[Kept]


class _Results(Struct, tag=True, frozen=True):
    """What became of each submission of a batch."""

    results: list["Receipt | _Refusal"]


class _Refusal(Struct, tag=True, frozen=True):
    """An error, taken apart."""

    code: str
    message: str
    index: int = 0
    record_id: str = ""
    retry_after_seconds: int = 1
    trace: str = ""
    """Of an error that nobody thought of: for the log, not for those who wait."""


_Request: TypeAlias = _Append | _Probe | _Keep
_Answer: TypeAlias = _Results | _Refusal

_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(_Request).decode
_decode_answer = msgspec.msgpack.Decoder(_Answer).decode


class WriterProcess:
    """The parent's side: starts the child, asks it one thing after another, and hands its answers out in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sending = asyncio.Lock()
        self._waiting: deque[asyncio.Future[_Answer]] = deque()
        self._child: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the child, so that the first batch need not wait for it."""
        ours, theirs = socket.socketpair()
        with theirs:
            begin = f"from {__name__} import main; main()"
            arguments = [sys.executable, "-P", "-c", begin, str(self._path.absolute()), str(theirs.fileno())]
            self._child = subprocess.Popen(arguments, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # noqa: S603
        ours.setblocking(False)  # noqa: FBT003 (named by the standard library)
        self._socket = ours

    async def append(self, batch: list[SealedSubmission]) -> list[Result]:
        """See ``Writer.append``."""
        answer = await self._ask(_Append(batch))
        return [result if isinstance(result, Receipt) else _error(result) for result in answer.results]

    async def probe(self) -> None:
        """See ``Writer.probe``."""
        await self._ask(_Probe())

    async def keep(self, kept: list[Kept]) -> None:
        """See ``Writer.keep``."""
        await self._ask(_Keep(kept))

    async def close(self) -> None:
        """Let the child end, and wait for it."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.wait([listener])
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        child, self._child = self._child, None
        if child is not None:
            await asyncio.get_running_loop().run_in_executor(None, _await_end, child)

    async def _ask(self, request: _Request) -> _Results:
        # Sent whole, and waited for by the listener, whatever becomes of the caller: frames and answers stay in step.
        answer = await (await asyncio.shield(asyncio.create_task(self._send(_encode(request)))))
        if isinstance(answer, _Refusal):
            if answer.trace:
                log.error("a batch failed in the writing process", extra={"exception": answer.trace})
            raise _error(answer)
        return answer

    async def _send(self, data: bytes) -> asyncio.Future[_Answer]:
        """Send a request; what its answer will be."""
        loop = asyncio.get_running_loop()
        async with self._sending:
            try:
                if self._socket is None:
                    self.start()
            except OSError as error:
                raise StoreUnavailable(f"the writing process can't be started: {error.strerror}") from error
            assert self._socket is not None
            if self._listener is None:
                self._listener = loop.create_task(self._listen(self._socket), name="answers of the writing process")
            waiting: asyncio.Future[_Answer] = loop.create_future()
            self._waiting.append(waiting)
            with contextlib.suppress(OSError):  # then the listener ends too, and tells all who wait
                await loop.sock_sendall(self._socket, _LENGTH.pack(len(data)))
                await loop.sock_sendall(self._socket, data)
        return waiting

    async def _listen(self, connection: socket.socket) -> None:
        """Give each answer to whoever waits for it, until the child is gone; then tell those who still wait."""
        try:
            while True:
                (length,) = _LENGTH.unpack(await _receive(connection, _LENGTH.size))
                answer = _decode_answer(await _receive(connection, length))
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(answer)
        except Exception as error:
            log.warning("the writing process ended", extra={"reason": f"{type(error).__name__}: {error}"})
            async with self._sending:
                self._listener = None
                await self.close()
                self._tell_all(_Refusal(StoreUnavailable.code, "the writing process ended; another one is started"))

    def _tell_all(self, answer: _Answer) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(answer)


def _await_end(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child to end, which it does as soon as its last commit is done; kill it if that hangs."""
    try:
        child.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        log.exception("the writing process hangs; it is killed")  # safe: SQLite drops what was not committed
        child.kill()
        child.wait()


async def _receive(connection: socket.socket, size_bytes: int) -> bytearray:
    loop = asyncio.get_running_loop()
    received = bytearray()
    while len(received) < size_bytes:
        piece = await loop.sock_recv(connection, min(size_bytes - len(received), 1 << 20))
        if not piece:
            raise EOFError
        received += piece
    return received


def _refusal(error: WhodidError) -> _Refusal:
    match error:
        case IdConflict():
            return _Refusal(error.code, error.message, index=error.index, record_id=error.record_id)
        case StoreUnavailable():
            return _Refusal(error.code, error.message, retry_after_seconds=error.retry_after_seconds)
    return _Refusal(error.code, error.message)


def _error(refusal: _Refusal) -> WhodidError:
    match refusal.code:
        case IdConflict.code:
            return IdConflict(refusal.index, refusal.record_id)
        case StoreUnavailable.code:
            return StoreUnavailable(refusal.message, retry_after_seconds=refusal.retry_after_seconds)
        case StaleIdentity.code:
            return StaleIdentity()
    kinds = {kind.code: kind for kind in (Conflict, NameTaken, NotFound)}
    return kinds.get(refusal.code, WhodidError)(refusal.message)


def run(path: Path, connection: socket.socket) -> None:
    """The child's side: answer until the parent is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    writer = Writer(path)
    # An error here is the parent's end in the middle of a request, or of reading an answer.
    with contextlib.suppress(OSError, msgspec.DecodeError), connection, connection.makefile("rb") as requests:
        while len(head := requests.read(_LENGTH.size)) == _LENGTH.size:
            data = requests.read(_LENGTH.unpack(head)[0])
            answer = _encode(_answer(writer, _decode_request(data)))
            connection.sendall(_LENGTH.pack(len(answer)) + answer)
    writer.close()


def _answer(writer: Writer, request: _Request) -> _Answer:
    try:
        if isinstance(request, _Probe):
            writer.probe()
            return _Results([])
        if isinstance(request, _Keep):
            writer.keep(request.kept)
            return _Results([])
        results = writer.append(request.batch)
    except WhodidError as error:
        return _refusal(error)
    except Exception:  # a reason that nobody thought of: the parent must be told
        return _Refusal(
            WhodidError.code, "an internal error; the server's log tells more", trace=traceback.format_exc()
        )
    return _Results([result if isinstance(result, Receipt) else _refusal(result) for result in results])


def main() -> None:
    """Be the child. The arguments are the store's path and the number of our end of the pair of sockets."""
    run(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
