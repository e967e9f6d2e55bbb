"""Filling: stores of several sizes with a believable past, made once a run, for whoever reads or weighs them.

One store grows through the sizes, in the order of time as a log does, and is copied at each. The first size has a
tail of 30 days and then a week of its own; each further one goes on with a week of its own. So each size, seen at the
end of its last week, has most of its events within the 7 days that a reading call looks at. A server of a smaller
size therefore runs with its clock set back (``behind_ms``).
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass

from bench.places import Place, Places
from bench.population import Population
from bench.report import say
from bench.tenant import Tenant, add_tenant
from whodid.clock import wall_clock
from whodid.records import DAY_MS, Action, Body, Event, IdMaker, Kind, TokenUse, complete
from whodid.store.base import Receipt, Store, Submission

WEEK_MS = 7 * DAY_MS
_TAIL_MS = 30 * DAY_MS
_TAIL_PART = 0.1
_BATCH = 10_000
_LARGE_PART = 0.9
_ACTIONS_PART = 0.75


@dataclass(frozen=True, slots=True)
class Filled:
    """A closed store of one size."""

    place: Place
    events: int
    ndjson_bytes: int
    """Of the records that were filled in, one a line."""
    behind_ms: int
    """How far in the past its newest events are."""
    large: Tenant
    """Nine tenths of the events are this account's."""
    small: Tenant


class _Account:
    """One account while it is filled."""

    def __init__(self, tenant: Tenant, seed: int) -> None:
        self.tenant = tenant
        self._population = Population(seed)
        self._ids = IdMaker(os.urandom)

    def submission(self, times: list[int]) -> Submission:
        """Events at these times, actions and token uses mixed."""
        population = self._population
        actions = round(len(times) * _ACTIONS_PART)
        bodies: list[Body] = [*population.actions(actions), *population.token_uses(len(times) - actions)]
        bodies = [bodies[at * 7919 % len(bodies)] for at in range(len(bodies))] if len(bodies) % 7919 else bodies
        return Submission(
            self.tenant.account.no, [self._event(body, time_ms) for body, time_ms in zip(bodies, times, strict=True)]
        )

    def _event(self, body: Action | TokenUse, time_ms: int) -> Event:
        return complete(
            body,
            kind=Kind.ACTION if isinstance(body, Action) else Kind.TOKEN,
            record_id=self._ids(time_ms),
            account=self.tenant.account.name,
            created_ms=time_ms,
            recorded_ms=time_ms,
        )


class _Filler:
    """Fills the growing store. Between two sizes, it is closed."""

    def __init__(self, place: Place, tenants: list[Tenant]) -> None:
        self.tenants = tenants
        self.events = 0
        self.ndjson_bytes = 0
        self._place = place
        self._large, self._small = (_Account(tenant, seed) for seed, tenant in enumerate(tenants, 3))
        self._now_ms = 0
        """When the events that are being appended happened: their time of recording, too."""

    async def fill(self, times: Iterator[list[int]]) -> None:
        """Append events at these times, given in batches. The next batch is made while one is written."""
        store = self._place.open(lambda: self._now_ms)
        writing: asyncio.Task[None] | None = None
        try:
            for batch in times:
                made = self._make(batch)
                if writing is not None:
                    await writing
                self._now_ms = batch[-1]
                writing = asyncio.create_task(self._write(store, made))
                await asyncio.sleep(0)  # lets it begin
            if writing is not None:
                await writing
        finally:
            await store.close()

    def _make(self, times: list[int]) -> list[Submission]:
        every = round(1 / (1 - _LARGE_PART))
        small = times[::every]
        large = [time_ms for at, time_ms in enumerate(times) if at % every]
        return [account.submission(part) for account, part in ((self._large, large), (self._small, small)) if part]

    async def _write(self, store: Store, submissions: list[Submission]) -> None:
        for result in await store.append(submissions):
            assert isinstance(result, Receipt), result
        for submission in submissions:
            self.events += len(submission.events)
            self.ndjson_bytes += sum(len(event.record) + 1 for event in submission.events)


async def fill_stores(places: Places, sizes: tuple[int, ...]) -> list[Filled]:
    """Closed stores of these sizes, ascending."""
    growing = places.new("filling")
    begin_ms = wall_clock() - len(sizes) * WEEK_MS
    filler = _Filler(growing, await _tenants(growing, begin_ms - _TAIL_MS - DAY_MS))
    filled: list[Filled] = []
    for number, size in enumerate(sizes, 1):
        say(f"filling a store to {size:,} events")
        await filler.fill(_times(size - filler.events, begin_ms + (number - 1) * WEEK_MS, tail=number == 1))
        growing.settle()
        place = growing if number == len(sizes) else places.copy(growing, f"filled-{size}")
        behind_ms = (len(sizes) - number) * WEEK_MS
        filled.append(Filled(place, filler.events, filler.ndjson_bytes, behind_ms, *filler.tenants))
    places.calm()
    return filled


async def _tenants(place: Place, made_ms: int) -> list[Tenant]:
    store = place.open(lambda: made_ms)
    try:
        return [await add_tenant(store, name, clock=lambda: made_ms) for name in ("org-acme-acc0", "org-small-acc0")]
    finally:
        await store.close()


def _times(count: int, begin_ms: int, *, tail: bool) -> Iterator[list[int]]:
    """Times in order, in batches: evenly over the week from ``begin_ms`` on, and over the tail before it."""
    before = round(count * _TAIL_PART) if tail else 0
    for first in range(0, count, _BATCH):
        yield [
            begin_ms - _TAIL_MS + at * _TAIL_MS // before
            if at < before
            else begin_ms + (at - before) * WEEK_MS // (count - before)
            for at in range(first, min(first + _BATCH, count))
        ]
