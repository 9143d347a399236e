"""Row 4: the broker is stopped for minutes, then killed again and again, while updates come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos_figures import Figure, Row, at_least, equal, none_of, told
from chaos_load import Load, steadily
from chaos_world import World, opened


async def play(
    world: World, *, away: float, kills: int, per_second: float, settle: float, even: float = 5.0
) -> list[Figure]:
    """Stop the broker for `away` seconds, then kill it `kills` times.

    `even`: seconds of ordinary work between two troubles. What the judge counts is what was answered 200.
    """
    kafka, chance = world.deployment.stack.kafka, Random(f"broker {world.seed}")
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        await asyncio.sleep(even)
        await kafka.stop()
        stopped = time.monotonic()
        await asyncio.sleep(away)
        answered = load.statuses(since=stopped)
        await kafka.start()
        back = time.monotonic()
        while load.first_accepted_after(back) is None and time.monotonic() < back + 60:
            await asyncio.sleep(0.05)
        accepted = load.first_accepted_after(back)
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(1.0, 2 * even))
            kafka.kill()
            await kafka.start()
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=120)
        every = load.statuses()
    return [
        told("updates posted", load.updates),
        none_of("posts answered 200 while the broker was away", answered["200"]),
        at_least("posts answered 503 while the broker was away", answered["503"], 1),
        told("all answers", ", ".join(f"{status}: {times:,}" for status, times in sorted(every.items()))),
        told(
            "first 200 after the broker was back", "none" if accepted is None else f"{accepted - back:.1f} s"
        ),
        equal("kills of the broker", kills, kills),
        equal("everything was answered 200 in the end", acknowledged, True),
        *await world.settled(within=settle),
    ]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with opened(data_dir, seed=seed) as world:
        return await play(world, away=120, kills=5, per_second=100, settle=300)


ROW = Row(number=4, title="broker stopped 2 min at 100 events/s, then `kill -9` × 5", run=run)
