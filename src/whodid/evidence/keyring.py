"""The signing key: one Ed25519 key of a server, in a file that its owner alone can read; and those that it had before.

The file is PEM: the private key, as ``openssl genpkey -algorithm ed25519`` makes it, then the public keys that were
retired, each with a line that says when. It is only ever replaced whole.
"""

import contextlib
import fcntl
import os
import re
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from whodid.durable import make_folder, replacing, sync_folder
from whodid.errors import InvalidSetting
from whodid.notes import Verifier
from whodid.records import parse_time, render_time

_BLOCK = re.compile(
    r"(?:Retired: (\S+)\n)?(-----BEGIN (PRIVATE|PUBLIC) KEY-----\n.+?\n-----END \3 KEY-----)", re.DOTALL
)
_FORBIDDEN_BITS: Final = 0o037
"""The group may read the file (a secret that is mounted often has it so), nobody else may do anything."""


@dataclass(frozen=True, slots=True)
class RetiredKey:
    """A public key that signed before, and when it was retired."""

    public_key: bytes
    retired_ms: int


@dataclass(frozen=True, slots=True)
class Keys:
    """What the file holds."""

    private: Ed25519PrivateKey
    retired: tuple[RetiredKey, ...] = ()
    """The one that was retired last comes first."""

    @property
    def public_key(self) -> bytes:
        """Of the key that signs: 32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def rotated(self, now_ms: int) -> "Keys":
        """A new key to sign with; of the one that signed until now, only the public half is left."""
        return Keys(Ed25519PrivateKey.generate(), (RetiredKey(self.public_key, now_ms), *self.retired))

    def verifiers(self, origin: str) -> list[Verifier]:
        """The verifiers of a log's checkpoints: of the key that signs first, then of those that did before."""
        public_keys = [self.public_key, *(key.public_key for key in self.retired)]
        return [Verifier(origin, public_key) for public_key in public_keys]


class Keyring:
    """The keys of a server. Follows the file: a key that a command rotates is used from then on."""

    def __init__(self, path: Path) -> None:
        """Use the keys of a file that is there. Raises ``InvalidSetting``."""
        self.path = path.resolve()  # the file itself is replaced, not a link to it
        self._read_at = _version(self.path)
        self._keys = _read(self.path)

    @classmethod
    def open(cls, path: Path, *, make: bool) -> "Keyring":
        """The keys of the file; where there is none, one is made if ``make`` says so. Raises ``InvalidSetting``."""
        if make and not path.exists():
            _write_new(path, Keys(Ed25519PrivateKey.generate()))
        return cls(path)

    def current(self) -> Keys:
        """The keys, as the file has them now. Raises ``InvalidSetting``."""
        version = _version(self.path)
        if version != self._read_at:
            self._keys, self._read_at = _read(self.path), version
        return self._keys

    @contextlib.contextmanager
    def rotation(self, now_ms: int) -> Iterator[Keys]:
        """Rotate: the new keys, which are those of the file where the block ends; nothing has changed where it raises.

        One process at a time. Raises ``InvalidSetting``.
        """
        with _telling_errors(self.path), _locked(self.path.parent):
            status = self.path.stat()
            if status.st_dev != self.path.parent.stat().st_dev or self.path.is_mount():
                raise InvalidSetting(
                    f"{self.path} is mounted from elsewhere, and can't be replaced here; make a new key there "
                    "('openssl genpkey -algorithm ed25519'), and put the old public key below it, as "
                    "docs/howto/operate.md shows"
                )
            with replacing(self.path, stat.S_IMODE(status.st_mode)) as file:
                rotated = self.current().rotated(now_ms)
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
                file.write(_render(rotated).encode())
                file.flush()
                yield rotated


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from rotating keys in this folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InvalidSetting(f"another process is rotating a key in {folder}") from error
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _telling_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidSetting(f"can't write the signing key {path}: {error.strerror}") from error


def _version(path: Path) -> tuple[int, int]:
    """Differs whenever the file was replaced; (0, 0) where it is gone."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _read(path: Path) -> Keys:
    try:
        status = path.stat()
        text = path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not PEM"
        raise InvalidSetting(f"can't read the signing key {path}: {reason}; see {_ADVICE}") from error
    if not stat.S_ISREG(status.st_mode) or status.st_mode & _FORBIDDEN_BITS:
        raise InvalidSetting(f"others may read or change the signing key {path}; 'chmod 600 {path}' mends that")
    try:
        return _parse(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidSetting(f"the signing key {path} is not an Ed25519 key in PEM: {error}; see {_ADVICE}") from error


_ADVICE = "'openssl genpkey -algorithm ed25519', which makes one"


def _parse(text: str) -> Keys:
    private: list[Ed25519PrivateKey] = []
    retired: list[RetiredKey] = []
    for retired_at, block, kind in _BLOCK.findall(text):
        key = load_pem_private_key(block.encode(), None) if kind == "PRIVATE" else load_pem_public_key(block.encode())
        if isinstance(key, Ed25519PrivateKey):
            private.append(key)
        elif isinstance(key, Ed25519PublicKey) and retired_at:
            retired.append(RetiredKey(key.public_bytes_raw(), parse_time(retired_at)))
        else:
            raise ValueError("it holds a key of another kind")
    if len(private) != 1:
        raise ValueError(f"it holds {len(private)} private keys, not one")
    return Keys(private[0], tuple(retired))


def _render(keys: Keys) -> str:
    private = keys.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    retired = [
        f"\nRetired: {render_time(key.retired_ms)}\n"
        + Ed25519PublicKey.from_public_bytes(key.public_key)
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode()
        for key in keys.retired
    ]
    return private + "".join(retired)


def _write_new(path: Path, keys: Keys) -> None:
    """Put the file there, unless another process was faster."""
    with _telling_errors(path):
        make_folder(path.parent)
        new = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.new")
        with replacing(new) as file:
            file.write(_render(keys).encode())
        try:
            with contextlib.suppress(FileExistsError):
                path.hardlink_to(new)
        finally:
            new.unlink()
        sync_folder(path.parent)
