"""Places for stores in PostgreSQL: each is a database of its own, dropped at the end of the run."""
# ruff: noqa: D102 (its docstrings are those of the protocols)

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.places import Place, RawResult
from bench.postgres_server import Postgres, running_postgres
from bench.process import cpu_seconds_with_children
from bench.raw_postgres import measure_raw
from whodid.clock import wall_clock
from whodid.config import Settings
from whodid.evidence.keyring import Keyring
from whodid.store.base import Store
from whodid.store.opening import bring_up
from whodid.store.postgres import PostgresStore

_DURABLE: Final = ("fsync", "synchronous_commit")
_SHOWN: Final = (*_DURABLE, "full_page_writes", "shared_buffers", "max_wal_size", "min_wal_size")
_FILE_COPY: Final = 150_000
"""From this server version on, a database is copied as files only if that is asked for."""


@contextmanager
def postgres_places(folder: Path, batch_events: int) -> Iterator["PostgresPlaces"]:
    """Places in the PostgreSQL that is measured; what else it needs is made in ``folder``."""
    with running_postgres(folder / "postgresql", batch_events) as postgres:
        places = PostgresPlaces(folder, postgres)
        try:
            yield places
        finally:
            places.close()


class PostgresPlaces:
    """Databases of one PostgreSQL."""

    def __init__(self, folder: Path, postgres: Postgres) -> None:
        """Raises ``RuntimeError`` where commits are not durable: there would be nothing to compare."""
        self.folder = folder
        self._postgres = postgres
        self._connection = psycopg.connect(postgres.url, autocommit=True)
        self._databases: list[str] = []
        self.signing_key = folder / "signing.key"
        Keyring.open(self.signing_key, make=True)
        settings = self.database()
        if off := [name for name in _DURABLE if settings[name] == "off"]:
            raise RuntimeError(f"{' and '.join(off)} must be on: what is measured are durable commits")

    def new(self, name: str) -> "PostgresPlace":
        """A database with the schema of an empty store."""
        place = self._create(name)
        bring_up(place.url)
        return place

    def copy(self, place: Place, name: str) -> "PostgresPlace":
        """A copy, file by file."""
        assert isinstance(place, PostgresPlace)
        how = "STRATEGY FILE_COPY" if self._connection.info.server_version >= _FILE_COPY else ""
        return self._create(name, f'TEMPLATE "{place.database}" {how}')

    def calm(self) -> None:
        """Have the changed pages written, which else would happen at some time, or not at all while measuring."""
        self.execute("CHECKPOINT")

    def database_cpu_seconds(self) -> float | None:
        """Of all of its processes."""
        process = self._postgres.process
        return None if process is None else cpu_seconds_with_children(process)

    def database(self) -> dict[str, str]:
        """The version, and what the figures depend on."""
        shown = {name: str(self.execute(f"SHOW {name}")[0][0]) for name in _SHOWN}
        version = self.execute("SHOW server_version")[0][0]
        return {"PostgreSQL": str(version).partition(" ")[0], **shown}

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a statement about databases; none of one that has none."""
        found = self._connection.execute(statement.encode(), values)
        return found.fetchall() if found.description else []

    def drop(self, database: str) -> None:
        """Drop a database, whoever is still connected to it."""
        self.execute(f'DROP DATABASE "{database}" WITH (FORCE)')
        self._databases.remove(database)

    def close(self) -> None:
        """Drop all databases that are left."""
        for database in list(self._databases):
            self.drop(database)
        self._connection.close()

    def _create(self, name: str, options: str = "") -> "PostgresPlace":
        database = f"whodid_bench_{os.getpid()}_{name}".replace("-", "_")
        self.execute(f'CREATE DATABASE "{database}" {options}')
        self._databases.append(database)
        return PostgresPlace(self, database, urlunsplit(urlsplit(self._postgres.url)._replace(path=f"/{database}")))


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A database."""

    places: PostgresPlaces
    database: str
    url: str

    @property
    def folder(self) -> Path:
        return self.places.folder

    def flags(self) -> list[str]:
        settings = self.settings()
        return ["--store", self.url, "--signing-key", settings.signing_key, "--signed-dir", settings.signed_dir]

    def settings(self) -> Settings:
        signed_dir = self.folder / f"{self.database}.signed"
        return Settings(store=self.url, signing_key=str(self.places.signing_key), signed_dir=str(signed_dir))

    def open(self, clock: Callable[[], int] = wall_clock) -> Store:
        return PostgresStore(self.url, clock=clock)

    def size_bytes(self) -> int:
        """Tables, indexes, and the 8 MB that every database begins with; not the write-ahead log, which is reused."""
        return int(self.places.execute("SELECT pg_database_size(%s)", self.database)[0][0])

    def settle(self) -> None:
        """What autovacuum does within minutes."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def measure_raw(self, batch_rows: list[int]) -> RawResult:
        targets = [self.places.new(f"raw_{at}") for at in range(len(batch_rows))]
        self.places.calm()
        try:
            return measure_raw(self.url, [(target.url, rows) for target, rows in zip(targets, batch_rows, strict=True)])
        finally:
            for target in targets:
                target.remove()

    def remove(self) -> None:
        self.places.drop(self.database)
