"""Row 1: `kill -9` of ingress, route and both syncs at random, while updates come at a steady rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos_figures import Figure, Row, at_least, at_most, equal, told
from chaos_load import Load, steadily
from chaos_world import BOTH, NO_QUOTA, World, opened

VICTIMS = ("ingress", "route", *BOTH)
RESUME_BAR = 15.0


async def play(world: World, *, kills: int, per_second: float, settle: float) -> list[Figure]:
    """Kill each victim `kills` / 4 times, each time at a random moment after it works again."""
    resumed: dict[str, list[float]] = {victim: [] for victim in VICTIMS}
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        began = time.monotonic()
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        async with asyncio.TaskGroup() as group:
            for place, victim in enumerate(VICTIMS):
                times = kills // len(VICTIMS) + (place < kills % len(VICTIMS))
                group.create_task(_kill(world, load, victim, times=times, resumed=resumed[victim]))
        over.set()
        await loading
        seconds = time.monotonic() - began
        acknowledged = await load.all_acknowledged(within=60)
        rate = load.updates / seconds
    figures = [
        told("updates posted", load.updates),
        at_least("updates posted while roles were killed", rate, 0.95 * per_second, unit=" a second"),
        equal("kills", sum(map(len, resumed.values())), kills),
        equal("everything was answered 200 in the end", acknowledged, True),
    ]
    figures += [
        at_most(f"{victim}: longest from its death until it works again", max(times), RESUME_BAR, unit=" s")
        for victim, times in resumed.items()
    ]
    return figures + await world.settled(within=settle)


async def _kill(world: World, load: Load, victim: str, *, times: int, resumed: list[float]) -> None:
    chance = Random(f"{victim} {world.seed}")
    for _ in range(times):
        await asyncio.sleep(chance.uniform(0.0, 3.0))  # where in its work the kill falls is the point
        died = await world.kill(victim)
        at = await _works_again(world, load, victim, died=died)
        resumed.append(at - died)


async def _works_again(world: World, load: Load, victim: str, *, died: float) -> float:
    """When the ingress answers 200, or a consumer's offsets move, after its process was gone."""
    before = None if victim == "ingress" else await world.progress(victim)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if victim == "ingress":
            at = load.first_accepted_after(died)
            if at is not None:
                return at
        else:
            now = await world.progress(victim)
            if before is None:
                before = now
            elif now is not None and now > before:
                return time.monotonic()
        await asyncio.sleep(0.05)
    raise TimeoutError(f"{victim} did not work again within 120 s of its death")


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    figures: list[Figure] = []
    for unique in (True, False):  # without one only our own look-ups keep a message from being made twice
        mode = "unique property" if unique else "no unique property"
        portal = {**NO_QUOTA, "unique_communications": unique}
        async with opened(data_dir / mode.replace(" ", "-"), seed=seed, hubspot=portal) as world:
            figures.append(told("HubSpot portal", mode))
            figures += await play(world, kills=50, per_second=300, settle=300)
    return figures


ROW = Row(
    number=1,
    title="`kill -9` of ingress, route and each sync, 100 times under 300 events/s, both HubSpot modes",
    run=run,
)
