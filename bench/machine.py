"""The machine that a run measures on, without which its figures mean little."""

import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.places import Places

_FSYNCS = 200
_PAGE = b"\xa5" * 8192


class Machine(msgspec.Struct, frozen=True):
    """Hardware, versions, and when and how the run was started."""

    date: str
    commit: str
    command: str
    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    python: str
    database: dict[str, str]
    """Which one keeps the stores, its version, and those of its settings that the figures depend on."""
    fsync_p50_ms: float
    """Of writing 8 KiB to the end of a file where the stores are, and ``fsync``."""
    load_average: float
    """Of the minute before the run: what else kept the machine busy."""


def this_machine(store_dir: Path, places: Places, load_average: float) -> Machine:
    """This machine, now, and what load it had before the run did anything."""
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        command=shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        kernel=platform.release(),
        python=platform.python_version(),
        database=places.database(),
        fsync_p50_ms=_fsync_p50_ms(store_dir),
        load_average=load_average,
    )


def describe(machine: Machine) -> str:
    """Two lines for above a table."""
    database = ", ".join(f"{name} {value}" for name, value in machine.database.items())
    return (
        f"{machine.cpu}, {machine.cores} cores, {machine.memory_mib:,} MiB; fsync p50 {machine.fsync_p50_ms:.2f} ms; "
        f"load average before {machine.load_average:.2f}\n"
        f"Python {machine.python}, {database}, Linux {machine.kernel}; "
        f"{machine.date}, commit {machine.commit}\n$ {machine.command}"
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") or "unknown"
    return f"{commit} and changes" if git("status", "--porcelain", "--untracked-files=no") else commit


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _fsync_p50_ms(folder: Path) -> float:
    file = folder / "fsync"
    seconds: list[float] = []
    descriptor = os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        for _ in range(_FSYNCS):
            began = time.perf_counter()
            os.write(descriptor, _PAGE)
            os.fsync(descriptor)
            seconds.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        file.unlink()
    return statistics.median(seconds) * 1000
