"""A second verifier, which shares no code with the server, takes all that a running server hands out.

The server has several accounts, whose logs grow meanwhile. The verifier's key comes from the operator; everything
else over a socket, or from a file that the command wrote. Then the same is refused with one bit changed, part by part.
"""

import base64
import contextlib
import gzip
import http.client
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running import ACTIONS, DEADLINE_SECONDS, TOKEN_USES, Running, Tenant, tenant_of
from tests.building import action, token_use
from tests.cli.running import Whodid
from tests.independent.verifier import (
    Checkpoint,
    Refused,
    check_bundle,
    check_consistency_answer,
    check_proof_file,
    check_proof_object,
    check_tiles,
    consistency_with_newest,
    root_of,
    tile_path,
    tiles_of,
)
from tests.stores import made_store

HOST = "audit.acme.example"
ACCOUNTS = ["org-independent-acc0", "org-independent-acc1", "org-independent-acc2"]
EVENTS = 120
"""Events of each kind that an account has at first. Every call adds one more."""

FLIPS = 24
"""Bits of a part that are changed, one at a time."""


@dataclass
class Log:
    """An account's log as an auditor meets it: by its URL, with a token; and the key, from the operator."""

    tenant: Tenant
    token: str
    command: Whodid
    key: str

    def get(self, path: str, **headers: str) -> Any:
        """The answer to a call that must be taken."""
        answer = self.tenant.server.get(path, self.token, **headers)
        assert answer.status == 200, (path, answer.body)
        return answer

    def below(self, path: str) -> bytes:
        """What is below the log's URL."""
        return bytes(self.get(f"/log/{self.tenant.name}/{path}").body)

    def checkpoint(self) -> tuple[bytes, Checkpoint]:
        """The newest checkpoint: as it was served, and what it says."""
        served = self.below("checkpoint")
        return served, Checkpoint.open(served, self.key)

    def proof_file(self, record_id: str) -> tuple[bytes, bytes]:
        """A record's proof, and its salt."""
        answer = self.get(f"/api/v2/logs/{record_id}/proof")
        return answer.body, base64.b64decode(answer.header("whodid-salt"), validate=True)

    def proof_object(self, record_id: str) -> bytes:
        """A record's proof, all in one."""
        return bytes(self.get(f"/api/v2/logs/{record_id}/proof", Accept="application/json").body)

    def consistency(self, query: str) -> bytes:
        """The answer to a question of consistency."""
        return bytes(self.get(f"/api/v2/log/consistency?{query}").body)

    def checkpoint_of_a_new_entry(self) -> Checkpoint:
        """The checkpoint that proves an entry which was not there before."""
        answer = self.tenant.server.post(ACTIONS, self.token, action())
        return check_proof_object(self.proof_object(answer.json["data"][0]["_id"]), self.key)[2]

    def bundle(self, *options: str) -> bytes:
        """The evidence that the operator's command writes."""
        name = f"{self.tenant.name}.ndjson.gz"
        self.command("export", "--account", self.tenant.name, "--evidence", *options, name)
        return (self.command.folder / name).read_bytes()

    def records(self) -> dict[str, bytes]:
        """Some of the newest records of both kinds, by ``_id``, in the bytes that they were read as."""
        found = {}
        for path in (ACTIONS, TOKEN_USES):
            page = self.get(f"{path}?count=40")
            for record in page.json["data"]:
                data = json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
                assert data in page.body
                found[record["_id"]] = data
        return found


class Growing(threading.Thread):
    """Records one event after the other, in all logs in turn, until it is stopped."""

    def __init__(self, port: int, tokens: list[str]) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._tokens = itertools.cycle(tokens)
        self._enough = threading.Event()
        self.statuses: list[int] = []

    def run(self) -> None:
        """Record until ``stop``."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_SECONDS)
        with contextlib.closing(connection):
            for token in self._tokens:
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                connection.request("POST", ACTIONS, json.dumps(action(type="task")), headers)
                response = connection.getresponse()
                response.read()
                self.statuses.append(response.status)
                if self._enough.is_set():
                    return

    def stop(self) -> None:
        """Stop, and see that every event was taken."""
        self._enough.set()
        self.join(DEADLINE_SECONDS)
        assert not self.is_alive()
        assert set(self.statuses) == {201}


@pytest.fixture(scope="module")
def served(store_kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Log]]:
    """The logs of a server of its own, a few hundred entries each, and growing."""
    with contextlib.ExitStack() as opened:
        folder = tmp_path_factory.mktemp("independent")
        url = opened.enter_context(made_store(store_kind, folder))
        server = opened.enter_context(Running(folder, url, public_host=HOST))
        command = Whodid(folder, url)
        logs = [_log(opened.enter_context(tenant_of(server, name)), command) for name in ACCOUNTS]
        growing = Growing(server.port, [log.token for log in logs])
        growing.start()
        yield logs
        growing.stop()


def _log(tenant: Tenant, command: Whodid) -> Log:
    token = tenant.token()
    for path, given in ((ACTIONS, action(target_name="Zoë \N{EM DASH} \"'\\\n\u2028")), (TOKEN_USES, token_use())):
        assert tenant.server.post(path, token, [given] * EVENTS).status == 201
    rows = command("key", "show", "--account", tenant.name, "--json").json
    return Log(tenant, token, command, rows[0]["verifier_key"])


@pytest.fixture
def log(served: list[Log]) -> Log:
    """One of them."""
    return served[0]


# What is handed out is accepted.


def test_every_checkpoint_and_every_tile_is_accepted(served: list[Log]) -> None:
    """Of all logs; each names the log by its public host, and is one of a few hundred entries and more."""
    for log in served:
        _, checkpoint = log.checkpoint()
        assert checkpoint.origin == f"{HOST}/log/{log.tenant.name}"
        assert checkpoint.size > 2 * EVENTS
        assert len(check_tiles(checkpoint, log.below)) == checkpoint.size


def test_tiles_that_a_log_does_not_have_are_not_found(log: Log) -> None:
    """None of width 0, none that lies beyond the log, none under a second name."""
    for path in ("tile/0/000.p/0", "tile/0/x001/000", "tile/4/000.p/1", "tile/0/0", "tile/00/000", "tile/0/000.p/256"):
        answer = log.tenant.server.get(f"/log/{log.tenant.name}/{path}", log.token)
        assert answer.status == 404, path


def test_proofs_of_records_of_both_kinds_are_accepted_in_both_forms(served: list[Log]) -> None:
    """Of records as they were read, the call that read them among them."""
    for log in served:
        records = log.records()
        for record_id, record in records.items():
            index, _ = check_proof_file(*log.proof_file(record_id), record, log.key)
            assert check_proof_object(log.proof_object(record_id), log.key)[:2] == (index, record)
        assert {b'"token_id"' in record for record in records.values()} == {True, False}


def test_consistency_between_any_two_checkpoints_is_accepted(log: Log) -> None:
    """While the log grows; from an empty log too, from each to itself, and from each to the newest."""
    seen = [Checkpoint("", 0, root_of([])), *(log.checkpoint_of_a_new_entry() for _ in range(4))]
    assert len({checkpoint.size for checkpoint in seen}) == len(seen)
    for old, new in itertools.combinations_with_replacement(seen, 2):
        check_consistency_answer(log.consistency(f"from={old.size}&to={new.size}"), old, new)
    for old in seen:
        assert consistency_with_newest(log.consistency(f"from={old.size}"), old, log.key).size >= seen[-1].size


def test_bundles_are_accepted(served: list[Log], tmp_path: Path) -> None:
    """All of a log, a part of it, and one that goes on from an older checkpoint."""
    for log in served:
        before, old = log.checkpoint()
        (tmp_path / "older.checkpoint").write_bytes(before)
        whole = check_bundle(log.bundle(), log.key)
        assert len(whole.records) == whole.checkpoint.size >= old.size
        part = check_bundle(log.bundle("--from", "17", "--to", "300"), log.key)
        assert (part.first, part.records) == (17, whole.records[17:300])
        since = log.bundle("--from", "17", "--previous", str(tmp_path / "older.checkpoint"))
        assert check_bundle(since, log.key, before).records[: 300 - 17] == part.records
        assert [entry.record for entry in log.tenant.log()[:300]] == whole.records[:300]


# And refused with one bit changed.


@dataclass(frozen=True)
class Part:
    """Some bytes that were handed out, and how they are checked."""

    data: bytes
    check: Callable[[bytes], object]


@pytest.fixture(scope="module")
def parts(served: list[Log], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Part]:
    """Every kind of thing that the server hands out, once."""
    log = served[1]
    found = {}
    note, checkpoint = log.checkpoint()
    found["checkpoint"] = Part(note, lambda data: Checkpoint.open(data, log.key))
    found["key"] = Part(log.key.encode(), lambda data: Checkpoint.open(note, data.decode("latin-1")))
    found |= _tile_parts(log, checkpoint)
    found |= _proof_parts(log)

    old, new = (log.checkpoint_of_a_new_entry() for _ in range(2))
    between = log.consistency(f"from={old.size}&to={new.size}")
    found["answer of consistency"] = Part(between, lambda data: check_consistency_answer(data, old, new))
    answer = log.consistency(f"from={old.size}")
    assert consistency_with_newest(answer, old, log.key).size > old.size
    found["answer of growth"] = Part(answer, lambda data: consistency_with_newest(data, old, log.key))
    return found | _bundle_parts(log, note, tmp_path_factory.mktemp("parts"))


def _tile_parts(log: Log, checkpoint: Checkpoint) -> dict[str, Part]:
    names = [tile_path(level, index, width) for level, index, width in tiles_of(checkpoint.size)]
    names += [name.replace("/0/", "/entries/") for name in names if name.startswith("tile/0/")]
    tiles = {name: log.below(name) for name in names}

    def check_with(name: str) -> Callable[[bytes], object]:
        return lambda data: check_tiles(checkpoint, {**tiles, name: data}.__getitem__)

    wanted = {"leaves": "tile/0/000", "level above": next(name for name in names if name.startswith("tile/1/"))}
    wanted["entries"] = names[-1]
    return {f"tile of {what}": Part(tiles[name], check_with(name)) for what, name in wanted.items()}


def _proof_parts(log: Log) -> dict[str, Part]:
    record_id, record = next(iter(log.records().items()))
    file, salt = log.proof_file(record_id)
    return {
        "proof file": Part(file, lambda data: check_proof_file(data, salt, record, log.key)),
        "salt": Part(salt, lambda data: check_proof_file(file, data, record, log.key)),
        "record": Part(record, lambda data: check_proof_file(file, salt, data, log.key)),
        "proof object": Part(log.proof_object(record_id), lambda data: check_proof_object(data, log.key)),
    }


def _bundle_parts(log: Log, before: bytes, folder: Path) -> dict[str, Part]:
    (folder / "older.checkpoint").write_bytes(before)
    bundle = log.bundle("--from", "17", "--to", "230", "--previous", str(folder / "older.checkpoint"))
    lines = gzip.decompress(bundle).splitlines(keepends=True)

    def check_with(place: int) -> Callable[[bytes], object]:
        def check(line: bytes) -> object:
            changed = b"".join([*lines[:place], line, *lines[place + 1 :]])
            return check_bundle(gzip.compress(changed, 1), log.key, before)

        return check

    wanted = {"head": 0, "first entry": 1, "entry": 100, "end": len(lines) - 1}
    found = {f"bundle's {what}": Part(lines[place], check_with(place)) for what, place in wanted.items()}
    found["older checkpoint"] = Part(before, lambda data: check_bundle(bundle, log.key, data))
    return found


PARTS = [
    "checkpoint", "key", "tile of leaves", "tile of level above", "tile of entries",
    "proof file", "salt", "record", "proof object",
    "answer of consistency", "answer of growth",
    "bundle's head", "bundle's first entry", "bundle's entry", "bundle's end", "older checkpoint",
]  # fmt: skip


@pytest.mark.on_sqlite_only("it is about whoever checks")
@pytest.mark.parametrize("name", PARTS)
def test_what_has_one_bit_changed_is_refused(parts: dict[str, Part], rng: random.Random, name: str) -> None:
    """Whichever bit of whichever part: as it was served it is accepted, and then no more."""
    assert parts.keys() == set(PARTS)
    part = parts[name]
    part.check(part.data)
    for place in rng.sample(range(len(part.data) * 8), FLIPS):
        changed = bytearray(part.data)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(Refused):
            part.check(bytes(changed))
