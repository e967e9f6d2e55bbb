"""Reading: both reading calls at each size, over HTTP and, for comparison, the same query straight from the store.

The servers of all sizes run at the same time and are called in turn, block by block, so that sizes can be compared
on a machine that is not always equally fast. Only one call is under way at any time.
"""

import asyncio
import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass

from bench.filling import WEEK_MS, Filled
from bench.load import request_bytes
from bench.options import Options
from bench.population import FREQUENT_SCOPE, FREQUENT_TYPE, RARE_TYPE
from bench.process import Caller, Server
from bench.report import Figure, Target, percentile, say
from whodid.clock import wall_clock
from whodid.records import MAX_TIME_MS, Kind
from whodid.store.base import Query, Scope
from whodid.web.app import ACTIONS, TOKEN_USES

PART = "reading"

_COUNT = 1000
_BLOCK = 20
_WARM_UP = 5

Latencies = dict[tuple["_Call", int], list[float]]
"""In seconds, by call and size."""


@dataclass(frozen=True, slots=True)
class _Call:
    """A form of reading call."""

    name: str
    kind: Kind
    equals: tuple[tuple[str, str], ...] = ()
    large: bool = True
    """Which of the two accounts it is about."""

    @property
    def path(self) -> str:
        """The URL, with its query."""
        conditions = "".join(f"&{key}={value}" for key, value in self.equals)
        return f"{ACTIONS if self.kind == Kind.ACTION else TOKEN_USES}?count={_COUNT}{conditions}"

    def request(self, filled: Filled) -> bytes:
        """As bytes, to the server of a store."""
        tenant = filled.large if self.large else filled.small
        return request_bytes("GET", self.path, tenant.tokens[Scope.SECURITY_LOGS])

    def query(self, filled: Filled) -> Query:
        """The same, as a store is asked."""
        tenant = filled.large if self.large else filled.small
        since_ms = wall_clock() - filled.behind_ms - WEEK_MS
        return Query(tenant.account.no, self.kind, since_ms, MAX_TIME_MS + 1, _COUNT, self.equals)


_CALLS = (
    _Call("actions", Kind.ACTION),
    _Call("actions, frequent type", Kind.ACTION, (("type", FREQUENT_TYPE),)),
    _Call("actions, rare type", Kind.ACTION, (("type", RARE_TYPE),)),
    _Call("actions of the small account", Kind.ACTION, large=False),
    _Call("token uses", Kind.TOKEN),
    _Call("token uses, frequent scope", Kind.TOKEN, (("scope", FREQUENT_SCOPE),)),
)


def measure_reading(options: Options, stores: list[Filled]) -> list[Figure]:
    """All figures of this part."""
    say(f"reading: {options.calls} calls of each form at each size, straight from the store")
    direct = asyncio.run(_read_directly(options, stores))
    say("reading: the same over HTTP")
    served = _read_over_http(options, stores)
    figures: list[Figure] = []
    for call in _CALLS:
        smallest = percentile(served[call, stores[0].events], 50)
        for filled in stores:
            figures.append(_figure(call, filled.events, served, direct, options.targets.reading_ms))
            if filled.events == 5_000_000:  # the size that the target is about
                ratio = percentile(served[call, filled.events], 50) / smallest
                name = f"{call.name}, p50 at 5,000,000 to that at {stores[0].events:,}"
                figures.append(Figure(PART, name, ratio, "", options.targets.reading_growth))
    return figures


def _figure(call: _Call, size: int, served: Latencies, direct: Latencies, target: Target) -> Figure:
    seconds = served[call, size]
    beside = {"p99": percentile(seconds, 99) * 1000, "the store alone": percentile(direct[call, size], 50) * 1000}
    return Figure(PART, f"{call.name}, at {size:,}: p50", percentile(seconds, 50) * 1000, "ms", target, beside=beside)


def _read_over_http(options: Options, stores: list[Filled]) -> Latencies:
    latencies: Latencies = defaultdict(list)
    with ExitStack() as stack:
        callers = [
            (filled, stack.enter_context(Caller(server.port)))
            for filled in stores
            for server in (stack.enter_context(Server(filled.place, behind_ms=filled.behind_ms)),)
        ]
        for call in _CALLS:
            for filled, caller in callers:
                _block(caller, call.request(filled), _WARM_UP)
            for _ in range(0, options.calls, _BLOCK):
                for filled, caller in callers:
                    latencies[call, filled.events] += _block(caller, call.request(filled), _BLOCK)
    return latencies


def _block(caller: Caller, request: bytes, calls: int) -> list[float]:
    seconds: list[float] = []
    for _ in range(calls):
        began = time.perf_counter()
        body = caller.call(request)
        seconds.append(time.perf_counter() - began)
        expected = b'{"count":%d,' % _COUNT
        if bytes(body[: len(expected)]) != expected:
            raise RuntimeError(f"{_COUNT} records should have come, not {bytes(body[:30])!r}…; take larger --sizes")
    return seconds


async def _read_directly(options: Options, stores: list[Filled]) -> Latencies:
    latencies: Latencies = defaultdict(list)
    for filled in stores:
        store = filled.place.open()
        try:
            for call in _CALLS:
                for number in range(_WARM_UP + options.calls):
                    query = call.query(filled)
                    began = time.perf_counter()
                    await store.newest(query)
                    if number >= _WARM_UP:
                        latencies[call, filled.events].append(time.perf_counter() - began)
        finally:
            await store.close()
    return latencies
