"""Servers that sign the logs of one database: one key, no log that shrinks, and each remembers what all signed."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.building import add_account, append, event
from tests.stores import made_store

from whodid.checkpoint import Checkpoint
from whodid.config import Settings
from whodid.errors import InvalidSetting, StoreUnavailable
from whodid.evidence.keyring import Keyring
from whodid.evidence.ledger import Ledger
from whodid.evidence.opening import open_keyring, open_signer
from whodid.evidence.signing import Signer
from whodid.notes import Note
from whodid.store.base import Account
from whodid.store.postgres import PostgresStore

NOW_MS = 1_700_000_000_000


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A database of the test's own."""
    with made_store("postgresql", tmp_path) as made:
        yield made


@pytest.fixture
def store(url: str, runner: asyncio.Runner) -> Iterator[PostgresStore]:
    """The store in it."""
    opened = PostgresStore(url)
    yield opened
    runner.run(opened.close())


class Machine:
    """A server's machine: with a key file and a folder of what was signed of its own."""

    def __init__(self, folder: Path, store: PostgresStore, url: str, monotonic: Callable[[], float]) -> None:
        folder.mkdir()
        self.key = folder / "signing.key"
        self.ledger = Ledger(folder / "signed")
        self.settings = Settings(store=url, signing_key=str(self.key), signed_dir=str(self.ledger.folder))
        self._store = store
        self._monotonic = monotonic

    def make_key(self) -> Keyring:
        """A key that no other machine has."""
        return Keyring.open(self.key, make=True)

    def take_key(self, other: "Machine") -> None:
        """Bring the key from another machine."""
        shutil.copy(other.key, self.key)

    def rotate(self) -> None:
        """Rotate the key, here alone."""
        with Keyring.open(self.key, make=False).rotation(NOW_MS):
            pass

    def signer(self) -> Signer:
        """What signs here."""
        keyring = Keyring.open(self.key, make=False)
        return Signer(self._store, keyring, self.ledger, host="audit.example", monotonic=self._monotonic)

    def remembers(self, account: Account) -> int:
        """How many entries the log has by the checkpoint in the ledger."""
        note = self.ledger.newest(account.name)
        return 0 if note is None else Checkpoint.parse(Note.parse(note).text).size


@pytest.fixture
def machines(tmp_path: Path, store: PostgresStore, url: str) -> list[Machine]:
    """Two machines, without keys."""
    return [Machine(tmp_path / name, store, url, time.monotonic) for name in ("a", "b")]


async def test_the_first_server_settles_which_key_signs(machines: list[Machine], store: PostgresStore) -> None:
    """A server with another one does not start, and says what it lacks; with the same one it does."""
    a, b = machines
    a.make_key()
    b.make_key()
    keyring = await open_keyring(a.settings, store)
    assert await store.signing_key() == keyring.current().public_key
    with pytest.raises(InvalidSetting, match="signed with another key than that in"):
        await open_signer(b.settings, store)
    b.take_key(a)
    assert (await open_keyring(b.settings, store)).current().public_key == keyring.current().public_key


async def test_no_key_is_made_where_another_one_signs(
    machines: list[Machine], store: PostgresStore, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where none is named, the file is named after the database; it is made for the first server only."""
    monkeypatch.chdir(tmp_path / "a")
    made = (await open_keyring(Settings(store=url), store)).path
    assert made.parent == tmp_path / "a" / "data"
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(InvalidSetting, match="signed with a key that is not here: bring its file to"):
        await open_keyring(Settings(store=url), store)
    assert not (tmp_path / "b" / "data").exists()


async def test_after_a_rotation_only_those_sign_who_have_the_new_key(
    machines: list[Machine], store: PostgresStore
) -> None:
    """The others say so until the file is brought to them, and then go on without a restart."""
    a, b = machines
    a.make_key()
    b.take_key(a)
    await open_keyring(a.settings, store)
    account = await add_account(store)
    one, other = a.signer(), b.signer()
    await other.newest(account.name)
    a.rotate()
    rotated = await one.newest(account.name)
    await append(store, account, event(account))
    with pytest.raises(StoreUnavailable, match="signed with another key than that in"):
        await other.newest(account.name, covering=2)
    with pytest.raises(StoreUnavailable, match="signed with another key than that in"):
        await other.check_key()
    b.key.unlink()
    b.take_key(a)
    assert (await other.newest(account.name, covering=2)).signer == rotated.signer


async def test_what_one_server_signed_no_other_falls_behind(machines: list[Machine], store: PostgresStore) -> None:
    """Not even with what it signed itself within the last second."""
    a, b = machines
    a.make_key()
    b.take_key(a)
    account = await add_account(store)
    one, other = a.signer(), b.signer()
    sizes = []
    for signer in (one, other) * 5:
        sizes.append((await signer.newest(account.name)).checkpoint.size)
        await append(store, account, event(account))
        sizes.append((await signer.newest(account.name, covering=len(sizes) // 2 + 2)).checkpoint.size)
    assert sizes == sorted(sizes)
    assert sizes[-1] == 11


async def test_a_server_remembers_what_others_signed(machines: list[Machine], store: PostgresStore) -> None:
    """As soon as it looks at the log: so it, too, would notice an older copy of the database."""
    a, b = machines
    a.make_key()
    b.take_key(a)
    account = await add_account(store)
    await append(store, account, event(account), event(account))
    await a.signer().newest(account.name)
    assert b.remembers(account) == 0
    await b.signer().examine(account.name)
    assert b.remembers(account) == 3
