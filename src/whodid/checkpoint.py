"""Checkpoints: signed statements of a log's size and root (C2SP tlog-checkpoint), and proof files (tlog-proof). Pure.

A log's *origin* is its URL without scheme and trailing slash; the key that signs its checkpoints has that very name.
"""

import re
import unicodedata
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from whodid.errors import InvalidEvidence
from whodid.merkle import EMPTY_ROOT
from whodid.notes import Note, Signature, Verifier, decode_hash, sign_text
from whodid.proofs import MOST_HASHES

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII).fullmatch
_BODY_LINES = 3


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint states: the log ``origin`` has ``size`` entries, and this root."""

    origin: str
    size: int
    root: bytes
    """32 bytes."""

    def body(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, body: str) -> "Checkpoint":
        """What the text of a note states; extension lines are refused. Raises ``InvalidEvidence``."""
        lines = body.split("\n")
        if len(lines) != _BODY_LINES + 1 or lines[-1] or not lines[0]:
            raise InvalidEvidence("a checkpoint has three lines: the log's origin, its size, its root in base64")
        if any(unicodedata.category(one) == "Cc" for one in lines[0]):  # in an error message, a terminal might obey it
            raise InvalidEvidence("the origin of a checkpoint has control characters")
        size = parse_number(lines[1], "the size of a checkpoint")
        root = decode_hash(lines[2], "the root of a checkpoint")
        if size == 0 and root != EMPTY_ROOT:
            raise InvalidEvidence("the checkpoint of an empty log has another root than that of an empty tree")
        return cls(lines[0], size, root)


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness, and the cosignature that it gave."""

    witness: Verifier
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose signature was checked, with the note that it came in."""

    checkpoint: Checkpoint
    note: Note
    signer: Verifier
    cosigners: tuple[Cosigner, ...] = ()
    """Those of the witnesses asked for who vouch for it."""


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> SignedCheckpoint:
    """Sign. Whether that may be done, whoever calls this must know."""
    body = checkpoint.body()
    note = Note(body, (sign_text(body, checkpoint.origin, key),))
    return SignedCheckpoint(checkpoint, note, Verifier(checkpoint.origin, key.public_key().public_bytes_raw()))


def open_checkpoint(
    data: bytes | str, keys: Sequence[Verifier], witnesses: Sequence[Verifier] = ()
) -> SignedCheckpoint:
    """The checkpoint that a note holds, if one of ``keys`` signed it, and the cosignatures of ``witnesses`` on it.

    Raises ``InvalidEvidence``: malformed, of another log, not signed by any of the keys, or a known key's signature
    that is not good.
    """
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    signed = note.signed_by(keys)
    signers = [verifier for verifier, _ in signed if verifier.name == checkpoint.origin]
    if not signers:
        raise InvalidEvidence(_why_unsigned(checkpoint, note, keys))
    cosigners = tuple(Cosigner(*one) for one in note.signed_by(witnesses))
    return SignedCheckpoint(checkpoint, note, signers[0], cosigners)


def _why_unsigned(checkpoint: Checkpoint, note: Note, keys: Sequence[Verifier]) -> str:
    names = {key.name for key in keys}
    if checkpoint.origin not in names:
        given = f"the key of {' and '.join(sorted(names))}" if names else "and no key was given"
        return f"the checkpoint is of the log {checkpoint.origin}, {given}"
    ids = " and ".join(one.key_id.hex() for one in note.signatures if one.name == checkpoint.origin) or "none"
    known = " and ".join(sorted({key.key_id.hex() for key in keys if key.name == checkpoint.origin}))
    return f"the checkpoint is not signed by the key with id {known}; its log's signatures are of keys with id {ids}"


@dataclass(frozen=True, slots=True)
class ProofFile:
    """What a proof file holds: that entry ``index`` is in the log that the checkpoint ``note`` is of."""

    index: int
    hashes: tuple[bytes, ...]
    """The inclusion proof, the leaf's sibling first."""
    note: Note

    def __str__(self) -> str:
        """The file."""
        hashes = "".join(f"{b64encode(hash_).decode()}\n" for hash_ in self.hashes)
        return f"{PROOF_HEADER}\nindex {self.index}\n{hashes}\n{self.note}"

    @classmethod
    def parse(cls, data: bytes | str) -> "ProofFile":
        """What a proof file holds; an ``extra`` line is ignored. Nothing is checked yet. Raises ``InvalidEvidence``."""
        try:
            text = data.decode() if isinstance(data, bytes) else data
        except UnicodeError as error:
            raise InvalidEvidence("a proof file must be UTF-8") from error
        head, found, note = text.partition("\n\n")
        lines = head.split("\n")
        if not found or lines[0] != PROOF_HEADER:
            raise InvalidEvidence(f"a proof file begins with the line {PROOF_HEADER}")
        lines = lines[2:] if lines[1:] and lines[1].startswith("extra ") else lines[1:]
        if not lines or not lines[0].startswith("index "):
            raise InvalidEvidence("a proof file has a line 'index' and a number")
        if len(lines) > MOST_HASHES + 1:
            raise InvalidEvidence(f"a proof has at most {MOST_HASHES} hashes")
        index = parse_number(lines[0].removeprefix("index "), "the index of a proof")
        hashes = tuple(decode_hash(line, "a hash of the proof") for line in lines[1:])
        return cls(index, hashes, Note.parse(note))


def parse_number(text: str, what: str) -> int:
    """A number as it stands in checkpoints and proofs: decimal, without leading zeros, below 2^63.

    Raises ``InvalidEvidence``.
    """
    if _NUMBER(text) is None or int(text) >= 1 << 63:
        raise InvalidEvidence(f"{what} must be a decimal number without leading zeros, below 2^63, not {text[:40]!r}")
    return int(text)
