"""Row 16: two replicas send from two numbers as fast as these may; one is throttled, one person is refused.

WhatsApp's journal is the judge: it counts what arrives in any second and for any pair, and refuses what is too much.
It tells no statuses here: what is measured is how requests leave, and the machine is small.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from chaos_campaign import Asked, Campaigns, Journal, number, sending
from chaos_campaign_judge import judge_sends
from chaos_figures import Figure, Row, at_least, at_most, equal, none_of, told

FAST, SLOW = 80, 20
"""Messages a second: a usual number, and one beside the WhatsApp Business app."""
_FAST, _SLOW = number(0, throughput=FAST), number(1, throughput=SLOW)
WHATSAPP = {"numbers": [_FAST, _SLOW], "sent_after": 86_400.0}
ENV = {
    "CONNECTOR_OUTBOUND__RATES": json.dumps({_SLOW["id"]: SLOW}),
    "CONNECTOR_OUTBOUND__UTILITY_PER_DAY": "0",
}

_EXACT = 0.01
_PAIRS, _TO_ONE = 3, 50
"""People who are sent more than may come at once, and how many each: 45, then one every 6 s."""
_THROTTLED, _PAIR = 130429, 131056
_AHEAD = 1.0
"""Seconds after a refusal in which what had left, or was claimed, still arrives."""
_SLOWED = 9.0
"""Seconds for which half the rate is used after the first second."""
_RECOVERED = 25.0
"""Seconds after which all of it is used again."""
_PAIR_CLOSED = 4.0
"""Seconds that Meta advises to wait after the first refusal of a pair."""


async def play(world: Campaigns, *, seconds: float, after: float, settle: float) -> list[Figure]:
    """Both numbers at full rate for so many seconds; a throttle of one; `after` its recovery, a refused person."""
    fast, slow = _FAST["id"], _SLOW["id"]
    all_of_it = seconds + _RECOVERED + 3 * after + 20
    many = world.strangers(_PAIRS)
    ann, bob = world.strangers(2)
    await world.ask([*many, ann, bob], sender=fast)  # they are known from now on
    known = await world.over(within=60, statuses=0)
    before = await world.messages()
    for _ in range(_TO_ONE):
        await world.ask(many, sender=fast)
    await world.ask(world.strangers(int(FAST * all_of_it)), sender=fast)
    await world.ask(world.strangers(int(SLOW * all_of_it)), sender=slow)
    async with asyncio.timeout(120):  # both have been sending for two seconds
        while await world.messages() - before < 3 * (FAST + SLOW):
            await asyncio.sleep(0.2)
    began = time.time()
    await _until(began + seconds)
    refusals = await world.messages(status="400")
    throttle_at = time.time()
    await world.refuse(code=_THROTTLED, phone_number_id=fast, times=1)
    await _met(world, refused_before=refusals)
    await _until(throttle_at + _AHEAD + _RECOVERED + after)
    refusals = await world.messages(status="400")
    close_at = time.time()
    await world.refuse(code=_PAIR, to=ann.lstrip("+"), phone_number_id=fast, times=1)
    (refused,) = await world.ask([ann], sender=fast)
    await _met(world, refused_before=refusals)
    (again,) = await world.ask([ann], sender=fast)
    (elsewhere,) = await world.ask([ann], sender=slow)
    (other,) = await world.ask([bob], sender=fast)
    asked_at = time.time()
    await _until(asked_at + max(after, _PAIR_CLOSED + 2))
    finished = await world.over(within=settle, statuses=0)
    journal = await world.journal()
    throttled = _when(journal, _THROTTLED, since=throttle_at)
    closed = _when(journal, _PAIR, since=close_at)

    def rate(number_id: str, begin: float, length: float) -> float:
        return _between(journal, number_id, begin, begin + length) / length

    natural = Counter(one.code for one in journal.refused)
    natural.subtract({_THROTTLED: 1, _PAIR: 1})
    pairs = [one for one in journal.accepted if f"+{one.phone}" in many]
    return [
        equal("everything was sent", known and finished, True),
        *_cap(rate(fast, began, seconds), FAST, f"over {seconds:g} s"),
        *_cap(rate(slow, began, seconds), SLOW, f"over {seconds:g} s"),
        at_most("most in any second", _busiest(journal, fast), FAST, unit=" messages"),
        replace(
            none_of("messages refused as too fast, but for the one that was to be", natural[_THROTTLED]),
            timed=True,
        ),
        told(f"messages to {_PAIRS} people, {_TO_ONE + 1} each", len(pairs)),
        none_of("messages refused as too many to one person, but for the one that was to be", natural[_PAIR]),
        at_most(
            "throttled: its number's rate then",
            rate(fast, throttled + _AHEAD, _SLOWED),
            0.6 * FAST,
            unit=" a second",
        ),
        at_least(
            "throttled: the other number's",
            rate(slow, throttled, _AHEAD + _SLOWED),
            0.95 * SLOW,
            unit=" a second",
        ),
        at_least(
            "throttled: its own again, 25 s later",
            rate(fast, throttled + _RECOVERED, after),
            0.97 * FAST,
            unit=" a second",
        ),
        *_pair(journal, refused, again, closed=closed),
        at_most(
            "refused pair: the same person from the other number",
            _after(journal, elsewhere, asked_at),
            3.0,
            unit=" s",
        ),
        at_most(
            "refused pair: somebody else from the number", _after(journal, other, asked_at), 3.0, unit=" s"
        ),
        at_least("refused pair: the number's rate", rate(fast, closed, after), 0.97 * FAST, unit=" a second"),
        *judge_sends(world.asked, journal, await world.fates()),
    ]


def _cap(seen: float, rate: int, when: str) -> list[Figure]:
    name = f"{rate} a second: its rate {when}"
    return [
        at_least(name, seen, (1 - _EXACT) * rate, unit=" a second"),
        at_most(name, seen, (1 + _EXACT) * rate, unit=" a second"),
    ]


def _pair(journal: Journal, refused: Asked, again: Asked, *, closed: float) -> list[Figure]:
    """Both messages to the refused person were sent in the end, and none before its time."""
    times = [
        message.at - closed
        for message in journal.accepted
        if message.send_id in (refused.send_id, again.send_id)
    ]
    return [
        equal("refused pair: messages to the person that were sent in the end", len(times), 2),
        at_least(
            "refused pair: first of them after the refusal", min(times, default=0.0), _PAIR_CLOSED, unit=" s"
        ),
    ]


def _after(journal: Journal, asked: Asked, moment: float) -> float:
    return min(
        (one.at - moment for one in journal.accepted if one.send_id == asked.send_id), default=float("inf")
    )


def _between(journal: Journal, number_id: str, begin: float, end: float) -> int:
    return sum(1 for one in journal.accepted if one.phone_number_id == number_id and begin <= one.at < end)


def _busiest(journal: Journal, number_id: str) -> int:
    """Most messages that arrived in any second, refused ones included."""
    times = sorted(
        one.at for one in (*journal.accepted, *journal.refused) if one.phone_number_id == number_id
    )
    most = first = 0
    for place, at in enumerate(times):
        while times[first] <= at - 1.0:
            first += 1
        most = max(most, place - first + 1)
    return most


async def _met(world: Campaigns, *, refused_before: int) -> None:
    """Wait until WhatsApp has refused one more."""
    async with asyncio.timeout(60):
        while await world.messages(status="400") <= refused_before:
            await asyncio.sleep(0.2)


def _when(journal: Journal, code: int, *, since: float) -> float:
    """Unix seconds at which WhatsApp first refused something so, after `since`."""
    return next(one.at for one in journal.refused if one.code == code and one.at > since)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.time()))


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir, seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, seconds=60, after=10, settle=120)


async def small(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir, seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, seconds=15, after=5, settle=90)


ROW = Row(
    number=16,
    title="80 messages a second for 60 s on two replicas; pairs; 130429 and 131056",
    run=run,
    small=small,
)
