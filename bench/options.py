"""Options: what a run measures, and how much of it."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.targets import POSTGRESQL, SQLITE, Targets

RESULTS = Path(__file__).parent / "results"

PARTS: Final = {
    "sqlite": ("batches", "singles", "reading", "searching", "size", "evidence"),
    "postgresql": ("batches", "singles", "servers", "reading", "searching", "size", "evidence"),
}
"""By store."""

_RESULT: Final = {"sqlite": RESULTS / "latest.json", "postgresql": RESULTS / "latest-postgresql.json"}
_TARGETS: Final = {"sqlite": SQLITE, "postgresql": POSTGRESQL}


@dataclass(frozen=True, slots=True)
class Options:
    """One run's options, checked."""

    store: str
    """``sqlite`` or ``postgresql``."""
    targets: Targets
    parts: tuple[str, ...]
    sizes: tuple[int, ...]
    """Events in the stores that are read from, ascending."""
    batch_events: int
    """How many events one round of batches records."""
    rounds: int
    """How often a figure and what it is set beside are measured in turn; medians count."""
    seconds: float
    """How long one round of single events, of echoes, or of several servers lasts."""
    calls: int
    """How many reading calls of each form, and proofs, are made at each size."""
    store_dir: Path | None
    json_file: Path


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """The options on the command line; leaves the process where they make no sense."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Start a real server, measure its speed and size beside the raw limit of this machine.",
        epilog="example: python -m bench --only batches,singles --seconds 10",
    )
    parser.add_argument("--store", choices=PARTS, default="sqlite", help="what the server keeps it in (sqlite)")
    parser.add_argument("--quick", action="store_true", help="small sizes: about a minute, only to see that it works")
    parser.add_argument("--only", metavar="PART,…", help=f"of {', '.join(PARTS['postgresql'])}")
    parser.add_argument("--sizes", type=_sizes, metavar="N,…", help="events stored (100000,1000000,5000000)")
    parser.add_argument("--batch-events", type=int, metavar="N", help="events a round of batches records (1000000)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of batches, singles, servers and evidence (3)")
    parser.add_argument("--seconds", type=float, metavar="S", help="length of a round of singles or servers (4)")
    parser.add_argument("--calls", type=int, metavar="N", help="reading calls of each form and size, and proofs (200)")
    parser.add_argument("--store-dir", type=Path, metavar="DIR", help="where stores are made (beside the results)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the result's file (results/latest….json)")
    given = parser.parse_args(arguments)
    quick = given.quick
    try:
        parts = _parts(given.only, PARTS[given.store])
    except ValueError as error:
        parser.error(f"argument --only: {error}")
    return Options(
        store=given.store,
        targets=_TARGETS[given.store],
        parts=parts,
        sizes=given.sizes or ((50_000, 200_000) if quick else (100_000, 1_000_000, 5_000_000)),
        batch_events=given.batch_events or (100_000 if quick else 1_000_000),
        rounds=given.rounds or (1 if quick else 3),
        seconds=given.seconds or (1.5 if quick else 4.0),
        calls=given.calls or (60 if quick else 200),
        store_dir=given.store_dir,
        json_file=given.json or _RESULT[given.store],
    )


def _parts(text: str | None, there_are: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return there_are
    wanted = text.split(",")
    for part in wanted:
        if part not in there_are:
            raise ValueError(f"there is no part {part!r} for this store; there are {', '.join(there_are)}")
    return tuple(part for part in there_are if part in wanted)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = sorted({int(size.replace("_", "")) for size in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"sizes are whole numbers like 100000,1000000, not {text!r}") from error
    if sizes[0] < 1000:
        raise argparse.ArgumentTypeError("a size is at least 1000 events")
    return tuple(sizes)
