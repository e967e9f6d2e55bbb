"""``whodid tail``: the newest records, and those that come, out of a store and from a server."""

import contextlib
import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from tests.acceptance.running import Running, Tenant, tenant_of
from tests.cli.running import ACCOUNT, Whodid, action
from tests.client.misbehaving import Handler, between, pass_on

_files = itertools.count(1)


def add(whodid: Whodid, *numbers: int, kind: str = "task") -> None:
    """Import actions of these numbers."""
    records = [action(n, type=kind, target_id=f"t{n}") for n in numbers]
    whodid("import", "--account", ACCOUNT, whodid.write(f"in-{next(_files)}", records))


def next_target(process: Popen[bytes]) -> str:
    """What the next line that a command prints is about."""
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["target_id"])


def test_the_newest_come_in_the_order_of_the_log(acme: Whodid) -> None:
    """As many as are asked for, 10 unless it is said; whenever they happened."""
    add(acme, *range(20))
    out = acme("tail", "--account", ACCOUNT, "--json").out.splitlines()
    assert [json.loads(line)["target_id"] for line in out] == [f"t{n}" for n in range(10, 20)]
    seqs = [json.loads(line)["seq"] for line in out]
    assert seqs == sorted(seqs)
    few = acme("tail", "--account", ACCOUNT, "-n", "2", "type:task -target:t19").out
    assert [line.split()[-1] for line in few.splitlines()] == ["t17", "t18"]
    assert acme("tail", "--account", ACCOUNT, "-n", "0").out == ""
    assert "--lines must be" in acme("tail", "--account", ACCOUNT, "-n", "-1", status=2).err


def test_what_comes_is_followed(acme: Whodid) -> None:
    """Each record once, at once, whoever appends it; Ctrl-C ends it quietly."""
    add(acme, 1, 2)
    with acme.running("tail", "-f", "--account", ACCOUNT, "--json", "type:task") as process:
        assert [next_target(process) for _ in range(2)] == ["t1", "t2"]
        add(acme, 3)
        assert next_target(process) == "t3"
        add(acme, 4, kind="policy")
        add(acme, 5)
        assert next_target(process) == "t5"
        end(process)


def test_a_reader_that_goes_ends_it(acme: Whodid) -> None:
    """``whodid tail -f | head -1``: with the next record at the latest."""
    add(acme, 1)
    with acme.running("tail", "-f", "--account", ACCOUNT, "--json", "type:task") as process:
        assert next_target(process) == "t1"
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        add(acme, 2)
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def end(process: Popen[bytes]) -> None:
    """Press Ctrl-C; it ends with nothing more to say."""
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == (b"", b"", 130)


# From a server.


@pytest.fixture
def server(tmp_path: Path, store_url: str) -> Iterator[Running]:
    """A running server."""
    with Running(tmp_path, store_url) as running:
        yield running


def post(tenant: Tenant, target: str) -> None:
    """Record an action."""
    event = {"user_id": "0" * 24, "type": "task", "action": "create", "target_id": target}
    assert tenant.server.post("/api/v1/logs/user/actions", tenant.token(), event).status == 201


@contextlib.contextmanager
def following(tenant: Tenant, url: str) -> Iterator[Popen[bytes]]:
    """Follow the account of a server."""
    whodid = Whodid(tenant.server.folder)
    with whodid.running(
        "tail", "-f", "-n", "2", "--json", "type:task", WHODID_URL=url, WHODID_TOKEN=tenant.token()
    ) as process:
        yield process


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_a_server_is_followed_alike(server: Running) -> None:
    """The newest, and then what comes, each once; Ctrl-C ends it although nothing comes."""
    with tenant_of(server) as tenant:
        for n in range(3):
            post(tenant, f"t{n}")
        with following(tenant, f"http://127.0.0.1:{server.port}") as process:
            assert [next_target(process) for _ in range(2)] == ["t1", "t2"]
            for n in (3, 4):
                post(tenant, f"t{n}")
                assert next_target(process) == f"t{n}"
            end(process)


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_a_server_that_was_started_anew_is_followed_on(tmp_path: Path, store_url: str) -> None:
    """Nothing is missed and nothing comes twice; that it was gone is said, and that it is back."""
    with Running(tmp_path, store_url) as first, tenant_of(first, ACCOUNT) as tenant:
        post(tenant, "t0")
        token = tenant.token()
        with following(tenant, f"http://127.0.0.1:{first.port}") as process:
            assert next_target(process) == "t0"
            first.stop()
            with Running(tmp_path, store_url, port=first.port) as second:
                event = {"user_id": "0" * 24, "type": "task", "action": "create", "target_id": "t1"}
                assert second.post("/api/v1/logs/user/actions", token, event).status == 201
                assert next_target(process) == "t1"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (b"", 130)
    gone, back = err.decode().splitlines()
    assert gone.endswith("; trying again")
    assert back == f"whodid: http://127.0.0.1:{first.port} answers again"


@pytest.mark.on_sqlite_only("a server's store is nothing to who calls it")
def test_a_server_shows_as_many_as_were_asked_for(server: Running) -> None:
    """The command's own calls push none of them out, nor do records that come meanwhile."""
    with tenant_of(server) as tenant:
        for n in range(3):
            post(tenant, f"t{n}")
        size = tenant.size()

        def meanwhile(handler: Handler) -> None:
            for _ in range(30):
                post(tenant, "late")
            pass_on(handler)

        for count, doings in ((1, []), (2, []), (size, []), (3, [pass_on, meanwhile])):
            with between(*doings, port=server.port) as there:
                before = tenant.size()
                whodid = Whodid(server.folder)
                out = whodid(
                    "tail", "-n", str(count), "--json", WHODID_URL=there.url, WHODID_TOKEN=tenant.token()
                ).out  # fmt: skip
            seqs = [json.loads(line)["seq"] for line in out.splitlines()]
            assert seqs == list(range(before - count, before))
