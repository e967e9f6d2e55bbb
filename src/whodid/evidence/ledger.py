"""The ledger: what was signed, kept outside of the store, so that an old copy of the store can't hide it.

A folder with one file for each account: its newest checkpoint that was signed, as it was handed out. Besides, the
public host that logs are named after. Files are only ever replaced whole, and are on the disk before a signature
leaves the process. Any number of processes may use it: whoever signs has the lock meanwhile. All of it may block, as
disks do: an event loop calls it in a thread.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from whodid.durable import make_folder, replacing
from whodid.errors import StoreUnavailable
from whodid.records import is_name

_SUFFIX: Final = ".checkpoint"
_HOST: Final = "public-host"
_LOCK: Final = ".lock"
_LOCK_SECONDS: Final = 5.0
"""How long another process may be signing before it is taken to hang."""

_LOOK_SECONDS: Final = 0.02


class Ledger:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        """Use this folder; it is made when there is something to keep."""
        self.folder = folder

    def path(self, account: str) -> Path:
        """The file of an account."""
        assert is_name(account), "an account's name is safe as a file's name"
        return self.folder / f"{account}{_SUFFIX}"

    def accounts(self) -> list[str]:
        """The accounts of which a checkpoint was signed."""
        return sorted(file.name.removesuffix(_SUFFIX) for file in self.folder.glob(f"*{_SUFFIX}"))

    def newest(self, account: str) -> str | None:
        """The newest checkpoint of an account that was signed, as a note. Raises ``StoreUnavailable``."""
        return self._read(self.path(account))

    def keep(self, account: str, note: str) -> None:
        """Keep a checkpoint that was signed, durably. Raises ``StoreUnavailable``."""
        self._write(self.path(account), note)

    def public_host(self, wanted: str) -> str | None:
        """The host that logs are named after: ``wanted``, which is kept; if that is empty, the one that was kept."""
        path = self.folder / _HOST
        kept = (self._read(path) or "").strip()
        if wanted and wanted != kept:
            self._write(path, f"{wanted}\n")
        return wanted or kept or None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from signing. Raises ``StoreUnavailable``."""
        with self._telling_errors(self.folder):
            make_folder(self.folder)
            descriptor = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._telling_errors(self.folder / _LOCK):
                self._wait_for(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _wait_for(self, descriptor: int) -> None:
        for _ in range(round(_LOCK_SECONDS / _LOOK_SECONDS)):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            time.sleep(_LOOK_SECONDS)
        raise StoreUnavailable(f"another process keeps {self.folder} locked, and nothing can be signed")

    def _read(self, path: Path) -> str | None:
        with self._telling_errors(path):
            try:
                return path.read_bytes().decode("utf-8", "replace")
            except FileNotFoundError:
                return None

    def _write(self, path: Path, text: str) -> None:
        with self._telling_errors(path):
            make_folder(self.folder)
            with replacing(path) as file:
                file.write(text.encode())

    @contextlib.contextmanager
    def _telling_errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailable(
                f"{path}, which keeps what was signed, can't be used: {error.strerror}", retry_after_seconds=5
            ) from error
