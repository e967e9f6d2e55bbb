"""Logs made naively, and the evidence of them: written down as docs/FORMAT.md says, with nothing of ``whodid.bundle``.

Signing and the definitions of RFC 6962 are taken from elsewhere: they have tests of their own.
"""

import gzip
import hashlib
import json
import random
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.test_proofs import Tree

from whodid.checkpoint import Checkpoint, ProofFile, sign_checkpoint
from whodid.notes import Note, Signature, SignatureType, Verifier

ACCOUNT = "org-acme-acc0"

ODD_RECORDS = (
    '{"account":"%s","text":"Zürich \u2028\u2029 \U0001f600 \x7f"}',
    r'{"account":"%s","text":"\" \\ \/ \b \u0000 \u2028 \ud83d\ude00"}',
    r'{"account":"%s","lone":"\ud800"}',
    '{ "nested" : {"account":"other"},\t"account" : "%s" }\n',
)
"""Records that are JSON, and that a careless writer changes."""


def compact(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def base64(data: bytes) -> str:
    """Its text."""
    return b64encode(data).decode()


def packed(lines: Sequence[bytes]) -> bytes:
    """Lines as a gzip file."""
    return gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0)


def key_of(seed: str) -> Ed25519PrivateKey:
    """A key that is the same in each run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed.encode()).digest())


@dataclass
class Log:
    """An account's log: its entries in memory, and everything that can be shown of it."""

    records: list[bytes]
    account: str = ACCOUNT
    host: str = "audit.example.com"
    key: Ed25519PrivateKey = field(default_factory=lambda: key_of("log"))
    seed: int = 0

    @classmethod
    def of(cls, size: int, **more: Any) -> "Log":
        """A log of so many entries, a few of them odd."""
        account = more.get("account", ACCOUNT)
        texts = [f'{{"_id":"{seq:024x}","account":"{account}","n":{seq}}}' for seq in range(size)]
        for place, odd in enumerate(ODD_RECORDS):
            if 3 * place + 2 < size:
                texts[3 * place + 2] = odd % account
        return cls([text.encode() for text in texts], **more)

    @property
    def origin(self) -> str:
        """The log's name."""
        return f"{self.host}/log/{self.account}"

    @property
    def verifier(self) -> Verifier:
        """The public half of its key."""
        return Verifier(self.origin, self.key.public_key().public_bytes_raw())

    @cached_property
    def salts(self) -> list[bytes]:
        """16 bytes for each entry."""
        chance = random.Random(self.seed)
        return [chance.randbytes(16) for _ in self.records]

    @cached_property
    def commitments(self) -> list[bytes]:
        """FORMAT.md, "Entry"."""
        return [
            hashlib.sha256(b"whodid/v1\n" + salt + record).digest()
            for salt, record in zip(self.salts, self.records, strict=True)
        ]

    @cached_property
    def tree(self) -> Tree:
        """FORMAT.md, "Tree"."""
        return Tree([hashlib.sha256(b"\x00" + commitment).digest() for commitment in self.commitments])

    def root(self, size: int) -> bytes:
        """The root of the log as it was."""
        return self.tree.mth(0, size)

    def note(self, size: int | None = None, *, root: bytes | None = None) -> str:
        """The checkpoint of the log as it was, or with a root that it never had."""
        size = len(self.records) if size is None else size
        return str(sign_checkpoint(Checkpoint(self.origin, size, root or self.root(size)), self.key).note)

    def fork(self, at: int) -> "Log":
        """The same log, but with other records from an entry on."""
        changed = [record.replace(b'{"', b'{"forked":1,"', 1) for record in self.records[at:]]
        return Log(self.records[:at] + changed, self.account, self.host, self.key, self.seed)

    # The bundle's lines, as objects.

    def header(self, first: int, end: int, size: int) -> dict[str, Any]:
        """The first."""
        return {
            "format": "whodid-evidence/1", "account": self.account, "checkpoint": self.note(size),
            "key": str(self.verifier), "from": first, "to": end,
        }  # fmt: skip

    def entry(self, seq: int) -> dict[str, Any]:
        """One of the middle."""
        return {
            "seq": seq, "salt": base64(self.salts[seq]), "record": self.records[seq].decode(),
            "check": self.commitments[seq][:4].hex(),
        }  # fmt: skip

    def tail(self, first: int, end: int, size: int, previous: int | None = None) -> dict[str, Any]:
        """The last."""
        left, at = [], 0
        for height in reversed(range(first.bit_length())):
            if first >> height & 1:
                left.append(self.tree.mth(at, at + (1 << height)))
                at += 1 << height
        tail: dict[str, Any] = {
            "left": [base64(hash_) for hash_ in left],
            "consistency": [base64(hash_) for hash_ in self.consistency(end, size)],
        }
        if previous is not None:
            tail["previous"] = {"size": previous, "proof": [base64(one) for one in self.consistency(previous, size)]}
        return tail

    def consistency(self, old: int, new: int) -> list[bytes]:
        """RFC 6962 §2.1.2."""
        return self.tree.proof(old, new)

    def lines(
        self, first: int = 0, end: int | None = None, size: int | None = None, previous: int | None = None
    ) -> list[bytes]:
        """A bundle's lines."""
        size = len(self.records) if size is None else size
        end = size if end is None else end
        entries = [self.entry(seq) for seq in range(first, end)]
        everything = [self.header(first, end, size), *entries, self.tail(first, end, size, previous)]
        return [compact(line) for line in everything]

    # Proofs of one entry.

    def single_proof(self, seq: int, size: int | None = None) -> dict[str, Any]:
        """FORMAT.md, "Proof file", the object."""
        size = len(self.records) if size is None else size
        return {
            "format": "whodid-proof/1", "account": self.account, "seq": seq, "salt": base64(self.salts[seq]),
            "record": self.records[seq].decode(), "proof": [base64(one) for one in self.tree.path(seq, 0, size)],
            "checkpoint": self.note(size), "key": str(self.verifier),
        }  # fmt: skip

    def proof_file(self, seq: int, size: int | None = None) -> bytes:
        """FORMAT.md, "Proof file"."""
        size = len(self.records) if size is None else size
        return str(ProofFile(seq, tuple(self.tree.path(seq, 0, size)), Note.parse(self.note(size)))).encode()

    # Tiles.

    def file(self, path: str, size: int | None = None) -> bytes | None:
        """What is served below the log's URL: ``checkpoint`` or a tile; None where there is nothing."""
        size = len(self.records) if size is None else size
        if path == "checkpoint":
            return self.note(size).encode()
        level, _, rest = path.removeprefix("tile/").partition("/")
        name, _, partial = rest.partition(".p/")
        number, width = int(name.replace("x", "").replace("/", "")), int(partial or 256)
        if level == "entries":
            commitments = self.commitments[:size][number * 256 : number * 256 + width]
            return b"".join(b"\x00\x20" + one for one in commitments) if len(commitments) == width else None
        block = 256 ** int(level)
        if (number * 256 + width) * block > size:
            return None
        firsts = range(number * 256 * block, (number * 256 + width) * block, block)
        return b"".join(self.tree.mth(first, first + block) for first in firsts)


@dataclass
class Witness:
    """Someone who cosigns checkpoints."""

    name: str = "witness.example.org"
    key: Ed25519PrivateKey = field(default_factory=lambda: key_of("witness"))

    @property
    def verifier(self) -> Verifier:
        """The public half of its key."""
        return Verifier(self.name, self.key.public_key().public_bytes_raw(), SignatureType.COSIGNATURE)

    def cosign(self, note: str, seconds: int = 1_627_661_632) -> str:
        """FORMAT.md, "Checkpoint"."""
        body = note.rpartition("\n\n")[0] + "\n"
        signature = self.key.sign(f"cosignature/v1\ntime {seconds}\n{body}".encode())
        line = Signature(self.name, self.verifier.key_id, seconds.to_bytes(8, "big") + signature)
        return str(Note.parse(note).with_signatures([line]))
