"""Servers: several server processes on one database, with batches to accounts of their own or to one that they share.

Each measurement has a database and servers of its own, all alike, so that none is slower because of those before it.
"""

import asyncio
import itertools
from dataclasses import dataclass

from bench.load import Lane, request_bytes, run_lanes
from bench.options import Options
from bench.places import Places
from bench.population import Population
from bench.process import Server, started
from bench.report import Figure, median_figure, say
from bench.tenant import make_store
from whodid.store.base import Scope
from whodid.web.app import ACTIONS

PART = "servers"

_SERVERS = (1, 2, 4)
_EVENTS = 1000
_CONNECTIONS = 8
"""To each server."""
_DISTINCT = 50
_WARM_UP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Round:
    """What some servers did together."""

    events_per_second: float
    busy_cores: float | None
    """How many cores were busy with all of it: servers, database, load. None: the database is elsewhere."""


def measure_servers(options: Options, places: Places) -> list[Figure]:
    """All figures of this part. Different numbers of servers take turns, round by round."""
    population = Population(seed=8)
    bodies = [b"[%b]" % b",".join(population.sendable(_EVENTS)) for _ in range(_DISTINCT)]
    kinds = [(servers, shared) for shared in (False, True) for servers in _SERVERS]
    rounds: dict[tuple[int, bool], list[_Round]] = {kind: [] for kind in kinds}
    for number in range(options.rounds):
        say(f"servers, round {number + 1} of {options.rounds}: {options.seconds:g} seconds each")
        for servers, shared in kinds:
            if servers > 1 or not shared:  # with one server, there is nobody to share with
                rounds[servers, shared].append(_run(places, bodies, servers, options.seconds, shared=shared))
    return [figure for kind in kinds for figure in _figures(*kind, rounds)]


def _figures(servers: int, shared: bool, rounds: dict[tuple[int, bool], list[_Round]]) -> list[Figure]:  # noqa: FBT001
    measured = rounds[servers, shared]
    if not measured:
        return []
    alone = rounds[1, False]
    name = f"{servers} servers, {'one account' if shared else 'an account each'}" if servers > 1 else "1 server"
    figures = [median_figure(PART, f"{name}: events recorded", [one.events_per_second for one in measured], "events/s")]
    if busy := [one.busy_cores for one in measured if one.busy_cores is not None]:
        figures.append(median_figure(PART, f"{name}: cores busy, load included", busy, "cores"))
    if servers > 1:
        ratios = [one.events_per_second / other.events_per_second for one, other in zip(measured, alone, strict=True)]
        figures.append(median_figure(PART, f"{name}: ratio to 1 server", ratios, ""))
    return figures


def _run(places: Places, bodies: list[bytes], count: int, seconds: float, *, shared: bool) -> _Round:
    place = places.new("servers")
    tenants = asyncio.run(make_store(place, accounts=1 if shared else count))
    sent = [
        [request_bytes("POST", ACTIONS, tenant.tokens[Scope.LOGS_WRITE], body) for body in bodies] for tenant in tenants
    ]
    places.calm()
    with started([place] * count) as servers:
        lanes = [
            Lane(server.port, itertools.cycle(requests))
            for server, requests in zip(servers, itertools.cycle(sent), strict=False)
        ]
        run_lanes(lanes, connections=_CONNECTIONS, seconds=_WARM_UP_SECONDS)
        before = _cpu_seconds(places, servers)
        outcome = run_lanes(lanes, connections=_CONNECTIONS, seconds=seconds)
        after = _cpu_seconds(places, servers)
    place.remove()
    say(f"  {count}, {'shared' if shared else 'own'}: {outcome.per_second * _EVENTS:,.0f} events/s")
    busy = None if before is None or after is None else (after - before + outcome.cpu_seconds) / outcome.seconds
    return _Round(outcome.per_second * _EVENTS, busy)


def _cpu_seconds(places: Places, servers: list[Server]) -> float | None:
    """Of the servers and the database together."""
    database = places.database_cpu_seconds()
    return None if database is None else database + sum(server.cpu_seconds() for server in servers)
