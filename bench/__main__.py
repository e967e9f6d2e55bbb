"""``python -m bench``: measure, print a table, write JSON."""

import asyncio
import os
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
from bench.places import Places
from bench.reading import measure_reading
from bench.report import Figure, say, table, write_json
from bench.searching import measure_searching
from bench.servers import measure_servers
from bench.singles import measure_singles
from bench.size import measure_size
from bench.sqlite import SqlitePlaces


def main() -> int:
    """Run what the command line asks for."""
    options = parse_options()
    began, load_average = time.perf_counter(), os.getloadavg()[0]
    with _folder(options.store_dir) as folder, _places(options, folder) as places:
        machine = this_machine(folder, places, load_average)
        say(describe(machine))
        figures = _measure(options, folder, places)
    seconds = time.perf_counter() - began
    write_json(options.json_file, machine, seconds, figures)
    print(describe(machine))
    print(table(figures))
    say(f"\n{seconds:.0f} seconds; also in {options.json_file}")
    return 0


def _measure(options: Options, folder: Path, places: Places) -> list[Figure]:
    figures: list[Figure] = []
    if "batches" in options.parts:
        figures += measure_batches(options, places)
    if "singles" in options.parts:
        figures += measure_singles(options, places)
    if "servers" in options.parts:
        figures += measure_servers(options, places)
    if {"reading", "searching", "size", "evidence"} & set(options.parts):
        stores = asyncio.run(fill_stores(places, options.sizes))
        if "size" in options.parts:  # first: reading leaves token uses behind
            figures += measure_size(options, stores)
        if "reading" in options.parts:
            figures += measure_reading(options, stores)
        if "searching" in options.parts:
            figures += measure_searching(options, stores)
        if "evidence" in options.parts:
            figures += measure_evidence(options, folder, places, stores)
    return figures


@contextmanager
def _folder(wanted: Path | None) -> Iterator[Path]:
    """A folder for stores, on the disk of the repository unless another is wanted; removed in the end."""
    parent = wanted or RESULTS
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="whodid-bench-", dir=parent) as name:
        yield Path(name)


@contextmanager
def _places(options: Options, folder: Path) -> Iterator[Places]:
    """Where the run makes its stores. PostgreSQL's driver is loaded only where it is used."""
    if options.store == "sqlite":
        yield SqlitePlaces(folder)
        return
    from bench.postgres import postgres_places  # noqa: PLC0415

    with postgres_places(folder, options.batch_events) as places:
        yield places


if __name__ == "__main__":
    raise SystemExit(main())
