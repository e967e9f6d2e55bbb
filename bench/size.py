"""Size: what stores weigh on disk beside the same records as NDJSON, how soon a server of one is ready, its check."""

import asyncio
import http.client
import socket
import subprocess
import sys
import time
from pathlib import Path

from bench.filling import Filled
from bench.options import Options
from bench.places import Place
from bench.report import Figure, median_figure, say

PART = "size"

_STARTS = 5
_LARGE = 1_000_000
_PATIENCE_SECONDS = 60
_ROOT = Path(__file__).parent.parent


def measure_size(options: Options, stores: list[Filled]) -> list[Figure]:
    """All figures of this part. The stores are closed."""
    figures: list[Figure] = []
    for filled in stores:
        name = f"at {filled.events:,}"
        disk = filled.place.size_bytes()
        # A small store has learned no dictionary from its own records yet, so the target is about large ones.
        target = options.targets.disk_ratio if filled.events >= _LARGE else None
        figures += [
            Figure(PART, f"on disk, all included, {name}", disk / filled.events, "bytes/event"),
            Figure(PART, f"the same as NDJSON, {name}", filled.ndjson_bytes / filled.events, "bytes/event"),
            Figure(PART, f"ratio, {name}", disk / filled.ndjson_bytes, "", target),
        ]
    for filled in stores:
        say(f"size: starting a server of {filled.events:,} events")
        seconds = [_start_seconds(filled.place) for _ in range(_STARTS)]
        figures.append(
            median_figure(
                PART, f"from start to ready, at {filled.events:,}", seconds, "s", options.targets.start_seconds
            )
        )
    say(f"size: checking the store of {stores[0].events:,} events")
    seconds_per_event = asyncio.run(_check_seconds(stores[0].place)) / stores[0].events
    figures.append(Figure(PART, f"check of a store, at {stores[0].events:,}", seconds_per_event * 1e6, "µs/event"))
    return figures


def _start_seconds(place: Place) -> float:
    """From starting the process until ``/ready`` answers 200."""
    port = _free_port()
    began = time.perf_counter()
    process = subprocess.Popen(_command(place, port), cwd=_ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _is_ready(port):
            if process.poll() is not None or time.perf_counter() - began > _PATIENCE_SECONDS:
                raise RuntimeError(f"no server became ready: {' '.join(_command(place, port))}")
            time.sleep(0.002)
        return time.perf_counter() - began
    finally:
        process.terminate()
        process.wait()


def _command(place: Place, port: int) -> list[str]:
    """What an operator starts."""
    whodid = Path(sys.executable).with_name("whodid")
    return [str(whodid), "serve", *place.flags(), "--port", str(port)]


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


async def _check_seconds(place: Place) -> float:
    store = place.open()
    try:
        began = time.perf_counter()
        findings = await store.check(lambda done, total: None)  # noqa: ARG005 (nobody watches)
        seconds = time.perf_counter() - began
    finally:
        await store.close()
    if findings:
        raise RuntimeError(f"the store is damaged: {findings[0]}")
    return seconds
