"""The report: figures beside their targets, as a table for people and as JSON for programs."""

import math
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.machine import Machine


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be: at least, or at most, ``limit``."""

    limit: float
    at_least: bool

    def met_by(self, value: float) -> bool:
        """Whether a value is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {render(self.limit)}"


def at_least(limit: float) -> Target:
    """The more, the better."""
    return Target(limit, at_least=True)


def at_most(limit: float) -> Target:
    """The less, the better."""
    return Target(limit, at_least=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that was measured."""

    part: str
    name: str
    value: float
    unit: str
    target: Target | None = None
    rounds: tuple[float, ...] = ()
    """The values of the single rounds, where ``value`` is their median."""
    beside: dict[str, float] = field(default_factory=dict)
    """What else was measured of the same, in the same unit."""

    @property
    def met(self) -> bool | None:
        """Whether the target, if there is one, was met."""
        return None if self.target is None else self.target.met_by(self.value)


class _Row(msgspec.Struct):
    """A figure in the JSON."""

    part: str
    name: str
    value: float
    unit: str
    target: str | None
    met: bool | None
    rounds: tuple[float, ...]
    beside: dict[str, float]


class _Result(msgspec.Struct):
    """The JSON."""

    machine: Machine
    seconds: float
    figures: list[_Row]


def median_figure(part: str, name: str, values: Iterable[float], unit: str, target: Target | None = None) -> Figure:
    """The median of the rounds, which stay visible beside it."""
    rounds = tuple(values)
    return Figure(part, name, statistics.median(rounds), unit, target, rounds)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all values do not exceed."""
    ranked = sorted(values)
    return ranked[max(math.ceil(len(ranked) * percent / 100) - 1, 0)]


def say(text: str) -> None:
    """Tell whoever waits what is going on."""
    print(text, file=sys.stderr, flush=True)


def render(value: float) -> str:
    """A number with three digits that count, or all that are left of the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(digits, 0)}f}"


def table(figures: list[Figure]) -> str:
    """All figures, a line each, by part."""
    lines = [("", "", "", "target", "", "rounds, or what else was measured of it")]
    for at, figure in enumerate(figures):
        if at == 0 or figures[at - 1].part != figure.part:
            lines += [("", "", "", "", "", ""), (figure.part, "", "", "", "", "")]
        lines.append((f"  {figure.name}", render(figure.value), figure.unit, *_verdict(figure), _more(figure)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(_line(line, widths) for line in lines)


def _verdict(figure: Figure) -> tuple[str, str]:
    if figure.target is None:
        return "", ""
    return str(figure.target), "met" if figure.met else "MISSED"


def _more(figure: Figure) -> str:
    beside = [f"{name} {render(value)}" for name, value in figure.beside.items()]
    rounds = " ".join(render(value) for value in figure.rounds) if len(figure.rounds) > 1 else ""
    return ", ".join([*filter(None, [rounds]), *beside])


def _line(line: tuple[str, ...], widths: list[int]) -> str:
    name, value, unit, target, verdict, more = line
    columns = (
        name.ljust(widths[0]), value.rjust(widths[1]), unit.ljust(widths[2]), target.ljust(widths[3]),
        verdict.ljust(widths[4]), more,
    )  # fmt: skip
    return "  ".join(columns).rstrip()


def write_json(file: Path, machine: Machine, seconds: float, figures: list[Figure]) -> None:
    """Write the result of a run."""
    rows = [
        _Row(
            figure.part,
            figure.name,
            figure.value,
            figure.unit,
            None if figure.target is None else str(figure.target),
            figure.met,
            figure.rounds,
            figure.beside,
        )
        for figure in figures
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(_Result(machine, seconds, rows)), indent=2) + b"\n")
