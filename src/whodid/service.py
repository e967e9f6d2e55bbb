"""The composition root: builds everything that serves, starts it, stops it. Knows nothing of HTTP."""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from whodid.auth import Gate
from whodid.changing import Changer
from whodid.clock import wall_clock
from whodid.config import Settings
from whodid.errors import StoreUnavailable
from whodid.evidence.examining import Examiner
from whodid.evidence.opening import open_ledger, open_signer
from whodid.evidence.panel import Panel
from whodid.evidence.publishing import Publishing
from whodid.evidence.serving import Evidence
from whodid.evidence.signing import Signer
from whodid.evidence.witnesses import Witness, parse_witnesses
from whodid.feed import Feed
from whodid.identity import Identity
from whodid.metrics import Metrics
from whodid.ratelimit import RateLimit
from whodid.recording import Recorder
from whodid.records import IdMakers
from whodid.sequencer import Limits, Sequencer
from whodid.store.base import Store
from whodid.store.opening import open_store

_REACH_SECONDS: Final = 2.0
"""How long whoever asks whether the server is ready is kept waiting."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server's parts."""

    settings: Settings
    store: Store
    sequencer: Sequencer
    gate: Gate
    recorder: Recorder
    identity: Identity
    changer: Changer
    rate_limit: RateLimit | None
    publishing: Publishing
    evidence: Evidence
    feed: Feed
    metrics: Metrics
    clock: Callable[[], int]

    def start(self) -> None:
        """Begin the work in the background; in the event loop that serves."""
        self.store.watch(self.gate.forget_account)
        self.publishing.start()

    async def reach(self) -> None:
        """Raise ``StoreUnavailable`` unless the store answers, soon."""
        asking = asyncio.ensure_future(self.store.account("-"))
        done, _ = await asyncio.wait([asking], timeout=_REACH_SECONDS)
        if not done:
            asking.cancel()  # which may take its time, too
            asking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            raise StoreUnavailable(f"the store does not answer within {_REACH_SECONDS:g} seconds")
        asking.result()

    async def close(self) -> None:
        """Finish what was taken, record what is owed, and let go of the store."""
        await self.feed.stop()
        await self.publishing.close()
        await self.gate.close()
        await self.sequencer.close()
        await self.store.close()


async def start_service(
    settings: Settings,
    *,
    clock: Callable[[], int] = wall_clock,
    random_bytes: Callable[[int], bytes] = os.urandom,
) -> Service:
    """Open the store and build what serves it. Raises ``StoreUnusable``, ``StoreUnavailable``, ``InvalidSetting``."""
    witnesses = parse_witnesses(settings.witnesses)
    store = open_store(settings.store, create=True, exclusive=True)
    metrics = Metrics()
    limits = Limits(
        queue_events=settings.queue_events,
        queue_bytes=settings.queue_mib * 1024 * 1024,
        batch_events=settings.batch_events,
    )
    ids = IdMakers(random_bytes)
    feed = Feed(store, monotonic=time.monotonic)
    sequencer = Sequencer(store, limits=limits, observer=_Observers(metrics, feed), monotonic=time.monotonic)
    metrics.watch_queue(lambda: sequencer.waiting_events)
    gate = Gate(store, sequencer, clock=clock, ids=ids, cache_size=settings.token_cache)
    recorder = Recorder(store, sequencer, gate, clock=clock, ids=ids)
    identity = Identity(store, clock=clock, random_bytes=random_bytes, append=sequencer.append)
    changer = Changer(store, sequencer, gate, identity)
    rate_limit = RateLimit(settings.rate_limit, monotonic=time.monotonic) if settings.rate_limit else None
    try:
        signer = await open_signer(settings, store)
    except BaseException:
        await store.close()
        raise
    publishing = _publishing(settings, store, signer, witnesses, metrics, clock=clock, random_bytes=random_bytes)
    evidence = Evidence(store, signer, publishing)
    return Service(
        settings=settings,
        store=store,
        sequencer=sequencer,
        gate=gate,
        recorder=recorder,
        identity=identity,
        changer=changer,
        rate_limit=rate_limit,
        publishing=publishing,
        evidence=evidence,
        feed=feed,
        metrics=metrics,
        clock=clock,
    )


class _Observers:
    """Who is told what the sequencer does."""

    def __init__(self, metrics: Metrics, feed: Feed) -> None:
        self._metrics = metrics
        self._feed = feed

    def committed(self, submissions: int, events: int, seconds: float) -> None:
        """A batch is durable."""
        self._metrics.committed(submissions, events, seconds)
        self._feed.poke()

    def failed(self, submissions: int) -> None:
        """A batch failed as a whole."""
        self._metrics.failed(submissions)


def _publishing(
    settings: Settings,
    store: Store,
    signer: Signer,
    witnesses: Sequence[Witness],
    metrics: Metrics,
    *,
    clock: Callable[[], int],
    random_bytes: Callable[[int], bytes],
) -> Publishing:
    """What publishes the store's checkpoints."""
    panel = Panel(
        store,
        witnesses,
        clock=clock,
        monotonic=time.monotonic,
        random_bytes=random_bytes,
        rest_seconds=settings.witness_seconds,
        observer=metrics,
    )
    return Publishing(
        store,
        signer,
        Examiner(store, signer, open_ledger(settings), monotonic=time.monotonic, observer=metrics),
        panel,
        random_bytes=random_bytes,
        round_seconds=settings.witness_seconds,
        observer=metrics,
    )
