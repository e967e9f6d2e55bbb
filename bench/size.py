"""Size: what stores weigh on disk beside the same records as NDJSON, how soon a server of one is ready, its check."""

import asyncio
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.files import on_disk_bytes, store_url
from bench.filling import Filled
from bench.report import Figure, Target, at_most, median_figure, say
from whodid.store.opening import open_store

PART = "size"

_STARTS = 5
_LARGE = 1_000_000
_PATIENCE_SECONDS = 60
_ROOT = Path(__file__).parent.parent


def measure_size(stores: list[Filled]) -> list[Figure]:
    """All figures of this part. The stores are closed."""
    figures: list[Figure] = []
    for filled in stores:
        name = f"at {filled.events:,}"
        disk = on_disk_bytes(filled.file)
        figures += [
            Figure(PART, f"on disk, all included, {name}", disk / filled.events, "bytes/event"),
            Figure(PART, f"the same as NDJSON, {name}", filled.ndjson_bytes / filled.events, "bytes/event"),
            Figure(PART, f"ratio, {name}", disk / filled.ndjson_bytes, "", _ratio_target(filled.events)),
        ]
    for filled in stores:
        say(f"size: starting a server of {filled.events:,} events")
        seconds = [_start_seconds(filled.file) for _ in range(_STARTS)]
        figures.append(median_figure(PART, f"from start to ready, at {filled.events:,}", seconds, "s", at_most(1.0)))
    say(f"size: checking the store of {stores[0].events:,} events")
    seconds_per_event = asyncio.run(_check_seconds(stores[0].file)) / stores[0].events
    figures.append(Figure(PART, f"check of a store, at {stores[0].events:,}", seconds_per_event * 1e6, "µs/event"))
    return figures


def _ratio_target(events: int) -> Target | None:
    """A small store has learned no dictionary from its own records yet, so the target is about large ones."""
    return at_most(0.8) if events >= _LARGE else None


def _start_seconds(file: Path) -> float:
    """From starting the process until ``/ready`` answers 200."""
    port = _free_port()
    began = time.perf_counter()
    process = subprocess.Popen(_command(file, port), cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE_SECONDS:
                raise RuntimeError(f"no server became ready: {' '.join(_command(file, port))}")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _command(file: Path, port: int) -> list[str]:
    """What an operator starts."""
    whodid = Path(sys.executable).with_name("whodid")
    return [str(whodid), "serve", "--store", store_url(file), "--port", str(port)]


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


async def _check_seconds(file: Path) -> float:
    store = open_store(store_url(file))
    try:
        began = time.perf_counter()
        findings = await store.check(lambda done, total: None)  # noqa: ARG005 (nobody watches)
        seconds = time.perf_counter() - began
    finally:
        await store.close()
    if findings:
        raise RuntimeError(f"the store is damaged: {findings[0]}")
    return seconds
