"""Row 14: people say STOP while a marketing campaign to them runs on two replicas; then what is read of them is late.

The time is from the moment before the person writes, through WhatsApp's webhook, ingress, route and the fold, to the
last message that WhatsApp accepted for them. The reading is held back as a forgotten transaction would do it: it locks
the row of one person, who then writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import asyncpg
from chaos_campaign import Campaigns, Journal, number, sending
from chaos_campaign_judge import judge_sends
from chaos_figures import Figure, Row, at_least, at_most, equal, none_of, told

SALE = {"header": "https://shop.example/sale.jpg", "1": "Ana", "2": "20%"}
WHATSAPP = {"numbers": [number(0)]}
ENV: dict[str, str] = {}

HEARD_WITHIN = 2.0
"""Seconds."""
_LAG = 5.0
"""CONNECTOR_OUTBOUND__MARKETING_LAG, seconds."""
_NOTICED = _LAG + 2.0
"""Seconds after which marketing waits: the lag, what was claimed before, and a look."""


class Stops:
    """People who write STOP at random moments, at a steady pace."""

    def __init__(self, world: Campaigns, phones: Sequence[str]) -> None:
        self.world = world
        self._left = Random(f"stops {world.seed}").sample(list(phones), len(phones))
        self.said: dict[str, float] = {}
        """Phone → Unix seconds."""

    async def say(self, *, per_second: float, until: asyncio.Event) -> None:
        """One after the other until the event is set."""
        due = time.monotonic()
        while not until.is_set() and self._left:
            person = self._left.pop()
            self.said[person] = await self.world.says(person, "STOP")
            due += 1 / per_second
            await asyncio.sleep(max(0.0, due - time.monotonic()))


async def play(
    world: Campaigns, *, people: int, per_second: float, held_back: float, settle: float
) -> list[Figure]:
    """Half of the campaign with STOPs all the time; then the reading is held back for so many seconds."""
    phones = world.strangers(people)
    customers = world.strangers(max(20, int(held_back * 4)))
    await world.ask(customers)  # they are known from now on, and have agreed to nothing
    known = await world.over(within=60)
    await world.consent(phones, "granted")
    sale = await world.ask(phones, template="spring_sale", parameters=SALE)
    marketing = {one.send_id for one in sale}
    stops, over = Stops(world, phones), asyncio.Event()
    saying = asyncio.create_task(stops.say(per_second=per_second, until=over))
    before = await world.messages()
    while await world.messages() - before < people / 2:
        await asyncio.sleep(0.2)
    utility: list[str] = []
    async with _reading_held_back(world, customers[0]):
        began = time.time()
        for place in range(int(held_back * 2)):  # one by one, to people who are known
            utility += [one.send_id for one in await world.ask([customers[1 + place % (len(customers) - 1)]])]
            await asyncio.sleep(max(0.0, began + (place + 1) / 2 - time.time()))
        ended = time.time()
    over.set()
    await saying
    finished = await world.over(within=settle)
    journal, fates = await world.journal(), await world.fates()
    late = _sent_after_stop(journal, stops.said, marketing)
    usual = {
        person: wait for person, wait in late.items() if not began - HEARD_WITHIN < stops.said[person] < ended
    }
    held = [
        message
        for message in journal.accepted
        if message.send_id in marketing and began + _NOTICED < message.at < ended
    ]
    others = [
        message
        for message in journal.accepted
        if message.send_id in utility and began + _NOTICED < message.at < ended
    ]
    went_on = [message for message in journal.accepted if message.send_id in marketing and message.at > ended]
    taken = {message.send_id for message in journal.accepted}
    stopped = [one for one in sale if one.phone in stops.said and one.send_id not in taken]
    wrong = [one.send_id for one in stopped if fates[one.send_id].get("status") != "blocked"]
    unheard = [
        message.send_id
        for message in journal.accepted
        if message.send_id in marketing
        and began + _NOTICED < stops.said.get(message.phone_e164, 0.0) < message.at
    ]
    return [
        told("people of the campaign, replicas", f"{people:,}, {len(world.replicas)}"),
        equal("the campaign is over", known and finished, True),
        told("people who wrote STOP meanwhile", len(stops.said)),
        at_least("of them before theirs was sent", len(stopped), 1),
        none_of("of these not blocked", wrong),
        at_most(
            "longest after a STOP that a message was accepted",
            max(usual.values(), default=0.0),
            HEARD_WITHIN,
            unit=" s",
        ),
        told("messages that were accepted after a STOP, within that time", len(usual)),
        told("reading held back for", f"{ended - began:.0f} s"),
        none_of(f"marketing accepted after the first {_NOTICED:g} s of it", [one.send_id for one in held]),
        at_least("marketing accepted once it was read again", len(went_on), 1),
        at_least("utility accepted meanwhile", len(others), 1),
        none_of("marketing ever sent to people who wrote STOP in that time", unheard),
        *judge_sends(world.asked, journal, fates),
    ]


def _sent_after_stop(journal: Journal, said: dict[str, float], marketing: set[str]) -> dict[str, float]:
    """Phone → seconds between STOP and a message that came after it."""
    return {
        message.phone_e164: message.at - said[message.phone_e164]
        for message in journal.accepted
        if message.send_id in marketing and message.at > said.get(message.phone_e164, float("inf"))
    }


@asynccontextmanager
async def _reading_held_back(world: Campaigns, phone: str) -> AsyncIterator[None]:
    """The fold waits for somebody's row: they write, and who locked it does not let go."""
    connection = await asyncpg.connect(world.deployment.stack.database_url, timeout=30)
    try:
        async with connection.transaction():
            found = await connection.fetch("SELECT 1 FROM outbound.people WHERE phone = $1 FOR UPDATE", phone)
            assert found, f"nobody has {phone}"
            await world.says(phone, "hello")
            yield
    finally:
        await connection.close()


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir, seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, people=10_000, per_second=10, held_back=20, settle=240)


async def small(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir, seed=seed, replicas=2, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, people=2_000, per_second=10, held_back=12, settle=120)


ROW = Row(
    number=14,
    title="opt-outs while a campaign of 10,000 runs on two replicas; what people say is read late",
    run=run,
    small=small,
)
