"""A second verifier of everything that a log hands out, written from ``docs/FORMAT.md`` and the standards alone.

It shares no code with Whodid, imports nothing of it, and nobody read Whodid's hashing, notes or tiles to write it. So
where both agree, the page is right, and enough. It is simple, recursive and slow: each function is its definition,
read aloud. Whatever it does not accept, it refuses with ``Refused``.
"""

import base64
import binascii
import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519, COSIGNATURE = 0x01, 0x04
MOST_SIGNATURES = 16
WIDTH = 256
"""Hashes in a full tile."""

Kinds: TypeAlias = dict[str, type]
"""Keys of a JSON object, each with the kind of its value."""

PROOF_KEYS: Kinds = {
    "format": str, "account": str, "seq": int, "salt": str, "record": str, "proof": list, "checkpoint": str
}  # fmt: skip
HEAD_KEYS: Kinds = {"format": str, "account": str, "checkpoint": str, "from": int, "to": int}
CONSISTENCY_KEYS: Kinds = {"from": int, "to": int, "proof": list}


class Refused(Exception):
    """Something is not what it should be."""


def require(fact: bool, otherwise: str) -> None:
    """Refuse where this is not so."""
    if not fact:
        raise Refused(otherwise)


# Text.


def number(text: str) -> int:
    """A number in decimal without leading zeros."""
    require(re.fullmatch("0|[1-9][0-9]*", text) is not None, f"not a number: {text!r}")
    return int(text)


def unbase64(text: str, size_bytes: int | None = None) -> bytes:
    """The bytes that this base64 stands for. No other text stands for them."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"not base64: {text!r}") from error
    require(base64.b64encode(data).decode() == text, f"not the base64 of its bytes: {text!r}")
    require(size_bytes in (None, len(data)), f"{len(data)} bytes, not {size_bytes}: {text!r}")
    return data


def unbase64_hashes(texts: Any) -> list[bytes]:
    """A list of hashes."""
    require(isinstance(texts, list) and all(isinstance(text, str) for text in texts), "not a list of hashes")
    return [unbase64(text, 32) for text in texts]


def json_object(text: str | bytes, needed: Kinds, optional: Kinds | None = None) -> dict[str, Any]:
    """A JSON object with these keys, each once, whose values are of these kinds; and no other keys."""
    try:
        found = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {text[:80]!r}") from error
    return of_kinds(found, needed, optional)


def of_kinds(found: Any, needed: Kinds, optional: Kinds | None = None) -> dict[str, Any]:
    """The same of what is parsed already."""
    require(type(found) is dict, "not an object")
    kinds = {**needed, **(optional or {})}
    require(needed.keys() <= found.keys() <= kinds.keys(), f"the keys are {sorted(found)}, not {sorted(kinds)}")
    for key, value in found.items():
        require(type(value) is kinds[key], f"{key} is no {kinds[key].__name__}")
    return dict(found)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    require(len({key for key, _ in pairs}) == len(pairs), "a key is there twice")
    return dict(pairs)


def utf8(text: str) -> bytes:
    """The text's bytes; halves of surrogate pairs have none."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("not text") from error


# Tree (RFC 6962 §2.1).


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def commitment_of(salt: bytes, record: bytes) -> bytes:
    """What stands for an entry in the tree."""
    require(len(salt) == 16, "a salt has 16 bytes")
    return sha256(b"whodid/v1\n" + salt + record)


def leaf(data: bytes) -> bytes:
    """The hash of a leaf."""
    return sha256(b"\x00" + data)


def node(left: bytes, right: bytes) -> bytes:
    """The hash of a node over its two children."""
    return sha256(b"\x01" + left + right)


def split(size: int) -> int:
    """The largest power of two below ``size``."""
    half = 1
    while half * 2 < size:
        half *= 2
    return half


def root_of(leaves: Sequence[bytes]) -> bytes:
    """MTH: the root over these leaves' hashes."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    half = split(len(leaves))
    return node(root_of(leaves[:half]), root_of(leaves[half:]))


def root_by_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of ``size`` leaves in which this proof leads up from leaf ``index`` (RFC 6962 §2.1.1)."""
    require(0 <= index < size, f"a log of {size} entries has no entry {index}")
    if size == 1:
        require(not proof, "the inclusion proof is too long")
        return leaf_hash
    require(bool(proof), "the inclusion proof is too short")
    half = split(size)
    if index < half:
        return node(root_by_inclusion(leaf_hash, index, half, proof[:-1]), proof[-1])
    return node(proof[-1], root_by_inclusion(leaf_hash, index - half, size - half, proof[:-1]))


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """The log of ``new`` entries begins with the log of ``old`` entries (RFC 6962 §2.1.2)."""
    require(old <= new, f"a log of {new} entries can't have grown from {old}")
    if old == 0:
        require(not proof, "the consistency proof is too long")
        require(old_root == root_of([]), "an empty log has another root")
        require(new > 0 or new_root == old_root, "an empty log has another root")
        return
    made_old, made_new = _roots(old, new, proof, old_root)
    require(made_old == old_root, "the consistency proof does not lead to the old root")
    require(made_new == new_root, "the consistency proof does not lead to the new root")


def _roots(old: int, new: int, proof: Sequence[bytes], known: bytes | None) -> tuple[bytes, bytes]:
    """SUBPROOF, backwards: the roots of the first ``old`` and of all ``new`` leaves of a subtree.

    ``known`` is the old root as long as the old tree is one whole subtree, which the proof then leaves out.
    """
    if old == new:
        require(len(proof) == (known is None), "the consistency proof has another length")
        whole = proof[0] if known is None else known
        return whole, whole
    require(bool(proof), "the consistency proof is too short")
    half = split(new)
    if old <= half:
        left_old, left_new = _roots(old, half, proof[:-1], known)
        return left_old, node(left_new, proof[-1])
    right_old, right_new = _roots(old - half, new - half, proof[:-1], None)
    return node(proof[-1], right_old), node(proof[-1], right_new)


# Signed notes, checkpoints.


@dataclass(frozen=True)
class VerifierKey:
    """A public key and its name."""

    name: str
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``<name>+<hex key id>+<base64(type || public key)>``."""
        parts = text.split("+", 2)
        require(len(parts) == 3, f"not a verifier key: {text!r}")
        material = unbase64(parts[2], 33)
        require(is_name(parts[0]), f"not a key's name: {parts[0]!r}")
        key = cls(parts[0], material[0], material[1:])
        require(key.kind in (ED25519, COSIGNATURE), f"not a known kind of key: {key.kind}")
        require(parts[1] == key.id.hex(), f"the id {parts[1]!r} is another key's")
        return key

    @property
    def id(self) -> bytes:
        """The first bytes of a hash over name, kind and key."""
        return sha256(utf8(self.name) + b"\n" + bytes([self.kind]) + self.public)[:4]

    def check(self, signature: bytes, text: str) -> None:
        """It signed this text."""
        message = utf8(text)
        if self.kind == COSIGNATURE:
            require(len(signature) == 8 + 64, "a cosignature has 72 bytes")
            seconds, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = b"cosignature/v1\ntime %d\n" % seconds + message
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature as error:
            raise Refused(f"the signature of {self.name} is not good") from error


def is_name(text: str) -> bool:
    """No space, no plus, no control character."""
    return text != "" and not re.search(r"[\s+\x00-\x1f\x7f-\x9f]", text)


def open_note(note: str, keys: Sequence[VerifierKey]) -> tuple[str, set[VerifierKey]]:
    """The text of a signed note, and those of the keys that signed it. A known key's bad signature spoils it all."""
    require(not re.search(r"[\x00-\x09\x0b-\x1f]", note), "a note has no control characters")
    text, empty, signatures = note.rpartition("\n\n")
    require(empty != "" and signatures.endswith("\n"), "not a signed note")
    lines = signatures[:-1].split("\n")
    require(len(lines) <= MOST_SIGNATURES, "too many signatures")
    signers = set()
    for line in lines:
        name, data = _signature(line)
        for key in keys:
            if key.name == name and key.id == data[:4]:
                key.check(data[4:], text + "\n")
                signers.add(key)
    return text + "\n", signers


def _signature(line: str) -> tuple[str, bytes]:
    parts = line.split(" ")
    require(len(parts) == 3 and parts[0] == "\N{EM DASH}" and is_name(parts[1]), f"not a signature line: {line!r}")
    data = unbase64(parts[2])
    require(len(data) > 4, f"not a signature: {line!r}")
    return parts[1], data


@dataclass(frozen=True)
class Checkpoint:
    """What a log says of itself, signed."""

    origin: str
    size: int
    root: bytes
    witnesses: frozenset[str] = frozenset()
    """The names of those witnesses that cosigned it, of the ones that were asked for."""

    @classmethod
    def open(cls, note: str | bytes, key: str, witnesses: Sequence[str] = ()) -> Self:
        """The checkpoint in a note that the log's key has signed."""
        log = VerifierKey.parse(key)
        require(log.kind == ED25519, "a log's key is of kind 1")
        others = [VerifierKey.parse(witness) for witness in witnesses]
        try:
            told = note.decode("utf-8") if isinstance(note, bytes) else note
        except UnicodeDecodeError as error:
            raise Refused("not UTF-8") from error
        text, signers = open_note(told, [log, *others])
        require(log in signers, f"the note is not signed by {log.name} with this key")
        lines = text.split("\n")
        require(len(lines) == 4 and lines[3] == "", "a checkpoint has three lines")
        require(lines[0] == log.name, f"the checkpoint is that of {lines[0]!r}, not of {log.name}")
        made = cls(lines[0], number(lines[1]), unbase64(lines[2], 32), frozenset(s.name for s in signers - {log}))
        require(made.size > 0 or made.root == root_of([]), "an empty log has another root")
        return made


# Proofs of one entry.


def check_proof_file(content: bytes, salt: bytes, record: bytes, key: str) -> tuple[int, Checkpoint]:
    """The record is in the log, says a ``.tlog-proof`` file; at which place, and in which checkpoint's tree."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error
    head, _, note = text.partition("\n\n")
    first, *lines = head.split("\n")
    require(first == "c2sp.org/tlog-proof@v1", "not a proof file")
    if lines and lines[0].startswith("extra "):
        unbase64(lines.pop(0).removeprefix("extra "))
    require(bool(lines) and lines[0].startswith("index "), "the proof names no index")
    index = number(lines[0].removeprefix("index "))
    proof = [unbase64(line, 32) for line in lines[1:]]
    return index, _check_inclusion(commitment_of(salt, record), index, proof, Checkpoint.open(note, key))


def check_proof_object(content: bytes, key: str) -> tuple[int, bytes, Checkpoint]:
    """The record in the object is in the log: its place, the record, the checkpoint."""
    told = json_object(content, PROOF_KEYS, {"key": str})
    require(told["format"] == "whodid-proof/1", "another format")
    require(told.get("key", key) == key, "the object is signed with another key than the one that is known")
    checkpoint = Checkpoint.open(told["checkpoint"], key)
    _require_account(told["account"], checkpoint)
    record = utf8(told["record"])
    commitment = commitment_of(unbase64(told["salt"], 16), record)
    _check_inclusion(commitment, told["seq"], unbase64_hashes(told["proof"]), checkpoint)
    return told["seq"], record, checkpoint


def _check_inclusion(commitment: bytes, index: int, proof: Sequence[bytes], checkpoint: Checkpoint) -> Checkpoint:
    root = root_by_inclusion(leaf(commitment), index, checkpoint.size, proof)
    require(root == checkpoint.root, "the inclusion proof does not lead to the root")
    return checkpoint


def _require_account(account: str, checkpoint: Checkpoint) -> None:
    require(checkpoint.origin.endswith(f"/log/{account}"), f"{checkpoint.origin} is not the log of {account}")


def check_consistency_answer(content: bytes, old: Checkpoint, new: Checkpoint) -> None:
    """The answer of the consistency call leads from one checkpoint to the other."""
    told = json_object(content, CONSISTENCY_KEYS)
    require((told["from"], told["to"]) == (old.size, new.size), "the proof is one between other sizes")
    check_consistency(old.size, old.root, new.size, new.root, unbase64_hashes(told["proof"]))


def consistency_with_newest(content: bytes, old: Checkpoint, key: str) -> Checkpoint:
    """The newest checkpoint, which the consistency call answers with, and which the old one leads to."""
    told = json_object(content, {**CONSISTENCY_KEYS, "checkpoint": str})
    new = Checkpoint.open(told["checkpoint"], key)
    require((told["from"], told["to"]) == (old.size, new.size), "the proof is one between other sizes")
    check_consistency(old.size, old.root, new.size, new.root, unbase64_hashes(told["proof"]))
    return new


# Tiles (C2SP tlog-tiles).


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile is, below the log's URL."""
    digits = str(index)
    digits = "0" * (-len(digits) % 3) + digits
    groups = [digits[place : place + 3] for place in range(0, len(digits), 3)]
    path = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    return f"tile/{level}/{path}" + (f".p/{width}" if width < WIDTH else "")


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of every tile of a log of this size."""
    level = 0
    while size >= WIDTH**level:
        hashes = size // WIDTH**level
        yield from ((level, index, WIDTH) for index in range(hashes // WIDTH))
        if hashes % WIDTH:
            yield level, hashes // WIDTH, hashes % WIDTH
        level += 1


def tile(level: int, index: int, width: int, leaves: Sequence[bytes]) -> bytes:
    """What a tile must hold: each hash is the root over 256**level leaves."""
    span = WIDTH**level
    places = range(index * WIDTH, index * WIDTH + width)
    return b"".join(root_of(leaves[place * span : (place + 1) * span]) for place in places)


def entries_in(bundle: bytes, width: int) -> list[bytes]:
    """The commitments in a tile of entries."""
    require(len(bundle) == width * 34, f"the tile has {len(bundle)} bytes, not {width * 34}")
    entries = [bundle[place : place + 34] for place in range(0, len(bundle), 34)]
    require(all(entry[:2] == b"\x00\x20" for entry in entries), "an entry has 32 bytes")
    return [entry[2:] for entry in entries]


def check_tiles(checkpoint: Checkpoint, fetch: Callable[[str], bytes]) -> list[bytes]:
    """All tiles of the log, by ``fetch`` from their paths, are those of the checkpoint; the entries' commitments."""
    commitments: list[bytes] = []
    for level, index, width in tiles_of(checkpoint.size):
        if level == 0:
            commitments += entries_in(fetch(tile_path("entries", index, width)), width)
    leaves = [leaf(commitment) for commitment in commitments]
    require(root_of(leaves) == checkpoint.root, "the entries do not make the root")
    for level, index, width in tiles_of(checkpoint.size):
        path = tile_path(level, index, width)
        require(fetch(path) == tile(level, index, width, leaves), f"{path} is not what the entries make")
    return commitments


# The evidence bundle.


@dataclass(frozen=True)
class Bundle:
    """What a file of evidence proves: that these records are the log's, from ``first`` on."""

    checkpoint: Checkpoint
    first: int
    records: list[bytes]


def check_bundle(packed: bytes, key: str, previous: str | bytes | None = None) -> Bundle:
    """Everything that the file says is so; and with a previous checkpoint: the log only grew since then."""
    head, *middle, last = _lines(packed)
    told = json_object(head, HEAD_KEYS, {"key": str})
    require(told["format"] == "whodid-evidence/1", "another format")
    require(told.get("key", key) == key, "the file is signed with another key than the one that is known")
    checkpoint = Checkpoint.open(told["checkpoint"], key)
    _require_account(told["account"], checkpoint)
    first, end = told["from"], told["to"]
    require(0 <= first <= end <= checkpoint.size, f"entries {first} to {end} of {checkpoint.size}")
    require(len(middle) == end - first, f"{len(middle)} entries, not {end - first}")

    records, leaves = [], []
    for seq, line in enumerate(middle, first):
        record, commitment = _entry(line, seq)
        records.append(record)
        leaves.append(leaf(commitment))

    tail = json_object(last, {"left": list, "consistency": list}, {"previous": dict})
    root = _root_from(unbase64_hashes(tail["left"]), first, leaves)
    check_consistency(end, root, checkpoint.size, checkpoint.root, unbase64_hashes(tail["consistency"]))
    if previous is not None:
        _check_previous(tail, Checkpoint.open(previous, key), checkpoint)
    return Bundle(checkpoint, first, records)


def _lines(packed: bytes) -> list[str]:
    try:
        text = gzip.decompress(packed).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise Refused("not a packed text") from error
    require(text.endswith("\n"), "the file is not whole")
    lines = text[:-1].split("\n")
    require(len(lines) >= 2, "the file is not whole")
    return lines


def _entry(line: str, seq: int) -> tuple[bytes, bytes]:
    """The record and the commitment of an entry."""
    told = json_object(line, {"seq": int, "salt": str, "record": str}, {"check": str})
    require(told["seq"] == seq, f"entry {told['seq']} where {seq} belongs")
    record = utf8(told["record"])
    commitment = commitment_of(unbase64(told["salt"], 16), record)
    require(told.get("check", commitment[:4].hex()) == commitment[:4].hex(), f"entry {seq} was changed")
    return record, commitment


def _root_from(left: list[bytes], first: int, leaves: Sequence[bytes]) -> bytes:
    """The root over ``first`` leaves, of which only the complete subtrees are known, and those that follow."""
    require(len(left) == first.bit_count(), f"{len(left)} subtrees before entry {first}, not {first.bit_count()}")
    known = iter(left)

    def root(low: int, high: int) -> bytes:
        size = high - low
        if low >= first:
            return root_of(leaves[low - first : high - first])
        if high <= first and size.bit_count() == 1:
            return next(known)
        return node(root(low, low + split(size)), root(low + split(size), high))

    return root(0, first + len(leaves))


def _check_previous(tail: dict[str, Any], old: Checkpoint, new: Checkpoint) -> None:
    require("previous" in tail, "the file has no proof from a previous checkpoint")
    told = of_kinds(tail["previous"], {"size": int, "proof": list})
    require(told["size"] == old.size, f"the file has a proof from {told['size']} entries, not from {old.size}")
    check_consistency(old.size, old.root, new.size, new.root, unbase64_hashes(told["proof"]))
