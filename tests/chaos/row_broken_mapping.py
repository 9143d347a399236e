"""Row 11: a new mapping makes every activity one that the CRMs refuse; somebody notices, mends it, and goes on."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
from chaos_figures import Figure, Row, at_most, equal, none_of, told
from chaos_judge import NAMES
from chaos_load import Load
from chaos_world import World, opened

from connector.settings import StreamSettings

FORBIDDEN = "FORBIDDEN BY THE ORG'S RULE"
BROKEN = f"""version: 1
activity:
  text: "{FORBIDDEN} {{text}}"
"""
MENDED = "version: 1\n"


async def play(
    world: World, *, mapping: Path, updates: int, per_second: float, limit: int, settle: float
) -> list[Figure]:
    """The deployment reads `mapping`, which says nothing of its own yet. `limit`: refusals in a row that stop a line."""
    for sink in world.sinks:
        await world.fault(sink, kind="poison", text=FORBIDDEN)
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        await load.post(world.crowd(updates // 4), per_second=per_second)
        await load.all_acknowledged(within=30)
        figures = await world.settled(within=settle)
        await _deploy(world, mapping, BROKEN)
        await load.post(world.crowd(updates), per_second=per_second)
        acknowledged = await load.all_acknowledged(within=60)
        stopped = await _stopped(world, within=60)
    await _deploy(world, mapping, MENDED)
    mended_at = datetime.now(UTC)
    while await world.owed() != 0:
        await asyncio.sleep(0.3)
    figures += [
        told("updates posted", load.updates),
        equal("everything was answered 200 in the end", acknowledged, True),
        equal("lines that stopped and say why", len(stopped), len(world.sinks)),
    ]
    letters = await world.read_dead_letters()
    for judged in await world.judge():
        name, mine = NAMES[judged.sink], [one for one in letters if one.stage == f"sync-{judged.sink}"]
        told_of = {str(orjson.loads(one.original)["subject"]) for one in mine}
        missing = judged.audit.missing
        figures += [
            at_most(f"{name}: dead letters until the line stood", len(mine), limit),
            none_of(
                f"{name}: dead letters after the fix", [one.event_id for one in mine if one.at > mended_at]
            ),
            at_most(f"{name}: messages that are missing after the fix", len(missing), limit),
            none_of(f"{name}: of them without a dead letter", sorted(set(missing) - told_of)),
        ]
        for cause in sorted({one.cause for one in mine}):
            await _command(world, "state", "retry", "--sink", judged.sink, "--cause", cause)
    return [*figures, *await world.settled(within=settle)]


async def _deploy(world: World, mapping: Path, text: str) -> None:
    """Write the mapping and start the syncs anew, as a deploy does."""
    await asyncio.to_thread(mapping.write_text, text, "utf-8")
    for sink in world.sinks:
        await world.kill(f"sync-{sink}")
        await world.supervisor.wait_ready(f"sync-{sink}", timeout=60)


async def _stopped(world: World, *, within: float) -> list[str]:
    """The syncs whose line stands and says why."""
    deadline = time.monotonic() + within
    found: set[str] = set()
    async with httpx.AsyncClient(timeout=5) as client:
        while len(found) < len(world.sinks) and time.monotonic() < deadline:
            for sink in world.sinks:
                text = (await client.get(f"{world.deployment.role_urls[f'sync-{sink}']}/readyz")).text
                if '"stopped"' in text and "in a row" in text:
                    found.add(sink)
            await asyncio.sleep(0.5)
    return sorted(found)


async def _command(world: World, *arguments: str) -> None:
    """Run a command of the connector on this deployment, as an operator does."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "connector", *arguments),
        env=world.deployment.env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"connector {' '.join(arguments)} failed: {said.decode()}")


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    mapping = data_dir / "mapping.yaml"
    await asyncio.to_thread(_write_first, mapping)
    env = {"CONNECTOR_SYNC__MAPPING": str(mapping)}
    limit = StreamSettings().dead_letter_run
    async with opened(data_dir / "stack", seed=seed, env=env) as world:
        return await play(world, mapping=mapping, updates=5_000, per_second=150, limit=limit, settle=300)


def _write_first(mapping: Path) -> None:
    mapping.parent.mkdir(parents=True, exist_ok=True)
    mapping.write_text(MENDED, "utf-8")


ROW = Row(number=11, title="a mapping that breaks every event", run=run)
