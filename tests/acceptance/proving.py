"""Proofs as others check them: pages of evidence, and what they hold, against hashes that are made by hand."""

import hashlib
import itertools
import json
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from tests.acceptance.running import ACTIONS, Tenant
from tests.building import action

from whodid.checkpoint import ProofFile, SignedCheckpoint, open_checkpoint
from whodid.notes import Verifier
from whodid.proofs import check_inclusion
from whodid.store.base import Entry

# What others would write to check a log: of RFC 6962 §2.1 and docs/FORMAT.md alone, as slow as it is simple.


def sha256(data: bytes) -> bytes:
    """32 bytes."""
    return hashlib.sha256(data).digest()


def leaf_of(salt: bytes, record: bytes) -> bytes:
    """The hash of an entry's leaf."""
    return sha256(b"\x00" + sha256(b"whodid/v1\n" + salt + record))


def split(size: int) -> int:
    """The largest power of two below ``size``."""
    return next(1 << height for height in itertools.count() if 1 << height + 1 >= size)


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root of a tree of these leaves."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return leaves[0]
    middle = split(len(leaves))
    return sha256(b"\x01" + root_of(leaves[:middle]) + root_of(leaves[middle:]))


def climb(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to."""
    if size == 1:
        assert not proof
        return leaf
    middle = split(size)
    if index < middle:
        return sha256(b"\x01" + climb(index, middle, leaf, proof[:-1]) + proof[-1])
    return sha256(b"\x01" + proof[-1] + climb(index - middle, size - middle, leaf, proof[:-1]))


def signed_by_hand(note: str, key: str) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint that the key of this verifier key signed."""
    name, key_id, typed_key = key.split("+", 2)
    text, _, signatures = note.rpartition("\n\n")
    origin, size, root = text.split("\n")
    assert name == origin
    (line,) = [one for one in signatures.splitlines() if one.startswith(f"— {name} ")]
    signature = b64decode(line.rpartition(" ")[2], validate=True)
    assert signature[:4].hex() == key_id
    assert b64decode(typed_key)[0] == 1
    Ed25519PublicKey.from_public_bytes(b64decode(typed_key)[1:]).verify(signature[4:], f"{text}\n".encode())
    return origin, int(size), b64decode(root, validate=True)


# Pages.


def checkpoint_page(tenant: Tenant) -> str:
    """The checkpoint of an account's log."""
    return f"/log/{tenant.name}/checkpoint"


def proof_page(record_id: str) -> str:
    """The proof of a record."""
    return f"/api/v2/logs/{record_id}/proof"


def consistency_page(old: int, new: int | None = None) -> str:
    """The consistency proof between two sizes, or from one to the newest checkpoint's."""
    return f"/api/v2/log/consistency?from={old}" + ("" if new is None else f"&to={new}")


def record(tenant: Tenant, **given: Any) -> str:
    """Record an action; its ``_id``."""
    made: str = tenant.server.post(ACTIONS, tenant.token(), action(**given)).json["data"][0]["_id"]
    return made


def entry_of(tenant: Tenant, record_id: str) -> Entry:
    """The entry with this ``_id``, out of the store."""
    (entry,) = [one for one in tenant.log() if json.loads(one.record)["_id"] == record_id]
    return entry


def trace_of(tenant: Tenant) -> tuple[str, str]:
    """Target and outcome of the newest token use."""
    use = tenant.last_use()
    return use["target"], use["outcome"]


# Proofs.


def file_proof(tenant: Tenant, record_id: str) -> tuple[ProofFile, bytes]:
    """The proof file of a record, and the salt that comes with it."""
    answer = tenant.server.get(proof_page(record_id), tenant.token())
    assert answer.status == 200, answer.body
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert answer.header("content-disposition") == f'inline; filename="{record_id}.tlog-proof"'
    assert answer.header("vary") == "Accept"
    assert answer.header("cache-control") == "no-store"
    proof = ProofFile.parse(answer.body)
    assert str(proof).encode() == answer.body
    return proof, b64decode(answer.header("whodid-salt") or "", validate=True)


def json_proof(tenant: Tenant, record_id: str) -> dict[str, Any]:
    """The proof of a record as one object."""
    answer = tenant.server.get(proof_page(record_id), tenant.token(), Accept="application/json")
    assert answer.status == 200, answer.body
    assert (answer.header("content-type"), answer.header("vary")) == ("application/json", "Accept")
    assert answer.header("whodid-salt") is None
    assert answer.header("content-disposition") is None
    told: dict[str, Any] = answer.json
    assert list(told) == ["format", "account", "seq", "salt", "record", "proof", "checkpoint", "key"]
    assert (told["format"], told["account"]) == ("whodid-proof/1", tenant.name)
    return told


def check(told: dict[str, Any]) -> SignedCheckpoint:
    """Check a proof in JSON, by hand and by our own modules; its checkpoint."""
    leaf = leaf_of(b64decode(told["salt"], validate=True), told["record"].encode())
    hashes = [b64decode(one, validate=True) for one in told["proof"]]
    _, size, root = signed_by_hand(told["checkpoint"], told["key"])
    assert climb(told["seq"], size, leaf, hashes) == root
    signed = open_checkpoint(told["checkpoint"], [Verifier.parse(told["key"])])
    assert (signed.checkpoint.size, signed.checkpoint.root) == (size, root)
    check_inclusion(told["seq"], size, leaf, hashes, root)
    return signed
