"""Calls without a network: what is to be sent, what came back, and how the two clients carry out what the core says.

The core's functions are generators. They yield what is to be done next, a ``Call`` to be sent or a ``Pause`` to be
made, are sent what came of it, and return their result. So whether it is done with threads or in an event loop is
nothing to them.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

Parameters: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """One request."""

    method: str
    path: str
    parameters: Parameters = ()
    body: bytes | None = None
    content_type: str | None = None
    accept: str = "application/json"
    wait_seconds: float = 0
    """How long the server may let it wait on purpose."""
    streamed: bool = False
    """Whether a good answer is to be left unread."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: bytes = b""
    stream: Any = None
    """Of a streamed call, if it is good: what the client reads the body from."""


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer came, or not all of it."""

    reason: str
    hopeless: bool = False
    """Whether it would be the same with every further attempt."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A while in which nothing is done."""

    seconds: float


_T = TypeVar("_T")
Step: TypeAlias = Call | Pause
Outcome: TypeAlias = Answer | Broken | None
"""Of a call, what came of it; of a pause, nothing."""
Work: TypeAlias = Generator[Step, Outcome, _T]
