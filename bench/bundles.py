"""Bundles: the evidence of a stretch of a log, written and verified by the command line, one command after another.

What is timed are whole processes, from their start to their end, as a person waits for them. What verifies, and the
raw limit beside it, has one core.
"""

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.filling import Filled

_ROOT = Path(__file__).parent.parent
_WHODID = str(Path(sys.executable).with_name("whodid"))
_LOOK_SECONDS = 0.005
"""How often a process is looked at. Its peak of memory is only known while it lives."""


@dataclass(frozen=True, slots=True)
class Verification:
    """One round."""

    entries: int
    seconds: float
    raw_seconds: float
    """Of unpacking the same file, with one SHA-256 a line."""
    peak_memory_mb: float


class Bundle:
    """The evidence of the first entries of a store's larger log, in a file beside the store."""

    def __init__(self, filled: Filled, entries: int) -> None:
        """Have it written."""
        self.entries = entries
        self._file = filled.place.folder / f"first-{entries}.ndjson.gz"
        account, store = filled.large.account.name, filled.place.url
        stretch = ["--evidence", "--from", "0", "--to", str(entries), "--output", str(self._file)]
        self.writing_seconds, _ = _run([_WHODID, "export", "--account", account, "--store", store, *stretch])
        self.file_bytes = self._file.stat().st_size
        with gzip.open(self._file) as lines:
            self._key: str = msgspec.json.decode(lines.readline())["key"]

    def verify(self) -> Verification:
        """Have it verified, and unpacked."""
        with _one_core():
            seconds, peak_bytes = _run([_WHODID, "verify", str(self._file), "--key", self._key])
            lines = self.entries + 2  # the first one says what it is, the last one leads to the root
            raw_seconds, _ = _run([sys.executable, "-m", "bench.unpacking", str(self._file), str(lines)])
        return Verification(self.entries, seconds, raw_seconds, peak_bytes / 1e6)

    def remove(self) -> None:
        """Leave nothing on the disk."""
        self._file.unlink()


def _run(command: list[str]) -> tuple[float, int]:
    """The seconds that a command took, and its peak of memory in bytes."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        peak_bytes = 0
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _peak_memory_bytes(process.pid))
            time.sleep(_LOOK_SECONDS)
        seconds = time.perf_counter() - began
        said = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with status {process.returncode}: {said.strip()}")
    return seconds, peak_bytes


def _peak_memory_bytes(process: int) -> int:
    """0 where it has just ended, or not begun yet."""
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process}/status").read_text("ascii"))
    return int(peak[1]) * 1024 if peak else 0


@contextmanager
def _one_core() -> Iterator[None]:
    """What is started meanwhile has one core, the last one that this process may use."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
