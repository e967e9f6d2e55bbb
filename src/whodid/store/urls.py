"""The URLs of stores, as ``--store`` and ``WHODID_STORE`` name them."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from whodid.errors import InvalidSetting

_POSTGRES: Final = ("postgresql", "postgres")
_LOCAL: Final = Path("data")
"""The folder of this machine that has what belongs to a store which is elsewhere."""


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database."""
    return url.partition("://")[0] in _POSTGRES


def sqlite_path(url: str) -> Path:
    """The file that a ``sqlite:///`` URL names. Raises ``InvalidSetting``."""
    wrong = InvalidSetting(
        f"a store is named like sqlite:///data/whodid.db or postgresql://user@host/database, not {shown(url)!r}"
    )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise wrong from error
    path = unquote(parts.path)[1:]
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path:
        raise wrong
    return Path(path)


def beside(url: str, ending: str) -> Path:
    """Where this machine keeps something that belongs to a store and is not in it: its signing key, say.

    Beside a SQLite file, whatever it is called: two names of one file are one store. For a PostgreSQL database in the
    folder ``data``, by the database's name. Raises ``InvalidSetting``.
    """
    store = _LOCAL / _database(url) if is_postgres(url) else sqlite_path(url)
    store = store.resolve()
    return store.with_name(store.name + ending)


def shown(url: str) -> str:
    """A URL without its passwords, for people."""
    return re.sub(r"(://[^:/?#]*):.*@", r"\1:…@", re.sub(r"(?i)((?:ssl)?password=)[^&\s]*", r"\1…", url))


def _database(url: str) -> str:
    try:
        name = unquote(urlsplit(url).path).strip("/")
    except ValueError:
        name = ""
    return re.sub(r"[^\w-]", "_", name or os.environ.get("PGDATABASE", "whodid"))
