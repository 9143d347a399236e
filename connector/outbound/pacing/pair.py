"""One business number to one person: a message every 6 s, with up to 45 at once that are borrowed from later.

After 131056 Meta advises to wait 4^X seconds, X growing with every refusal in a row
(developers.facebook.com/documentation/business-messaging/whatsapp/about-the-platform).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from connector.outbound.pacing.gcra import Rate, opens_at, taken

PAIR_RATE = Rate(interval=timedelta(seconds=6), burst=45)

_LONGEST_BACK_OFF = timedelta(seconds=4**6)  # a little over an hour
_FORGOTTEN_AFTER = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairState:
    """What is remembered of a pair."""

    tat: datetime | None = None
    refusals: int = 0
    """131056 in a row."""
    closed_until: datetime | None = None


def pair_opens_at(state: PairState | None, *, now: datetime) -> datetime:
    """When the next message may leave; `now` when it may."""
    if state is None:
        return now
    opens = opens_at(PAIR_RATE, state.tat, now=now)
    return opens if state.closed_until is None else max(opens, state.closed_until)


def pair_taken(state: PairState | None, *, at: datetime) -> PairState:
    """After a message that leaves at `at`, or may have left."""
    before = state or PairState()
    return replace(before, tat=taken(PAIR_RATE, before.tat, at=at))


def pair_accepted(state: PairState | None) -> PairState:
    """After WhatsApp took a message: the refusals are over."""
    return replace(state or PairState(), refusals=0, closed_until=None)


def pair_refused(state: PairState | None, *, now: datetime) -> PairState:
    """After 131056: closed for 4, 16, 64, … seconds, an hour at most."""
    before = state or PairState()
    forgotten = before.closed_until is not None and now - before.closed_until > _FORGOTTEN_AFTER
    refusals = 1 if forgotten else before.refusals + 1
    pause = min(timedelta(seconds=4 ** min(refusals, 6)), _LONGEST_BACK_OFF)
    closed = now + pause
    if before.closed_until is not None and not forgotten:
        closed = max(closed, before.closed_until)
    return replace(before, refusals=refusals, closed_until=closed)
