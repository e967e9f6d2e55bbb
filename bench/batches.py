"""Batches: 1,000 events a request over HTTP, beside the raw limit of inserting the very same rows."""

import asyncio
import itertools
import re
from dataclasses import dataclass

from bench.load import Outcome, request_bytes, run_load
from bench.options import Options
from bench.places import Place, Places, RawResult
from bench.population import Population
from bench.process import Caller, Server
from bench.report import Figure, median_figure, say
from bench.targets import Targets
from bench.tenant import Tenant, make_store
from whodid.clock import wall_clock
from whodid.records import render_time
from whodid.store.base import Scope
from whodid.web.app import ACTIONS

PART = "batches"

_EVENTS = 1000
_CONNECTIONS = 8
_DISTINCT = 200
"""How many requests differ, where targets come back; they are sent in turn."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What the events of a round look like."""

    name: str
    unique_targets: bool = False
    whole: bool = False
    """Whether a producer gives all that it may: account, times, version. Else the log fills these in."""


@dataclass(frozen=True, slots=True)
class _Round:
    """One server's life, from the empty store on."""

    outcome: Outcome
    peak_memory_mb: float
    server_cpu_seconds: float
    database_cpu_seconds: float | None
    commit_events: float
    """The mean number of events in a commit."""
    request_bytes: float
    """Of a request's body, per event."""
    disk_bytes: int
    raw: RawResult | None

    @property
    def events(self) -> int:
        return self.outcome.requests * _EVENTS

    @property
    def per_second(self) -> float:
        return self.outcome.per_second * _EVENTS

    def raw_per_second(self, at: int) -> float:
        assert self.raw is not None
        return self.raw.rows / self.raw.seconds[at]


def measure_batches(options: Options, places: Places) -> list[Figure]:
    """All figures of this part."""
    requests = options.batch_events // _EVENTS
    usual = []
    for number in range(options.rounds):
        say(f"batches, round {number + 1} of {options.rounds}: {requests:,} requests of {_EVENTS:,} events")
        usual.append(_run(places, _Form("usual"), requests, raw=True))
    say("batches: each event with a target of its own")
    unique = _run(places, _Form("unique targets", unique_targets=True), requests, raw=True)
    say("batches: each event with all keys given")
    whole = _run(places, _Form("all keys given", whole=True), max(requests // 4, 1), raw=False)
    return [*_figures(options.targets, usual), *_variants(unique, whole)]


def _figures(targets: Targets, rounds: list[_Round]) -> list[Figure]:
    def median(name: str, value: list[float], unit: str) -> Figure:
        return median_figure(PART, name, value, unit)

    first = rounds[0]
    assert first.raw is not None
    return [
        median_figure(PART, "events recorded", [a.per_second for a in rounds], "events/s", targets.batches),
        median_figure(
            PART,
            "ratio to the raw limit",
            [a.per_second / a.raw_per_second(0) for a in rounds],
            "",
            targets.raw_ratio,
        ),
        median(f"raw limit, {_EVENTS:,} rows a transaction", [a.raw_per_second(0) for a in rounds], "rows/s"),
        median("raw limit, transactions as large as the server's", [a.raw_per_second(1) for a in rounds], "rows/s"),
        median("ratio to that", [a.per_second / a.raw_per_second(1) for a in rounds], ""),
        median("a request, p50", [a.outcome.percentile_ms(50) for a in rounds], "ms"),
        median("a request, p99", [a.outcome.percentile_ms(99) for a in rounds], "ms"),
        median_figure(PART, "peak memory of the server", [a.peak_memory_mb for a in rounds], "MB", targets.memory_mb),
        median("processor time of the server", [a.server_cpu_seconds / a.events * 1e6 for a in rounds], "µs/event"),
        *_database_figures(rounds),
        median("processor time of the load", [a.outcome.cpu_seconds / a.events * 1e6 for a in rounds], "µs/event"),
        median("events in a commit, mean", [a.commit_events for a in rounds], "events"),
        Figure(PART, "an event in a request", first.request_bytes, "bytes"),
        Figure(PART, "an event's record", first.raw.record_bytes / first.raw.rows, "bytes"),
        Figure(PART, "on disk, all included", first.disk_bytes / first.raw.rows, "bytes/event"),
        Figure(PART, "ratio of that to NDJSON", _disk_ratio(first), "", targets.disk_ratio),
    ]


def _database_figures(rounds: list[_Round]) -> list[Figure]:
    """Of the database's own processes, where there are any."""
    seconds = [a.database_cpu_seconds for a in rounds if a.database_cpu_seconds is not None]
    if not seconds:
        return []
    micros = [second / a.events * 1e6 for second, a in zip(seconds, rounds, strict=True)]
    return [median_figure(PART, "processor time of the database", micros, "µs/event")]


def _variants(unique: _Round, whole: _Round) -> list[Figure]:
    return [
        Figure(PART, "unique targets: events recorded", unique.per_second, "events/s"),
        Figure(PART, "unique targets: ratio to the raw limit", unique.per_second / unique.raw_per_second(0), ""),
        Figure(PART, "unique targets: ratio of disk to NDJSON", _disk_ratio(unique), ""),
        Figure(PART, "unique targets: peak memory of the server", unique.peak_memory_mb, "MB"),
        Figure(PART, "all keys given: events recorded", whole.per_second, "events/s"),
        Figure(PART, "all keys given: an event in a request", whole.request_bytes, "bytes"),
    ]


def _disk_ratio(one: _Round) -> float:
    assert one.raw is not None
    return one.disk_bytes / (one.raw.record_bytes + one.raw.rows)


def _run(places: Places, form: _Form, requests: int, *, raw: bool) -> _Round:
    """Record into an empty store, and then insert what is in it straight into others."""
    place = places.new("batches")
    (tenant,) = asyncio.run(make_store(place))
    bodies = _bodies(form, tenant, requests)
    sent = [request_bytes("POST", ACTIONS, tenant.tokens[Scope.LOGS_WRITE], body) for body in bodies]
    places.calm()
    with Server(place) as server:
        before = places.database_cpu_seconds()
        outcome = run_load(server.port, itertools.islice(itertools.cycle(sent), requests), connections=_CONNECTIONS)
        after = places.database_cpu_seconds()
        database_cpu_seconds = None if before is None or after is None else after - before
        commit_events = _mean_commit(server.port)
        peak_memory_mb, cpu_seconds = server.peak_memory_mb(), server.cpu_seconds()
    say(f"  {outcome.per_second * _EVENTS:,.0f} events/s over HTTP")
    result = _measure_raw(place, commit_events) if raw else None
    size = place.size_bytes()
    place.remove()
    return _Round(
        outcome=outcome,
        peak_memory_mb=peak_memory_mb,
        server_cpu_seconds=cpu_seconds,
        database_cpu_seconds=database_cpu_seconds,
        commit_events=commit_events,
        request_bytes=sum(map(len, bodies)) / len(bodies) / _EVENTS,
        disk_bytes=size,
        raw=result,
    )


def _measure_raw(place: Place, commit_events: float) -> RawResult:
    result = place.measure_raw([_EVENTS, max(round(commit_events), 1)])
    say(f"  {result.rows / result.seconds[0]:,.0f} rows/s is the raw limit")
    return result


def _bodies(form: _Form, tenant: Tenant, requests: int) -> list[bytes]:
    population = Population(seed=1)
    rest = ""
    if form.whole:
        now = render_time(wall_clock())
        rest = f',"account":"{tenant.account.name}","createdAt":"{now}","updatedAt":"{now}","__v":0'
    distinct = requests if form.unique_targets else min(requests, _DISTINCT)
    return [
        b"[%b]" % b",".join(population.sendable(_EVENTS, unique_targets=form.unique_targets, rest=rest))
        for _ in range(distinct)
    ]


def _mean_commit(port: int) -> float:
    with Caller(port) as caller:
        text = bytes(caller.call(request_bytes("GET", "/metrics", "none"))).decode()
    found = dict(re.findall(r"^whodid_batch_events_(sum|count) (\S+)$", text, re.MULTILINE))
    return float(found["sum"]) / float(found["count"])
