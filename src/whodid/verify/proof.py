"""Proofs that one entry is in a log, verified: single proofs of ours, and proof files (C2SP tlog-proof).

The steps, each of which needs what the ones before it found:

1. *proof*: the file is a proof, of a record of the account.
2. *signature*: its checkpoint is signed by the key, for the log of that account.
3. *cosignatures*: every witness that was named cosigned it.
4. *inclusion*: record and salt make the leaf that the proof leads from, to the root that was signed.

A proof file has neither record nor salt in it: they come beside it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from whodid.bundle import parse_proof
from whodid.checkpoint import PROOF_HEADER, Checkpoint, ProofFile
from whodid.commitment import commit
from whodid.errors import InvalidEvidence
from whodid.merkle import hash_leaf
from whodid.proofs import check_inclusion
from whodid.verify.evidence import Evidence
from whodid.verify.records import account_in
from whodid.verify.steps import Claim, Finding, Report, counted, passed
from whodid.verify.trust import Trust, account_of, told

_SINGLE_PROOF: Final = re.compile(rb'"format"\s*:\s*"whodid-proof/')


def is_proof(head: bytes) -> bool:
    """Whether a file that begins so is a single proof, or should be."""
    return head.lstrip().startswith(b"{") and _SINGLE_PROOF.search(head) is not None


def is_proof_file(head: bytes) -> bool:
    """Whether a file that begins so is a proof file, or should be."""
    return head.startswith(PROOF_HEADER.encode())


def verify_proof(data: bytes, trust: Trust) -> Report:
    """Verify a single proof (``whodid-proof/1``)."""
    return _verify(lambda: _from_single(data), trust)


def verify_proof_file(data: bytes, record: bytes, salt: bytes, trust: Trust) -> Report:
    """Verify a proof file for an entry with this record and this salt."""
    return _verify(lambda: _from_file(data, record, salt), trust)


@dataclass(frozen=True, slots=True)
class _Content:
    """What a proof says."""

    account: str
    seq: int
    salt: bytes
    record: bytes
    hashes: tuple[bytes, ...]
    note: str


def _from_single(data: bytes) -> _Content:
    proof = parse_proof(data)
    return _Content(proof.account, proof.seq, proof.salt, proof.record.encode(), proof.proof, proof.checkpoint)


def _from_file(data: bytes, record: bytes, salt: bytes) -> _Content:
    proof = ProofFile.parse(data)
    account = account_of(Checkpoint.parse(proof.note.text))
    return _Content(account, proof.index, salt, record, proof.hashes, str(proof.note))


def _verify(read: Callable[[], _Content], trust: Trust) -> Report:
    proof = _Proof(read, trust)
    return proof.take(
        [
            ("proof", proof.check_form),
            ("signature", proof.check_signature),
            ("cosignatures", proof.check_cosignatures),
            ("inclusion", proof.check_inclusion),
        ]
    )


class _Proof(Evidence):
    """One proof, while it is verified."""

    def __init__(self, read: Callable[[], _Content], trust: Trust) -> None:
        super().__init__(trust)
        self._read = read

    def check_form(self) -> Finding:
        """Step 1."""
        self._content = said = self._read()
        found = account_in(said.record)
        if found != said.account:
            whose = "of no account" if found is None else f"of the account {found[:100]!r}"
            raise InvalidEvidence(f"the proof is of an entry of {said.account}, its record is {whose}")
        return passed(f"entry {said.seq} of {said.account}")

    def check_signature(self) -> Finding:
        """Step 2."""
        said = self._content
        self.signed = self._trust.open(said.note, said.account)
        self.claim = Claim(
            text=f"this record is entry {said.seq} of {said.account}, in the log that {self.signed.signer.name} signed",
            account=said.account,
            entry=said.seq,
        )
        return passed(told(self.signed))

    def check_inclusion(self) -> Finding:
        """Step 4."""
        said, checkpoint = self._content, self._checkpoint
        leaf = hash_leaf(commit(said.salt, said.record))
        try:
            check_inclusion(said.seq, checkpoint.size, leaf, said.hashes, checkpoint.root)
        except InvalidEvidence as error:
            raise InvalidEvidence(
                f"{error.message}: the record, the salt, the number or the proof is not what was signed"
            ) from error
        return passed(f"record and salt lead to the root of the log of {counted(checkpoint.size)}")
