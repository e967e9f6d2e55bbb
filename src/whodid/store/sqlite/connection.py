"""Connections to the store's file: how they are opened, how SQLite's errors are told, and who may serve the file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from whodid.errors import StoreUnavailable, StoreUnusable

PAGE_BYTES = 8192
CHECKPOINT_PAGES = 4000
"""The write-ahead log goes back into the file at about 32 MB: seldom enough to be cheap, often enough to be short."""

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another process that is writing (a command beside the server)."""

_WRITER_CACHE_KIB = 32 * 1024
_READER_CACHE_KIB = 8 * 1024


def open_writer(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that writes: every commit is on disk before it returns (WAL, ``synchronous=FULL``)."""
    connection = open_file(path, apsw.SQLITE_OPEN_READWRITE, vfs)
    for pragma in (
        "journal_mode = wal",
        "synchronous = full",
        "foreign_keys = on",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
        f"journal_size_limit = {2 * CHECKPOINT_PAGES * PAGE_BYTES}",
        f"cache_size = -{_WRITER_CACHE_KIB}",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """A connection that can't write. It sees what is committed when each of its statements begins."""
    connection = open_file(path, apsw.SQLITE_OPEN_READONLY, vfs)
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return connection


def open_file(path: Path, flags: int, vfs: str | None) -> apsw.Connection:
    """A connection. One thread at a time uses it, so SQLite needs no mutexes of its own."""
    connection = apsw.Connection(str(path), flags=flags | apsw.SQLITE_OPEN_NOMUTEX, vfs=vfs)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return connection


def make_file(path: Path) -> None:
    """Make an empty file (mode 0600), and the folders above it, unless it is there. Raises ``StoreUnusable``.

    A file that is there is not opened: closing it would take away the locks that SQLite has on it in this process.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        pass  # another process was faster
    except OSError as error:
        raise StoreUnusable(f"can't make the store {path}: {error.strerror}") from error


@contextmanager
def transaction(connection: apsw.Connection) -> Iterator[None]:
    """A write transaction: committed, and durable, where the block ends; rolled back where it raises."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite may have rolled back by itself
            connection.execute("ROLLBACK")
        raise


@contextmanager
def telling_errors(path: Path) -> Iterator[None]:
    """Tell SQLite's errors of the environment (disk, file, other processes) as ``StoreUnavailable``."""
    try:
        yield
    except apsw.FullError as error:
        raise StoreUnavailable(f"the disk of {path} is full", retry_after_seconds=5) from error
    except (apsw.BusyError, apsw.LockedError, apsw.ProtocolError) as error:
        raise StoreUnavailable(f"another process keeps {path} busy") from error
    except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError, apsw.AuthError) as error:
        raise StoreUnavailable(f"{path} can't be opened or written: {error}", retry_after_seconds=5) from error
    except (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.NoMemError) as error:
        raise StoreUnavailable(
            f"{path} can't be used: {type(error).__name__}: {error}", retry_after_seconds=5
        ) from error


class ServerLock:
    """The right to serve a store, held by one process at a time. The kernel lets go of it when that dies.

    Who brings the store up to date needs it as well: a server of before can't use the store afterwards.
    """

    def __init__(self, path: Path, *, to_migrate: bool = False) -> None:
        """Take the right to ``path``. Raises ``StoreUnusable``, naming the process that has it."""
        real = path.resolve()  # two names of one file are one store
        self._file = real.with_name(real.name + ".lock")
        try:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"can't make the lock file {self._file}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            held = os.read(self._descriptor, 40).decode("ascii", "replace").split()
            os.close(self._descriptor)
            raise StoreUnusable(_held_by(path, held, to_migrate=to_migrate)) from error
        self._say(_MIGRATING if to_migrate else "")

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Meanwhile, tell others that the store is being brought up to date."""
        self._say(_MIGRATING)
        try:
            yield
        finally:
            self._say("")

    def _say(self, work: str) -> None:
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()} {work}".strip().encode() + b"\n", 0)

    def release(self) -> None:
        """Let go. The empty lock file stays: removing it could take the lock from under another server."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


_MIGRATING: Final = "migrating"


def _held_by(path: Path, held: list[str], *, to_migrate: bool) -> str:
    """Why the right to a store can't be had: what it says in the lock file, and what was to be done."""
    holder = held[0] if held else "unknown"
    if _MIGRATING in held:
        return f"process {holder} is bringing {path} up to date; try again when it has ended"
    if to_migrate:
        return (
            f"a server (process {holder}) of an older version serves {path}, which must be brought up to date first; "
            "stop that server, then run this again"
        )
    return (
        f"another server (process {holder}) serves {path}; one SQLite file has one server. "
        "Stop that one, or give this one a store of its own"
    )
