"""Pacing: never more than allowed in any window, and each refusal slows only whom it means."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from gate_facts import NOW
from hypothesis import given, settings, strategies as st

from connector.outbound.pacing.gcra import Rate, opens_at, reserve
from connector.outbound.pacing.number import (
    COEXISTENCE_RATE,
    STANDARD_RATE,
    UPGRADED_RATE,
    NumberState,
    number_refused,
    number_reserve,
    share_at,
)
from connector.outbound.pacing.pair import (
    PAIR_RATE,
    PairState,
    pair_accepted,
    pair_opens_at,
    pair_refused,
    pair_taken,
)

rates = st.builds(
    Rate, interval=st.integers(1, 6_000).map(lambda ms: timedelta(milliseconds=ms)), burst=st.integers(1, 45)
)
pauses = st.lists(st.integers(0, 20_000).map(lambda ms: timedelta(milliseconds=ms)), min_size=1, max_size=60)


def sent_at(rate: Rate, waits: list[timedelta]) -> list[datetime]:
    """When messages leave that are wanted after these pauses, one after the other."""
    tat, now, times = None, NOW, []
    for wait in waits:
        now += wait
        tat, when = reserve(rate, tat, now=now)
        times.append(when)
    return times


@given(rates, pauses)
def test_no_window_of_any_length_has_more_than_its_share(rate: Any, waits: Any) -> None:
    """Between any two messages, as many as the time between them allows, and the burst."""
    times = sent_at(rate, waits)
    for first in range(len(times)):
        for last in range(first, len(times)):
            span = times[last] - times[first]
            assert last - first + 1 <= span // rate.interval + rate.burst


@given(rates, pauses)
def test_nobody_waits_longer_than_needed(rate: Any, waits: Any) -> None:
    """A message that waits would break the limit one microsecond earlier."""
    times = sent_at(rate, waits)
    now = NOW
    for index, wait in enumerate(waits):
        now += wait
        if times[index] > now:
            early = times[index] - timedelta(microseconds=1)
            assert any(
                index - first + 1 > (early - times[first]) // rate.interval + rate.burst
                for first in range(index)
            )


@given(rates, pauses)
def test_messages_leave_in_the_order_in_which_they_were_reserved(rate: Any, waits: Any) -> None:
    """A later reservation never overtakes."""
    times = sent_at(rate, waits)
    assert times == sorted(times)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([7, COEXISTENCE_RATE, 30, STANDARD_RATE]),
    st.lists(st.integers(0, 3_000).map(lambda ms: timedelta(milliseconds=ms)), min_size=1, max_size=20),
)
def test_no_second_has_more_messages_than_the_number_may_send(per_second: Any, waits: Any) -> None:
    """Whenever the second begins. Two dispatchers that share the state share the second."""
    state, now, times = NumberState(), NOW, []
    for index in range(per_second * 4):
        now += waits[index % len(waits)] / per_second
        state, when = number_reserve(state, per_second=per_second, now=now)
        times.append(when)
    apart = [later - earlier for earlier, later in zip(times, times[per_second:], strict=False)]
    assert min(apart) >= timedelta(seconds=1)


@pytest.mark.parametrize("per_second", [COEXISTENCE_RATE, STANDARD_RATE, UPGRADED_RATE])
def test_a_minute_of_backlog_uses_the_whole_rate(per_second: Any) -> None:
    """60 seconds' worth leave in 60 seconds, to the message."""
    state = NumberState()
    for _ in range(per_second * 60):
        state, when = number_reserve(state, per_second=per_second, now=NOW)
    assert timedelta(seconds=59.9) < when - NOW < timedelta(seconds=60)


def test_a_pair_sends_45_at_once_and_then_one_every_six_seconds() -> None:
    """Ten a minute, 600 an hour, and the burst is borrowed from later."""
    state: PairState | None = None
    times = []
    for _ in range(50):
        when = pair_opens_at(state, now=NOW)
        state = pair_taken(state, at=when)
        times.append(when - NOW)
    assert times[:45] == [timedelta(0)] * 45
    assert times[45:] == [timedelta(seconds=6 * n) for n in range(1, 6)]


def test_a_pair_that_rested_has_its_burst_back() -> None:
    """45 times six seconds later it is as if nothing had been sent."""
    state = None
    for _ in range(45):
        state = pair_taken(state, at=NOW)
    assert state is not None
    later = NOW + 45 * PAIR_RATE.interval
    assert opens_at(PAIR_RATE, state.tat, now=later) == later


def test_refusals_of_a_pair_back_off_by_powers_of_four_and_an_acceptance_ends_that() -> None:
    """4, 16, 64, … seconds as Meta advises, never more than 4^6."""
    state, now, waited = None, NOW, []
    for _ in range(8):
        state = pair_refused(state, now=now)
        opens = pair_opens_at(state, now=now)
        waited.append((opens - now).total_seconds())
        now = opens
    assert waited == [4, 16, 64, 256, 1024, 4096, 4096, 4096]
    assert pair_opens_at(pair_accepted(state), now=now) == now
    assert pair_accepted(state).refusals == 0


def test_a_refusal_of_long_ago_is_forgotten() -> None:
    """An hour after a back-off ended the next refusal is the first again."""
    state = pair_refused(pair_refused(None, now=NOW), now=NOW)
    assert state.refusals == 2
    assert pair_refused(state, now=NOW + timedelta(hours=3)).refusals == 1


def test_an_acceptance_keeps_what_was_sent() -> None:
    """The burst is not given back."""
    state = pair_taken(None, at=NOW)
    assert pair_accepted(state).tat == state.tat


def test_a_refused_number_rests_then_goes_on_at_half_and_recovers() -> None:
    """A second of rest, half the rate, full again a while later."""
    state, _ = number_reserve(NumberState(), per_second=80, now=NOW)
    state = number_refused(state, now=NOW)
    state, first = number_reserve(state, per_second=80, now=NOW)
    _, second = number_reserve(state, per_second=80, now=NOW)
    assert first == NOW + timedelta(seconds=1)
    assert second - first == timedelta(milliseconds=25)
    assert share_at(state, now=NOW + timedelta(seconds=12)) == 1.0


def test_refusals_of_messages_under_way_together_count_once() -> None:
    """Eighty answers of 130429 to one second's messages halve the rate once."""
    state = NumberState()
    for milliseconds in range(0, 800, 10):
        state = number_refused(state, now=NOW + timedelta(milliseconds=milliseconds))
    assert (state.share, state.refusals) == (0.5, 1)


def test_a_number_that_is_refused_again_and_again_goes_slower_with_a_floor() -> None:
    """It never stops for good: a sixteenth of its rate, and a minute's rest."""
    state, now, rests = NumberState(), NOW, []
    for _ in range(12):
        state = number_refused(state, now=now)
        assert state.closed_until is not None
        rests.append((state.closed_until - now).total_seconds())
        now = state.closed_until + timedelta(seconds=1)
    assert state.share == 1 / 16
    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
