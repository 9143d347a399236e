"""Row 8: small quotas shared by two workers a CRM, storms of refusals, and a day whose calls are used up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import httpx
from chaos_figures import Figure, Row, at_least, at_most, equal, none_of, told
from chaos_judge import NAMES
from chaos_load import Load, steadily
from chaos_world import BOTH, NO_QUOTA, World, opened

SLACK = 1.01
_LIMIT_STATUS = {"hubspot": 429, "salesforce": 403}
_STORM: dict[str, Sequence[dict[str, Any]]] = {
    "hubspot": (
        {"status": 429, "retry_after": "2"},
        {"status": 429, "retry_after": "1500"},  # milliseconds, as some of HubSpot's gateways send them
        {"status": 429},
    ),
    "salesforce": ({"status": 403}, {"status": 403, "retry_after": "3"}),
}
_USED_UP = "daily quota used up"


async def storms(
    world: World, *, burst: int, search: int, seconds: float, per_second: float, settle: float
) -> list[Figure]:
    """Load beyond what the quota lets through, and storms of refusals that no client could have avoided."""
    await world.deployment.start_more(BOTH)  # a second worker each: the quota is the account's
    since = {sink: await _last_call(world, sink) for sink in world.sinks}
    dead_before = await world.dead_letters()
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 2))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        waves = max(len(ways) for ways in _STORM.values())
        for wave in range(waves):
            await asyncio.sleep(seconds / waves)
            for sink, ways in _STORM.items():
                await world.fault(sink, kind="status", times=3, **ways[wave % len(ways)])
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    figures = [told("updates posted", load.updates), equal("everything was answered 200", acknowledged, True)]
    figures += await world.settled(within=settle)
    for sink in world.sinks:
        calls = (await world.journal(sink, limit=100_000, since=since[sink]))["calls"]
        figures += _of_rate(sink, calls, burst=burst, search=search)
    return [*figures, none_of("dead letters", await world.dead_letters() - dead_before)]


async def used_up_day(
    world: World, *, daily: int, after: float, per_second: float, settle: float
) -> list[Figure]:
    """Use up the day's calls, go on for `after` seconds, then let both accounts have more."""
    over = asyncio.Event()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 2))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        ended = await _all_say(world, _USED_UP, within=300)
        await asyncio.sleep(after)
        made = {sink: (await world.journal(sink, limit=100_000))["calls"] for sink in world.sinks}
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    for sink in world.sinks:
        more = await world.control[sink].post("/_sandbox/limits", json={"daily_limit": 1_000_000})
        assert more.status_code == 204
    figures = [
        told("updates posted", load.updates),
        equal("everything was answered 200 in the end", acknowledged, True),
        equal("both syncs say that the day's calls are used up", ended, True),
    ]
    figures += [
        at_most(
            f"{NAMES[sink]}: calls of a day of {daily}, those refused included",
            len([call for call in calls if call["caller"].startswith("app")]),
            daily * SLACK,
        )
        for sink, calls in made.items()
    ]
    figures += await world.settled(within=settle)
    return [*figures, none_of("dead letters", await world.dead_letters())]


def _of_rate(sink: str, calls: Sequence[dict[str, Any]], *, burst: int, search: int) -> list[Figure]:
    """The busiest window of each limit, and refusals that no storm was the cause of."""
    name = NAMES[sink]
    ours = [call for call in calls if call["caller"].startswith("app")]
    stormed = [call for call in ours if call["status"] == _LIMIT_STATUS[sink] and "status" in call["faults"]]
    refused = [
        call for call in ours if call["status"] == _LIMIT_STATUS[sink] and "status" not in call["faults"]
    ]
    figures = [
        at_least(f"{name}: calls refused in the storms", len(stormed), 1),
        none_of(f"{name}: calls refused for quota otherwise (of {len(ours):,})", len(refused)),
    ]
    if sink == "hubspot":
        searches = [call["started_at"] for call in ours if call["path"].endswith("/search")]
        others = [
            call["started_at"]
            for call in ours
            if not call["path"].endswith("/search") and not call["path"].startswith("/crm/associations/")
        ]
        figures += [
            at_most(f"{name}: calls in the busiest 10 s", _busiest(others, 10.0), burst * SLACK),
            at_most(f"{name}: searches in the busiest second", _busiest(searches, 1.0), search * SLACK),
        ]
    return figures


def _busiest(times: Iterable[float], seconds: float) -> int:
    """Most calls in any window of so many seconds."""
    window: deque[float] = deque()
    most = 0
    for at in sorted(times):
        window.append(at)
        while window[0] <= at - seconds:
            window.popleft()
        most = max(most, len(window))
    return most


async def _last_call(world: World, sink: str) -> int:
    calls = (await world.journal(sink, limit=1))["calls"]
    return int(calls[-1]["number"]) if calls else 0


async def _all_say(world: World, what: str, *, within: float) -> bool:
    """Whether each sync's health says so, at the latest after so many seconds."""
    deadline = time.monotonic() + within
    waiting = {f"sync-{sink}" for sink in world.sinks}
    async with httpx.AsyncClient(timeout=5) as client:
        while waiting and time.monotonic() < deadline:
            for role in sorted(waiting):
                if what in (await client.get(f"{world.deployment.role_urls[role]}/readyz")).text:
                    waiting.discard(role)
            await asyncio.sleep(0.5)
    return not waiting


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    burst, search, daily = 60, 3, 400
    portal = {**NO_QUOTA, "burst_limit": burst, "search_limit": search}
    env = {"CONNECTOR_HUBSPOT__SEARCH_CALLS": str(search)}
    async with opened(data_dir / "storms", seed=seed, hubspot=portal, env=env) as world:
        figures = await storms(world, burst=burst, search=search, seconds=90, per_second=300, settle=600)
    portal = {**NO_QUOTA, "daily_limit": daily}
    org = {"daily_limit": daily}
    async with opened(data_dir / "day", seed=seed, hubspot=portal, salesforce=org) as world:
        figures += await used_up_day(world, daily=daily, after=60, per_second=100, settle=600)
    return figures


ROW = Row(number=8, title="429 storms, daily quota used up", run=run)
