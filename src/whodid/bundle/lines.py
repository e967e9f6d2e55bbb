"""The lines of an evidence bundle, and single proofs: their keys, and one line from its bytes.

JSON leaves room for what two programs may read in two ways: a key that is there twice, base64 with stray bits. None of
that is taken. White space may be anywhere.
"""

import binascii
import json
from base64 import b64decode, b64encode
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from whodid.commitment import SALT_BYTES
from whodid.errors import InvalidEvidence
from whodid.merkle import HASH_BYTES
from whodid.proofs import MOST_HASHES
from whodid.records import is_name

MOST_LINE_BYTES: Final = 1024 * 1024
"""A longer line is refused, and a longer single proof. A record has 64 KiB at most, in a JSON string 384."""

CHECK_BYTES: Final = 4
"""How much of the commitment an entry's ``check`` tells."""

UNREADABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What parsers of JSON raise."""

Hash: TypeAlias = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
Hashes: TypeAlias = Annotated[tuple[Hash, ...], Meta(max_length=MOST_HASHES)]
Salt: TypeAlias = Annotated[bytes, Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
Number: TypeAlias = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


# The order of a struct's fields is the order of the keys on the line.
class BundleHeader(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bundle's first line: the entries ``[first, end)`` of an account, and the checkpoint that vouches for them."""

    format: Literal["whodid-evidence/1"] = "whodid-evidence/1"
    account: str
    checkpoint: str
    """The note, verbatim."""
    key: str | UnsetType = UNSET
    """A verifier key, for convenience: it can't vouch for itself."""
    first: Number = msgspec.field(name="from")
    end: Number = msgspec.field(name="to")


class BundleEntry(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """One entry's line."""

    seq: Number
    salt: Salt
    record: str
    """The record's exact bytes, as text."""
    check: str | UnsetType = UNSET
    """The beginning of the commitment, in hex: a hint which entry was changed. It proves nothing."""


class PreviousProof(Struct, frozen=True, forbid_unknown_fields=True):
    """A consistency proof, from a log of ``size`` entries to the checkpoint."""

    size: Number
    proof: Hashes


class BundleTail(Struct, frozen=True, forbid_unknown_fields=True):
    """A bundle's last line: what leads from its entries to the checkpoint's root."""

    left: Hashes
    """The roots of the complete subtrees before the first entry, the largest first."""
    consistency: Hashes
    """From the log of ``end`` entries to the checkpoint."""
    previous: PreviousProof | UnsetType = UNSET


class SingleProof(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """That one entry is in a log, all in one object."""

    format: Literal["whodid-proof/1"] = "whodid-proof/1"
    account: str
    seq: Number
    salt: Salt
    record: str
    """The record's exact bytes, as text."""
    proof: Hashes
    """The inclusion proof, the leaf's sibling first."""
    checkpoint: str
    """The note, verbatim."""
    key: str | UnsetType = UNSET
    """A verifier key, for convenience: it can't vouch for itself."""


class InvalidEntry(InvalidEvidence):
    """One entry is missing, or is not what it should be; ``seq`` is the first number where that shows."""

    def __init__(self, seq: int, message: str) -> None:
        super().__init__(message)
        self.seq = seq


Line = TypeVar("Line", BundleHeader, BundleEntry, BundleTail, SingleProof)

encoder = msgspec.json.Encoder()


def parse_line(kind: type[Line], line: bytes, otherwise: str) -> Line:
    """What a line holds, where there is no other way to read it.

    Raises ``InvalidEvidence``, whose message ``otherwise`` begins.
    """
    try:
        value = msgspec.json.decode(line, type=kind)
        plain = json.loads(line.decode(), object_pairs_hook=_each_once)
        if plain != json.loads(encoder.encode(value)):
            raise ValueError("a key is missing, or base64 is not in its usual form")
    except UNREADABLE as error:
        raise InvalidEvidence(f"{otherwise}: {error}") from error
    return value


def parse_header(line: bytes) -> BundleHeader:
    """The header that a bundle's first line holds. Raises ``InvalidEvidence``."""
    header = parse_line(BundleHeader, line, "the first line is not the header of an evidence bundle")
    _check_account(header.account)
    if header.first > header.end:
        raise InvalidEvidence(f"there are no entries from {header.first} to {header.end}")
    return header


def parse_proof(data: bytes) -> SingleProof:
    """The single proof that a file holds; nothing is checked yet. Raises ``InvalidEvidence``."""
    if len(data) > MOST_LINE_BYTES:
        raise InvalidEvidence(f"a single proof of more than {MOST_LINE_BYTES} bytes is not taken")
    proof = parse_line(SingleProof, data, "this is not a single proof")
    _check_account(proof.account)
    return proof


def render_proof(proof: SingleProof) -> bytes:
    """A single proof as a JSON object, without white space."""
    return encoder.encode(proof)


def parse_salt(text: str) -> bytes:
    """The salt that base64 stands for. Raises ``InvalidEvidence``."""
    try:
        salt = b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidEvidence(f"a salt is {SALT_BYTES} bytes in base64, not {text[:100]!r}") from error
    if len(salt) != SALT_BYTES or b64encode(salt).decode() != text:
        raise InvalidEvidence(f"a salt is {SALT_BYTES} bytes in base64, not {text[:100]!r}")
    return salt


def _check_account(name: str) -> None:
    if not is_name(name):
        raise InvalidEvidence(f"no account can have the name {name[:100]!r}")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found
