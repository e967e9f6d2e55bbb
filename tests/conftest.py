"""What all tests share: async tests, hypothesis profiles, a clock that only tests move, chance that repeats itself."""

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

from whodid.store.sqlite import SqliteStore

LONGEST_TEST_SECONDS = 60
"""When a test in an event loop is given up."""

_UNCHECKED = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
settings.register_profile("dev", deadline=None, suppress_health_check=_UNCHECKED)
settings.register_profile("ci", deadline=None, suppress_health_check=_UNCHECKED, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


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
