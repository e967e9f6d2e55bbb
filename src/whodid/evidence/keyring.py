"""The signing key: one Ed25519 key of a server, in a file that its owner alone can read; and those that it had before.

The file is PEM: the private key, as ``openssl genpkey -algorithm ed25519`` makes it, then the public keys that were
retired, each with a line that says when. It is only ever replaced whole.
"""

import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

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

    def __init__(self, path: Path, keys: Keys) -> None:
        self.path = path
        self._keys = keys
        self._read_at = _version(path)

    @classmethod
    def open(cls, path: Path, *, make: bool) -> "Keyring":
        """The keys of the file; where there is none, one is made if ``make`` says so. Raises ``InvalidSetting``."""
        if make and not path.exists():
            _write_new(path, Keys(Ed25519PrivateKey.generate()))
        return cls(path, _read(path))

    def current(self) -> Keys:
        """The keys, as the file has them now. Raises ``InvalidSetting``."""
        version = _version(self.path)
        if version != self._read_at:
            self._keys, self._read_at = _read(self.path), version
        return self._keys

    def replace(self, keys: Keys) -> None:
        """Put other keys in the place of those in the file. Raises ``InvalidSetting``."""
        part = _write_part(self.path, keys)
        part.replace(self.path)
        _sync_folder(self.path.parent)


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
    except ValueError as error:
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
    part = _write_part(path, keys)
    try:
        path.hardlink_to(part)
    except FileExistsError:
        pass
    except OSError as error:
        raise InvalidSetting(f"can't make the signing key {path}: {error.strerror}") from error
    finally:
        part.unlink()
    _sync_folder(path.parent)


def _write_part(path: Path, keys: Keys) -> Path:
    """A file beside ``path`` with these keys, on the disk, mode 0600."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "w") as file:
            file.write(_render(keys))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InvalidSetting(f"can't write the signing key {path}: {error.strerror}") from error
    return Path(name)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
