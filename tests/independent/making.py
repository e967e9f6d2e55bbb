"""A log made by hand from ``docs/FORMAT.md``: what the verifier's own tests are built of. As slow and plain as it is.

Proofs are made as RFC 6962 defines them; keys and salts are counted, so that the same log has the same bytes each time.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.independent.verifier import commitment_of, leaf, root_of, sha256, split

ORIGIN = "audit.acme.example/log/org-acme-acc0"


def base64_of(data: bytes) -> str:
    """base64."""
    return base64.b64encode(data).decode()


def line_of(thing: object) -> str:
    """JSON on a line, without white space."""
    return json.dumps(thing, separators=(",", ":"), ensure_ascii=False) + "\n"


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1."""
    if len(leaves) == 1:
        return []
    half = split(len(leaves))
    if index < half:
        return [*path(index, leaves[:half]), root_of(leaves[half:])]
    return [*path(index - half, leaves[half:]), root_of(leaves[:half])]


def proof(old: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF of RFC 6962 §2.1.2; empty from an empty log."""
    return _subproof(old, leaves, whole=True) if old else []


def _subproof(old: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    if old == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = split(len(leaves))
    if old <= half:
        return [*_subproof(old, leaves[:half], whole=whole), root_of(leaves[half:])]
    return [*_subproof(old - half, leaves[half:], whole=False), root_of(leaves[:half])]


def complete_subtrees(leaves: Sequence[bytes]) -> list[bytes]:
    """The roots of the complete subtrees, the largest first."""
    if not leaves:
        return []
    size = 1 << (len(leaves).bit_length() - 1)
    return [root_of(leaves[:size]), *complete_subtrees(leaves[size:])]


@dataclass(frozen=True)
class Signer:
    """A private key, its name, and what it signs."""

    name: str = ORIGIN
    kind: int = 0x01
    private: Ed25519PrivateKey = field(default_factory=lambda: Ed25519PrivateKey.from_private_bytes(bytes(range(32))))

    @property
    def public(self) -> bytes:
        """The public key."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> bytes:
        """The key's id."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public)[:4]

    @property
    def verifier(self) -> str:
        """The verifier key."""
        return f"{self.name}+{self.id.hex()}+{base64_of(bytes([self.kind]) + self.public)}"

    def line(self, text: str, seconds: int | None = None) -> str:
        """A signature line; with a time, that of a witness."""
        if seconds is None:
            signature = self.private.sign(text.encode())
        else:
            signed = self.private.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
            signature = seconds.to_bytes(8, "big") + signed
        return f"\N{EM DASH} {self.name} {base64_of(self.id + signature)}\n"


@dataclass(frozen=True)
class HandmadeLog:
    """Entries, and everything that can be handed out about them."""

    records: list[bytes]
    signer: Signer = Signer()

    @property
    def account(self) -> str:
        """The last part of the log's name."""
        return self.signer.name.rpartition("/")[2]

    def salt(self, seq: int) -> bytes:
        """An entry's salt: its number, sixteen times."""
        return bytes([seq % 256]) * 16

    @property
    def leaves(self) -> list[bytes]:
        """The hashes of the tree's leaves."""
        return [leaf(commitment_of(self.salt(seq), record)) for seq, record in enumerate(self.records)]

    def text(self, size: int) -> str:
        """What a checkpoint says."""
        return f"{self.signer.name}\n{size}\n{base64_of(root_of(self.leaves[:size]))}\n"

    def checkpoint(self, size: int, *others: str) -> str:
        """A checkpoint, with lines of others below."""
        text = self.text(size)
        return f"{text}\n{self.signer.line(text)}{''.join(others)}"

    def proof_file(self, seq: int, size: int) -> str:
        """The proof of an entry, as a file."""
        hashes = "".join(f"{base64_of(one)}\n" for one in path(seq, self.leaves[:size]))
        return f"c2sp.org/tlog-proof@v1\nindex {seq}\n{hashes}\n{self.checkpoint(size)}"

    def proof_object(self, seq: int, size: int) -> str:
        """The proof of an entry, all in one."""
        return line_of(
            {
                "format": "whodid-proof/1",
                "account": self.account,
                "seq": seq,
                "salt": base64_of(self.salt(seq)),
                "record": self.records[seq].decode(),
                "proof": [base64_of(one) for one in path(seq, self.leaves[:size])],
                "checkpoint": self.checkpoint(size),
                "key": self.signer.verifier,
            }
        )

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The consistency proof."""
        return proof(old, self.leaves[:new])

    def lines(self, first: int, end: int, size: int, previous: int | None = None) -> list[str]:
        """The lines of an evidence bundle."""
        head = {
            "format": "whodid-evidence/1",
            "account": self.account,
            "checkpoint": self.checkpoint(size),
            "key": self.signer.verifier,
            "from": first,
            "to": end,
        }
        entries = [
            {
                "seq": seq,
                "salt": base64_of(self.salt(seq)),
                "record": self.records[seq].decode(),
                "check": commitment_of(self.salt(seq), self.records[seq])[:4].hex(),
            }
            for seq in range(first, end)
        ]
        tail: dict[str, object] = {
            "left": [base64_of(one) for one in complete_subtrees(self.leaves[:first])],
            "consistency": [base64_of(one) for one in self.consistency(end, size)],
        }
        if previous is not None:
            hashes = [base64_of(one) for one in self.consistency(previous, size)]
            tail["previous"] = {"size": previous, "proof": hashes}
        return [line_of(line) for line in (head, *entries, tail)]

    def bundle(self, first: int, end: int, size: int, previous: int | None = None) -> bytes:
        """An evidence bundle."""
        return packed("".join(self.lines(first, end, size, previous)))


def packed(text: str | bytes) -> bytes:
    """As gzip."""
    return gzip.compress(text.encode() if isinstance(text, str) else text, mtime=0)
