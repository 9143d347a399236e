"""Row 13: `kill -9` of the sending processes at random while triggers come; twice the database is put back to before.

A process needs some 3 s until it works, so they are not killed one after the other: of several replicas a random part
dies at once, most times while messages leave, sometimes while those killed before are still starting or rebalancing.
What is short here and long in production: the broker's patience with a dead member, the wait for WhatsApp's answer,
and the time until an unknown outcome is reported.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos_campaign import Campaigns, number, sending
from chaos_campaign_judge import judge_sends
from chaos_database import restore_database, save_database
from chaos_figures import Figure, Row, at_least, equal, named, told

from connector.embedded.supervisor import State

NUMBERS = 4
PER_SECOND = 5
"""Of each number: so slow that the campaign lasts as long as the killing."""
ENV = {
    "CONNECTOR_KAFKA__SESSION_TIMEOUT": "6",
    "CONNECTOR_KAFKA__HEARTBEAT_INTERVAL": "2",
    "CONNECTOR_OUTBOUND__REQUEST_TIMEOUT": "2",
    "CONNECTOR_OUTBOUND__UNKNOWN_AFTER": "30",
    "CONNECTOR_OUTBOUND__RATES": json.dumps({number(place)["id"]: PER_SECOND for place in range(NUMBERS)}),
}
WHATSAPP = {"numbers": [number(place) for place in range(NUMBERS)], "delivered_after": 0.1}

_LOST = 0.05
_WAYS: list[dict[str, object]] = [
    {"kind": "reset", "when": "after"},
    {"kind": "stall", "when": "after"},
    {"kind": "status", "status": 502, "when": "after"},
    {"kind": "incomplete_body"},
    {"kind": "empty_body"},
]
_REFUSING = 0.03
"""Share of people who had said stop."""
_BEFORE = 5
"""Sends of each number before the backup."""
_BLIND = 0.2
"""Share of the kills that do not wait until something was sent since the last."""
_AT_WORK_SHARE = 0.5
"""At least this part of the sends is sent: what was announced and not sent when its process died stays unknown."""


class Killing:
    """The campaign and its killings."""

    def __init__(self, world: Campaigns, *, triggers: int, kills: int) -> None:
        self.world = world
        self.chance = Random(f"campaign {world.seed}")
        self.triggers = triggers
        self.kills = kills
        self.killed = {State.READY: 0, State.STARTING: 0}
        self.refusing: set[str] = set()
        self.waves = 0

    @property
    def done(self) -> int:
        """Processes killed until now."""
        return sum(self.killed.values())

    async def until(self, kills: int, *, blind: float = _BLIND) -> None:
        """Ask and kill until so many are dead. `blind`: share of the kills that wait for nothing."""
        while self.done < kills:
            before = await self.world.messages()
            await self._ask_on()
            if self.chance.random() >= blind:
                await self._until_sent(before)
            await asyncio.sleep(
                self.chance.uniform(0.0, 1.5)
            )  # where in its work the kill falls is the point
            await self._wave(most=kills - self.done)

    async def _ask_on(self) -> None:
        """As many as this wave's part of all."""
        replicas = len(self.world.replicas)
        share = min(1.0, replicas * 0.75 / max(1, self.kills - self.done))
        left = self.triggers - len(self.world.asked)
        await self.ask(min(left, max(NUMBERS, round(left * share)) if share < 1 else left))

    async def ask(self, triggers: int) -> None:
        """In campaigns and one by one, from every number; some people have said stop."""
        people = self.world.strangers(triggers)
        said = [one for one in people if self.chance.random() < _REFUSING]
        self.refusing |= set(said)
        if said:
            await self.world.consent(said, "denied", purpose="utility")
        for place in range(NUMBERS):
            mine = people[place::NUMBERS]
            if mine:
                await self.world.ask(mine[:-1] or mine, sender=number(place)["id"])
            if len(mine) > 1:
                await self.world.ask(mine[-1:], sender=number(place)["id"])

    async def _until_sent(self, before: int) -> None:
        async with asyncio.timeout(120):
            while await self.world.messages() <= before:
                await asyncio.sleep(0.1)

    async def _wave(self, *, most: int) -> None:
        names = self.world.replicas
        victims = self.chance.sample(names, self.chance.randint((len(names) + 1) // 2, len(names)))
        for name in victims[:most]:
            state = self.world.kill(name)
            if state is not None:
                self.killed[State.STARTING if state is State.STARTING else State.READY] += 1
        self.waves += 1


async def play(world: Campaigns, *, folder: Path, triggers: int, kills: int, settle: float) -> list[Figure]:
    """Half of the kills, the database from before the campaign, the other half; then that database again."""
    dump = folder / "before.dump"
    killing = Killing(world, triggers=triggers, kills=kills)
    # Tables that never held anything are taken for lost ones: a deployment has worked before it is backed up.
    await killing.ask(_BEFORE * NUMBERS)
    ready = await world.over(within=60)
    await save_database(world.deployment, dump)
    for way in _WAYS:
        await world.fault(path="*/messages", probability=_LOST / len(_WAYS), **way)
    began = time.monotonic()
    await killing.until(kills // 2)
    await restore_database(world.deployment, dump)
    await killing.until(kills)
    seconds = time.monotonic() - began
    over = await world.over(within=settle)
    lost = await world.lost_answers()
    figures = [
        told("replicas of outbound, business numbers", f"{len(world.replicas)}, {NUMBERS}"),
        told("killing, the database put back in the middle of it", f"{seconds:,.0f} s"),
        equal("everything before the backup was sent or blocked", ready, True),
        equal("kills", killing.done, kills),
        told("of them ready, and not ready (again) yet", " and ".join(map(str, killing.killed.values()))),
        told("moments at which part of them died", killing.waves),
        told("times that a process began to dispatch a number", world.dispatchers()),
        equal("triggers answered 202", len(world.asked), triggers),
        at_least("answers of WhatsApp that were lost", lost, 1),
        equal("nothing waits any more", over, True),
    ]
    figures += await _judged(world, killing)
    await restore_database(world.deployment, dump)
    await asyncio.sleep(killing.chance.uniform(2.0, 6.0))
    await killing.until(kills + len(world.replicas), blind=1.0)
    again = await world.over(within=settle)
    figures.append(equal("the database from before put back after all, and caught up", again, True))
    return figures + named("after that", await _judged(world, killing))


async def _judged(world: Campaigns, killing: Killing) -> list[Figure]:
    journal = await world.journal()
    figures = judge_sends(world.asked, journal, await world.fates(), refusing=killing.refusing)
    sent = len({message.send_id for message in journal.accepted})
    may = sum(1 for one in world.asked.values() if one.phone not in killing.refusing)
    return [*figures, at_least("share of the sends to others that was sent", sent / may, _AT_WORK_SHARE)]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir / "stack", seed=seed, replicas=8, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, folder=data_dir, triggers=10_000, kills=1_000, settle=300)


async def small(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with sending(data_dir / "stack", seed=seed, replicas=3, whatsapp=WHATSAPP, env=ENV) as world:
        return await play(world, folder=data_dir, triggers=200, kills=15, settle=120)


ROW = Row(
    number=13,
    title="10,000 triggers, 1,000 `kill -9` of outbound, 5 % of WhatsApp's answers lost, database from before twice",
    run=run,
    small=small,
)
