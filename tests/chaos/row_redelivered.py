"""Row 3: every webhook comes four times within 10 ms, spread over two ingress replicas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from chaos_figures import Figure, Row, equal, told
from chaos_load import Load
from chaos_world import World, opened


async def play(world: World, *, updates: int, per_second: float, settle: float) -> list[Figure]:
    """Post each body and three copies of it at once."""
    urls = world.deployment.ingress_urls
    async with Load(urls, seed=world.seed, copies=3, spread=0.01) as load:
        await load.post(world.crowd(updates), per_second=per_second)
        acknowledged = await load.all_acknowledged(within=120)
        shares = Counter(one.ingress for one in load.answers)
    return [
        told("updates, each in four POSTs", load.updates),
        equal("ingress replicas that got copies", len(shares), 2),
        equal("everything was answered 200 in the end", acknowledged, True),
        *await world.settled(within=settle),
    ]


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with opened(data_dir, seed=seed, ingresses=2) as world:
        return await play(world, updates=15_000, per_second=150, settle=300)


ROW = Row(
    number=3, title="everything redelivered 3 times, copies within 10 ms on two ingress replicas", run=run
)
