"""Trying again: which calls, for how long, and after which pauses.

Again goes a call whose answer did not come, or that was answered 429, 502, 503 or 504. Every call of the client may be
made twice: those that read change nothing, and events bring their ``_id``. Pauses are those of "full jitter": at random
between nothing and a bound that doubles; where the server says how long (``Retry-After``), they begin after that.

A call is given up after a while. One that follows what comes is not: whoever follows means to go on for ever.
"""

import logging
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from itertools import count
from typing import Final, Self, TypeAlias

from whodid.client.calls import Answer, Broken, Call, Pause, Work
from whodid.client.errors import NoAnswer

BUSY: Final = (429, 502, 503, 504)
FIRST_PAUSE_SECONDS: Final = 0.5
"""The bound of the first pause."""

LONGEST_PAUSE_SECONDS: Final = 15.0
LONGEST_ASKED_SECONDS: Final = 60.0
"""A server that asks for more patience than this is asked again after so long all the same."""


Tell: TypeAlias = Callable[[str], None]
"""Told in one line when the server is gone, or too busy, and in one when it is back."""

_log = logging.getLogger("whodid.client")


def log_trouble(line: str) -> None:
    """What is told goes to the program's logs, unless it wants it elsewhere."""
    _log.warning(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """For how long a call is tried, and, if that is limited, how often."""

    attempts: int | None
    """None: as often as there is time for."""
    deadline_seconds: float
    """After this, no further attempt is begun."""
    monotonic: Callable[[], float]
    clock: Callable[[], int]
    """Epoch milliseconds."""
    random: random.Random
    tell: Tell

    def lasting(self) -> Self:
        """The same, that never gives up."""
        return replace(self, attempts=None, deadline_seconds=math.inf)

    def answer(self, call: Call, url: str) -> Work[Answer]:
        """The answer to a call, as it came in the end. Raises ``NoAnswer``."""
        until = self.until() + call.wait_seconds
        for attempt in count(1):
            outcome = yield call
            assert isinstance(outcome, Answer | Broken)
            if isinstance(outcome, Answer) and outcome.status not in BUSY:
                if attempt > 1:
                    self.tell(f"{url} answers again")
                return outcome
            pause = self.pause(outcome, attempt)
            if self.is_over(outcome, attempt, pause, until):
                if isinstance(outcome, Answer):
                    return outcome
                times = "" if attempt == 1 else f", {attempt} times"
                raise NoAnswer(f"no answer from {url}{times}: {outcome.reason}")
            if attempt == 1:
                self.tell(f"{_trouble(outcome, url)}; trying again")
            yield pause
        raise AssertionError

    def until(self) -> float:
        """When what begins now is given up, on the monotonic clock."""
        return self.monotonic() + self.deadline_seconds

    def is_over(self, outcome: Answer | Broken, attempt: int, pause: Pause, until: float) -> bool:
        """Whether it is given up after this came of an attempt, rather than to pause and to try again."""
        if isinstance(outcome, Broken) and outcome.hopeless:
            return True
        often = self.attempts is not None and attempt >= self.attempts
        return often or self.monotonic() + pause.seconds > until

    def pause(self, outcome: Answer | Broken, attempt: int) -> Pause:
        """How long to wait after this came of an attempt, the how manieth of all (from 1)."""
        bound = min(FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 10), LONGEST_PAUSE_SECONDS)
        asked = self._asked_seconds(outcome) if isinstance(outcome, Answer) else 0.0
        return Pause(min(asked, LONGEST_ASKED_SECONDS) + self.random.uniform(0, bound))

    def _asked_seconds(self, answer: Answer) -> float:
        """What ``Retry-After`` says: seconds, or a date (RFC 9110 §10.2.3); 0 where it says nothing of use."""
        text = answer.headers.get("retry-after", "").strip()
        if text.isascii() and text.isdigit():
            return float(text[:9])
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - self.clock() / 1000)
        except (ValueError, TypeError, OverflowError):
            return 0.0


def _trouble(outcome: Answer | Broken, url: str) -> str:
    if isinstance(outcome, Answer):
        return f"{url} is too busy, or is not reached ({outcome.status})"
    return f"no answer from {url}: {outcome.reason}"
