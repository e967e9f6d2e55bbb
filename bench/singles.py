"""Singles: one event a request from 64 connections, beside an echo of the same requests by the same server."""

import asyncio
import itertools

from bench.load import Outcome, request_bytes, run_load
from bench.options import Options
from bench.places import Places
from bench.population import Population
from bench.process import Server
from bench.report import Figure, median_figure, say
from bench.server import ECHO
from bench.targets import Targets
from bench.tenant import Tenant, make_store
from whodid.store.base import Scope
from whodid.web.app import ACTIONS

PART = "singles"

_CONNECTIONS = 64
_DISTINCT = 5000
_WARM_UP_SECONDS = 0.5


def measure_singles(options: Options, places: Places) -> list[Figure]:
    """All figures of this part. Events and echoes take turns, so that both meet the same noise."""
    place = places.new("singles")
    (tenant,) = asyncio.run(make_store(place))
    places.calm()
    events = Population(seed=2).sendable(_DISTINCT)
    recorded: list[Outcome] = []
    echoed: list[Outcome] = []
    with Server(place) as server:
        for path in (ACTIONS, ECHO):
            _run(server, path, tenant, events, _WARM_UP_SECONDS)
        cpu_seconds = 0.0
        for number in range(options.rounds):
            say(f"singles, round {number + 1} of {options.rounds}: {options.seconds:g} seconds each")
            before = server.cpu_seconds()
            recorded.append(_run(server, ACTIONS, tenant, events, options.seconds))
            cpu_seconds += server.cpu_seconds() - before
            echoed.append(_run(server, ECHO, tenant, events, options.seconds))
            say(f"  {recorded[-1].per_second:,.0f} requests/s; {echoed[-1].per_second:,.0f} echoes/s")
    return _figures(options.targets, recorded, echoed, cpu_seconds)


def _figures(targets: Targets, recorded: list[Outcome], echoed: list[Outcome], cpu_seconds: float) -> list[Figure]:
    ratios = [one.per_second / echo.per_second for one, echo in zip(recorded, echoed, strict=True)]
    requests = sum(one.requests for one in recorded)
    return [
        median_figure(PART, "requests recorded", [one.per_second for one in recorded], "requests/s", targets.singles),
        median_figure(PART, "ratio to the echo", ratios, "", targets.echo_ratio),
        median_figure(PART, "echo", [echo.per_second for echo in echoed], "requests/s"),
        median_figure(PART, "a request, p50", [one.percentile_ms(50) for one in recorded], "ms"),
        median_figure(PART, "a request, p99", [one.percentile_ms(99) for one in recorded], "ms"),
        median_figure(PART, "an echo, p50", [echo.percentile_ms(50) for echo in echoed], "ms"),
        median_figure(PART, "an echo, p99", [echo.percentile_ms(99) for echo in echoed], "ms"),
        Figure(PART, "processor time of the server", cpu_seconds / requests * 1e6, "µs/request"),
    ]


def _run(server: Server, path: str, tenant: Tenant, events: list[bytes], seconds: float) -> Outcome:
    token = tenant.tokens[Scope.LOGS_WRITE]
    requests = [request_bytes("POST", path, token, event) for event in events]
    return run_load(server.port, itertools.cycle(requests), connections=_CONNECTIONS, seconds=seconds)
