"""Checkpoints under load: a server that takes batches at full speed, asked for its log's checkpoint all the while.

Rounds with and without these calls take turns on the same server.
"""

import asyncio
import itertools
import threading
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from bench.load import Outcome, request_bytes, run_load
from bench.places import Places
from bench.population import Population
from bench.process import Caller, Server
from bench.tenant import make_store
from whodid.store.base import Scope
from whodid.web.app import ACTIONS, CHECKPOINT

BATCH = 1000
_CONNECTIONS = 8
_EVERY_SECONDS = 0.1
_DISTINCT = 200
_WARM_UP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """What the calls met, and what the load met with them and without."""

    seconds: list[float]
    """That each call took."""
    with_calls: list[Outcome]
    without_calls: list[Outcome]


def measure_checkpoints(places: Places, *, rounds: int, seconds: float, public_log: bool) -> Checkpoints:
    """Load an empty store's server, in rounds of so many ``seconds``; each kind is first in every other pair.

    In a public log, calls for checkpoints leave no token uses.
    """
    place = places.new("public-log" if public_log else "private-log")
    (tenant,) = asyncio.run(make_store(place))
    population = Population(seed=7)
    bodies = [b"[%b]" % b",".join(population.sendable(BATCH)) for _ in range(_DISTINCT)]
    batches = [request_bytes("POST", ACTIONS, tenant.tokens[Scope.LOGS_WRITE], body) for body in bodies]
    path = CHECKPOINT.replace("{account}", tenant.account.name)
    call = request_bytes("GET", path, tenant.tokens[Scope.SECURITY_LOGS])
    result = Checkpoints([], [], [])
    with Server(place, public_log=public_log) as server:
        _load(server.port, batches, _WARM_UP_SECONDS)
        for number in range(rounds):
            for asked in (False, True) if number % 2 == 0 else (True, False):
                if asked:
                    with _Asking(server.port, call) as asking:
                        result.with_calls.append(_load(server.port, batches, seconds))
                    result.seconds.extend(asking.seconds)
                else:
                    result.without_calls.append(_load(server.port, batches, seconds))
    return result


def _load(port: int, batches: list[bytes], seconds: float) -> Outcome:
    return run_load(port, itertools.cycle(batches), connections=_CONNECTIONS, seconds=seconds)


class _Asking(AbstractContextManager["_Asking"]):
    """A thread that makes a call every so often, and as soon as it can where one took longer."""

    def __init__(self, port: int, request: bytes) -> None:
        self.seconds: list[float] = []
        self._port = port
        self._request = request
        self._enough = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._enough.set()
        self._thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def _run(self) -> None:
        try:
            with Caller(self._port) as caller:
                wait = _EVERY_SECONDS
                while not self._enough.wait(wait):
                    began = time.perf_counter()
                    caller.call(self._request)
                    taken = time.perf_counter() - began
                    self.seconds.append(taken)
                    wait = max(_EVERY_SECONDS - taken, 0)
        except Exception as error:  # told by whoever waits for this thread
            self._failure = error
