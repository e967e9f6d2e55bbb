"""What all tests share: async tests, hypothesis profiles, a clock that only tests move, chance that repeats itself.

And on which kinds of store a test runs that is about a promise of the product: on all of them, unless it is marked.
"""

import asyncio
import contextlib
import inspect
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Tests import from each other, and from bench, by full name (`tests.building`).
sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.building import ManualClock
from tests.stores import KINDS, made_store

from whodid.store.sqlite import SqliteStore

LONGEST_TEST_SECONDS = 60
"""When a test in an event loop is given up."""

_UNCHECKED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
settings.register_profile("dev", deadline=None, suppress_health_check=_UNCHECKED)
settings.register_profile("ci", deadline=None, suppress_health_check=_UNCHECKED, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_configure(config: pytest.Config) -> None:
    """Make our marker known."""
    config.addinivalue_line("markers", "on_sqlite_only(why): the test runs on a SQLite store, and on no other kind")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that has to do with ``store_kind`` on every kind of store, or on that of its marker."""
    if "store_kind" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("on_sqlite_only")
        assert marker is None or marker.args, "on_sqlite_only must say why"
        metafunc.parametrize("store_kind", KINDS[:1] if marker else KINDS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def store_kind(request: pytest.FixtureRequest) -> str:
    """The kind of store that a test runs on: all tests of one kind run one after the other."""
    return str(request.param)


@pytest.fixture
def store_url(store_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a store of the test's own, empty."""
    with made_store(store_kind, tmp_path) as url:
        yield url


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of a test, and of the fixtures that need one."""
    with asyncio.Runner() as made:
        yield made


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in its event loop; one that waits for ever fails."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    test = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    with contextlib.ExitStack() as stack:
        runner: Any = pyfuncitem.funcargs.get("runner") or stack.enter_context(asyncio.Runner())
        runner.run(asyncio.wait_for(test, LONGEST_TEST_SECONDS))
    return True


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands at 2021-07-30 16:13:52.109 until a test moves it."""
    return ManualClock()


@pytest.fixture
def rng() -> random.Random:
    """Chance that is the same at each run."""
    return random.Random(20210730)


@pytest.fixture
def store_path(tmp_path: Path) -> Path:
    """Where the ``store`` fixture has its file."""
    return tmp_path / "whodid.db"


@pytest.fixture
def store(store_path: Path, runner: asyncio.Runner) -> Iterator[SqliteStore]:
    """An empty SQLite store."""
    opened = SqliteStore(store_path, create=True)
    yield opened
    runner.run(opened.close())
