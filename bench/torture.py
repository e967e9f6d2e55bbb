"""``python -m bench.torture``: crash writing processes again and again, and look what is left of what they promised."""

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Protocol

from bench.crashing import StoreRounds, Tally, Violation
from bench.crashing_server import ServerRounds
from bench.report import say


class Rounds(Protocol):
    """Crashes of one sort."""

    tally: Tally

    def round(self) -> None:
        """Crash once, and look. Raises ``Violation``."""

    def close(self) -> None:
        """End what runs between rounds."""


MODES: dict[str, Callable[[Path, int], Rounds]] = {
    "store": StoreRounds,
    "wal": lambda folder, seed: StoreRounds(folder, seed, tearing=True),
    "server": ServerRounds,
    "writer": lambda folder, seed: ServerRounds(folder, seed, writer_only=True),
}
"""By the name of the mode."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 1 where the store broke a promise."""
    options = _options(arguments)
    modes = list(MODES) if options.mode == "all" else [options.mode]
    folder = Path(tempfile.mkdtemp(prefix="whodid-torture-", dir=options.store_dir))
    chance = random.Random(options.seed)
    running = [MODES[mode](folder, chance.getrandbits(64)) for mode in modes]
    say(f"stores in {folder}, seed {options.seed}")
    try:
        violation = _run(running, options.rounds, options.seconds)
    except BaseException:
        say(f"stores kept in {folder}")
        raise
    print(table([rounds.tally for rounds in running], violations=int(violation is not None)))
    if violation is not None:
        say(f"VIOLATION: {violation}\nthe broken store is in {folder}; the seed was {options.seed}")
        return 1
    shutil.rmtree(folder)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.torture",
        description="Kill writing processes at random moments, and check that what was acknowledged is there.",
        epilog="store: a process that appends by itself; wal: the same, and a power failure takes a part of the "
        "write-ahead log; server: a server under load; writer: only the writing process of one.",
    )
    parser.add_argument("--rounds", type=int, default=50, metavar="N", help="crashes of each mode (50)")
    parser.add_argument("--seconds", type=float, default=300, metavar="S", help="begin no round after this (300)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="where chance begins (by chance)")
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--store-dir", type=Path, metavar="DIR", help="where stores are made (the system's for that)")
    return parser.parse_args(arguments)


def _run(running: list[Rounds], rounds: int, seconds: float) -> Violation | None:
    """Let the modes take turns; what was violated, if anything was."""
    end = time.monotonic() + seconds
    try:
        with contextlib.ExitStack() as ending:
            for mode in running:
                ending.callback(mode.close)
            for number in range(1, rounds + 1):
                for mode in running:
                    if time.monotonic() > end:
                        return None
                    mode.round()
                    say(f"{number:4} {mode.tally.mode:6} {mode.tally.acknowledged:9,} acknowledged, all there")
    except Violation as violation:
        return violation
    return None


def table(tallies: list[Tally], *, violations: int) -> str:
    """What was done, a line for each mode, and all together."""
    columns = ("mode", "rounds", "kills", "acknowledged", "sent again", "logs torn", "entries checked")
    total = Tally("all", *(sum(values) for values in zip(*(astuple(tally)[1:] for tally in tallies), strict=True)))
    lines = [columns, *([str(one) for one in astuple(tally)] for tally in [*tallies, total])]
    rows = ["  ".join(f"{cell:>{len(name)}}" for cell, name in zip(line, columns, strict=True)) for line in lines]
    return "\n".join([*rows, f"violations: {violations}"])


if __name__ == "__main__":
    sys.exit(main())
