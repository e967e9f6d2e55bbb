"""Proofs: that a random record is in a large log, straight from a server's parts and over HTTP.

Cold means that the caches were emptied and each record is asked for once: nearly all comes from the disk, but for what
records have in common, the upper pages of the tables. Warm is the same again, with all of it in the kernel's cache.
"""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from bench.filling import Filled
from bench.load import request_bytes
from bench.process import Caller, Server
from bench.sqlite import SqlitePlace
from whodid.service import Service, start_service
from whodid.store.base import Account, Scope
from whodid.web.app import PROOF

_BLOCK = 20
_WARM_UP = 5
_BEGINNING = b"c2sp.org/tlog-proof@v1\n"


@dataclass(frozen=True, slots=True)
class Proofs:
    """How long it took, in seconds, for random records of a store's larger log."""

    made: list[float]
    made_cold: list[float]
    read: list[float]
    """Only the entry, by its ``_id``."""
    read_cold: list[float]
    served: list[float]
    """Over HTTP, each with its durable token use."""


def measure_proofs(filled: Filled, calls: int) -> Proofs:
    """Ask for so many random records in all ways."""
    ids = asyncio.run(_random_ids(filled, calls + _WARM_UP))
    read_cold, made_cold = (_ask_coldly(filled, ids, way) for way in (_read, _prove))
    made, read = asyncio.run(_ask(filled, ids, (_prove, _read)))
    return Proofs(made, made_cold, read, read_cold, _ask_over_http(filled, ids))


async def _random_ids(filled: Filled, count: int) -> list[str]:
    store = filled.place.open()
    try:
        account = await store.account(filled.large.account.name)
        assert account is not None
        ids: list[str] = []
        for seq in random.Random(6).sample(range(account.frontier.size), count):
            chunk = await anext(store.entries(account.no, seq))
            ids.append(msgspec.json.decode(chunk[0].record)["_id"])
        return ids
    finally:
        await store.close()


def _ask_coldly(filled: Filled, ids: Sequence[str], way: "_Way") -> list[float]:
    """The seconds that each record took the first time; none where a database has caches of its own."""
    if not isinstance(filled.place, SqlitePlace):
        return []
    _empty_caches(filled.place)
    (seconds,) = asyncio.run(_ask(filled, ids, (way,)))
    return seconds


def _empty_caches(place: SqlitePlace) -> None:
    """Let the kernel forget a store's file. SQLite's own caches end with the processes and connections."""
    descriptor = os.open(place.file, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # what is not on the disk is not forgotten
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


async def _prove(service: Service, account: Account, record_id: str) -> None:
    await service.evidence.proof(account.no, account.name, record_id)  # checks it before it hands it out


async def _read(service: Service, account: Account, record_id: str) -> None:
    assert await service.store.entry(account.no, record_id) is not None


_Way: TypeAlias = Callable[[Service, Account, str], Awaitable[None]]


async def _ask(filled: Filled, ids: Sequence[str], ways: Sequence[_Way]) -> list[list[float]]:
    """The seconds that each record took in each of the ways; these take turns, block by block."""
    seconds: list[list[float]] = [[] for _ in ways]
    service = await start_service(filled.place.settings())
    try:
        for way in ways:
            await _ask_all(way, service, filled.large.account, ids[:_WARM_UP])
        for first in range(_WARM_UP, len(ids), _BLOCK):
            for way, of_way in zip(ways, seconds, strict=True):
                of_way.extend(await _ask_all(way, service, filled.large.account, ids[first : first + _BLOCK]))
    finally:
        await service.close()
    return seconds


async def _ask_all(way: _Way, service: Service, account: Account, ids: Sequence[str]) -> list[float]:
    seconds: list[float] = []
    for record_id in ids:
        began = time.perf_counter()
        await way(service, account, record_id)
        seconds.append(time.perf_counter() - began)
    return seconds


def _ask_over_http(filled: Filled, ids: Sequence[str]) -> list[float]:
    token = filled.large.tokens[Scope.SECURITY_LOGS]
    requests = [request_bytes("GET", PROOF.replace("{_id}", record_id), token) for record_id in ids]
    seconds: list[float] = []
    with Server(filled.place, behind_ms=filled.behind_ms) as server, Caller(server.port) as caller:
        for request in requests:
            began = time.perf_counter()
            body = caller.call(request)
            seconds.append(time.perf_counter() - began)
            if bytes(body[: len(_BEGINNING)]) != _BEGINNING:
                raise RuntimeError(f"a proof file should have come, not {bytes(body[:40])!r}…")
    return seconds[_WARM_UP:]
