"""The package as programs import it: the client is there, and costs nothing until it is asked for."""

import json
import subprocess
import sys

import pytest

import whodid

HEAVY = {"httpx", "cryptography", "urllib3", "apsw", "psycopg", "starlette", "uvicorn", "cyclopts", "prometheus_client"}


def loaded_by(program: str) -> set[str]:
    """Which of the libraries that take their time a program loads."""
    program += "\nimport json, sys\nprint(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    return HEAVY & set(json.loads(ended.stdout))


def test_the_package_alone_loads_no_library() -> None:
    """Every command does it."""
    assert loaded_by("import whodid; whodid.__version__") == set()


def test_a_client_loads_what_it_speaks_with_and_no_more() -> None:
    """No store, no server, no command line; and what checks evidence only once that is done."""
    assert loaded_by("import whodid; whodid.Client('http://a.example', 'token').close()") == {"httpx"}
    assert loaded_by("from whodid import AsyncClient") == {"httpx"}


def test_commands_that_speak_to_no_server_load_no_client() -> None:
    """They start faster without."""
    assert "httpx" not in loaded_by("import whodid.cli.app")


def test_what_is_not_in_the_package_is_said_so() -> None:
    """As Python says it."""
    with pytest.raises(AttributeError, match="has no attribute 'Cleint'"):
        whodid.Cleint  # noqa: B018
