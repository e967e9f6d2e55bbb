"""Filling: stores of several sizes with a believable past, made once a run, for whoever reads or weighs them.

One store grows through the sizes, in the order of time as a log does, and is copied at each. The first size has a
tail of 30 days and then a week of its own; each further one goes on with a week of its own. So each size, seen at the
end of its last week, has most of its events within the 7 days that a reading call looks at. A server of a smaller
size therefore runs with its clock set back (``behind_ms``).
"""

import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.files import store_url
from bench.population import Population
from bench.report import say
from bench.tenant import Tenant, add_tenant
from whodid.records import DAY_MS, Action, Body, Event, IdMaker, Kind, TokenUse, complete
from whodid.service import wall_clock
from whodid.store.base import Receipt, Store, Submission
from whodid.store.opening import open_store

WEEK_MS = 7 * DAY_MS
_TAIL_MS = 30 * DAY_MS
_TAIL_PART = 0.1
_BATCH = 10_000
_LARGE_PART = 0.9
_ACTIONS_PART = 0.75


@dataclass(frozen=True, slots=True)
class Filled:
    """A closed store of one size."""

    file: Path
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
    """The growing store."""

    def __init__(self, store: Store, large: _Account, small: _Account) -> None:
        self._store = store
        self._large = large
        self._small = small
        self.events = 0
        self.ndjson_bytes = 0

    async def fill(self, times: Iterator[list[int]]) -> None:
        """Append events at these times, given in batches. The next batch is made while one is written."""
        writing: asyncio.Task[None] | None = None
        for batch in times:
            made = self._make(batch)
            if writing is not None:
                await writing
            writing = asyncio.create_task(self._write(made))
            await asyncio.sleep(0)  # lets it begin
        if writing is not None:
            await writing

    def _make(self, times: list[int]) -> list[Submission]:
        every = round(1 / (1 - _LARGE_PART))
        small = times[::every]
        large = [time_ms for at, time_ms in enumerate(times) if at % every]
        return [account.submission(part) for account, part in ((self._large, large), (self._small, small)) if part]

    async def _write(self, submissions: list[Submission]) -> None:
        for result in await self._store.append(submissions):
            assert isinstance(result, Receipt), result
        for submission in submissions:
            self.events += len(submission.events)
            self.ndjson_bytes += sum(len(event.record) + 1 for event in submission.events)


async def fill_stores(folder: Path, sizes: tuple[int, ...]) -> list[Filled]:
    """Closed stores of these sizes, ascending."""
    growing = folder / "filling.db"
    end_ms = wall_clock()
    begin_ms = end_ms - len(sizes) * WEEK_MS
    store = open_store(store_url(growing), create=True)
    tenants = [
        await add_tenant(store, name, clock=lambda: begin_ms - _TAIL_MS - DAY_MS)
        for name in ("org-acme-acc0", "org-small-acc0")
    ]
    large, small = (_Account(tenant, seed) for seed, tenant in enumerate(tenants, 3))
    filler = _Filler(store, large, small)
    filled: list[Filled] = []
    for number, size in enumerate(sizes, 1):
        say(f"filling a store to {size:,} events")
        await filler.fill(_times(size - filler.events, begin_ms + (number - 1) * WEEK_MS, tail=number == 1))
        await store.close()
        file = growing if number == len(sizes) else _copy(growing, folder / f"filled-{size}.db")
        behind_ms = (len(sizes) - number) * WEEK_MS
        filled.append(Filled(file, filler.events, filler.ndjson_bytes, behind_ms, *tenants))
        if number < len(sizes):
            store = open_store(store_url(growing))
            filler = _continued(filler, store, large, small)
    return filled


def _continued(before: _Filler, store: Store, large: _Account, small: _Account) -> _Filler:
    filler = _Filler(store, large, small)
    filler.events, filler.ndjson_bytes = before.events, before.ndjson_bytes
    return filler


def _copy(source: Path, target: Path) -> Path:
    shutil.copyfile(source, target)
    return target


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
