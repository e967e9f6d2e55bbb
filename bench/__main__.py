"""``python -m bench``: measure, print a table, write JSON."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.batches import measure_batches
from bench.evidence import measure_evidence
from bench.filling import fill_stores
from bench.machine import describe, this_machine
from bench.options import RESULTS, Options, parse_options
from bench.reading import measure_reading
from bench.report import Figure, say, table, write_json
from bench.singles import measure_singles
from bench.size import measure_size


def main() -> int:
    """Run what the command line asks for."""
    options = parse_options()
    began = time.perf_counter()
    with _folder(options.store_dir) as folder:
        machine = this_machine(folder)
        say(describe(machine))
        figures = _measure(options, folder)
    seconds = time.perf_counter() - began
    write_json(options.json_file, machine, seconds, figures)
    print(describe(machine))
    print(table(figures))
    say(f"\n{seconds:.0f} seconds; also in {options.json_file}")
    return 0


def _measure(options: Options, folder: Path) -> list[Figure]:
    figures: list[Figure] = []
    if "batches" in options.parts:
        figures += measure_batches(options, folder)
    if "singles" in options.parts:
        figures += measure_singles(options, folder)
    if {"reading", "size", "evidence"} & set(options.parts):
        stores = asyncio.run(fill_stores(folder, options.sizes))
        if "size" in options.parts:  # first: reading leaves token uses behind
            figures += measure_size(stores)
        if "reading" in options.parts:
            figures += measure_reading(options, stores)
        if "evidence" in options.parts:
            figures += measure_evidence(options, folder, stores)
    return figures


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A folder for stores, on the disk of the repository unless another is wanted; removed in the end."""
    parent = wanted or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="whodid-bench-", dir=parent) as name:
        yield Path(name)


if __name__ == "__main__":
    raise SystemExit(main())
