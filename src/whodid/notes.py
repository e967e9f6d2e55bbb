"""Signed notes: a text, and the signatures of those who vouch for it (C2SP signed-note). Pure.

Two types of signatures are known: Ed25519 over the text (0x01), which a log makes; and the timestamped Ed25519
cosignature (0x04, C2SP tlog-cosignature), which a witness makes. Others, and those of keys that nobody asked for, are
carried along and ignored. Parsing is strict: what this module accepts, it writes back byte for byte.
"""

import binascii
import enum
import hashlib
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from whodid.errors import InvalidEvidence

MOST_SIGNATURES: Final = 64
"""A note with more is refused; the specification asks for at least 16."""

MOST_NOTE_BYTES: Final = 256 * 1024
"""A larger note is refused. One of so many ML-DSA-44 cosignatures (2,420 bytes each) is smaller."""

_DASH = "— "
_KEY_ID_BYTES = 4
_PUBLIC_KEY_BYTES = 32
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8

# The second coordinates of the points whose order divides 8, each with its forms beyond the field's size 2^255 - 19. A
# signature "of" such a key says nothing: anybody can make one.
_SMALL_ORDER: Final = frozenset(
    (
        0,
        1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        (1 << 255) - 20,
        (1 << 255) - 19,
        (1 << 255) - 18,
    )
)


class SignatureType(enum.IntEnum):
    """What a key signs, and how."""

    ED25519 = 0x01
    COSIGNATURE = 0x04


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: who is said to have signed, with which key, and the signature's bytes."""

    name: str
    key_id: bytes
    """4 bytes: which key of that name."""
    data: bytes

    def line(self) -> str:
        """The line as it stands in a note, newline included."""
        return f"{_DASH}{self.name} {b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True, slots=True)
class Verifier:
    """The public half of a key: checks signatures of its name and type."""

    name: str
    public_key: bytes
    """32 bytes."""
    type: SignatureType = SignatureType.ED25519

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if len(self.public_key) != _PUBLIC_KEY_BYTES:
            raise InvalidEvidence(f"an Ed25519 public key has {_PUBLIC_KEY_BYTES} bytes, not {len(self.public_key)}")
        if int.from_bytes(self.public_key, "little") & (1 << 255) - 1 in _SMALL_ORDER:
            raise InvalidEvidence(
                f"the public key of {self.name} is none that anybody keeps: everyone can sign with it"
            )

    @property
    def key_id(self) -> bytes:
        """4 bytes: the beginning of ``SHA-256(name || 0x0A || type || public key)``."""
        return hashlib.sha256(self.name.encode() + b"\n" + self._typed_key).digest()[:_KEY_ID_BYTES]

    @property
    def _typed_key(self) -> bytes:
        return bytes([self.type]) + self.public_key

    def __str__(self) -> str:
        """The verifier key, as it is handed out: ``<name>+<hex key id>+<base64(type || public key)>``."""
        return f"{self.name}+{self.key_id.hex()}+{b64encode(self._typed_key).decode()}"

    @classmethod
    def parse(cls, text: str) -> "Verifier":
        """The verifier that a verifier key stands for. Raises ``InvalidEvidence``."""
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        key = _decode(encoded, "the key of a verifier key") if encoded else b""
        if not name or not key:
            raise InvalidEvidence(
                f"a verifier key is like name+{'0' * 8}+base64, not {text[:100]!r}; 'whodid key show' prints it"
            )
        check_key_name(name)
        if key[0] not in set(SignatureType):
            raise InvalidEvidence(f"the verifier key of {name} is of type {key[0]:#04x}; 0x01 and 0x04 are known")
        verifier = cls(name, key[1:], SignatureType(key[0]))
        if key_id != verifier.key_id.hex():
            raise InvalidEvidence(f"the verifier key of {name} is mistyped: its id should be {verifier.key_id.hex()}")
        return verifier

    def made(self, signature: Signature) -> bool:
        """Whether the signature says that it is of this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def check(self, text: str, signature: Signature) -> None:
        """Check that ``signature`` is this key's, for this text. Raises ``InvalidEvidence``."""
        message, data = text.encode(), signature.data
        if self.type == SignatureType.COSIGNATURE:
            seconds = cosigned_seconds(signature)
            message = b"cosignature/v1\ntime %d\n%b" % (seconds, message)
            data = data[_TIME_BYTES:]
        if len(data) != _SIGNATURE_BYTES:
            raise InvalidEvidence(f"the signature of {self.name} has {len(data)} bytes, not {_SIGNATURE_BYTES}")
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(data, message)
        except (InvalidSignature, ValueError) as error:
            raise InvalidEvidence(f"the signature of {self.name} is not good: text or signature was changed") from error


@dataclass(frozen=True, slots=True)
class Note:
    """A text (which ends with a newline) and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        """The note as it is handed out."""
        return f"{self.text}\n{''.join(signature.line() for signature in self.signatures)}"

    @classmethod
    def parse(cls, data: bytes | str) -> "Note":
        """The note that bytes, or a text, hold. No signature is checked yet. Raises ``InvalidEvidence``."""
        note = _decode_text(data)
        text, found, rest = note.rpartition("\n\n")
        if not found or not rest.endswith("\n"):
            raise InvalidEvidence("a signed note is a text, an empty line, and lines of signatures")
        lines = rest[:-1].split("\n")
        if len(lines) > MOST_SIGNATURES:
            raise InvalidEvidence(f"a signed note with more than {MOST_SIGNATURES} signatures is not taken")
        return cls(text + "\n", tuple(map(parse_signature, lines)))

    def signed_by(self, verifiers: Iterable[Verifier]) -> list[tuple[Verifier, Signature]]:
        """Those of ``verifiers`` who signed, each once, with their signatures; others' are ignored.

        Raises ``InvalidEvidence`` where a signature that says that it is of one of them is not.
        """
        signed: dict[str, tuple[Verifier, Signature]] = {}
        for verifier in verifiers:
            for signature in self.signatures:
                if verifier.made(signature):
                    verifier.check(self.text, signature)
                    signed.setdefault(str(verifier), (verifier, signature))
        return list(signed.values())

    def with_signatures(self, signatures: Iterable[Signature]) -> "Note":
        """The note with more signatures; one that is there already is not added again."""
        return Note(self.text, tuple(dict.fromkeys((*self.signatures, *signatures))))


def sign_text(text: str, name: str, key: Ed25519PrivateKey) -> Signature:
    """An Ed25519 signature (type 0x01) over ``text``, which must end with a newline."""
    verifier = Verifier(name, key.public_key().public_bytes_raw())
    return Signature(name, verifier.key_id, key.sign(text.encode()))


def cosigned_seconds(signature: Signature) -> int:
    """When a cosignature was made, in seconds since 1970. Raises ``InvalidEvidence``."""
    seconds = int.from_bytes(signature.data[:_TIME_BYTES], "big")
    if len(signature.data) != _TIME_BYTES + _SIGNATURE_BYTES or seconds >= 1 << 63:
        raise InvalidEvidence(f"the cosignature of {signature.name} is not a time and an Ed25519 signature")
    return seconds


def parse_signature(line: str) -> Signature:
    """The signature of one line, without its newline. Raises ``InvalidEvidence``."""
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not encoded:
        raise InvalidEvidence(f"a signature line is like '{_DASH}name base64', not {line[:100]!r}")
    check_key_name(name)
    data = _decode(encoded, f"the signature of {name}")
    if len(data) <= _KEY_ID_BYTES:
        raise InvalidEvidence(f"the signature of {name} is too short")
    return Signature(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])


def check_key_name(name: str) -> None:
    """Raise ``InvalidEvidence`` unless a key can have this name: not empty; no space, ``+`` or control character."""
    if not name or any(one == "+" or one.isspace() or unicodedata.category(one) in ("Cc", "Cs") for one in name):
        raise InvalidEvidence(f"a key's name has no spaces, no '+' and no control characters: {name[:100]!r} is none")


def decode_hash(text: str, what: str) -> bytes:
    """The 32 bytes of a hash in base64, as they stand in checkpoints and proofs. Raises ``InvalidEvidence``."""
    data = _decode(text, what)
    if len(data) != hashlib.sha256().digest_size:
        raise InvalidEvidence(f"{what} has {len(data)} bytes, not {hashlib.sha256().digest_size}")
    return data


def _decode(text: str, what: str) -> bytes:
    """Strict base64: one text for each value, and one value for each text."""
    try:
        data = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidEvidence(f"{what} is not base64: {text[:100]!r}") from error
    if b64encode(data).decode() != text:
        raise InvalidEvidence(f"{what} is not base64 in its usual form: {text[:100]!r}")
    return data


def _decode_text(data: bytes | str) -> str:
    try:
        encoded = data.encode() if isinstance(data, str) else data
        text = data if isinstance(data, str) else data.decode()
    except UnicodeError as error:
        raise InvalidEvidence("a signed note must be UTF-8") from error
    if len(encoded) > MOST_NOTE_BYTES:
        raise InvalidEvidence(f"a signed note of more than {MOST_NOTE_BYTES} bytes is not taken")
    if any(one < " " and one != "\n" for one in text):
        raise InvalidEvidence("a signed note has no control characters but newlines")
    return text
