"""What time it is. Passed in wherever it matters, so that tests own it."""

import time


def wall_clock() -> int:
    """Now, in epoch milliseconds."""
    return time.time_ns() // 1_000_000
