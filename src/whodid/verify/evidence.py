"""What all kinds of evidence have in common: a checkpoint that a log signed, and what is claimed of that log."""

from collections.abc import Sequence
from dataclasses import replace

from whodid.checkpoint import Checkpoint, SignedCheckpoint
from whodid.verify.steps import Check, Claim, Finding, Report, take
from whodid.verify.trust import Trust


class Evidence:
    """A piece of evidence, while it is verified. Its step *signature* sets ``signed`` and ``claim``."""

    signed: SignedCheckpoint | None = None
    claim: Claim | None = None

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def take(self, checks: Sequence[Check]) -> Report:
        """Take the steps, and report."""
        return replace(take(checks), signed=self.signed, claim=self.claim)

    def check_cosignatures(self) -> Finding:
        """The step *cosignatures*: every witness that was named cosigned the checkpoint."""
        return self._trust.check_cosignatures(self._signed)

    @property
    def _signed(self) -> SignedCheckpoint:
        assert self.signed is not None  # by the step before
        return self.signed

    @property
    def _checkpoint(self) -> Checkpoint:
        return self._signed.checkpoint
