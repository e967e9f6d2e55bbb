"""Places: where a run makes its stores, whichever database they are in.

A part of a run asks for a new, empty store, and gets the place that it is at: how it is named, opened, served, weighed
and removed. So the parts know no database, and what is measured of one is measured of the other in the same way.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from whodid.clock import wall_clock
from whodid.config import Settings
from whodid.store.base import Store


class RawResult(msgspec.Struct):
    """What a raw limit was measured to be."""

    rows: int
    record_bytes: int
    """Of all records, as they stand on the wire."""
    seconds: list[float]
    """That the insertion took, for each number of rows a transaction."""


class Place(Protocol):
    """Where one store is."""

    @property
    def url(self) -> str:
        """How the store is named."""
        ...

    @property
    def folder(self) -> Path:
        """Where files that belong to it may lie."""
        ...

    def flags(self) -> list[str]:
        """What a server, or a command, is told to find the store and what signs for it."""
        ...

    def settings(self) -> Settings:
        """The same, for whoever builds a server's parts."""
        ...

    def open(self, clock: Callable[[], int] = wall_clock) -> Store:
        """The store, opened. ``clock`` says when what is appended now is recorded, where a store keeps that."""
        ...

    def size_bytes(self) -> int:
        """What it takes on disk."""
        ...

    def settle(self) -> None:
        """Do now what a database does by itself some time after much was written."""
        ...

    def measure_raw(self, batch_rows: list[int]) -> RawResult:
        """Insert its rows straight into empty stores, one for each number of rows a transaction."""
        ...

    def remove(self) -> None:
        """Leave nothing on the disk. Nobody uses it any more."""
        ...


class Places(Protocol):
    """Where all stores of a run are."""

    def new(self, name: str) -> Place:
        """A place for a new store. The name is free: it is the run's first of that name, or the others are removed."""
        ...

    def copy(self, place: Place, name: str) -> Place:
        """A copy of a store that nobody uses at the moment."""
        ...

    def calm(self) -> None:
        """Have what was written before on the disk, so that what is measured next does not pay for it."""
        ...

    def database_cpu_seconds(self) -> float | None:
        """How much processor time the database's own processes have used so far; None: it has none, or far away."""
        ...

    def database(self) -> dict[str, str]:
        """What the database is, and what it is set to, as far as it matters here."""
        ...
