"""Row 5: PostgreSQL is stopped for a minute, then killed again and again, while updates come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos_figures import Figure, Row, equal, none_of, told
from chaos_load import Load, steadily
from chaos_world import World, opened


async def play(
    world: World, *, away: float, kills: int, per_second: float, settle: float, even: float = 5.0
) -> list[Figure]:
    """Stop the server for `away` seconds, then kill it `kills` times.

    The ingress needs none and goes on. `even`: seconds of ordinary work between two troubles.
    """
    postgres, chance = world.deployment.stack.postgres, Random(f"database {world.seed}")
    over = asyncio.Event()
    before = {name: status.restarts for name, status in world.supervisor.statuses.items()}
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        await asyncio.sleep(even)
        await postgres.stop()
        stopped = time.monotonic()
        await asyncio.sleep(away)
        refused = load.statuses(since=stopped)
        await postgres.start()
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(1.0, 2 * even))
            postgres.kill()
            await postgres.start()
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=120)
    restarts = {
        name: status.restarts - before[name]
        for name, status in world.supervisor.statuses.items()
        if status.restarts > before[name]
    }
    return [
        told("updates posted", load.updates),
        told("posts answered 200 while the database was away", refused["200"]),
        none_of("posts not answered 200 meanwhile", refused.total() - refused["200"]),
        none_of("roles that ended and were started again", sum(restarts.values())),
        equal("everything was answered 200 in the end", acknowledged, True),
        *await world.settled(within=settle),
    ]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with opened(data_dir, seed=seed) as world:
        return await play(world, away=60, kills=3, per_second=100, settle=300)


ROW = Row(number=5, title="PostgreSQL stopped 1 min, then `kill -9` × 3, under 100 events/s", run=run)
