"""Publishing with witnesses: over a real store, and over HTTP to peers written from the specification."""

import asyncio
import itertools
import logging
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest
from tests.building import ManualClock, add_account, append, event
from tests.witnessing import NOW_SECONDS, Handler, WitnessServer, said, witness_server

from whodid.checkpoint import SignedCheckpoint, open_checkpoint
from whodid.errors import InconsistentLog, NotFound, StoreUnavailable
from whodid.evidence.examining import Examiner
from whodid.evidence.keyring import Keyring
from whodid.evidence.ledger import Ledger
from whodid.evidence.panel import MOST_ASKED, MOST_REST_SECONDS, Panel
from whodid.evidence.proving import frontier_at
from whodid.evidence.publishing import Publishing
from whodid.evidence.signing import Signer
from whodid.evidence.witnesses import parse_witnesses
from whodid.proofs import Run
from whodid.store.base import Account, Kept, KeptCheckpoint, Standing, WitnessState
from whodid.store.sqlite import SqliteStore

HOST = "audit.acme.example"
REST_SECONDS = 5.0


class WatchedStore(SqliteStore):
    """A store that counts what it is asked, and takes nothing more to keep when told so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, create=True)
        self.calls: list[str] = []
        self.failure: Exception | None = None
        self.unreadable: Exception | None = None
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def accounts(self) -> list[Account]:
        """All accounts."""
        self.calls.append("accounts")
        return await super().accounts()

    async def account(self, name: str) -> Account | None:
        """One account."""
        self.calls.append("account")
        return await super().account(name)

    async def checkpoint(self, account_no: int, standing: Standing) -> KeptCheckpoint | None:
        """A kept checkpoint; something else is done meanwhile, once."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return await super().checkpoint(account_no, standing)

    async def hashes(self, account_no: int, runs: Sequence[Run]) -> dict[Run, list[bytes]]:
        """Hashes of a tree; or none can be read."""
        if self.unreadable is not None and runs:
            raise self.unreadable
        return await super().hashes(account_no, runs)

    async def keep(self, kept: Sequence[Kept]) -> None:
        """Keep, or fail."""
        self.calls.append("keep")
        if self.failure is not None:
            raise self.failure
        await super().keep(kept)


class Notes:
    """Observes everything."""

    def __init__(self) -> None:
        self.publications = 0
        self.inconsistent_logs = 0
        self.failures: list[str] = []
        self.standing: dict[str, tuple[int, int, bool]] = {}

    def published(self) -> None:
        """A newer checkpoint is published."""
        self.publications += 1

    def inconsistent(self, logs: int) -> None:
        """So many logs contradict what was signed."""
        self.inconsistent_logs = logs

    def witness_failed(self, witness: str) -> None:
        """A witness failed."""
        self.failures.append(witness)

    def witnessed(self, witness: str, *, cosigned_entries: int, behind_entries: int, failing: bool) -> None:
        """How a witness is doing."""
        self.standing[witness] = (cosigned_entries, behind_entries, failing)


class Scene:
    """A store, a ledger, a key and witnesses; and servers that publish, one after another."""

    def __init__(
        self, store: WatchedStore, folder: Path, clock: ManualClock, witnesses: Sequence[WitnessServer]
    ) -> None:
        self.store = store
        self.folder = folder
        self.clock = clock
        self.witnesses = witnesses
        self.ledger = Ledger(folder / "signed")
        self.keyring = Keyring.open(folder / "key", make=True)
        self.notes = Notes()

    @asynccontextmanager
    async def server(self, *, host: str = HOST, start: bool = False, **timing: float) -> AsyncIterator[Publishing]:
        """What publishes."""
        self.signer = Signer(self.store, self.keyring, self.ledger, host=host, monotonic=self.clock.monotonic)
        panel = Panel(
            self.store,
            parse_witnesses(",".join(witness.setting for witness in self.witnesses)),
            clock=self.clock,
            monotonic=self.clock.monotonic,
            random_bytes=lambda count: b"\xff" * count,
            rest_seconds=REST_SECONDS,
            observer=self.notes,
            answer_seconds=timing.get("answer_seconds", 20),
        )
        publishing = Publishing(
            self.store,
            self.signer,
            Examiner(self.store, self.signer, self.ledger, monotonic=self.clock.monotonic, observer=self.notes),
            panel,
            random_bytes=lambda count: b"\xff" * count,
            round_seconds=0.01,
            observer=self.notes,
            patience_seconds=timing.get("patience_seconds", 20),
        )
        if start:
            publishing.start()
        try:
            yield publishing
        finally:
            await publishing.close()

    async def account(self, name: str | None = None, entries: int = 1, *, host: str = HOST) -> Account:
        """A new account, whose log all witnesses trust."""
        account = await add_account(self.store, name)
        await self.grow(account, entries - 1)
        self.trust(account, host=host)
        return account

    def trust(self, account: Account, *, host: str = HOST) -> None:
        """Let all witnesses trust the key that signs an account's log."""
        for witness in self.witnesses:
            witness.witness.trust(str(self.keyring.current().verifiers(f"{host}/log/{account.name}")[0]))

    async def grow(self, account: Account, count: int) -> None:
        """Append so many entries."""
        if count:
            await append(self.store, account, *(event(account) for _ in range(count)))

    async def states(self) -> dict[tuple[int, str], WitnessState]:
        """How far the witnesses are, as the store has it."""
        return {(state.account_no, state.witness): state for state in await self.store.witness_states()}

    async def kept(self, account: Account) -> SignedCheckpoint | None:
        """What is published of an account's log, as the store has it; with all cosignatures that are good."""
        kept = await self.store.checkpoint(account.no, Standing.PUBLISHED)
        if kept is None:
            return None
        verifiers = [one.verifier for one in parse_witnesses(",".join(one.setting for one in self.witnesses))]
        opened = open_checkpoint(kept.note, self.keyring.current().verifiers(f"{HOST}/log/{account.name}"), verifiers)
        assert kept.size == opened.checkpoint.size
        return opened


def shows(signed: SignedCheckpoint | None) -> tuple[int, list[str]] | None:
    """A checkpoint's size, and the witnesses that have cosigned it."""
    if signed is None:
        return None
    return signed.checkpoint.size, sorted(cosigner.witness.name for cosigner in signed.cosigners)


async def until(what: str, check: Callable[[], Any]) -> None:
    """Wait in the event loop until ``check`` is true."""
    try:
        async with asyncio.timeout(20):
            while not check():  # noqa: ASYNC110 (what is waited for tells nobody)
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"waited in vain: {what}")


@pytest.fixture
def watched(tmp_path: Path, runner: asyncio.Runner) -> Iterator[WatchedStore]:
    """An empty watched store."""
    opened = WatchedStore(tmp_path / "whodid.db")
    yield opened
    runner.run(opened.close())


@pytest.fixture
def scene(watched: WatchedStore, tmp_path: Path, clock: ManualClock) -> Iterator[Scene]:
    """Two witnesses, w1 and w2."""
    with ExitStack() as stack:
        servers = [stack.enter_context(witness_server(name, tmp_path / name)) for name in ("w1", "w2")]
        yield Scene(watched, tmp_path, clock, servers)


# What is published.


async def test_without_witnesses_the_newest_is_published(scene: Scene) -> None:
    """Signed when it is asked for, a second old at most, with nothing else to wait for."""
    scene.witnesses = []
    account = await scene.account(entries=3)
    async with scene.server(start=True) as publishing:
        assert shows(await publishing.published(account.no, account.name)) == (3, [])
        await scene.grow(account, 2)
        assert shows(await publishing.published(account.no, account.name)) == (3, [])
        scene.clock.advance(1)
        assert shows(await publishing.published(account.no, account.name)) == (5, [])
        assert scene.notes.publications == 2
        with pytest.raises(NotFound):
            await publishing.published(99, "org-nobody")
    assert await scene.kept(account) is None


async def test_a_log_is_published_at_once_with_its_own_signature_alone(scene: Scene) -> None:
    """Where nothing has been published yet; and what was shown is kept."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        first = await publishing.published(account.no, account.name)
        assert shows(first) == shows(await scene.kept(account)) == (3, [])
        await scene.grow(account, 2)
        scene.clock.advance(100)
        assert await publishing.published(account.no, account.name) == first
    assert [witness.requests for witness in scene.witnesses] == [[], []]


async def test_a_round_publishes_what_has_grown_with_the_cosignatures_of_all_witnesses(scene: Scene) -> None:
    """Each is sent a proof from the size that it knows, and all is kept."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.published(account.no, account.name)
        for size in (3, 7, 300):
            await scene.grow(account, size - 3 if size == 7 else 293 if size == 300 else 0)
            await publishing.round()
            published = await publishing.published(account.no, account.name)
            assert shows(published) == (size, ["w1", "w2"])
            assert published == await scene.kept(account)
            assert len(published.note.signatures) == 3
    for witness in scene.witnesses:
        assert [asked[1:] for asked in witness.witness.asked] == [(0, 3), (3, 7), (7, 300)]
        state = (await scene.states())[account.no, witness.witness.name]
        assert state == WitnessState(
            account.no, witness.witness.name, 300, NOW_SECONDS * 1000, None, tried_ms=scene.clock()
        )
        assert scene.notes.standing[witness.witness.name] == (300, 0, False)
    assert scene.notes.publications == 3


async def test_cosignatures_outlive_the_server(scene: Scene) -> None:
    """The next one shows them, and asks nobody again."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
        published = await publishing.published(account.no, account.name)
    asked = [list(witness.requests) for witness in scene.witnesses]
    async with scene.server() as publishing:
        assert await publishing.published(account.no, account.name) == published
        await publishing.round()
        assert await publishing.published(account.no, account.name) == published
        assert [witness.requests for witness in scene.witnesses] == asked
        await scene.grow(account, 1)
        await publishing.round()
        assert [witness.witness.asked[-1][1:] for witness in scene.witnesses] == [(3, 4), (3, 4)]


async def test_a_round_over_logs_that_rest_reads_the_accounts_and_no_more(scene: Scene) -> None:
    """One read, however many they are."""
    for _ in range(MOST_ASKED + 4):
        await scene.account()
    async with scene.server() as publishing:
        await publishing.round()
        scene.store.calls.clear()
        await publishing.round()
    assert scene.store.calls == ["accounts"]


@pytest.mark.parametrize("change", ["host", "key"])
async def test_what_was_published_under_another_name_or_key_no_longer_counts(scene: Scene, change: str) -> None:
    """It is published anew, at once with the log's own signature, and then with cosignatures again."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])
        if change == "key":
            with scene.keyring.rotation(scene.clock()):
                pass
            scene.clock.advance(1)
            assert shows(await publishing.published(account.no, account.name)) == (3, [])
    host = "other.example" if change == "host" else HOST
    async with scene.server(host=host) as publishing:
        renewed = await publishing.published(account.no, account.name)
        assert shows(renewed) == (3, [])
        assert renewed.signer == scene.signer.verifiers(account.name)[0]
        scene.trust(account, host=host)
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])


async def test_a_server_without_witnesses_after_one_with_them_publishes_the_newest_again(scene: Scene) -> None:
    """What was kept does not hold it back."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
    await scene.grow(account, 1)
    scene.witnesses = []
    scene.clock.advance(5)
    async with scene.server() as publishing:
        assert shows(await publishing.published(account.no, account.name)) == (4, [])


async def test_nobody_sees_a_log_shrink_while_witnesses_come_and_go(scene: Scene) -> None:
    """What a server without witnesses has shown is shown on, until there is a newer one with cosignatures."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
    await scene.grow(account, 4)
    witnesses, scene.witnesses = scene.witnesses, []
    async with scene.server() as publishing:
        seen = await publishing.published(account.no, account.name)
        assert shows(seen) == (7, [])
    assert shows(await scene.kept(account)) == (3, [])
    await scene.grow(account, 1)
    scene.witnesses = witnesses
    async with scene.server() as publishing:
        assert await publishing.published(account.no, account.name) == seen
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (8, ["w1", "w2"])
    async with scene.server() as publishing:
        assert shows(await publishing.published(account.no, account.name)) == (8, ["w1", "w2"])


async def test_what_no_longer_counts_is_logged_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Also of a log that can't be signed anew, and is looked at in each round."""
    caplog.set_level(logging.INFO, "whodid.evidence.publishing")
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
    await lose_entries(scene, account)
    with scene.keyring.rotation(scene.clock()):
        pass
    async with scene.server() as publishing:
        for _ in range(3):
            await publishing.round()
    told = [record for record in caplog.records if record.message == "a published checkpoint no longer counts"]
    assert [vars(record)["account"] for record in told] == [account.name]


# Witnesses that do not do as they should.


async def test_a_witness_that_hangs_holds_nothing_back_and_is_added_when_it_answers_after_all(scene: Scene) -> None:
    """Publishing goes on meanwhile, and the witness is not asked again for that log before it has answered."""
    slow, quick = scene.witnesses
    go_on = threading.Event()

    def answer_late(handler: Handler) -> None:
        go_on.wait(20)
        handler.say(slow.witness.answer(handler.body))

    slow.misdeed = answer_late
    account = await scene.account(entries=3)
    async with scene.server(patience_seconds=0.05) as publishing:
        for _ in range(3):
            await publishing.round()
            await until("w2 has answered", lambda: shows(publishing._published[account.no]) == (3, ["w2"]))
        assert len(slow.requests) == len(quick.requests) == 1
        go_on.set()
        await until("w1 has answered", lambda: shows(publishing._published[account.no]) == (3, ["w1", "w2"]))
        assert shows(await scene.kept(account)) == (3, ["w1", "w2"])
    assert (await scene.states())[account.no, "w1"].size == 3


async def test_a_cosignature_that_comes_too_late_is_noted_but_not_shown(scene: Scene) -> None:
    """The next proof begins where the witness is by then."""
    slow, _ = scene.witnesses
    go_on = threading.Event()

    def answer_late(handler: Handler) -> None:
        go_on.wait(20)
        handler.say(slow.witness.answer(handler.body))

    slow.misdeed = answer_late
    account = await scene.account(entries=3)
    async with scene.server(patience_seconds=0.05) as publishing:
        await publishing.round()
        await scene.grow(account, 2)
        await publishing.round()
        await until("w2 has answered", lambda: shows(publishing._published[account.no]) == (5, ["w2"]))
        go_on.set()
        await until("w1 has answered", lambda: not publishing._tasks)
        assert shows(await publishing.published(account.no, account.name)) == (5, ["w2"])
        assert (await scene.states())[account.no, "w1"].size == 3
        await publishing.round()
        await until("both have", lambda: shows(publishing._published[account.no]) == (5, ["w1", "w2"]))
    assert [asked[1:] for asked in slow.witness.asked] == [(0, 3), (3, 5)]


async def test_a_witness_that_never_answers_is_given_up_for_a_while(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Its error is kept and logged, and it is asked again later."""
    scene.witnesses[0].misdeed = scene.witnesses[0].hang
    account = await scene.account(entries=3)
    async with scene.server(answer_seconds=1) as publishing:
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w2"])
        state = (await scene.states())[account.no, "w1"]
        assert (state.size, state.cosigned_ms, state.tried_ms) == (0, None, scene.clock())
        assert state.error == "does not answer within 1 seconds"
        assert scene.notes.standing == {"w1": (0, 3, True), "w2": (3, 0, False)}
        scene.witnesses[0].misdeed = None
        await publishing.round()
        assert len(scene.witnesses[0].requests) == 1
        scene.clock.advance(REST_SECONDS)
    async with scene.server() as publishing:
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])
    assert (await scene.states())[account.no, "w1"].error is None
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "the witness w1: does not answer within 1 seconds"
    ]


async def test_a_witness_that_fails_is_asked_ever_more_rarely(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """After 5, 10, 20 … seconds, and every ten minutes in the end. It is logged once; its return, too."""
    caplog.set_level(logging.INFO, "whodid.evidence")
    failing, _ = scene.witnesses
    failing.misdeed = lambda handler: handler.say(said(500, "out of order"))
    account = await scene.account(entries=3)
    asked_at: list[float] = []
    async with scene.server() as publishing:
        for _ in range(1600):
            before = len(failing.requests)
            await publishing.round()
            asked_at += [scene.clock.monotonic()] * (len(failing.requests) - before)
            scene.clock.advance(1)
        pauses = [round(after - before) for before, after in itertools.pairwise(asked_at)]
        assert pauses == [5, 10, 20, 40, 80, 160, 320, 600]
        assert max(pauses) == MOST_REST_SECONDS
        assert scene.notes.failures == ["w1"] * 9
        failing.misdeed = None
        scene.clock.advance(MOST_REST_SECONDS)
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])
    assert [record.message for record in caplog.records] == [
        'the witness w1: answered 500 "out of order"',
        "the witness w1 cosigns again",
    ]


async def test_a_witness_that_failed_is_tried_with_one_log_before_it_gets_all(scene: Scene) -> None:
    """A thousand logs do not find out a thousand times that it is down; those that did together count as one."""
    failing, _ = scene.witnesses
    together = threading.Barrier(MOST_ASKED)

    def fail_together(handler: Handler) -> None:
        together.wait(20)
        handler.say(said(503))

    failing.misdeed = fail_together
    accounts = [await scene.account() for _ in range(MOST_ASKED + 4)]
    async with scene.server() as publishing:
        await publishing.round()
        assert len(failing.requests) == MOST_ASKED
        failing.misdeed = lambda handler: handler.say(said(503))
        scene.clock.advance(REST_SECONDS)
        await publishing.round()
        assert len(failing.requests) == MOST_ASKED + 1
        scene.clock.advance(2 * REST_SECONDS)
        failing.misdeed = None
        for _ in range(2):  # one log, to see; then all
            await publishing.round()
        for account in accounts:
            assert shows(await scene.kept(account)) == (1, ["w1", "w2"])
    assert scene.notes.standing["w1"] == (len(accounts), 0, False)


async def test_of_two_requests_at_once_to_a_witness_that_failed_one_is_made(scene: Scene) -> None:
    """Though it was free when both were thought of."""
    accounts = [await scene.account(), await scene.account()]
    failing, _ = scene.witnesses
    failing.misdeed = lambda handler: handler.say(said(503))
    async with scene.server() as publishing:
        await publishing.round()
        failing.misdeed = None
        scene.clock.advance(REST_SECONDS)
        signed = [await publishing.published(account.no, account.name) for account in accounts]
        (witness,), (same,) = [
            publishing._panel.free(account.no, one) for account, one in zip(accounts, signed, strict=True)
        ]
        assert witness == same
        answers = await asyncio.gather(
            *(publishing._panel.ask(witness, account, one) for account, one in zip(accounts, signed, strict=True))
        )
        assert [answer is None for answer in answers] == [False, True]


async def test_a_proof_that_can_not_be_made_is_told_as_what_it_is(scene: Scene) -> None:
    """Not as a fault of the witness; the others get theirs."""
    account = await scene.account(entries=3)
    origin = f"{HOST}/log/{account.name}"
    async with scene.server() as publishing:
        root = (await frontier_at(scene.store, account.no, 2)).root()
        scene.witnesses[0].witness.remember(origin, 2, root)
        scene.store.unreadable = StoreUnavailable("the disk is broken")
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w2"])
        assert (await scene.states())[account.no, "w1"].error == "could not be sent a proof: the disk is broken"
        scene.store.unreadable = None
        scene.clock.advance(REST_SECONDS)
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])


async def test_a_witness_that_does_not_know_one_log_cosigns_the_others(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """With the log that it does not know, it is left alone for a while; its operator is told what to add."""
    unknown = await add_account(scene.store, "org-unknown")
    known = await scene.account("org-known")
    async with scene.server() as publishing:
        for size in (1, 2, 3):
            await publishing.round()
            assert shows(await publishing.published(known.no, known.name)) == (size, ["w1", "w2"])
            assert shows(await publishing.published(unknown.no, unknown.name)) == (size, [])
            for account in (known, unknown):
                await scene.grow(account, 1)
        key = scene.signer.verifiers("org-unknown")[0]
    (told,) = {record.message for record in caplog.records if "w1" in record.message}
    assert told.endswith(f"it does not know the log {HOST}/log/org-unknown; its operator must add {key}")
    assert [asked for asked in scene.witnesses[0].witness.asked if "unknown" in asked[0]] == [
        (f"{HOST}/log/org-unknown", 0, 1)
    ]


async def test_a_witness_that_has_cosigned_more_than_there_is_is_an_error(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """An old store, with its ledger: only the witnesses remember. Logged once as an error, and kept."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
        await scene.grow(account, 0)
    origin = f"{HOST}/log/{account.name}"
    scene.witnesses[0].witness.remember(origin, 20, b"x" * 32)
    await scene.grow(account, 2)
    async with scene.server() as publishing:
        for _ in range(3):
            await publishing.round()
            scene.clock.advance(MOST_REST_SECONDS)
        assert shows(await publishing.published(account.no, account.name)) == (5, ["w2"])
    told = "the witness has cosigned a log of 20 entries, ours has 5: entries are missing"
    state = (await scene.states())[account.no, "w1"]
    assert (state.size, state.error) == (3, told)
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [(record.message, vars(record)["account"]) for record in errors] == [
        (f"the witness w1: {told}", account.name)
    ]


async def test_many_logs_are_published_a_few_at_a_time(scene: Scene) -> None:
    """A witness is asked for some at the same time, and never has more requests than it should."""
    first, _ = scene.witnesses
    together = threading.Barrier(MOST_ASKED)
    waiting: list[int] = []

    def wait_for_others(handler: Handler) -> None:
        waiting.append(len(first.answering))
        together.wait(20)
        handler.say(first.witness.answer(handler.body))

    first.misdeed = wait_for_others
    accounts = [await scene.account(entries=2) for _ in range(3 * MOST_ASKED)]
    async with scene.server() as publishing:
        await publishing.round()
        for account in accounts:
            assert shows(await publishing.published(account.no, account.name)) == (2, ["w1", "w2"])
    assert max(waiting) == MOST_ASKED
    assert scene.notes.standing["w1"] == (2 * len(accounts), 0, False)


async def test_closing_does_not_wait_for_a_witness_that_hangs(scene: Scene) -> None:
    """Its request is broken off."""
    for witness in scene.witnesses:
        witness.misdeed = witness.hang
    await scene.account()
    async with scene.server(start=True):
        await until("both are asked", lambda: all(witness.requests for witness in scene.witnesses))
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < 5  # the patience is 20 seconds


# Logs that contradict what was signed.


async def lose_entries(scene: Scene, *accounts: Account) -> None:
    """Let checkpoints be signed of more entries than the store has: as if it were an old copy."""
    copy = scene.folder / "newer.db"
    connection = apsw.Connection(str(copy))
    source = apsw.Connection(str(scene.store.path))
    with connection.backup("main", source, "main") as backup:
        backup.step()
    source.close()
    connection.close()
    newer = SqliteStore(copy)
    for account in accounts:
        await append(newer, account, event(account), event(account))
        signer = Signer(newer, scene.keyring, scene.ledger, host=HOST, monotonic=scene.clock.monotonic)
        await signer.newest(account.name)
    await newer.close()


def errors(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The errors that were logged: the account, and what about it."""
    return [(vars(one).get("account", ""), one.message) for one in caplog.records if one.levelno >= logging.ERROR]


async def test_a_log_that_contradicts_what_was_signed_is_logged_once_and_holds_no_other_up(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It is not served; the others are. As soon as it agrees again, it is."""
    broken, sound = await scene.account("org-broken", 3), await scene.account("org-sound", 3)
    await lose_entries(scene, broken)
    async with scene.server() as publishing:
        for size in (3, 4, 5):
            await publishing.round()
            assert shows(await publishing.published(sound.no, sound.name)) == (size, ["w1", "w2"])
            with pytest.raises(InconsistentLog, match="missing"):
                await publishing.published(broken.no, broken.name)
            await scene.grow(sound, 1)
        ((account, told),) = errors(caplog)
        assert account == "org-broken"
        assert "operate.md" in told
        assert scene.notes.inconsistent_logs == 1
        shutil.rmtree(scene.ledger.folder)
        await publishing.round()
        assert shows(await publishing.published(broken.no, broken.name)) == (3, ["w1", "w2"])
        assert scene.notes.inconsistent_logs == 0


@pytest.mark.parametrize("witnessed", [True, False])
async def test_all_logs_are_examined_when_a_server_starts(
    scene: Scene, caplog: pytest.LogCaptureFixture, witnessed: bool
) -> None:
    """An old copy of the store is an error in the server's log at once, though nobody has asked for a checkpoint."""
    broken, sound = await scene.account("org-broken", 3), await scene.account("org-sound", 3)
    await lose_entries(scene, broken)
    scene.ledger.keep("org-gone", scene.ledger.newest("org-broken") or "")
    if not witnessed:
        scene.witnesses = []
    async with scene.server(start=True) as publishing:
        await until("both are noticed", lambda: scene.notes.inconsistent_logs == 2)
        assert sorted(account for account, _ in errors(caplog)) == ["org-broken", "org-gone"]
        assert any("all is missing" in told for _, told in errors(caplog))
        await publishing.published(sound.no, sound.name)
        with pytest.raises(InconsistentLog):
            await publishing.published(broken.no, broken.name)
    assert len(errors(caplog)) == 2


async def test_a_log_that_is_changed_while_it_rests_is_served_no_longer(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a second, and though its published checkpoint is what it was."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
        published = await publishing.published(account.no, account.name)
        connection = apsw.Connection(str(scene.store.path))
        rows: Any = connection.execute("SELECT frontier FROM account")
        ((frontier,),) = rows
        connection.execute("UPDATE account SET frontier = randomblob(length(frontier))")
        scene.clock.advance(1)
        with pytest.raises(InconsistentLog, match="is not the one"):
            await publishing.published(account.no, account.name)
        assert [name for name, _ in errors(caplog)] == [account.name]
        connection.execute("UPDATE account SET frontier = ?", (frontier,))
        connection.close()
        scene.clock.advance(1)
        assert await publishing.published(account.no, account.name) == published
    assert scene.notes.inconsistent_logs == 0


async def test_a_log_that_grows_while_all_are_examined_is_no_contradiction(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """A checkpoint may be signed between the look at its log and the look at what was signed."""
    account = await scene.account()
    other = Signer(scene.store, scene.keyring, scene.ledger, host=HOST, monotonic=scene.clock.monotonic)

    async def grow_and_sign() -> None:
        await scene.grow(account, 1)
        await other.newest(account.name)

    async with scene.server() as publishing:
        scene.store.meanwhile = grow_and_sign
        await publishing._examiner.examine()
    assert scene.store.meanwhile is None
    assert errors(caplog) == []


# A ledger that can't be read.


def make_unreadable(scene: Scene, *accounts: Account) -> None:
    """Put folders where the ledger has the files of these accounts."""
    for account in accounts:
        path = scene.ledger.path(account.name)
        path.unlink(missing_ok=True)
        path.mkdir(parents=True)


async def test_an_account_that_can_not_be_examined_hides_no_other(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """All others are examined, once; those that could not be are tried again."""
    unreadable, broken = await scene.account("org-a"), await scene.account("org-broken", 3)
    await lose_entries(scene, broken)
    make_unreadable(scene, unreadable)
    scene.witnesses = []
    async with scene.server(start=True) as publishing:
        await until("it was tried", lambda: scene.store.calls.count("accounts") > 5)
        assert scene.notes.inconsistent_logs == 1
        (trouble, contradiction) = sorted(errors(caplog))
        assert "org-a.checkpoint" in trouble[1]
        assert contradiction[0] == "org-broken"
        scene.store.calls.clear()
        with pytest.raises(StoreUnavailable):
            await publishing._examiner.examine()
        scene.ledger.path("org-a").rmdir()
        await until("all were examined", lambda: not publishing._tasks)
    assert len(errors(caplog)) == 2


async def test_an_account_that_can_not_be_signed_holds_no_other_up(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """All others are published, round after round; the trouble is logged once."""
    unreadable = [await scene.account(f"acme-{number}") for number in range(2)]
    sound = [await scene.account() for _ in range(2 * MOST_ASKED)]
    make_unreadable(scene, *unreadable)
    async with scene.server() as publishing:
        for size in (1, 2):
            with pytest.raises(StoreUnavailable, match="acme-0"):
                await publishing.round()
            for account in sound:
                assert shows(await publishing.published(account.no, account.name)) == (size, ["w1", "w2"])
                await scene.grow(account, 1)
        publishing.start()
        scene.store.calls.clear()
        await until("rounds were made", lambda: scene.store.calls.count("accounts") > 10)
        ((_, told),) = errors(caplog)
        assert "acme-0.checkpoint" in told


async def test_a_cosignature_that_comes_late_does_not_let_a_trouble_be_told_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes well though the rounds do not."""
    slow, _ = scene.witnesses
    go_on = threading.Event()

    def answer_late(handler: Handler) -> None:
        go_on.wait(20)
        handler.say(slow.witness.answer(handler.body))

    slow.misdeed = answer_late
    unreadable, sound = await scene.account("org-a"), await scene.account()
    make_unreadable(scene, unreadable)
    async with scene.server(start=True, patience_seconds=0.01) as publishing:
        await until("the trouble is told", lambda: errors(caplog))
        await until("w2 has answered", lambda: shows(publishing._published.get(sound.no)) == (1, ["w2"]))
        go_on.set()
        await until("w1 has answered", lambda: shows(publishing._published[sound.no]) == (1, ["w1", "w2"]))
        scene.store.calls.clear()
        await until("rounds were made", lambda: scene.store.calls.count("accounts") > 10)
    assert len(errors(caplog)) == 1


# A store that takes nothing.


async def test_while_the_store_takes_nothing_what_was_published_is_served_and_then_it_goes_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is shown that is not kept; the trouble is logged once, and each round tries again."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await publishing.round()
        await scene.grow(account, 1)
        scene.store.failure = StoreUnavailable("the disk is full")
        publishing.start()
        await until("it was tried", lambda: scene.store.calls.count("accounts") > 5)
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])
        assert errors(caplog) == [("", "checkpoints can't be published: the disk is full")]
        scene.store.failure = None
        await until("it goes on", lambda: shows(publishing._published[account.no]) == (4, ["w1", "w2"]))


async def test_cosignatures_that_could_not_be_kept_are_asked_for_again(scene: Scene) -> None:
    """The witness says what it knows, or cosigns the same once more."""
    account = await scene.account(entries=3)
    async with scene.server() as publishing:
        await scene.signer.newest(account.name)
        scene.store.failure = StoreUnavailable("the disk is full")
        with pytest.raises(StoreUnavailable):
            await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, [])  # which is kept as signed
        scene.store.failure = None
        await publishing.round()
        assert shows(await publishing.published(account.no, account.name)) == (3, ["w1", "w2"])
    assert [asked[1:] for asked in scene.witnesses[0].witness.asked] == [(0, 3), (3, 3)]


async def test_an_error_that_nobody_thought_of_does_not_end_the_work(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its traceback, and the next round comes."""
    account = await scene.account(entries=3)
    scene.store.failure = ZeroDivisionError("a bug")
    async with scene.server(start=True) as publishing:
        await until("it was logged", lambda: errors(caplog))
        scene.store.failure = None
        await until("it goes on", lambda: account.no in publishing._published)
    assert {record.exc_info[0] for record in caplog.records if record.exc_info} == {ZeroDivisionError}
