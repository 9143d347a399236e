"""How calls are spaced so that no window of any alignment sees more of them than it may. Pure.

The generic cell rate algorithm (ITU-T I.371): `next_at` is the time of the next call, were all evenly spaced; a
call may go at `next_at - tolerance` and moves `next_at` on by `spacing`. n calls then take at least
(n - burst) x spacing, so that a window of `seconds` sees at most burst - 1 + seconds / spacing of them, rounded up.

A call reaches the CRM some time after its turn, and not each after the same time. Calls that reach it within
`seconds` had their turns within `seconds + travel`, where `travel` bounds the difference; the rule is kept for that
longer window. Whoever is later than `lateness` for a turn gives it up, so that a process that was frozen, or a
database that was slow, cannot send what it gathered all at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.crm.port import Priority

_LATENESS = 0.15  # seconds; of a short window at most 6 %
_NETWORK = 2 / 3  # of the lateness: what the ways of two calls to the CRM may differ by (0.1 s)

HORIZON: Mapping[Priority, float] = {Priority.LIVE: 10.0, Priority.STATUS: 0.5, Priority.REPLAY: 0.25}
"""Seconds ahead that a class may reserve a turn: what is live never queues behind much that is not."""

KEEP_BACK: Mapping[Priority, float] = {Priority.LIVE: 0.0, Priority.STATUS: 0.1, Priority.REPLAY: 0.2}
"""Share of a day's calls that a class leaves to the classes before it."""

LOOK_EVERY = 300.0
"""Seconds between looks at an account whose day is used up. HubSpot's day turns at midnight of the portal's time
zone, Salesforce's is a rolling one: when calls come back is seen only by calling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """At most `calls` in any `seconds`, however the window lies."""

    calls: int
    seconds: float

    def __post_init__(self) -> None:
        if self.calls < 1 or self.seconds <= 0:
            raise ValueError(f"no pace of {self.calls} calls in {self.seconds} s")

    @property
    def travel(self) -> float:
        """Seconds by which calls may bunch on their way."""
        return lateness(self.seconds) * (1 + _NETWORK)

    @property
    def burst(self) -> int:
        """Calls that may go at once after a pause: a short one then costs no quota."""
        return 1 + self.calls // 100

    @property
    def spacing(self) -> float:
        """Seconds between calls that follow one another without a pause."""
        return (self.seconds + self.travel) / (self.calls - self.burst + 1)

    @property
    def tolerance(self) -> float:
        """Seconds that a call may be ahead of its spacing."""
        return (self.burst - 1) * self.spacing

    def share(self, share: float) -> Pace:
        """The same window with a part of the calls, at least one."""
        return Pace(calls=max(1, int(self.calls * share)), seconds=self.seconds)


def lateness(seconds: float) -> float:
    """Seconds that a call may leave after its turn, in a window of so many."""
    return min(_LATENESS, 0.06 * seconds)


def kept_back(priority: Priority, *, share: float) -> float:
    """The part of a day's calls that must be left for a call of this class to go. `share`: ours of the account's."""
    return round(1.0 - share * (1.0 - KEEP_BACK[priority]), 9)
