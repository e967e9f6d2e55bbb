"""Rate limits: buckets of calls, with time passed in."""

from hypothesis import given
from hypothesis import strategies as st
from tests.building import ManualClock

from whodid.ratelimit import Grant, RateLimit


def test_a_minutes_calls_may_be_made_at_once_and_then_as_many_as_it_grants() -> None:
    """What is left, when there is another call and when all are there again is told with each."""
    clock = ManualClock()
    limit = RateLimit(3, monotonic=clock.monotonic)
    grants = [limit.take(b"a") for _ in range(4)]
    assert grants == [
        Grant(granted=True, limit=3, remaining=2, reset_seconds=20, retry_after_seconds=0, noted=False),
        Grant(granted=True, limit=3, remaining=1, reset_seconds=40, retry_after_seconds=0, noted=False),
        Grant(granted=True, limit=3, remaining=0, reset_seconds=60, retry_after_seconds=20, noted=False),
        Grant(granted=False, limit=3, remaining=0, reset_seconds=60, retry_after_seconds=20, noted=True),
    ]
    clock.advance(19.999)
    assert limit.take(b"a")[:5] == (False, 3, 0, 41, 1)
    clock.advance(0.001)
    assert limit.take(b"a")[:5] == (True, 3, 0, 60, 20)
    clock.advance(60)
    assert limit.take(b"a")[:5] == (True, 3, 2, 20, 0)


def test_tokens_have_a_bucket_each() -> None:
    """Nobody uses up what is another's."""
    limit = RateLimit(1, monotonic=ManualClock().monotonic)
    assert [limit.take(token).granted for token in (b"a", b"b", b"a", b"b")] == [True, True, False, False]


def test_of_a_flood_one_call_a_second_is_noted() -> None:
    """Of each token by itself."""
    clock = ManualClock()
    limit = RateLimit(1, monotonic=clock.monotonic)
    noted = []
    for _ in range(25):
        noted.append((limit.take(b"a").noted, limit.take(b"b").noted))
        clock.advance(0.1)
    assert [at for at, one in enumerate(noted) if any(one)] == [1, 11, 21]
    assert all(a == b for a, b in noted)


def test_memory_is_bounded_and_those_that_called_last_are_remembered() -> None:
    """A bucket that was forgotten is full again."""
    limit = RateLimit(1, monotonic=ManualClock().monotonic, most_buckets=2)
    assert [limit.take(token).granted for token in (b"a", b"b", b"a")] == [True, True, False]
    assert limit.take(b"c").granted  # b is forgotten, a was used since
    assert [limit.take(token).granted for token in (b"a", b"c")] == [False, False]
    assert limit.take(b"b").granted


@given(calls=st.integers(1, 200), waits=st.lists(st.integers(0, 90_000), max_size=200))
def test_a_bucket_is_what_it_says(calls: int, waits: list[int]) -> None:
    """Beside a bucket that is counted in fractions; and what a refused caller is told to wait is enough, and needed."""
    clock = ManualClock()
    limit = RateLimit(calls, monotonic=clock.monotonic)
    full = level = calls * 60_000  # a call is 60,000 of these, and each millisecond brings as many as there are calls
    for wait_ms in waits:
        clock.advance(wait_ms / 1000)
        level = min(full, level + wait_ms * calls)
        grant = limit.take(b"a")
        assert grant.granted == (level >= 60_000)
        level -= 60_000 if grant.granted else 0
        assert (grant.limit, grant.remaining) == (calls, level // 60_000)
        per_second = calls * 1000
        assert grant.reset_seconds == -(-(full - level) // per_second)
        assert grant.retry_after_seconds == max(0, -(-(60_000 - level) // per_second))
