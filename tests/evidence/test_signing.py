"""Signing heads: what is signed is kept first, in two places, and never contradicted."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest
from tests.building import add_account, append, event

from whodid.checkpoint import SignedCheckpoint, open_checkpoint
from whodid.errors import InconsistentLog, InvalidSetting, NotFound, StoreUnavailable
from whodid.evidence.keyring import Keyring
from whodid.evidence.ledger import Ledger
from whodid.evidence.proving import frontier_at
from whodid.evidence.signing import FRESH_SECONDS, Signer
from whodid.store.base import Account, Standing, Store
from whodid.store.sqlite import SqliteStore


class Seconds:
    """A monotonic clock that tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    """Stands at 100."""
    return Seconds()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Beside the store."""
    return Ledger(tmp_path / "signed")


@pytest.fixture
def make_signer(store: SqliteStore, ledger: Ledger, tmp_path: Path, seconds: Seconds) -> Callable[..., Signer]:
    """Signers of the test's store, each as another process would have it."""

    def make(host: str = "", of: Store = store, key: str = "key") -> Signer:
        keyring = Keyring.open(tmp_path / key, make=True)
        return Signer(of, keyring, ledger, host=host, monotonic=seconds)

    return make


async def grow(store: Store, account: Account, count: int) -> None:
    """Append so many entries."""
    await append(store, account, *(event(account) for _ in range(count)))


async def test_a_head_is_signed_under_the_name_of_its_log(
    store: SqliteStore, make_signer: Callable[..., Signer]
) -> None:
    """Size and root are those of the log, and the account's verifier checks it."""
    account = await add_account(store, "org-acme")
    await grow(store, account, 4)
    signer = make_signer("audit.acme.example")
    signed = await signer.newest("org-acme")
    assert signed.checkpoint.origin == "audit.acme.example/log/org-acme"
    assert signed.checkpoint.size == 5
    assert signed.checkpoint.root == (await frontier_at(store, account.no, 5)).root()
    assert open_checkpoint(str(signed.note), signer.verifiers("org-acme")).checkpoint == signed.checkpoint


async def test_what_is_signed_is_kept_in_the_ledger_and_in_the_store(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer]
) -> None:
    """Both have the very note."""
    account = await add_account(store, "org-acme")
    signed = await make_signer().newest("org-acme")
    kept = await store.checkpoint(account.no, Standing.SIGNED)
    assert kept is not None
    assert ledger.newest("org-acme") == kept.note == str(signed.note)
    assert ledger.accounts() == ["org-acme"]


async def test_a_growing_log_is_signed_anew_once_a_second_unless_more_is_asked_for(
    store: SqliteStore, make_signer: Callable[..., Signer], seconds: Seconds
) -> None:
    """Within the second the last checkpoint is good enough, but for an entry that it does not cover."""
    account = await add_account(store)
    signer = make_signer()
    first = await signer.newest(account.name)
    await grow(store, account, 1)
    assert await signer.newest(account.name) == first
    assert await signer.covering(account.name, 1) == first
    assert (await signer.covering(account.name, 2)).checkpoint.size == 2
    await grow(store, account, 1)
    seconds.now += FRESH_SECONDS
    assert (await signer.newest(account.name)).checkpoint.size == 3


async def test_a_log_that_has_not_grown_keeps_its_checkpoint(
    store: SqliteStore, make_signer: Callable[..., Signer], seconds: Seconds
) -> None:
    """The same head is not signed twice, also by another process; a new key signs it anew."""
    account = await add_account(store)
    signer = make_signer()
    first = await signer.newest(account.name)
    seconds.now += 10
    assert await signer.newest(account.name) == first
    assert await make_signer().newest(account.name) == first
    renewed = await make_signer(key="other").newest(account.name)
    assert renewed.checkpoint == first.checkpoint
    assert renewed.signer != first.signer


async def test_an_old_copy_of_the_store_is_not_signed_for(
    store: SqliteStore, store_path: Path, tmp_path: Path, make_signer: Callable[..., Signer]
) -> None:
    """The error says how much is missing, where that is known from, and where to read on."""
    account = await add_account(store, "org-acme")
    await grow(store, account, 2)
    backup = tmp_path / "backup.db"
    copy(store_path, backup)
    await grow(store, account, 300)
    await make_signer().newest("org-acme")
    old = SqliteStore(backup)
    with pytest.raises(InconsistentLog, match=r"has 3 entries, but a checkpoint of 303 entries .* 300 are missing"):
        await make_signer(of=old).newest("org-acme")
    with pytest.raises(InconsistentLog, match=r"operate\.md"):
        await make_signer(of=old).covering("org-acme", 1)
    await old.close()


async def test_an_old_copy_that_has_grown_since_is_not_signed_for(
    store: SqliteStore, store_path: Path, tmp_path: Path, make_signer: Callable[..., Signer]
) -> None:
    """However long the other history gets."""
    account = await add_account(store, "org-acme")
    backup = tmp_path / "backup.db"
    copy(store_path, backup)
    await grow(store, account, 300)
    await make_signer().newest("org-acme")
    old = SqliteStore(backup)
    for _ in range(2):
        await grow(old, account, 300)
        signer = make_signer(of=old)
        with pytest.raises(InconsistentLog, match="is not the one whose checkpoint of 301 entries was signed"):
            await signer.newest("org-acme")
        with pytest.raises(InconsistentLog):
            await signer.examine("org-acme")
    await old.close()


async def test_the_store_alone_tells_of_what_was_signed_where_the_ledger_is_lost(
    store: SqliteStore, store_path: Path, ledger: Ledger, make_signer: Callable[..., Signer], seconds: Seconds
) -> None:
    """A store whose tree was made over is noticed by the checkpoint that it has kept itself."""
    account = await add_account(store, "org-acme")
    await grow(store, account, 600)
    await make_signer().newest("org-acme")
    shutil.rmtree(ledger.folder)
    tamper(store_path, "UPDATE block_root SET root = randomblob(32) WHERE position = 0")
    await grow(store, account, 1)
    with pytest.raises(InconsistentLog, match="is not the one"):
        await make_signer().newest("org-acme")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account SET frontier = randomblob(length(frontier))",
        "UPDATE block_root SET root = randomblob(32) WHERE position = 1",
        "UPDATE entry SET commitment = randomblob(32) WHERE seq = 599",
        "DELETE FROM entry WHERE seq = 598",
        "DELETE FROM block_root",
    ],
)
async def test_a_tree_that_was_tampered_with_is_not_signed_for(
    store: SqliteStore, store_path: Path, make_signer: Callable[..., Signer], statement: str
) -> None:
    """Frontier, block roots and the newest commitments must lead from what was signed to the head."""
    account = await add_account(store, "org-acme")
    await grow(store, account, 599)
    signer = make_signer()
    await signer.newest("org-acme")
    await grow(store, account, 1)
    tamper(store_path, statement)
    with pytest.raises(InconsistentLog):
        await signer.covering("org-acme", 601)


async def test_two_processes_that_sign_do_not_contradict_each_other(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer], seconds: Seconds
) -> None:
    """A command may sign beside the server: the ledger has the newer checkpoint in the end."""
    account = await add_account(store, "org-acme")
    signers = [make_signer(), make_signer()]
    sizes: list[int] = []
    for _ in range(10):
        await grow(store, account, 1)
        seconds.now += FRESH_SECONDS
        signed = await asyncio.gather(*(signer.newest("org-acme") for signer in signers))
        sizes += [one.checkpoint.size for one in signed]
    assert sizes == [size for size in range(2, 12) for _ in signers]
    assert f"\n{sizes[-1]}\n" in str(ledger.newest("org-acme"))


async def test_callers_at_the_same_time_share_one_signature(
    store: SqliteStore, make_signer: Callable[..., Signer]
) -> None:
    """A hundred requests for a new entry's proof are one signature."""
    account = await add_account(store)
    signer = make_signer()
    signed = await asyncio.gather(*(signer.covering(account.name, 1) for _ in range(100)))
    assert all(one is signed[0] for one in signed)


async def test_accounts_are_signed_apart(store: SqliteStore, make_signer: Callable[..., Signer]) -> None:
    """One account's trouble is not another's."""
    accounts = [await add_account(store) for _ in range(3)]
    signer = make_signer()
    signed: list[SignedCheckpoint] = [await signer.newest(account.name) for account in accounts]
    assert len({one.checkpoint.root for one in signed}) == len({one.checkpoint.origin for one in signed}) == 3
    with pytest.raises(NotFound):
        await signer.newest("org-nobody")


async def test_nothing_is_handed_out_that_could_not_be_kept(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer]
) -> None:
    """Where the ledger can't be written, there is no signature."""
    account = await add_account(store)
    signer = make_signer()
    ledger.folder.write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="keeps what was signed"):
        await signer.newest(account.name)
    assert await store.checkpoint(account.no, Standing.SIGNED) is None


async def test_a_damaged_ledger_is_not_signed_over(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer]
) -> None:
    """What can't be read might be what would be contradicted."""
    account = await add_account(store, "org-acme")
    await make_signer().newest("org-acme")
    ledger.path("org-acme").write_bytes(b"\xff\x00")
    with pytest.raises(InconsistentLog):
        await make_signer().newest(account.name)


async def test_the_public_host_is_remembered(
    store: SqliteStore, make_signer: Callable[..., Signer], ledger: Ledger
) -> None:
    """A command needs not be told what the server was told; without anything it is localhost."""
    assert make_signer().origin("a") == "localhost/log/a"
    assert make_signer("audit.example:8443/x").origin("a") == "audit.example:8443/x/log/a"
    assert make_signer().origin("a") == "audit.example:8443/x/log/a"
    assert make_signer("other.example").origin("a") == "other.example/log/a"
    assert make_signer().origin("a") == "other.example/log/a"


async def test_a_host_that_the_ledger_forgot_is_known_from_what_was_signed(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer]
) -> None:
    """A store that was moved without the folder keeps the names of its logs."""
    account = await add_account(store, "org-acme")
    await make_signer("audit.example").newest("org-acme")
    shutil.rmtree(ledger.folder)
    await grow(store, account, 1)
    signed = await make_signer().newest("org-acme")
    assert signed.checkpoint.origin == "audit.example/log/org-acme"
    assert make_signer().origin("org-acme") == "audit.example/log/org-acme"
    assert (await make_signer("other.example").newest("org-acme")).checkpoint.origin == "other.example/log/org-acme"


async def test_what_was_kept_in_the_ledger_alone_is_kept_in_the_store_before_it_is_handed_out(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer]
) -> None:
    """As after a crash between the two."""
    account = await add_account(store, "org-acme")
    signed = await make_signer().newest("org-acme")
    tamper(store.path, "DELETE FROM checkpoint")
    assert await make_signer().newest("org-acme") == signed
    kept = await store.checkpoint(account.no, Standing.SIGNED)
    assert kept is not None
    assert kept.note == str(signed.note)


async def test_a_lock_that_is_not_given_back_is_told(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a process that hangs while it signs; appends do not wait at all."""
    account = await add_account(store)
    monkeypatch.setattr("whodid.evidence.ledger._LOCK_SECONDS", 0.1)
    with ledger.lock(), pytest.raises(StoreUnavailable, match="another process keeps"):
        await make_signer().newest(account.name)
    assert (await make_signer().newest(account.name)).checkpoint.size == 1


async def test_a_failed_write_leaves_nothing_behind(
    store: SqliteStore, ledger: Ledger, make_signer: Callable[..., Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is not filled up with pieces."""
    account = await add_account(store)
    await make_signer().newest(account.name)
    before = sorted(ledger.folder.iterdir())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    await grow(store, account, 1)
    with monkeypatch.context() as patched:
        patched.setattr("whodid.durable.os.fsync", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await make_signer().newest(account.name)
    assert sorted(ledger.folder.iterdir()) == before


@pytest.mark.parametrize("host", ["https://a.example", "a b", "a+b", "a/", "/a", "a.example/log\n", "ä.example", "A"])
async def test_a_public_host_that_can_not_name_a_log_is_refused(make_signer: Callable[..., Signer], host: str) -> None:
    """The error shows one that can."""
    with pytest.raises(InvalidSetting, match=r"audit\.acme\.example"):
        make_signer(host)


def copy(path: Path, to: Path) -> None:
    """A backup of a store that is in use."""
    source, target = apsw.Connection(str(path)), apsw.Connection(str(to))
    with target.backup("main", source, "main") as backup:
        backup.step()
    source.close()
    target.close()


def tamper(path: Path, statement: str) -> None:
    """Change the store behind Whodid's back."""
    connection = apsw.Connection(str(path))
    connection.execute(statement)
    assert connection.changes() > 0
    connection.close()
