"""Steps of a verification: taken in order, each reported with what was checked, up to the first that fails."""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from whodid.bundle import InvalidEntry
from whodid.checkpoint import SignedCheckpoint
from whodid.errors import InvalidEvidence, WhodidError

MOST_DETAIL = 600
"""How many characters a step tells at most: what it tells may be quoted from a hostile file."""


class Outcome(enum.StrEnum):
    """What came of a step."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "could not be checked"
    """Not for what the evidence says, but for what it needs: a connection, a file."""
    NOT_ASKED = "not asked for"
    NOT_RUN = "not run"
    """One before it did not pass."""


class Verdict(enum.StrEnum):
    """What came of a verification."""

    VERIFIED = "verified"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it looked at, what came of it, and the details for people, which may quote what was checked."""

    number: int
    title: str
    outcome: Outcome
    detail: str


Finding: TypeAlias = tuple[Outcome, str]
"""What a check comes to where it does not fail: passed or not asked for, and the details."""

Check: TypeAlias = tuple[str, Callable[[], Finding]]
"""The title of a step, and what it does: raises ``InvalidEvidence`` where it fails."""


Progress: TypeAlias = Callable[[int, int], None]
"""Told now and then how many of how many entries were checked."""


class Contradiction(InvalidEvidence):
    """The log signed two checkpoints that can't both be true.

    That one is smaller is none: checkpoints bear no time, and whoever shows the smaller one may just be late.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What evidence is about, and what it proves if all steps passed."""

    text: str
    account: str
    entries: range | None = None
    """The numbers of the entries that a bundle has, which may be none."""
    entry: int | None = None
    """The number of the entry that a proof is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was checked, step by step."""

    steps: tuple[Step, ...]
    seq: int | None = None
    """The number of the first entry that is missing, or is not what it should be, if that can be told."""
    contradicted: bool = False
    """Whether the checkpoint contradicts the earlier one: the two notes show that the log can't be trusted."""
    signed: SignedCheckpoint | None = None
    """The checkpoint, if its signature is good."""
    claim: Claim | None = None
    """What is proved if all steps passed; none where not even the checkpoint's signature is good."""

    @property
    def verdict(self) -> Verdict:
        """``VERIFIED`` only if every step passed or was not asked for."""
        outcomes = {step.outcome for step in self.steps}
        if outcomes <= {Outcome.PASSED, Outcome.NOT_ASKED}:
            return Verdict.VERIFIED
        return Verdict.FAILED if Outcome.FAILED in outcomes else Verdict.UNKNOWN


def passed(detail: str) -> Finding:
    """The check passed."""
    return Outcome.PASSED, detail


def not_asked(detail: str) -> Finding:
    """Nobody asked for the check."""
    return Outcome.NOT_ASKED, detail


def take(checks: Sequence[Check]) -> Report:
    """Take the steps in order, up to the first that does not pass."""
    steps: list[Step] = []
    seq, contradicted, over = None, False, False
    for number, (title, check) in enumerate(checks, 1):
        outcome, detail = Outcome.NOT_RUN, "a step before it did not pass"
        if not over:
            try:
                outcome, detail = check()
            except WhodidError as error:
                outcome = Outcome.FAILED if isinstance(error, InvalidEvidence) else Outcome.UNKNOWN
                detail, over = error.message, True
                seq = error.seq if isinstance(error, InvalidEntry) else None
                contradicted = isinstance(error, Contradiction)
        steps.append(Step(number, title, outcome, _shortened(detail)))
    return Report(steps=tuple(steps), seq=seq, contradicted=contradicted)


def counted(number: int, noun: str = "entry", plural: str = "entries") -> str:
    """``1 entry``, ``2 entries``."""
    return f"{number} {noun if number == 1 else plural}"


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_DETAIL else f"{text[: MOST_DETAIL - 1]}…"
