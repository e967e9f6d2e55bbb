"""Opening what signs: the key and the ledger of a store, where the settings say that they are."""

import logging
import time
from pathlib import Path

from whodid.config import Settings
from whodid.evidence.keyring import Keyring
from whodid.evidence.ledger import Ledger, ledger_at
from whodid.evidence.signing import Signer
from whodid.store.base import Store
from whodid.store.opening import sqlite_path

log = logging.getLogger(__name__)


def open_keyring(settings: Settings) -> Keyring:
    """The signing key: the file of the setting, which must be there; else one beside the store, made if need be.

    Raises ``InvalidSetting``.
    """
    path = _key_path(settings)
    if settings.signing_key:
        return Keyring.open(path, make=False)
    if not path.exists() and open_ledger(settings).accounts():
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
    if settings.signing_key:
        return Path(settings.signing_key)
    store = sqlite_path(settings.store).resolve()  # two names of one file are one store
    return store.with_name(f"{store.name}.key")


def open_ledger(settings: Settings) -> Ledger:
    """The ledger. Raises ``InvalidSetting``."""
    return ledger_at(settings.signed_dir, sqlite_path(settings.store).resolve())


def open_signer(settings: Settings, store: Store, keyring: Keyring | None = None) -> Signer:
    """The signer of a store's logs. Raises ``InvalidSetting`` or ``StoreUnavailable``."""
    return Signer(
        store,
        keyring or open_keyring(settings),
        open_ledger(settings),
        host=settings.public_host,
        monotonic=time.monotonic,
    )
