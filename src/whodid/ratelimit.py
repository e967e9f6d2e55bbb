"""Rate limits: how many calls a minute a token is granted. Pure; time is passed in.

A token bucket for each access token: it holds as many calls as a minute grants, is full at first, and fills evenly. So
a caller may make a minute's calls at once, and then as many as the minute grants. Each process counts by itself.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

MOST_BUCKETS: Final = 100_000
"""How many buckets are remembered; of more, those that were not used for longest count as full again."""

NOTE_SECONDS: Final = 1
"""Of a token's refused calls, one in so long is to be noted: a flood must not fill the log."""

_SECOND: Final = 1_000_000
_MINUTE: Final = 60 * _SECOND


class Grant(NamedTuple):
    """What became of a call, and what the token has left."""

    granted: bool
    limit: int
    """How many calls the bucket holds: those of a minute."""
    remaining: int
    reset_seconds: int
    """After how long the bucket is full, if it is left alone."""
    retry_after_seconds: int
    """After how long there is another call; 0 if there is one now."""
    noted: bool
    """Whether the call, if it is refused, is one to be noted."""


class _Bucket:
    """One token's, in microseconds. All its calls are there again at ``full``; that is all there is to know."""

    __slots__ = ("full", "noted")

    def __init__(self) -> None:
        self.full = 0
        """Times as many as there are calls a minute: so a call costs a minute, and nothing is ever rounded."""
        self.noted: int | None = None


class RateLimit:
    """The buckets of all tokens that called of late. Used in one event loop."""

    def __init__(
        self, calls_a_minute: int, *, monotonic: Callable[[], float], most_buckets: int = MOST_BUCKETS
    ) -> None:
        self._calls = calls_a_minute
        self._monotonic = monotonic
        self._most_buckets = most_buckets
        self._buckets: dict[bytes, _Bucket] = {}
        """By token; the one that was used last is the last."""

    def take(self, token: bytes) -> Grant:
        """Take a call out of a token's bucket, if there is one. ``token`` is whatever tells tokens apart."""
        now = int(self._monotonic() * _SECOND)
        bucket = self._bucket(token)
        missing = max(bucket.full - now * self._calls, 0)
        granted = missing <= (self._calls - 1) * _MINUTE
        if granted:
            missing += _MINUTE
            bucket.full = now * self._calls + missing
        noted = not granted and (bucket.noted is None or now - bucket.noted >= NOTE_SECONDS * _SECOND)
        if noted:
            bucket.noted = now
        return Grant(
            granted=granted,
            limit=self._calls,
            remaining=self._calls - -(-missing // _MINUTE),
            reset_seconds=self._seconds(missing),
            retry_after_seconds=self._seconds(max(missing - (self._calls - 1) * _MINUTE, 0)),
            noted=noted,
        )

    def _seconds(self, missing: int) -> int:
        """After how many whole seconds so much is there again."""
        return -(-missing // (self._calls * _SECOND))

    def _bucket(self, token: bytes) -> _Bucket:
        bucket = self._buckets.pop(token, None) or _Bucket()
        while len(self._buckets) >= self._most_buckets:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[token] = bucket
        return bucket
