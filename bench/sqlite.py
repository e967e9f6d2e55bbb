"""Places for stores in SQLite: each is a file."""
# ruff: noqa: D102 (its docstrings are those of the protocols)

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw

from bench.files import on_disk_bytes, store_url
from bench.places import Place, RawResult
from bench.raw import measure_raw
from whodid.clock import wall_clock
from whodid.config import Settings
from whodid.store.base import Store
from whodid.store.opening import open_store


@dataclass(frozen=True, slots=True)
class SqlitePlace:
    """A file."""

    file: Path

    @property
    def url(self) -> str:
        return store_url(self.file)

    @property
    def folder(self) -> Path:
        return self.file.parent

    def flags(self) -> list[str]:
        return ["--store", self.url]

    def settings(self) -> Settings:
        return Settings(store=self.url)

    def open(self, clock: Callable[[], int] = wall_clock) -> Store:  # noqa: ARG002 (entries know one time only)
        return open_store(self.url, create=True)

    def size_bytes(self) -> int:
        return on_disk_bytes(self.file)

    def settle(self) -> None:
        """Nothing is left to do."""

    def measure_raw(self, batch_rows: list[int]) -> RawResult:
        return measure_raw(self.file, batch_rows)

    def remove(self) -> None:
        for left in self.folder.glob(f"{self.file.name}*"):
            left.unlink()


@dataclass(frozen=True, slots=True)
class SqlitePlaces:
    """Files in a folder."""

    folder: Path

    def new(self, name: str) -> SqlitePlace:
        return SqlitePlace(self.folder / f"{name}.db")

    def copy(self, place: Place, name: str) -> SqlitePlace:
        assert isinstance(place, SqlitePlace)
        copied = self.new(name)
        shutil.copyfile(place.file, copied.file)
        return copied

    def calm(self) -> None:
        """Each store is by itself, and closed in the end: nothing is left of those before."""

    def database_cpu_seconds(self) -> float | None:
        return None

    def database(self) -> dict[str, str]:
        return {"SQLite": apsw.sqlite_lib_version()}
