"""Proofs of one entry verified: of all sizes and places, and nothing of them can be changed."""

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verify.building import ACCOUNT, ODD_RECORDS, Log, Witness, base64, compact, key_of

from whodid.verify import Outcome, Report, Trust, Verdict, is_proof, is_proof_file, verify_proof, verify_proof_file

LOG = Log.of(300)
TRUST = Trust((LOG.verifier,))
PROOF, SIGNATURE, COSIGNATURES, INCLUSION = 1, 2, 3, 4


def failed_step(report: Report) -> int | None:
    """The number of the step that failed; after it none was run."""
    outcomes = [step.outcome for step in report.steps]
    assert [step.number for step in report.steps] == [1, 2, 3, 4]
    if report.verdict == Verdict.VERIFIED:
        return None
    at = outcomes.index(Outcome.FAILED)
    assert set(outcomes[at + 1 :]) <= {Outcome.NOT_RUN}
    return at + 1


def verify(proof: dict[str, Any], trust: Trust = TRUST) -> Report:
    """What is said of a single proof."""
    return verify_proof(compact(proof), trust)


@given(st.data())
def test_any_entry_of_any_log_is_verified(data: st.DataObject) -> None:
    """As a single proof, and as a proof file with record and salt beside it."""
    size = data.draw(st.integers(1, 300))
    seq = data.draw(st.integers(0, size - 1))
    report = verify(LOG.single_proof(seq, size))
    assert failed_step(report) is None
    assert report.claim is not None
    assert f"entry {seq} of {ACCOUNT}" in report.claim.text
    assert (report.claim.account, report.claim.entry, report.claim.entries) == (ACCOUNT, seq, None)
    assert failed_step(verify_proof_file(LOG.proof_file(seq, size), LOG.records[seq], LOG.salts[seq], TRUST)) is None


def test_odd_records_are_verified() -> None:
    """Escapes and white space are part of what was signed."""
    log = Log([(text % ACCOUNT).encode() for text in ODD_RECORDS])
    for seq in range(len(ODD_RECORDS)):
        assert failed_step(verify(log.single_proof(seq), Trust((log.verifier,)))) is None


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"format": "whodid-proof/2"}, PROOF),
        ({"account": "org-other-acc0"}, PROOF),
        ({"account": "org-other-acc0", "record": '{"account":"org-other-acc0"}'}, SIGNATURE),
        ({"record": '{"account":"org-other-acc0"}'}, PROOF),
        ({"record": "[]"}, PROOF),
        ({"record": json.dumps({"account": ACCOUNT, "forged": 1})}, INCLUSION),
        ({"salt": base64(bytes(16))}, INCLUSION),
        ({"salt": base64(bytes(15))}, PROOF),
        ({"seq": 18}, INCLUSION),
        ({"seq": 300}, INCLUSION),
        ({"seq": -1}, PROOF),
        ({"proof": []}, INCLUSION),
        ({"proof": [base64(bytes(31))]}, PROOF),
        ({"checkpoint": LOG.note(299)}, INCLUSION),
        ({"checkpoint": LOG.note(17)}, INCLUSION),
        ({"checkpoint": LOG.fork(200).note()}, INCLUSION),
        ({"checkpoint": Log.of(300, key=key_of("forger")).note()}, SIGNATURE),
        ({"checkpoint": Log.of(300, account="org-other-acc0").note()}, SIGNATURE),
        ({"checkpoint": ""}, SIGNATURE),
    ],
)
def test_a_changed_proof_fails(change: dict[str, Any], step: int) -> None:
    """At the step that finds it."""
    assert failed_step(verify(LOG.single_proof(17) | change)) == step


def test_every_hash_of_the_proof_matters() -> None:
    """Another one, one more, one less, another order."""
    proof = LOG.single_proof(17)
    hashes = proof["proof"]
    other = base64(bytes(32))
    for wrong in (
        *([*hashes[:at], other, *hashes[at + 1 :]] for at in range(len(hashes))),
        hashes[1:], hashes[:-1], [*hashes, other], hashes[::-1],
    ):  # fmt: skip
        assert failed_step(verify(proof | {"proof": wrong})) == INCLUSION


def test_the_files_own_key_does_not_matter() -> None:
    """A proof made anew by somebody else does not pass with the key that it brings along."""
    forged = Log.of(300, key=key_of("forger"), seed=1)
    assert failed_step(verify(forged.single_proof(17), Trust((forged.verifier,)))) is None
    assert failed_step(verify(forged.single_proof(17))) == SIGNATURE
    assert failed_step(verify(LOG.single_proof(17) | {"key": str(forged.verifier)})) is None


def test_witnesses_must_have_cosigned() -> None:
    """As with bundles."""
    witness = Witness()
    trust = Trust((LOG.verifier,), (witness.verifier,))
    proof = LOG.single_proof(17)
    assert failed_step(verify(proof, trust)) == COSIGNATURES
    assert failed_step(verify(proof | {"checkpoint": witness.cosign(LOG.note())}, trust)) is None


def test_a_proof_file_with_another_record_or_salt_fails() -> None:
    """Or with another entry's, or cut off, or of another log."""
    file = LOG.proof_file(17)
    record, salt = LOG.records[17], LOG.salts[17]
    assert failed_step(verify_proof_file(file, record + b"\n", salt, TRUST)) == INCLUSION
    assert failed_step(verify_proof_file(file, LOG.records[18], LOG.salts[18], TRUST)) == INCLUSION
    assert failed_step(verify_proof_file(file, record, bytes(16), TRUST)) == INCLUSION
    assert failed_step(verify_proof_file(file, b"\xff", salt, TRUST)) == PROOF
    assert failed_step(verify_proof_file(file.replace(b"index 17", b"index 16"), record, salt, TRUST)) == INCLUSION
    other = Log.of(300, account="org-other-acc0").proof_file(17)
    assert failed_step(verify_proof_file(other, record, salt, TRUST)) == PROOF
    for size in range(len(file)):
        assert failed_step(verify_proof_file(file[:size], record, salt, TRUST)) is not None


@settings(max_examples=500)
@given(chance=st.randoms(use_true_random=False))
def test_no_change_of_bytes_goes_unnoticed(chance: random.Random) -> None:
    """Whatever byte is another one: it fails, or says the same still."""
    whole = LOG.single_proof(17)
    data = bytearray(compact(whole))
    data[chance.randrange(len(data))] ^= chance.randrange(1, 256)
    if verify_proof(bytes(data), TRUST).verdict == Verdict.VERIFIED:
        assert json.loads(data) | {"key": ""} == whole | {"key": ""}


def test_what_is_a_proof_is_known_by_its_beginning() -> None:
    """However it is indented and ordered; a bundle is none, whatever is in it."""
    proof = LOG.single_proof(17)
    assert is_proof(compact(proof))
    assert is_proof(json.dumps(proof, indent=2, sort_keys=True).encode())
    assert is_proof_file(LOG.proof_file(17))
    tricky = Log([compact({"account": ACCOUNT, "format": "whodid-proof/1", "x": '"format":"whodid-proof/1"'})])
    bundle = b"\n".join(tricky.lines())
    assert not is_proof(bundle)
    assert not is_proof_file(bundle)
    assert not is_proof(LOG.proof_file(17))
