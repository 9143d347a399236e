"""How long to wait before the next attempt."""

from __future__ import annotations

from collections.abc import Callable


def backoff(attempt: int, *, random: Callable[[], float], first: float = 0.2, longest: float = 15.0) -> float:
    """Seconds before attempt `attempt` (from 1) is repeated: doubling, capped, with full jitter above a half.

    `random` gives a number in [0, 1).
    """
    ceiling: float = min(longest, first * 2.0 ** min(attempt - 1, 30))
    return ceiling * (0.5 + random() / 2)
