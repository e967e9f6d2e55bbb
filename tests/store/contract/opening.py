"""How the stores that the contract is tried on are opened; another store is one more line here."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from tests.postgres import new_database

from whodid.errors import StoreUnusable
from whodid.store.base import Store
from whodid.store.postgres import PostgresStore
from whodid.store.sqlite import SqliteStore

Open: TypeAlias = Callable[[], Store]
"""Opens the store of a test; each time as another process would."""


def _sqlite(folder: Path) -> Open:
    return lambda: SqliteStore(folder / "whodid.db", create=True)


def _sqlite_of_a_server(folder: Path) -> Open:
    """The first to open it is the server, whose writer is a process of its own; the others are commands beside it."""

    def open_store() -> Store:
        try:
            return SqliteStore(folder / "whodid.db", create=True, exclusive=True)
        except StoreUnusable:
            return SqliteStore(folder / "whodid.db")

    return open_store


def _postgres(_folder: Path) -> Open:
    url = new_database()
    return lambda: PostgresStore(url, create=True)


STORES: dict[str, Callable[[Path], Open]] = {
    "sqlite": _sqlite,
    "sqlite-server": _sqlite_of_a_server,
    "postgres": _postgres,
}
