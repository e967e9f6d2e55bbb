"""The ``whodid`` command, run as people and scripts run it: a process, its output, its status."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.stores import beside

from whodid.store.urls import sqlite_path

ACCOUNT = "org-acme-acc0"
EMAIL = "ann@acme.example"
USER_ID = "5e1cbf251c26d68f7ce6361e"
CREATED = "2021-07-30T16:13:52.109Z"


class Finished(NamedTuple):
    """What a command left behind."""

    out: str
    err: str
    status: int

    @property
    def json(self) -> Any:
        """The output, parsed."""
        return json.loads(self.out)


class Whodid:
    """Runs commands in a folder, on a store: a SQLite file in that folder, unless another one is named."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder / 'whodid.db'}"

    @property
    def store_path(self) -> Path:
        """The file of its store, which must be a SQLite store."""
        return sqlite_path(self.url)

    @property
    def key_path(self) -> Path:
        """The file of the key that signs."""
        return beside(self.url, self.folder, ".key")

    @property
    def signed_dir(self) -> Path:
        """The folder that keeps what was signed."""
        return beside(self.url, self.folder, ".signed")

    def __call__(self, *arguments: str, status: int = 0, stdin: bytes = b"", **environ: str) -> Finished:
        """Run a command to its end; fails where its status is another one, or where a traceback was shown."""
        ended = subprocess.run(
            self._command(arguments), input=stdin, capture_output=True, timeout=60, cwd=self.folder,
            env=self._environ(environ), check=False,
        )  # fmt: skip
        finished = Finished(ended.stdout.decode(), ended.stderr.decode(), ended.returncode)
        assert "Traceback" not in finished.err, finished.err
        assert finished.status == status, finished
        return finished

    @contextmanager
    def running(self, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """A command while it runs; killed at the end if it still does."""
        with subprocess.Popen(
            self._command(arguments), cwd=self.folder, env=self._environ(environ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def write(self, name: str, content: bytes | list[dict[str, Any]]) -> str:
        """A file in the folder: bytes, or records as NDJSON; its name."""
        (self.folder / name).write_bytes(content if isinstance(content, bytes) else ndjson(content))
        return name

    def exported(self, *more: str) -> list[str]:
        """The account's records, oldest first."""
        return self("export", "--account", ACCOUNT, *more).out.splitlines()

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "whodid", *arguments]

    def _environ(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WHODID_")}
        return {**kept, "WHODID_STORE": self.url, "COLUMNS": "200", **more}


def ndjson(records: list[dict[str, Any]]) -> bytes:
    """Records, one a line."""
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


def action(number: int, **more: Any) -> dict[str, Any]:
    """A whole action, as an export has it. Each number is another one."""
    return {
        "_id": f"{number:024x}", "user_id": USER_ID, "user_email": "support@opsera.io", "type": "pipeline",
        "action": "update", "target_id": f"{number + 1:024x}", "account": ACCOUNT, "createdAt": CREATED,
        "updatedAt": CREATED, "__v": 0,
    } | more  # fmt: skip


def token_use(number: int, **more: Any) -> dict[str, Any]:
    """A whole token use, as an export has it."""
    return {
        "_id": f"{number:024x}", "token_id": "61043b2bbcb6d95b55adc5fd", "scope": "api",
        "target": "/v1/logs/user/tokens", "user_id": USER_ID, "account": ACCOUNT, "createdAt": CREATED,
        "updatedAt": CREATED, "__v": 0,
    } | more  # fmt: skip
