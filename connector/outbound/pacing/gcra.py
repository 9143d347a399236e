"""The generic cell rate algorithm: a steady rate with a burst, as one number of state.

`tat`, the theoretical arrival time, is when the next message would be due had all gone out evenly. One may leave
early by up to (burst - 1) intervals. In any window of length T no more than T / interval + burst leave.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """One message an `interval`, `burst` of them at once after a rest."""

    interval: timedelta
    burst: int = 1

    @property
    def tolerance(self) -> timedelta:
        """How much before its even time a message may leave."""
        return self.interval * (self.burst - 1)


def opens_at(rate: Rate, tat: datetime | None, *, now: datetime) -> datetime:
    """When the next message may leave: `now`, or later. `tat`: None before the first."""
    return now if tat is None else max(now, tat - rate.tolerance)


def taken(rate: Rate, tat: datetime | None, *, at: datetime) -> datetime:
    """The state after a message that leaves at `at`."""
    return (at if tat is None else max(at, tat)) + rate.interval


def reserve(rate: Rate, tat: datetime | None, *, now: datetime) -> tuple[datetime, datetime]:
    """(state after, when): the next message may leave at `when`, and the state counts it already."""
    when = opens_at(rate, tat, now=now)
    return taken(rate, tat, at=when), when
