"""Whom an auditor trusts: the keys of logs and of witnesses, had from elsewhere than the evidence; what they signed."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

from whodid.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from whodid.errors import InvalidEvidence
from whodid.notes import Note, Signature, SignatureType, Verifier, cosigned_seconds
from whodid.records import MAX_TIME_MS, render_time
from whodid.verify.steps import Contradiction, Finding, counted, not_asked, passed

_LOG_PATH = "/log/"


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that an auditor goes by. The types of the keys must be those of logs, and of witnesses."""

    keys: tuple[Verifier, ...]
    """Of logs: one, or more where a log's key was rotated."""
    witnesses: tuple[Verifier, ...] = ()
    """Each of them must have cosigned."""

    def __post_init__(self) -> None:
        _check_types(self.keys, SignatureType.ED25519, "a log's", "--witness")
        _check_types(self.witnesses, SignatureType.COSIGNATURE, "a witness's", "--key")

    def open(self, note: bytes | str, account: str | None = None) -> SignedCheckpoint:
        """The checkpoint of the log of ``account``, or of any, signed by its key. Raises ``InvalidEvidence``."""
        signed = open_checkpoint(note, self.keys)
        found = account_of(signed.checkpoint)
        if account not in (None, found):
            raise InvalidEvidence(f"the checkpoint is of the log of {found}, not of {account}")
        return signed

    def check_cosignatures(self, signed: SignedCheckpoint) -> Finding:
        """Whether every witness cosigned. Raises ``InvalidEvidence``."""
        if not self.witnesses:
            return not_asked("no witness was named")
        cosigned = [one for witness in self.witnesses for one in signed.note.signed_by([witness])]
        missing = [one.name for one in self.witnesses if one not in [witness for witness, _ in cosigned]]
        if missing:
            raise InvalidEvidence(f"the checkpoint is not cosigned by {' and '.join(missing)}")
        return passed("cosigned by " + ", ".join(f"{one.name} at {_time_of(by)}" for one, by in cosigned))

    def open_earlier(self, note: bytes | str, signed: SignedCheckpoint) -> Checkpoint:
        """An earlier checkpoint of the same log, checked against this one as far as they tell by themselves.

        Raises ``InvalidEvidence``; where the two can't both be true, ``Contradiction``.
        """
        try:
            earlier = open_checkpoint(note, self.keys).checkpoint
        except InvalidEvidence as error:
            raise InvalidEvidence(f"the earlier checkpoint is not good: {error.message}") from error
        now = signed.checkpoint
        if earlier.origin != now.origin:
            raise InvalidEvidence(f"the earlier checkpoint is of another log: of {earlier.origin}, not {now.origin}")
        if earlier.size == now.size and earlier.root != now.root:
            raise Contradiction(f"the log signed two different roots for {counted(now.size)}: it was forked")
        return earlier


def check_root(earlier: Checkpoint, root: bytes) -> None:
    """Check that the entries that an earlier checkpoint was of still have its root. Raises ``Contradiction``."""
    if earlier.root != root:
        raise Contradiction(
            f"the log signed another root for {counted(earlier.size)} than it has now: "
            "entries were changed or taken away since"
        )


def account_of(checkpoint: Checkpoint) -> str:
    """The account whose log a checkpoint is of. Raises ``InvalidEvidence`` where its origin names none."""
    _, found, account = checkpoint.origin.rpartition(_LOG_PATH)
    if not found:
        raise InvalidEvidence(f"the log {checkpoint.origin} is not that of an account: its name has no {_LOG_PATH}")
    return account


def size_of(note: bytes | str | None) -> int | None:
    """The size that a note states, which may be forged or malformed: None where there is none."""
    try:
        return None if note is None else Checkpoint.parse(Note.parse(note).text).size
    except InvalidEvidence:
        return None


def told(signed: SignedCheckpoint) -> str:
    """What a checkpoint says, and who says so."""
    return (
        f"{signed.signer.name} (key {signed.signer.key_id.hex()}) signed that its log has "
        f"{counted(signed.checkpoint.size)} and the root {b64encode(signed.checkpoint.root).decode()}"
    )


def _check_types(keys: Sequence[Verifier], kind: SignatureType, whose: str, other: str) -> None:
    for key in keys:
        if key.type != kind:
            raise InvalidEvidence(
                f"the key of {key.name} is of type {key.type:#04x}, not {whose}: give it with {other}"
            )


def _time_of(cosignature: Signature) -> str:
    seconds = cosigned_seconds(cosignature)
    return render_time(seconds * 1000) if seconds * 1000 <= MAX_TIME_MS else f"second {seconds}"
