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
from dataclasses import dataclass, replace
from typing import Final

from whodid.bundle import parse_proof
from whodid.checkpoint import PROOF_HEADER, Checkpoint, ProofFile, SignedCheckpoint
from whodid.commitment import commit
from whodid.errors import InvalidEvidence
from whodid.merkle import hash_leaf
from whodid.proofs import check_inclusion
from whodid.verify.records import account_in
from whodid.verify.steps import Finding, Report, counted, passed, take
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
class _Claim:
    """What a proof says."""

    account: str
    seq: int
    salt: bytes
    record: bytes
    hashes: tuple[bytes, ...]
    note: str


def _from_single(data: bytes) -> _Claim:
    proof = parse_proof(data)
    return _Claim(proof.account, proof.seq, proof.salt, proof.record.encode(), proof.proof, proof.checkpoint)


def _from_file(data: bytes, record: bytes, salt: bytes) -> _Claim:
    proof = ProofFile.parse(data)
    account = account_of(Checkpoint.parse(proof.note.text))
    return _Claim(account, proof.index, salt, record, proof.hashes, str(proof.note))


def _verify(read: Callable[[], _Claim], trust: Trust) -> Report:
    proof = _Proof(read, trust)
    report = take(
        [
            ("proof", proof.check_form),
            ("signature", proof.check_signature),
            ("cosignatures", proof.check_cosignatures),
            ("inclusion", proof.check_inclusion),
        ]
    )
    return replace(report, signed=proof.signed, claim=proof.claim)


class _Proof:
    """One proof, while it is verified."""

    signed: SignedCheckpoint | None = None
    claim = ""

    def __init__(self, read: Callable[[], _Claim], trust: Trust) -> None:
        self._read = read
        self._trust = trust

    def check_form(self) -> Finding:
        """Step 1."""
        self._claim = claim = self._read()
        found = account_in(claim.record)
        if found != claim.account:
            whose = "of no account" if found is None else f"of the account {found[:100]!r}"
            raise InvalidEvidence(f"the proof is of an entry of {claim.account}, its record is {whose}")
        return passed(f"entry {claim.seq} of {claim.account}")

    def check_signature(self) -> Finding:
        """Step 2."""
        self.signed = self._trust.open(self._claim.note, self._claim.account)
        self.claim = (
            f"this record is entry {self._claim.seq} of {self._claim.account}, "
            f"in the log that {self.signed.signer.name} signed"
        )
        return passed(told(self.signed))

    def check_cosignatures(self) -> Finding:
        """Step 3."""
        return self._trust.check_cosignatures(self._signed)

    def check_inclusion(self) -> Finding:
        """Step 4."""
        claim, checkpoint = self._claim, self._signed.checkpoint
        leaf = hash_leaf(commit(claim.salt, claim.record))
        try:
            check_inclusion(claim.seq, checkpoint.size, leaf, claim.hashes, checkpoint.root)
        except InvalidEvidence as error:
            raise InvalidEvidence(
                f"{error.message}: the record, the salt, the number or the proof is not what was signed"
            ) from error
        return passed(f"record and salt lead to the root of the log of {counted(checkpoint.size)}")

    @property
    def _signed(self) -> SignedCheckpoint:
        assert self.signed is not None  # by step 2
        return self.signed
