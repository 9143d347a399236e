"""Row 10: workers of every consuming role come and go, politely and by `kill -9`, while updates come."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from chaos_figures import Figure, Row, equal, told
from chaos_load import Load, steadily
from chaos_world import BOTH, World, opened

from connector.embedded.supervisor import Supervisor

ROLES = ("route", *BOTH)
_MOST_EXTRA = 3


async def play(
    world: World, *, seconds: float, every: float, per_second: float, settle: float
) -> list[Figure]:
    """Add or remove a worker every so many seconds, at random."""
    chance = Random(f"workers {world.seed}")
    over = asyncio.Event()
    extra: list[Supervisor] = []
    added = removed = killed = 0
    for sink in world.sinks:  # calls of some length, so that rebalances fall into them
        await world.fault(sink, kind="latency", seconds=0.05, seconds_max=0.5)
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        began = time.monotonic()
        turn = 0
        while time.monotonic() - began < seconds:
            turn += 1
            await asyncio.sleep(max(0.0, began + turn * every - time.monotonic()))
            if not extra or (len(extra) < _MOST_EXTRA and chance.random() < 0.5):
                extra.append(await world.deployment.start_more([chance.choice(ROLES)]))
                added += 1
                continue
            leaving = extra.pop(chance.randrange(len(extra)))
            if chance.random() < 0.5:
                _kill(leaving)
                killed += 1
            await leaving.stop()
            removed += 1
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    for sink in world.sinks:
        await world.calm(sink)
    return [
        told("updates posted", load.updates),
        told("workers added", added),
        told("workers removed", f"{removed}, of which {killed} by kill -9"),
        equal("everything was answered 200 in the end", acknowledged, True),
        *await world.settled(within=settle),
    ]


def _kill(supervisor: Supervisor) -> None:
    for status in supervisor.statuses.values():
        if status.pid is not None:
            os.kill(status.pid, signal.SIGKILL)


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with opened(data_dir, seed=seed) as world:
        return await play(world, seconds=180, every=10, per_second=100, settle=300)


ROW = Row(number=10, title="workers added and removed every 10 s for 3 min", run=run)
