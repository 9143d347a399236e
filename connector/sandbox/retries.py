"""How long a vendor waits between repetitions of what the connector did not take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True, kw_only=True)
class RetrySchedule:
    """Growing waits, in the vendor's time. Meta's by default; its exact schedule is not published."""

    first: float = 5.0
    """Seconds until the first repetition."""
    factor: float = 2.0
    longest: float = 6 * 3600.0
    give_up: float = 7 * 86_400.0
    """Seconds after which it is lost."""
    speed: float = 1.0
    """How much faster than the vendor's the clock runs: with 100, five seconds pass in 50 ms."""

    def waits(self) -> Iterator[float]:
        """Yield the real seconds to wait before each repetition."""
        wait, total = self.first, 0.0
        while total + wait <= self.give_up:
            total += wait
            yield wait / self.speed
            wait = min(wait * self.factor, self.longest)

    def faster(self, speed: float) -> Self:
        """The same schedule on a faster clock."""
        return replace(self, speed=speed)
