"""Opening what signs: the key and the ledger of a store, where the settings say that they are."""

import logging
import time
from pathlib import Path

from whodid.config import Settings
from whodid.errors import InvalidSetting
from whodid.evidence.keyring import Keyring
from whodid.evidence.ledger import Ledger
from whodid.evidence.signing import Signer
from whodid.store.base import Store
from whodid.store.urls import beside

log = logging.getLogger(__name__)


async def open_keyring(settings: Settings, store: Store) -> Keyring:
    """The signing key: the file of the setting, which must be there; else one beside the store, made if need be.

    Of a store that has many servers, all have the same key: whose it is was settled by the first one.

    Raises ``InvalidSetting`` or ``StoreUnavailable``.
    """
    path = _key_path(settings)
    keyring = Keyring.open(path, make=False) if settings.signing_key or path.exists() else await _make(settings, store)
    keys = keyring.current()
    settled = await store.settle_signing_key(keys.public_key, [retired.public_key for retired in keys.retired])
    if settled != keys.public_key:
        raise InvalidSetting(
            f"the logs of this database are signed with another key than that in {path}: all its servers need the "
            "same one. Put the file of the right one there, or let signing_key name it"
        )
    return keyring


async def _make(settings: Settings, store: Store) -> Keyring:
    path = _key_path(settings)
    if await store.signing_key() is not None:
        raise InvalidSetting(
            f"the logs of this database are signed with a key that is not here: bring its file to {path}, or let "
            "signing_key name it. All servers of a database need the same one"
        )
    if open_ledger(settings).accounts():
        log.warning(
            "checkpoints were signed before, but their key is gone; a new one is made, and whoever checks needs its "
            "verifier keys ('whodid key show'). If %s was only not brought along, put it back",
            path,
        )
    return Keyring.open(path, make=True)


def find_keyring(settings: Settings) -> Keyring | None:
    """The signing key, if there is one; none is made. Raises ``InvalidSetting``."""
    path = _key_path(settings)
    return Keyring.open(path, make=False) if path.exists() else None


def _key_path(settings: Settings) -> Path:
    return Path(settings.signing_key) if settings.signing_key else beside(settings.store, ".key")


def open_ledger(settings: Settings) -> Ledger:
    """The ledger: the folder of the setting, else one beside the store. Raises ``InvalidSetting``."""
    return Ledger(Path(settings.signed_dir) if settings.signed_dir else beside(settings.store, ".signed"))


async def open_signer(settings: Settings, store: Store, keyring: Keyring | None = None) -> Signer:
    """The signer of a store's logs. Raises ``InvalidSetting`` or ``StoreUnavailable``."""
    return Signer(
        store,
        keyring or await open_keyring(settings, store),
        open_ledger(settings),
        host=settings.public_host,
        monotonic=time.monotonic,
    )
