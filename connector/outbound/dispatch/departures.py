"""When the requests of one number really leave: never more in a second than the number may, however late they are.

A turn reserved in the database says when a message is due; a process that was busy for a moment finds several due at
once. WhatsApp counts what arrives in any second, so the departures themselves are counted, too.
"""

from __future__ import annotations

from collections import deque

HEADROOM = 0.006
"""Share of a second that is left free: what the way to WhatsApp may add or take between two messages."""


class Departures:
    """The latest departures of one number, seconds on any steady clock."""

    def __init__(self) -> None:
        self._left: deque[float] = deque()

    def opens_at(self, *, per_second: int, now: float) -> float:
        """When the next may leave: `now`, or later."""
        while len(self._left) > per_second:
            self._left.popleft()
        return now if len(self._left) < per_second else max(now, self._left[0] + 1.0 + HEADROOM)

    def left(self, at: float) -> None:
        """One leaves."""
        self._left.append(at)
