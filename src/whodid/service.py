"""The composition root: builds everything that serves, starts it, stops it. Knows nothing of HTTP."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from whodid.auth import Gate
from whodid.config import Settings
from whodid.metrics import Metrics
from whodid.recording import Recorder
from whodid.records import IdMakers
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Store
from whodid.store.opening import open_store


def wall_clock() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Service:
    """A running server's parts."""

    settings: Settings
    store: Store
    sequencer: Sequencer
    gate: Gate
    recorder: Recorder
    metrics: Metrics
    clock: Callable[[], int]

    async def close(self) -> None:
        """Finish what was taken, record what is owed, and let go of the store."""
        await self.gate.close()
        await self.sequencer.close()
        await self.store.close()


def start_service(
    settings: Settings,
    *,
    clock: Callable[[], int] = wall_clock,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Service:
    """Open the store and build what serves it. Raises ``StoreUnusable``, ``StoreUnavailable``, ``InvalidSetting``."""
    store = open_store(settings.store, create=True, exclusive=True)
    metrics = Metrics()
    limits = Limits(
        queue_events=settings.queue_events,
        queue_bytes=settings.queue_mib * 1024 * 1024,
        batch_events=settings.batch_events,
    )
    ids = IdMakers(random_bytes)
    sequencer = Sequencer(store, limits=limits, observer=metrics, monotonic=time.monotonic)
    metrics.watch_queue(lambda: sequencer.waiting_events)
    gate = Gate(store, sequencer, clock=clock, ids=ids, cache_size=settings.token_cache)
    recorder = Recorder(store, sequencer, gate, clock=clock, ids=ids)
    return Service(settings, store, sequencer, gate, recorder, metrics, clock)
