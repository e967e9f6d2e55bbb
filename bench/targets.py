"""Targets: what the figures of each store should be. None: it is only measured."""

from dataclasses import dataclass
from typing import Final

from bench.report import Target, at_least, at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Of one store."""

    batches: Target | None
    """Events recorded a second."""
    raw_ratio: Target
    """Of that to the raw limit."""
    memory_mb: Target
    disk_ratio: Target | None
    """To NDJSON."""
    singles: Target | None
    """Requests recorded a second."""
    echo_ratio: Target | None
    reading_ms: Target
    """The p50 of a reading call."""
    reading_growth: Target
    """Of that, from the smallest size to five million events."""
    search_ms: Target | None
    """The p50 of a page of a search."""
    start_seconds: Target
    proof_ms: Target | None
    """The p50 of a random record's proof."""


SQLITE: Final = Targets(
    batches=at_least(100_000),
    raw_ratio=at_least(0.6),
    memory_mb=at_most(250),
    disk_ratio=at_most(0.8),
    singles=at_least(10_000),
    echo_ratio=at_least(0.5),
    reading_ms=at_most(5),
    reading_growth=at_most(1.5),
    search_ms=at_most(5),
    start_seconds=at_most(1.0),
    proof_ms=at_most(3),
)

POSTGRESQL: Final = Targets(
    batches=None,
    raw_ratio=at_least(0.5),
    memory_mb=at_most(250),
    disk_ratio=None,
    singles=None,
    echo_ratio=None,
    reading_ms=at_most(10),
    reading_growth=at_most(1.5),
    search_ms=None,
    start_seconds=at_most(1.0),
    proof_ms=None,
)
