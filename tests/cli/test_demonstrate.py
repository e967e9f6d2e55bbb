"""``whodid demo``: where it listens."""

import re
import socket

import pytest
from tests.cli.running import Whodid

pytestmark = pytest.mark.on_sqlite_only("the demonstration's store is a file")


def test_a_port_that_is_taken_is_refused_before_anything_is_filled(whodid: Whodid) -> None:
    """And it is said how to choose another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for told in (whodid("demo", "--port", port, status=1).err, whodid("demo", status=1, WHODID_PORT=port).err):
            assert f"can't listen on 127.0.0.1 port {port}: Address already in use; --port (or WHODID_PORT)" in told
    assert not (whodid.folder / "demo").exists()


def test_the_port_is_that_of_the_environment(whodid: Whodid) -> None:
    """Unless the command line has one."""
    told = whodid("demo", "--no-serve", WHODID_PORT="8765")
    assert re.search(r"at http://127\.0\.0\.1:8765$", told.out, re.MULTILINE)
