"""Row 6: the database is put back from a dump of minutes ago while updates come; later it is dropped altogether."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg
from chaos_database import empty_database, restore_database, run_tool, save_database
from chaos_figures import Figure, Row, equal, named, none_of, told
from chaos_judge import NAMES
from chaos_load import Load, steadily
from chaos_world import NO_QUOTA, World, opened

_STATEFUL = ("route", "sync-hubspot", "sync-salesforce")


async def play(
    world: World, *, folder: Path, age: float, even: float, per_second: float, settle: float
) -> list[Figure]:
    """Dump, work on for `age` seconds, restore the dump; catch up; then lose the database and rebuild it."""
    dump = folder / "backup.dump"
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        await asyncio.sleep(even)
        await save_database(world.deployment, dump)
        dumped = time.monotonic()
        await asyncio.sleep(age)
        old = time.monotonic() - dumped
        written = {one.sink: one.audit.activities for one in await world.judge()}
        await restore_database(world.deployment, dump)
        restored = time.monotonic()
        await asyncio.sleep(even)
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    figures = [
        told("updates posted until the restore was over", load.updates),
        told("age of the backup", f"{old:,.0f} s"),
        *(told(f"{NAMES[sink]}: activities when it was restored", count) for sink, count in written.items()),
        equal("everything was answered 200 in the end", acknowledged, True),
        *named("after the restore", await world.settled(within=settle)),
        told("everything written again and settled after", f"{time.monotonic() - restored:,.0f} s"),
    ]
    noticed = await _generations(world)
    figures.append(equal("tables that were found behind, and are whole now", noticed, len(_STATEFUL)))
    return figures + await _lost(world, even=even, per_second=per_second, settle=settle)


async def _lost(world: World, *, even: float, per_second: float, settle: float) -> list[Figure]:
    """Drop the database under load, and run the command that the roles name."""
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed + 1) as load:
        crowds = world.crowds(of=int(per_second * 4))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        await asyncio.sleep(even)
        await empty_database(world.deployment)
        lost = time.monotonic()
        await asyncio.sleep(even)  # an operator needs a moment
        roles = [part for role in _STATEFUL for part in ("--role", role)]
        await run_tool(
            [sys.executable, "-m", "connector", "state", "rebuild", *roles, "--yes"], world.deployment.env
        )
        await asyncio.sleep(even)
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    return [
        told("updates posted around the loss", load.updates),
        equal("everything was answered 200 in the end", acknowledged, True),
        *named("after the loss", await world.settled(within=settle)),
        told("database rebuilt and settled after", f"{time.monotonic() - lost:,.0f} s"),
        none_of("dead letters", await world.dead_letters()),
    ]


async def _generations(world: World) -> int:
    """Schemas whose tables were found behind since they were made, and lack nothing."""
    connection = await asyncpg.connect(world.deployment.stack.database_url)
    try:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM shared.tables WHERE generation > 0 AND behind_since IS NULL"
            )
        )
    finally:
        await connection.close()


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    portal = {**NO_QUOTA, "unique_communications": False}  # the mode in which nothing refuses a double
    async with opened(data_dir / "stack", seed=seed, hubspot=portal) as world:
        return await play(world, folder=data_dir, age=600, even=20, per_second=50, settle=900)


ROW = Row(
    number=6, title="database restored from a backup 10 minutes old, under load; database dropped", run=run
)
