"""Producers that give up on nothing: each event has an ``_id`` of its own, and is sent until it is acknowledged."""

import http.client
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

from tests.acceptance.running import eventually
from tests.building import action, flat, new_id, no_progress
from tests.postgresql.serving import Answer, Home, Server, Tenant, Threads

from whodid.records import parse_record


class Producers:
    """Threads that record events with ``_id``s of their own, each again and again until it is acknowledged."""

    def __init__(self, tenant: Tenant, threads: Threads) -> None:
        self.tenant = tenant
        self.places: dict[str, int] = {}
        """What was acknowledged, and where it is."""
        self.tried = set[str]()
        self.refused = 0
        """How often one was not acknowledged at once."""
        self.servers: list[Server] = []
        self._threads = threads
        self._lock = threading.Lock()

    @property
    def newest(self) -> int:
        """The highest place that was acknowledged."""
        with self._lock:
            return max(self.places.values())

    def start(self, servers: Sequence[Server], count: int = 3, batch: int = 3) -> None:
        """Begin. Whoever is not answered tries another server."""
        for _ in range(count):
            self._threads.start(self._produce, servers, batch)

    def _produce(self, servers: Sequence[Server], batch: int) -> None:
        ways = itertools.cycle(servers)
        way = next(ways)
        while not self._threads.over.is_set():
            events = [action(_id=new_id(), action="record") for _ in range(batch)]
            with self._lock:
                self.tried |= {event["_id"] for event in events}
            while (places := self._sent(way, events)) is None and not self._threads.over.is_set():
                way = next(ways)
                time.sleep(0.05)  # as producers do
            with self._lock:
                self.places |= places or {}

    def _sent(self, server: Server, events: list[dict[str, Any]]) -> dict[str, int] | None:
        """The places of events; None where they were not acknowledged."""
        try:
            answer = server.post(self.tenant.text, events)
        except (OSError, http.client.HTTPException):
            if not server.killed:
                raise
            answer = None
        if answer is not None and answer.status in (200, 201):
            return answer.places
        if answer is not None:
            refused(answer)
        with self._lock:
            self.refused += 1
        return None

    def more(self, count: int) -> None:
        """Wait until so many more events were acknowledged."""
        wanted = len(self.places) + count
        eventually(f"{count} more events are recorded", lambda: self._checked() >= wanted, 40)

    def _checked(self) -> int:
        self._threads.check()
        return len(self.places)


def refused(answer: Answer) -> None:
    """Check that an answer says that the store can't be used now, and when to try again."""
    assert answer.status == 503, answer
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json["code"] == "store_unavailable", answer.json


def check_kept(home: Home, made: Producers) -> None:
    """Check that each acknowledged event is where its receipt says, none twice, no number missing, and all is sound."""
    entries = home.beside(lambda store: flat(store.entries(made.tenant.no)))
    assert [entry.seq for entry in entries] == list(range(len(entries)))
    bodies = [(parse_record(entry.kind, entry.record), entry.seq) for entry in entries]
    found = [(str(body.id), seq) for body, seq in bodies if getattr(body, "action", "") == "record"]
    assert len(dict(found)) == len(found), "an event is there twice"
    assert made.places.items() <= dict(found).items()
    assert dict(found).keys() <= made.tried
    assert home.beside(lambda store: store.check(no_progress)) == []
