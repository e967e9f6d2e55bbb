"""Opening a store by its URL, as ``--store`` and ``WHODID_STORE`` name it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from whodid.errors import InvalidSetting
from whodid.store.base import Store
from whodid.store.sqlite import SqliteStore


def open_store(url: str, *, create: bool = False, exclusive: bool = False) -> Store:
    """The store that ``url`` names: ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db``.

    ``create`` makes it where there is none; ``exclusive`` is for a server, of which a SQLite store has one at a time.
    Raises ``InvalidSetting``, ``StoreUnusable`` or ``StoreUnavailable``.
    """
    return SqliteStore(sqlite_path(url), create=create, exclusive=exclusive)


def sqlite_path(url: str) -> Path:
    """The file that a ``sqlite:///`` URL names. Raises ``InvalidSetting``."""
    wrong = InvalidSetting(f"a store is named like sqlite:///data/whodid.db, not {url!r}")
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise wrong from error
    path = unquote(parts.path)[1:]
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path:
        raise wrong
    return Path(path)
