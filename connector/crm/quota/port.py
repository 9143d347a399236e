"""What a CRM client knows of the quota: a call is sent through it, and brings back what the CRM says of limits."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from connector.crm.port import Priority, Terms
from connector.errors import RateLimited

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class PaceNews:
    """What an answer says of a rolling window: its limit, its length in seconds, and the calls left in it."""

    calls: int
    seconds: float
    left: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DayNews:
    """What an answer says of the day's calls: the limit, and how many are left to the whole account."""

    calls: int
    left: int


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What an answer says of limits; None where it says nothing."""

    pace: PaceNews | None = None
    day: DayNews | None = None


class StaleSlot(Exception):
    """The call is later than its turn allows. It was not sent, and draws again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One call's turn. `number`: of the account's calls. `until`: monotonic seconds."""

    number: int = 0
    until: float = math.inf
    clock: Callable[[], float] = field(default=time.monotonic)

    def must_be_fresh(self) -> None:
        """Raise `StaleSlot` when the turn is over. Called in the very thread that sends, right before it does."""
        if self.clock() > self.until:
            raise StaleSlot


class LimitReached(RateLimited):
    """The CRM refused a call for quota: nothing was done. `whole_day`: no call passes until the day's come back."""

    def __init__(
        self, message: str, *, retry_after: float, whole_day: bool = False, advice: str = ""
    ) -> None:
        super().__init__(message, retry_after=retry_after, advice=advice)
        self.whole_day = whole_day


class QuotaHeld(RateLimited):
    """Calls of `priority` and of the classes behind it are held back; those before it may go. Nothing was sent."""

    def __init__(self, message: str, *, retry_after: float, priority: Priority, advice: str = "") -> None:
        super().__init__(message, retry_after=retry_after, advice=advice)
        self.priority = priority


Send = Callable[[Slot], Awaitable[tuple[Answer, News]]]
"""Sends one call, or raises. It has the slot checked at the last moment."""


class Quota(Protocol):
    """The quota of one account."""

    async def run(self, send: Send[Answer], *, bucket: str, terms: Terms) -> Answer:
        """Send a call when it is its turn. `bucket`: the pace it counts for; one that is not kept is no limit.

        Raises what `send` raises, `QuotaHeld` when the turn is too far away or the day's calls are used up, and
        `Transient` when there can be no turn: the database is away, or the role stops. Nothing was sent then.
        """


class Unlimited:
    """No quota is kept: for a simulator that has none, and for a tool without a database."""

    async def run(self, send: Send[Answer], *, bucket: str, terms: Terms) -> Answer:  # noqa: ARG002
        """Send at once."""
        terms.check()
        answer, _ = await send(Slot())
        return answer
