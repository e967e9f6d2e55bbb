"""Evidence: what the server gives as proof, checked with the log's key, which must have come from elsewhere."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from whodid.bundle import parse_proof
from whodid.bundle.lines import Hashes, Number
from whodid.checkpoint import SignedCheckpoint
from whodid.client.shapes import Keys, Proven, Record
from whodid.errors import InvalidEvidence, InvalidParameter
from whodid.notes import Verifier
from whodid.proofs import check_consistency
from whodid.verify import Outcome, Trust, Verdict, verify_proof
from whodid.verify.keys import parse_keys


class _Growth(Struct, frozen=True, kw_only=True):
    """The answer of the call for consistency."""

    old: Number = msgspec.field(name="from")
    new: Number = msgspec.field(name="to")
    proof: Hashes
    checkpoint: Annotated[str, Meta(min_length=1)]


def trust_of(key: Keys, witnesses: Keys) -> Trust:
    """Whom to trust. ``key`` is the log's verifier key; several, where one was rotated.

    Raises ``InvalidEvidence``, and ``InvalidParameter`` where a file can't be read.
    """
    return Trust(_verifiers(key, "key"), _verifiers(witnesses, "witnesses"))


def _verifiers(keys: Keys, name: str) -> tuple[Verifier, ...]:
    each = [keys] if isinstance(keys, str | Path) else keys
    return tuple(dict.fromkeys(one for key in each for one in _verifiers_of(key, name)))


def _verifiers_of(key: str | Path, name: str) -> list[Verifier]:
    """Those in a text, which may be what a file holds, or in the file at a path."""
    if isinstance(key, str):
        return parse_keys(key, f"{name} (a file is given as a Path, or as the text in it)")
    try:
        return parse_keys(key.read_text("utf-8"), f"the file {key}")
    except OSError as error:
        raise InvalidParameter(f"can't read {key}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidEvidence(f"there is no verifier key in the file {key}; 'whodid key show' prints them") from error


def check_record(data: bytes, wanted: str | Record, trust: Trust) -> Proven:
    """Check that a single proof is of the record that is wanted, and proves it. Raises ``InvalidEvidence``.

    Where a whole record is wanted, it must be the very one that is proven, number and all.
    """
    report = verify_proof(data, trust)
    if report.verdict != Verdict.VERIFIED or report.signed is None:
        fault = next(step for step in report.steps if step.outcome not in (Outcome.PASSED, Outcome.NOT_ASKED))
        raise InvalidEvidence(f"the record is not proven: {fault.title}: {fault.detail}")
    proof = parse_proof(data)
    record: Record = {"seq": proof.seq, **msgspec.json.decode(proof.record, type=dict[str, Any])}
    record_id = wanted if isinstance(wanted, str) else wanted.get("_id")
    if record.get("_id") != record_id:
        raise InvalidEvidence(f"the proof is of the record {record.get('_id')}, not of {record_id}")
    if not isinstance(wanted, str):
        _compare(record, wanted)
    return Proven(record, str(report.signed.note))


def _compare(proven: Record, read: Record) -> None:
    """As JSON: as values, Python takes 1, 1.0 and true for the same."""
    encode = msgspec.json.Encoder(order="deterministic").encode
    differing = [key for key in {**proven, **read} if encode(proven.get(key)) != encode(read.get(key))]
    if differing or proven.keys() != read.keys():
        keys = ", ".join(differing) or ", ".join(sorted(proven.keys() ^ read.keys()))
        raise InvalidEvidence(f"the record {proven['_id']} is in the log with other content than was read: {keys}")


def size_of(earlier: str | bytes | None, trust: Trust) -> int:
    """The size of an earlier checkpoint, whose signature must be good; 0 without one. Raises ``InvalidEvidence``."""
    return 0 if earlier is None else trust.open(earlier).checkpoint.size


def check_growth(data: bytes, earlier: str | bytes | None, trust: Trust) -> str:
    """Check that the log only grew since an earlier checkpoint; the newest one, as a note.

    Raises ``InvalidEvidence``; ``verify.steps.Contradiction`` where the two checkpoints can't both be true.
    """
    try:
        told = msgspec.json.decode(data, type=_Growth)
    except msgspec.MsgspecError as error:
        raise InvalidEvidence(f"the answer is no proof that the log only grew: {error}") from error
    signed = trust.open(told.checkpoint)
    trust.check_cosignatures(signed)
    if signed.checkpoint.size != told.new:
        raise InvalidEvidence(f"the proof is for {told.new} entries, the checkpoint of {signed.checkpoint.size}")
    if earlier is not None:
        _check_growth(told, earlier, signed, trust)
    return str(signed.note)


def _check_growth(told: _Growth, earlier: str | bytes, signed: SignedCheckpoint, trust: Trust) -> None:
    before, now = trust.open_earlier(earlier, signed), signed.checkpoint
    if before.size > now.size:
        raise InvalidEvidence(
            f"the log shows a checkpoint of {now.size} entries, older than yours of {before.size}: "
            "try again in a minute; if it stays so, you are shown an old log, or it was rolled back"
        )
    if told.old != before.size:
        raise InvalidEvidence(f"the proof is from {told.old} entries on, not from {before.size}")
    try:
        check_consistency(before.size, now.size, before.root, now.root, told.proof)
    except InvalidEvidence as error:
        raise InvalidEvidence(
            f"it is not shown that the log only grew from {before.size} to {now.size} entries: {error.message}"
        ) from error
