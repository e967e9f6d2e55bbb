"""What ``whodid verify`` tells: a line a step and a verdict for people, one object for programs."""

from base64 import b64encode
from typing import Any

from whodid.cli.output import say, show_json
from whodid.verify import Outcome, Report, Verdict


def tell(report: Report, *, as_json: bool) -> None:
    """Print what came of a verification."""
    if as_json:
        show_json(_as_json(report))
        return
    for step in report.steps:
        say(_printable(f"{step.number}. {step.outcome}: {step.title}: {step.detail}"))
    say(_printable(_summary(report)))


def _summary(report: Report) -> str:
    if report.verdict == Verdict.VERIFIED:
        return f"verified: {_claim(report)}"
    step = next(step for step in report.steps if step.outcome in (Outcome.FAILED, Outcome.UNKNOWN))
    where = "" if report.seq is None else f", at entry {report.seq}"
    if report.verdict == Verdict.FAILED:
        return f"NOT VERIFIED: step {step.number} ({step.title}) failed{where}"
    return f"NOT VERIFIED: step {step.number} ({step.title}) could not be checked"


def _claim(report: Report) -> str | None:
    """What was proved: nothing, unless all was verified."""
    return report.claim.text if report.claim is not None and report.verdict == Verdict.VERIFIED else None


def _about(report: Report) -> dict[str, Any]:
    """What the evidence is about, as it says itself."""
    claim = report.claim
    entries = None if claim is None else claim.entries
    return {
        "account": None if claim is None else claim.account,
        "from": None if entries is None else entries.start,
        "to": None if entries is None else entries.stop,
        "entry": None if claim is None else claim.entry,
    }


def _as_json(report: Report) -> dict[str, Any]:
    checkpoint = None
    if report.signed is not None:
        stated = report.signed.checkpoint
        checkpoint = {
            "origin": stated.origin,
            "size": stated.size,
            "root": b64encode(stated.root).decode(),
            "note": str(report.signed.note),
        }
    return {
        "verdict": report.verdict,
        "claim": _claim(report),
        **_about(report),
        "seq": report.seq,
        "contradicted": report.contradicted,
        "checkpoint": checkpoint,
        "steps": [
            {"number": step.number, "title": step.title, "outcome": step.outcome, "detail": step.detail}
            for step in report.steps
        ],
    }


def _printable(text: str) -> str:
    """One line of plain ASCII: what is quoted from a hostile file must not play tricks with a terminal."""
    return "".join(one if " " <= one <= "~" else one.encode("unicode_escape").decode() for one in text)
