"""A database of PostgreSQL for each test, with what its servers have in common."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres import drop_database, new_database
from tests.postgresql.serving import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A database of the test's own; no server runs yet."""
    url = new_database()
    yield Home(url, tmp_path)
    drop_database(url)
