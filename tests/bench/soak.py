"""Does memory stay flat and how much does the database grow, over many events: `make soak`.

Updates come in rounds of other people each time; all roles run on. After each round every role's memory is sampled;
at the end the first half of the messages is made as old as pruning wants it, and forgotten.
"""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from bench_world import BenchWorld, RoleProcess, bench_world
from performance_page import MEGABYTE, SOAK, Line, table, write_section

from connector.sandbox.whatsapp.conversations import conversations
from connector.state.database import close_pool, open_pool
from connector.state.pruning import LOG_DAYS, prune, rules_of

EVENTS = int(os.environ.get("SOAK_EVENTS", "1000000"))
_ROUND = 10_000  # updates; the roles catch up after each
_PEOPLE = 200  # new in each round
_MOST_ROUNDS = 90_000 // _PEOPLE
_WARM = 0.3  # part of the rounds after which memory must stay
_BAND = 0.05
_ROLES = ("ingress", "route", "sync-hubspot")
_SCHEMAS = ("identity", "hubspot", "shared")


@dataclass(frozen=True, kw_only=True)
class Soaked:
    """What was seen. `rss`: bytes of each role after each round; `sizes`: bytes of each schema, begin and end."""

    events: int
    seconds: float
    rss: dict[str, list[int]] = field(default_factory=dict)
    sizes: tuple[dict[str, int], dict[str, int]] = field(default_factory=lambda: ({}, {}))


async def soak(world: BenchWorld) -> Soaked:
    """Play all rounds."""
    await world.configure("hubspot", latency=0.05)
    for role in ("route", "sync-hubspot"):
        await world.start(role)
    processes = {role: RoleProcess(role) for role in _ROLES}
    rss: dict[str, list[int]] = {role: [] for role in _ROLES}
    before, began, posted, number = await world.size(), time.perf_counter(), 0, 0
    while posted < EVENTS:
        story = conversations(
            seed=1000 + number,
            people=_PEOPLE,
            messages=int(_ROUND * 0.7),
            outbound=int(_ROUND * 0.12),
            start=1_790_000_000 + number * _ROUND * 4,
            first=_PEOPLE * (number % _MOST_ROUNDS),
        )
        await world.post(story.updates)
        posted, number = posted + len(story.updates), number + 1
        await world.routed(posted)
        await world.until(lambda: world.is_synced("hubspot"))
        for role, process in processes.items():
            rss[role].append(process.rss)
        print(
            f"{posted:,} updates, {time.perf_counter() - began:,.0f} s: "
            + ", ".join(f"{role} {values[-1] / MEGABYTE:.0f} MB" for role, values in rss.items()),
            flush=True,
        )
    seconds = time.perf_counter() - began
    return Soaked(events=posted, seconds=seconds, rss=rss, sizes=(before, await world.size()))


async def pruned(world: BenchWorld) -> tuple[int, int, float]:
    """(rows, bytes of hubspot and identity after a vacuum less than before, seconds) of forgetting half of all."""
    database = world.database
    await database.execute(
        "UPDATE hubspot.activities SET fresh_at = now() - make_interval(days => $1) "
        "WHERE hashtextextended(wamid, 1) % 2 = 0",
        LOG_DAYS + 1,
    )
    await database.execute(
        "UPDATE identity.messages SET received_at = now() - make_interval(days => $1) "
        "WHERE hashtextextended(wamid, 1) % 2 = 0",
        LOG_DAYS + 1,
    )
    before = await _vacuumed(database, world)
    pool: asyncpg.Pool = await open_pool(world.deployment.stack.database_url, size=1, application="soak")
    began = time.perf_counter()
    try:
        gone = await prune(pool, [*rules_of("identity"), *rules_of("hubspot")], days=60)
    finally:
        await close_pool(pool)
    seconds = time.perf_counter() - began
    return sum(gone.values()), before - await _vacuumed(database, world), seconds


async def _vacuumed(database: asyncpg.Connection, world: BenchWorld) -> int:
    """Bytes of both schemas without what is free in them."""
    for table_name in ("hubspot.activities", "identity.messages"):
        await database.execute(f"VACUUM FULL {table_name}", timeout=600)
    sizes = await world.size()
    return sizes["hubspot"] + sizes["identity"]


def memory_line(role: str, values: Sequence[int]) -> Line:
    """How far the memory of the last rounds is from what it was when it was warm."""
    warm = values[int(len(values) * _WARM) :]
    base, most = warm[0], max(warm, key=lambda value: abs(value - warm[0]))
    change = most / base - 1
    return Line(
        what=f"memory of {role}: when warm, farthest from it, at the end",
        figure=f"{base / MEGABYTE:.0f} MB, {change:+.1%}, {values[-1] / MEGABYTE:.0f} MB",
        bar="± 5 %",
        met=abs(change) <= _BAND,
    )


async def measure(data_dir: Path) -> tuple[list[Line], Soaked]:
    """Play, and say what was seen."""
    async with bench_world(data_dir) as world:
        seen = await soak(world)
        lines = [memory_line(role, values) for role, values in seen.rss.items()]
        before, after = seen.sizes
        for name in _SCHEMAS:
            grown = (after.get(name, 0) - before.get(name, 0)) / seen.events
            lines.append(Line(what=f"growth of the schema {name} an update", figure=f"{grown:,.0f} bytes"))
        rows, freed, seconds = await pruned(world)
        lines.append(
            Line(
                what="half of all messages forgotten",
                figure=f"{rows:,} rows in {seconds:.1f} s, {freed / max(rows, 1):,.0f} bytes a row made free",
                met=rows > 0 and freed > 0,
                bar="works",
            )
        )
    return lines, seen


def main() -> None:
    """Play, print, write."""
    load = os.getloadavg()[0]
    data_dir = Path(tempfile.mkdtemp(prefix="connector-soak-"))
    try:
        lines, seen = asyncio.run(measure(data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    section = (
        f"`make soak` of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC: {seen.events:,} updates in {seen.seconds:,.0f} s, "
        f"{_PEOPLE} new people every {_ROUND:,}, {os.cpu_count()} cores, Python {platform.python_version()}, load "
        f"average before the run {load:.1f}. Warm: after {_WARM:.0%} of the rounds.\n\n{table(lines)}"
    )
    print(section)
    write_section(SOAK, section)


if __name__ == "__main__":
    main()
