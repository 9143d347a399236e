"""One business number: 80 messages a second, 1,000 once upgraded, 20 in coexistence with the WhatsApp Business app.

developers.facebook.com/documentation/business-messaging/whatsapp/throughput. After 130429 the number rests a little
and goes on slower, then recovers: the limit counts what came in, too, so the rate that is free is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from connector.outbound.pacing.gcra import Rate, opens_at, taken

STANDARD_RATE = 80
UPGRADED_RATE = 1_000
COEXISTENCE_RATE = 20

_REST = timedelta(seconds=1)
_LONGEST_REST = timedelta(seconds=60)
_SLOWEST_SHARE = 1 / 16
_RECOVERY = timedelta(seconds=10)
"""The share doubles for each of these without a refusal."""
_ONE_REFUSAL = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberState:
    """What is remembered of a number. `share`: of its rate, until `closed_until` and a while after."""

    tat: datetime | None = None
    share: float = 1.0
    refusals: int = 0
    refused_at: datetime | None = None
    closed_until: datetime | None = None


def number_rate(per_second: int) -> Rate:
    """Evenly and without a burst: no second, whenever it begins, has more than `per_second` messages."""
    return Rate(interval=timedelta(microseconds=-(-1_000_000 // per_second)))


def share_at(state: NumberState, *, now: datetime) -> float:
    """The share of the rate that is used at `now`: full again some time after the last refusal."""
    if state.closed_until is None or now <= state.closed_until:
        return state.share
    doublings = (now - state.closed_until) // _RECOVERY
    return min(1.0, state.share * 2.0 ** min(doublings, 8))


def number_reserve(state: NumberState, *, per_second: int, now: datetime) -> tuple[NumberState, datetime]:
    """(state after, when): the next message may leave at `when`, and the state counts it."""
    rate = _slowed(number_rate(per_second), share_at(state, now=now))
    opens = opens_at(rate, state.tat, now=now)
    when = opens if state.closed_until is None else max(opens, state.closed_until)
    return replace(state, tat=taken(rate, state.tat, at=when)), when


def number_refused(state: NumberState, *, now: datetime) -> NumberState:
    """After 130429: a rest, then half the share. Refusals of messages that were under way together are one."""
    if state.refused_at is not None and now - state.refused_at < _ONE_REFUSAL:
        return state
    in_a_row = 1 if share_at(state, now=now) >= 1.0 else state.refusals + 1
    rest = min(_REST * 2 ** min(in_a_row - 1, 6), _LONGEST_REST)
    return replace(
        state,
        share=max(share_at(state, now=now) / 2, _SLOWEST_SHARE),
        refusals=in_a_row,
        refused_at=now,
        closed_until=max(now + rest, state.closed_until or now),
    )


def _slowed(rate: Rate, share: float) -> Rate:
    return rate if share >= 1.0 else Rate(interval=rate.interval / share)
