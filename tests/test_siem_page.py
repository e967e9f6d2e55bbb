"""What the page about SIEMs shows works, as it stands there: the loop that follows a log, and the check of its copy."""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.acceptance.running import ACTIONS, Running, Tenant, eventually, tenant_of
from tests.building import action

from whodid.store.base import Role, Scope

PAGE = (Path(__file__).parents[1] / "docs" / "howto" / "siem.md").read_text("utf-8")
TOOLS = ("sh", "curl", "jq", "awk", "dd")

pytestmark = pytest.mark.skipif(any(shutil.which(tool) is None for tool in TOOLS), reason=f"needs {', '.join(TOOLS)}")


def block(heading: str, begins: str) -> str:
    """The page's shell block under a heading that begins so."""
    under = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    blocks: list[str] = re.findall(r"^```sh\n(.*?)^```$", under, re.MULTILINE | re.DOTALL)
    (found,) = (one for one in blocks if one.startswith(begins))
    return found


LOOP = block("With curl", "#!/bin/sh\n")
CHECK = block("Is it all there?", "jq ")


def lines_of(*numbers: int) -> bytes:
    """Records as the loop writes them, as far as the check looks at them."""
    return b"".join(json.dumps({"seq": seq, "_id": f"{seq:024x}"}).encode() + b"\n" for seq in numbers)


def checked(folder: Path) -> tuple[int, str]:
    """The status of the check, and what it says."""
    done = subprocess.run(["sh", "-c", CHECK], cwd=folder, capture_output=True, timeout=20, check=False)
    return done.returncode, done.stdout.decode()


class Copy:
    """A copy of an account's log, as the loop makes it."""

    def __init__(self, tenant: Tenant, folder: Path) -> None:
        folder.mkdir()
        self.tenant = tenant
        self.folder = folder
        self.file = folder / "log.ndjson"
        self.token = tenant.token(Scope.SECURITY_LOGS, Role.SECURITY_MANAGER)

    def record(self, count: int) -> int:
        """Record so many actions; the number of the last one."""
        events = [action(metadata={"text": f"ä \N{EM DASH} {number}\n"}) for number in range(count)]
        answer = self.tenant.server.post(ACTIONS, self.tenant.token(), events)
        assert answer.status == 201, answer.body
        return int(answer.json["data"][-1]["seq"])

    @contextmanager
    def following(self) -> Iterator[None]:
        """While the loop runs, which then ends as if the machine were switched off."""
        script = self.folder.parent / "follow.sh"
        script.write_text(LOOP)
        url = f"http://127.0.0.1:{self.tenant.server.port}/"
        environ = {**os.environ, "WHODID_TOKEN": self.token, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        with subprocess.Popen(["sh", str(script), url, str(self.folder)], env=environ, start_new_session=True) as loop:
            try:
                yield
            finally:
                os.killpg(loop.pid, signal.SIGKILL)

    def wait_for(self, seq: int) -> None:
        """Wait until the loop has copied the entry of this number, and saved where it is."""
        cursor = self.folder / "cursor"
        eventually(f"entry {seq} is copied", lambda: cursor.exists() and int(cursor.read_text().split()[1]) > seq)

    def numbers(self) -> list[int]:
        """The numbers in the file, each line of which must be a record."""
        return [json.loads(line)["seq"] for line in self.file.read_bytes().splitlines()]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    """A copy that is yet to be made, of a log with some entries."""
    (tmp_path / "server").mkdir()
    with Running(tmp_path / "server") as server, tenant_of(server) as tenant:
        made = Copy(tenant, tmp_path / "copy")
        made.record(50)
        yield made


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_the_loop_copies_each_entry_once_in_order(copy: Copy) -> None:
    """Those that are there, and those that come; and the check says so."""
    with copy.following():
        copy.wait_for(50)
        copy.wait_for(last := copy.record(3))
    numbers = copy.numbers()
    assert numbers == list(range(len(numbers)))
    assert last in numbers
    assert checked(copy.folder) == (0, f"all there: 0 to {numbers[-1]}\n")


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_the_token_is_the_loops_own_and_the_rest_is_its_groups(copy: Copy) -> None:
    """A collector that runs as another user, in the loop's group, can read the file, and nothing with the token."""
    with copy.following():
        copy.wait_for(50)
    modes = {file.name: file.stat().st_mode & 0o777 for file in copy.folder.iterdir()}
    assert modes.pop("curl.conf") == 0o600
    assert modes["log.ndjson"] == 0o640
    assert all(mode & 0o027 == 0 for mode in modes.values())
    told = [file.name for file in copy.folder.iterdir() if copy.token in file.read_text()]
    assert told == ["curl.conf"]


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.9])
def test_a_line_that_was_cut_off_is_written_again_in_its_place(copy: Copy, kept: float) -> None:
    """So what a collector reads is JSON, with nothing twice, and its bytes are where they would have been."""
    with copy.following():
        copy.wait_for(50)
    whole = copy.file.read_bytes()
    end = int(len(whole) * kept)
    while end and whole[end - 1 : end] == b"\n":
        end -= 1
    copy.file.write_bytes(whole[:end])
    inode = copy.file.stat().st_ino
    with copy.following():
        copy.wait_for(copy.record(1))
    assert copy.file.stat().st_ino == inode
    if kept:
        assert copy.file.read_bytes().startswith(whole)
        assert checked(copy.folder)[0] == 0
    numbers = copy.numbers()
    assert numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_zeros_at_the_end_of_the_file_are_cut_off(copy: Copy) -> None:
    """A file system may leave some when the power fails."""
    with copy.following():
        copy.wait_for(50)
    whole = copy.file.read_bytes()
    copy.file.write_bytes(whole + bytes(5000))
    with copy.following():
        copy.wait_for(copy.record(1))
    assert copy.file.read_bytes().startswith(whole + b'{"seq":')
    assert checked(copy.folder)[0] == 0


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_a_file_that_is_renamed_is_followed_by_another(copy: Copy) -> None:
    """While the loop runs, and while it does not; nothing is lost or doubled between them, and the check takes each."""
    rotated = [copy.folder / f"log.ndjson.{number}" for number in (2, 1)]
    with copy.following():
        copy.wait_for(50)
        copy.file.rename(rotated[0])
        copy.wait_for(copy.record(3))
    assert checked(copy.folder)[0] == 0
    copy.file.rename(rotated[1])
    with copy.following():
        copy.wait_for(copy.record(3))
    assert checked(copy.folder)[0] == 0
    copy.file.write_bytes(b"".join(file.read_bytes() for file in (*rotated, copy.file)))
    numbers = copy.numbers()
    assert numbers == list(range(len(numbers)))


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        (lines_of(0, 1, 2, 3), "all there: 0 to 3\n"),
        (lines_of(2, 3), "all there: 2 to 3\n"),
        (lines_of(0, 1, 0, 1, 2, 3, 3), "all there: 0 to 3\n"),
        (lines_of(0, 1, 2, 3, 4, 5), "all there: 0 to 5\n"),
        (lines_of(0, 1, 3), "missing: 2 to 2\n"),
        (lines_of(0, 3), "missing: 1 to 2\n"),
        (lines_of(0, 1), "missing: 2 to 3\n"),
        (lines_of(0, 2), "missing: 1 to 1\nmissing: 3 to 3\n"),
        (lines_of(0) + b'{"seq":1,"_id":"00' + b"\n" + lines_of(2, 3), "missing: 1 to 1\n"),
        (lines_of(0, 1, 2) + b'{"seq":3,"_i', "missing: 3 to 3\n"),
        (lines_of(0, 1) + b'{"seq":2}{"seq":3}\n', "missing: 2 to 3\n"),
        (lines_of(0, 1) + b"\0\0\xff\n7\n[]\n\n" + lines_of(2, 3), "all there: 0 to 3\n"),
        (b"", "nothing to compare: no records, or no cursor\n"),
    ],
)
def test_the_check_finds_what_is_missing(tmp_path: Path, copied: bytes, said: str) -> None:
    """In the middle, at the end, where a line is broken; of a log of four entries. What comes twice does no harm."""
    (tmp_path / "log.ndjson").write_bytes(copied)
    (tmp_path / "cursor").write_text("where-to-go-on\n4\n")
    assert checked(tmp_path) == (0 if said.startswith("all there") else 1, said)


def test_the_check_says_where_it_can_not_compare(tmp_path: Path) -> None:
    """Without what the loop saved, nobody knows where the log ends."""
    (tmp_path / "log.ndjson").write_bytes(lines_of(0, 1))
    assert checked(tmp_path) == (1, "nothing to compare: no records, or no cursor\n")
