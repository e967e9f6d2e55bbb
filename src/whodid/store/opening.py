"""Opening a store by its URL."""

from types import ModuleType

from whodid.errors import InvalidSetting
from whodid.store.base import Store
from whodid.store.sqlite import SqliteStore
from whodid.store.urls import is_postgres, sqlite_path


def open_store(url: str, *, create: bool = False, exclusive: bool = False) -> Store:
    """The store that ``url`` names: ``sqlite:///relative/path.db``, ``sqlite:////absolute/path.db``, ``postgresql://…``.

    ``create`` makes a SQLite store where there is none; ``exclusive`` is for a server, of which a SQLite store has one
    at a time. The schema of a PostgreSQL database must be there (``bring_up``); servers it may have many.

    Raises ``InvalidSetting``, ``StoreUnusable`` or ``StoreUnavailable``.
    """
    if is_postgres(url):
        store: Store = _postgres().PostgresStore(url)
        return store
    return SqliteStore(sqlite_path(url), create=create, exclusive=exclusive)


def bring_up(url: str, *, citus: bool = False) -> str:
    """Make a store's schema, or bring it up to date; what was done, in words. Safe to run twice, and by many at once.

    ``citus`` distributes the tables of a PostgreSQL database over the nodes of Citus. Raises what ``open_store`` does.
    """
    if is_postgres(url):
        done: str = _postgres().bring_up(url, citus=citus)
        return done
    if citus:
        raise InvalidSetting("Citus is for PostgreSQL: name a store like postgresql://user@host/database")
    sqlite_path(url)  # refuses what is no URL of a store
    return "a SQLite store needs no preparation: it is made, and brought up to date, by the first command that uses it"


def _postgres() -> ModuleType:
    """The store for many servers. Its driver is loaded only where it is used, and may not be installed."""
    try:
        from whodid.store import postgres  # noqa: PLC0415
    except ImportError as error:
        raise InvalidSetting(
            f"a PostgreSQL store needs psycopg 3, which can't be loaded ({error}): pip install 'whodid[postgres]'"
        ) from error
    return postgres
