"""The URLs of stores, as ``--store`` and ``WHODID_STORE`` name them."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from whodid.errors import InvalidSetting

_POSTGRES: Final = ("postgresql", "postgres")
_LOCAL: Final = Path("data")
"""The folder of this machine that has what belongs to a store which is elsewhere."""


_CREDENTIALS: Final = re.compile(r"^((?:[a-z][\w+.-]*:)?/*[^:/?#@]*):(?!//).*@", re.IGNORECASE | re.DOTALL)
_PASSWORD: Final = "".join(f"(?:{one}|%{ord(one):x}|%{ord(one.upper()):x})" for one in "password")
_PARAMETER: Final = re.compile(f"({_PASSWORD}=)[^&]*", re.IGNORECASE)
"""Its name may be percent-encoded, too."""


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
    """A URL without its passwords, for people; one that is written wrongly, too."""
    return _PARAMETER.sub(r"\1…", _CREDENTIALS.sub(r"\1:…@", url))


def _database(url: str) -> str:
    """The name of the database, as PostgreSQL's own library takes it out of the URL and the environment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "whodid"
    named = dict(parse_qsl(parts.query)).get("dbname") or unquote(parts.path).strip("/")
    name = named or os.environ.get("PGDATABASE") or unquote(parts.username or "") or os.environ.get("PGUSER")
    return re.sub(r"[^\w-]", "_", name or "whodid")
