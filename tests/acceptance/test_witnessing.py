"""A server and its witnesses, over real sockets: the witnesses are peers written from the specification."""

import contextlib
import re
import shutil
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.acceptance.running import ACTIONS, DEADLINE_SECONDS, Running, Tenant, eventually, open_tenant, problem
from tests.building import action
from tests.cli.running import Whodid
from tests.stores import beside, let_leases_end, old_copy, run
from tests.witnessing import Handler, WitnessServer, said, witness_server

from whodid.checkpoint import SignedCheckpoint, open_checkpoint
from whodid.clock import wall_clock
from whodid.evidence.keyring import Keyring
from whodid.evidence.panel import ANSWER_SECONDS
from whodid.evidence.witnesses import parse_witnesses
from whodid.identity import Actor, Identity
from whodid.notes import Verifier
from whodid.store.opening import open_store

ORG = "org-witnessed"


@dataclass(frozen=True)
class Home:
    """A store, the folder in which its server runs, and what belongs to it there."""

    folder: Path
    url: str

    @property
    def signed_dir(self) -> Path:
        """The folder that keeps what was signed."""
        return beside(self.url, self.folder, ".signed")

    def key(self, account: str = ORG) -> Verifier:
        """The verifier of an account's checkpoints."""
        keyring = Keyring.open(beside(self.url, self.folder, ".key"), make=True)
        return keyring.current().verifiers(f"localhost/log/{account}")[0]


async def found(url: str) -> None:
    """An account, in a store that may have to be made."""
    store = open_store(url, create=True)
    await Identity(store, clock=wall_clock).add_account(ORG, Actor())
    await store.close()


@pytest.fixture
def home(tmp_path: Path, store_url: str) -> Home:
    """A store with an account."""
    run(found(store_url))
    return Home(tmp_path, store_url)


@pytest.fixture
def peers(home: Home) -> Iterator[Sequence[WitnessServer]]:
    """Witnesses that trust the account's log."""
    with contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(witness_server(f"w{number}.example", home.folder / f"w{number}")) for number in (1, 2)
        ]
        for server in servers:
            server.witness.trust(str(home.key()))
        yield servers


@contextlib.contextmanager
def witnessed(home: Home, *settings: str, **more: Any) -> Iterator[Tenant]:
    """A server with these witnesses, and the account."""
    with Running(home.folder, home.url, witnesses=list(settings), witness_seconds=1, public_log=True, **more) as server:
        tenant = open_tenant(server, ORG)
        try:
            yield tenant
        finally:
            run(tenant.store.close())


def published(tenant: Tenant, *settings: str) -> SignedCheckpoint:
    """The published checkpoint, as anybody sees it, with all cosignatures that are good."""
    answer = tenant.server.get(f"/log/{tenant.name}/checkpoint")
    assert answer.status == 200, answer.body
    verifiers = [witness.verifier for witness in parse_witnesses(",".join(settings))]
    return open_checkpoint(answer.body, [Home(tenant.server.folder, tenant.server.url).key()], verifiers)


def cosigned(tenant: Tenant, *peers: WitnessServer, seconds: float = DEADLINE_SECONDS) -> SignedCheckpoint:
    """The published checkpoint, as soon as it is the whole log's, and all of these witnesses have cosigned it."""
    settings = [peer.setting for peer in peers]
    tenant.token()
    size = tenant.size()

    def check() -> SignedCheckpoint | None:
        signed = published(tenant, *settings)
        return signed if signed.checkpoint.size == size and len(signed.cosigners) == len(peers) else None

    signed = eventually(f"all have cosigned {size} entries", check, seconds)
    assert signed is not None
    return signed


def status(tenant: Tenant) -> dict[str, dict[str, Any]]:
    """What ``whodid witness status`` shows, by witness; the server runs meanwhile."""
    rows = Whodid(tenant.server.folder, tenant.server.url)("witness", "status", "--account", ORG, "--json").json
    return {row["witness"]: row for row in rows}


def record(tenant: Tenant, count: int = 1) -> None:
    """Record so many actions, and the use of a token."""
    assert tenant.server.post(ACTIONS, tenant.token(), [action()] * count).status == 201


def test_the_public_checkpoint_has_the_cosignatures_of_all_witnesses(
    home: Home, peers: Sequence[WitnessServer]
) -> None:
    """As the log grows, and after a restart; each witness was proven that it only grew."""
    with witnessed(home, *(peer.setting for peer in peers)) as tenant:
        sizes = []
        for count in (1, 300, 7):
            record(tenant, count)
            sizes.append(cosigned(tenant, *peers).checkpoint.size)
        before = published(tenant, *(peer.setting for peer in peers))
        origin = before.checkpoint.origin
        for peer in peers:
            assert peer.witness.known(origin) == (sizes[-1], before.checkpoint.root)
            assert {old for _, old, _ in peer.witness.asked} >= {0, *sizes[:-1]}
            row = status(tenant)[peer.witness.name]
            assert (row["size"], row["behind"], row["error"]) == (sizes[-1], 0, None)
            assert row["cosigned"] == "2021-07-30T16:13:52.000Z"
    asked = [len(peer.requests) for peer in peers]
    with witnessed(home, *(peer.setting for peer in peers)) as tenant:
        assert published(tenant, *(peer.setting for peer in peers)) == before
        assert [len(peer.requests) for peer in peers] == asked
        record(tenant)
        cosigned(tenant, *peers)
    assert [line for line in tenant.server.log if line["level"] in ("warning", "error")] == []


def test_a_witness_that_is_down_is_missed_by_nobody_and_catches_up_when_it_is_back(
    home: Home, peers: Sequence[WitnessServer]
) -> None:
    """The others' cosignatures are published meanwhile; status and metrics tell."""
    settings = [peer.setting for peer in peers]
    down, up = peers
    port = down.server_address[1]
    down.shutdown()
    down.server_close()
    with witnessed(home, *settings) as tenant:
        for _ in range(2):
            record(tenant)
            cosigned(tenant, up)
        eventually("its error is noted", lambda: down.witness.name in status(tenant))
        row = status(tenant)[down.witness.name]
        assert (row["size"], row["cosigned"], row["error"]) == (0, None, "can't be reached: Connection refused")
        assert tenant.server.metrics()['whodid_witness_failing{witness="w1.example"}'] == 1
        assert tenant.server.metrics()['whodid_witness_failing{witness="w2.example"}'] == 0
        with witness_server("w1.example", home.folder / "w1", port) as back:
            back.witness.trust(str(home.key()))
            cosigned(tenant, back, up, seconds=60)  # it rests longer, the longer it was down
            assert status(tenant)[back.witness.name]["error"] is None
            eventually(
                "the metrics say so",
                lambda: not tenant.server.metrics()['whodid_witness_failing{witness="w1.example"}'],
            )
    told = [line["message"] for line in tenant.server.log if line["logger"] == "whodid.evidence.panel"]
    assert told == [
        "the witness w1.example: can't be reached: Connection refused",
        "the witness w1.example cosigns again",
    ]


@pytest.mark.on_sqlite_only("the proof is of the log, whatever the store")
def test_a_witness_is_sent_a_proof_from_what_it_knows(home: Home, peers: Sequence[WitnessServer]) -> None:
    """Not from what it was believed to know: it may have lost its memory, or part of it."""
    forgetful, _ = peers
    with witnessed(home, *(peer.setting for peer in peers)) as tenant:
        record(tenant)
        first = cosigned(tenant, *peers).checkpoint
        record(tenant, 20)
        second = cosigned(tenant, *peers).checkpoint
        forgetful.witness.remember(first.origin, first.size, first.root)
        record(tenant)
        third = cosigned(tenant, *peers).checkpoint
        assert forgetful.witness.asked[-2:] == [
            (first.origin, second.size, third.size), (first.origin, first.size, third.size)
        ]  # fmt: skip
        forgetful.witness.state_file(first.origin).unlink()
        record(tenant)
        fourth = cosigned(tenant, *peers).checkpoint
        assert forgetful.witness.asked[-1] == (first.origin, 0, fourth.size)


def test_a_witness_that_has_seen_more_than_there_is_alarms(home: Home, peers: Sequence[WitnessServer]) -> None:
    """The old copy of a store, put back with its ledger, is given away by the witnesses."""
    settings = [peer.setting for peer in peers]
    with old_copy(home.url, home.folder), witnessed(home, *settings) as tenant:
        record(tenant, 50)
        size = cosigned(tenant, *peers).checkpoint.size
    shutil.rmtree(home.signed_dir)
    with witnessed(home, *settings) as tenant:
        eventually("both have told", lambda: [row for row in status(tenant).values() if row["error"]][1:])
        for row in status(tenant).values():
            assert row["error"].startswith(f"the witness has cosigned a log of {size} entries, ours has ")
        assert published(tenant, *settings).cosigners == ()
    alarms = [line for line in tenant.server.log if line["level"] == "error"]
    assert {line["account"] for line in alarms} == {ORG}
    assert len(alarms) == 2


def test_an_old_copy_of_the_store_is_told_in_the_log_as_soon_as_the_server_starts(home: Home) -> None:
    """Without witnesses, and though nobody asks for evidence: the ledger remembers. The metrics tell it, too."""
    with old_copy(home.url, home.folder), witnessed(home) as tenant:
        record(tenant, 5)
        assert published(tenant).checkpoint.size == tenant.size()
    with Running(home.folder, home.url, public_log=True) as server:
        (line,) = eventually(
            "it is told", lambda: [line for line in server.log if line["level"] == "error" and line.get("account")]
        )
        assert line["account"] == ORG
        assert "are missing, as in an old copy of the store" in line["message"]
        assert server.metrics()["whodid_inconsistent_logs"] == 1
        assert server.get(f"/log/{ORG}/checkpoint").status >= 500


@pytest.mark.on_sqlite_only("the ledger is a folder of this machine, whatever the store")
def test_a_ledger_that_can_not_be_used_is_told_to_the_operator_and_no_path_of_it_to_callers(home: Home) -> None:
    """An error in the log, once and not with each request. As soon as it can be used, checkpoints are signed again."""
    ledger = home.signed_dir
    with witnessed(home) as tenant:
        checkpoint = f"/log/{ORG}/checkpoint"
        assert tenant.server.get(checkpoint).status == 200
        ledger.rename(home.folder / "aside")
        ledger.write_text("no folder")
        eventually("it is refused", lambda: tenant.server.get(checkpoint).status == 503)
        for _ in range(5):
            told = problem(tenant.server.get(checkpoint), 503, "the server's log tells more")
            assert told["code"] == "store_unavailable"
            assert "/" not in told["detail"]
        (alarm,) = [line for line in tenant.server.log if line["level"] == "error"]
        assert f"{ledger / ORG}.checkpoint, which keeps what was signed, can't be used: " in alarm["message"]
        ledger.unlink()
        (home.folder / "aside").rename(ledger)
        eventually("it is signed again", lambda: tenant.server.get(checkpoint).status == 200)


def sign_wrongly(handler: Handler) -> None:
    """A misdeed: a cosignature that is none."""
    line = handler.server.witness.cosignature("another text\n")
    dash, name, data = line.split()
    handler.say(said(200, f"{dash} {name} {b64encode(b64decode(data)).decode()}\n"))


def answer_with_a_gigabyte(handler: Handler) -> None:
    """A misdeed."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(1 << 30))
    handler.end_headers()
    handler.close_connection = True
    with contextlib.suppress(OSError):
        for _ in range(1 << 10):
            handler.wfile.write(b"x" * (1 << 20))


MISDEEDS: dict[str, tuple[Callable[[Handler], None], str]] = {
    "garbage": (lambda handler: handler.say(said(200, "<html>It works!</html>")), "answered 200, but not as a witness"),
    "gigabyte": (answer_with_a_gigabyte, "answered with more than 65536 bytes"),
    "forger": (sign_wrongly, "answered 200, but not as a witness does: the signature of forger is not good"),
    "redirect": (lambda handler: handler.say(said(302), Location="/"), "answered 302: redirects are not followed"),
    "broken": (lambda handler: handler.say(said(500, "oops")), 'answered 500 "oops"'),
    "liar": (
        lambda handler: handler.say(said(409, f"{1 << 62}\n", "text/x.tlog.size")),
        f"the witness has cosigned a log of {1 << 62} entries, ours has",
    ),
    "silent": (lambda handler: handler.server.hang(handler), "does not answer within 10 seconds"),
}


@pytest.mark.on_sqlite_only("what a witness answers is judged before the store hears of it")
def test_witnesses_that_misbehave_are_told_and_disturb_nobody(home: Home, peers: Sequence[WitnessServer]) -> None:
    """All at once: the good one's cosignature is published, appends go on, and status says what each did."""
    good, _ = peers
    with contextlib.ExitStack() as stack:
        bad = [stack.enter_context(witness_server(name, home.folder / name)) for name in MISDEEDS]
        for peer in bad:
            peer.misdeed = MISDEEDS[peer.witness.name][0]
        tenant = stack.enter_context(witnessed(home, *(peer.setting for peer in (good, *bad))))
        for _ in range(3):
            record(tenant)
            cosigned(tenant, good)
        eventually("all have failed", lambda: len(status(tenant)) == len(MISDEEDS) + 1)
        shown = status(tenant)
        for name, (_, told) in MISDEEDS.items():
            assert shown[name]["error"].startswith(told)
            assert shown[name]["size"] == 0
        answer = tenant.server.get(f"/log/{ORG}/checkpoint")
        assert len(re.findall("^— ", answer.body.decode(), re.MULTILINE)) == 2
        counted = tenant.server.metrics()
        for name in MISDEEDS:
            assert counted[f'whodid_witness_errors_total{{witness="{name}"}}'] >= 1
            assert counted[f'whodid_witness_behind_entries{{witness="{name}"}}'] > 0
        assert counted['whodid_witness_errors_total{witness="w1.example"}'] == 0
        assert ORG not in tenant.server.get("/metrics").body.decode()


@pytest.mark.on_sqlite_only("it is about a slow witness, whatever the store")
def test_neither_appends_nor_the_end_wait_for_a_witness(home: Home, peers: Sequence[WitnessServer]) -> None:
    """While both have a request and say nothing, events are recorded, checkpoints published, and the server stops."""
    for peer in peers:
        peer.misdeed = peer.hang
    with witnessed(home, *(peer.setting for peer in peers)) as tenant:
        record(tenant)
        eventually("both have a request", lambda: all(peer.answering for peer in peers))
        began = time.monotonic()
        before = tenant.size()
        for _ in range(20):
            record(tenant)
        assert tenant.size() == before + 40
        eventually("a newer checkpoint is published", lambda: published(tenant).checkpoint.size == before + 40)
        assert tenant.server.stop() == 0
        assert time.monotonic() - began < ANSWER_SECONDS
    assert tenant.server.log[-1]["message"] == "stopped"


def test_what_was_published_outlives_a_crash(home: Home, peers: Sequence[WitnessServer]) -> None:
    """Nobody sees the log shrink; and the witnesses go on from where they are."""
    settings = [peer.setting for peer in peers]
    with witnessed(home, *settings) as tenant:
        record(tenant, 3)
        before = cosigned(tenant, *peers)
        tenant.server.kill()
    let_leases_end(home.url)
    with witnessed(home, *settings) as tenant:
        assert published(tenant, *settings) == before
        record(tenant)
        assert cosigned(tenant, *peers).checkpoint.size > before.checkpoint.size


@pytest.mark.on_sqlite_only("it is refused before the store is opened")
def test_a_wrong_setting_is_refused_at_the_start(home: Home) -> None:
    """With what would be right, before anything is opened."""
    whodid = Whodid(home.folder, home.url)
    told = whodid("serve", "--witnesses", "https://w.example", "--port", "0", status=1).err
    assert "witnesses must be like 'https://witness.example name+0a1b2c3d+base64'" in told
