"""Connections to the store's file: how they are opened, how SQLite's errors are told, and who may serve the file."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    """The right to serve a store, held by one server process at a time. The kernel lets go of it when that dies."""

    def __init__(self, path: Path) -> None:
        """Take the right to serve ``path``. Raises ``StoreUnusable``, naming the process that has it."""
        real = path.resolve()  # two names of one file are one store
        self._file = real.with_name(real.name + ".lock")
        try:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"can't make the lock file {self._file}: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._descriptor, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(self._descriptor)
            raise StoreUnusable(
                f"another server (process {holder}) serves {path}; one SQLite file has one server. "
                "Stop that one, or give this one a store of its own"
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go. The empty lock file stays: removing it could take the lock from under another server."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)
