"""Row 7: both CRMs are down for minutes, in several ways; then they are back, and the fresh conversations come first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from chaos_figures import Figure, Row, at_least, at_most, equal, none_of, told
from chaos_judge import NAMES
from chaos_load import Load, steadily
from chaos_world import PAID_QUOTA, World, opened

from connector.crm.salesforce.activities import message_key
from connector.sandbox.hubspot.config import PERSON_TOKEN
from connector.sandbox.salesforce.config import PERSON_TOKEN as SALESFORCE_PERSON_TOKEN

_OUTAGES: Sequence[Mapping[str, Any]] = (
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "stall"},
    {"kind": "status", "status": 502, "when": "after"},
    {"kind": "status", "status": 500},
)
FRESH_BAR = 10.0
DRAIN_BAR = 5.0


async def play(
    world: World,
    *,
    away: float,
    per_second: float,
    settle: float,
    drain_bar: float = DRAIN_BAR,
    even: float = 10.0,
) -> list[Figure]:
    """Take both CRMs away for `away` seconds under load, and watch how they catch up.

    `drain_bar`: how many times the arrival rate; what piles up in seconds is gone before a rate can be told.
    `even`: seconds of ordinary work before.
    """
    over = asyncio.Event()
    dead_before = await world.dead_letters()
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        crowds = world.crowds(of=int(per_second * 2))
        loading = asyncio.create_task(steadily(load, crowds, per_second=per_second, until=over))
        await asyncio.sleep(even)
        for outage in _OUTAGES:  # one after the other, each for its share of the time
            numbers = {sink: await world.fault(sink, **outage) for sink in world.sinks}
            await asyncio.sleep(away / len(_OUTAGES))
            if outage is not _OUTAGES[-1]:
                for sink, number in numbers.items():
                    await world.control[sink].delete(f"/_sandbox/faults/{number}")
        dead = await world.dead_letters() - dead_before
        unready = [name for name in ("ingress", "route") if not await _ready(world, name)]
        for sink in world.sinks:
            await world.calm(sink)
        back = time.monotonic()
        waiting = {sink: await world.waiting(sink) for sink in world.sinks}
        fresh = world.crowd(1)
        await load.post(fresh, per_second=1000)
        wamids = [update.wamid for update in fresh if update.kind == "messages" and "from" in update.content]
        fresh_wamid = str(wamids[0])
        watched = await asyncio.gather(
            *(
                _watch(
                    world,
                    sink,
                    wamid=fresh_wamid,
                    back=back,
                    waiting=waiting[sink],
                    rate=per_second,
                    bar=drain_bar,
                )
                for sink in world.sinks
            )
        )
        over.set()
        await loading
        acknowledged = await load.all_acknowledged(within=60)
    return [
        told("updates posted", load.updates),
        none_of("dead letters while the CRMs were away", dead),
        none_of("ingress or route unready while the CRMs were away", unready),
        *(figure for figures in watched for figure in figures),
        equal("everything was answered 200 in the end", acknowledged, True),
        *await world.settled(within=settle),
        none_of("dead letters in the end", await world.dead_letters() - dead_before),
    ]


async def _ready(world: World, role: str) -> bool:
    async with httpx.AsyncClient(timeout=5) as client:
        return (await client.get(f"{world.deployment.role_urls[role]}/readyz")).status_code == 200


async def _watch(
    world: World, sink: str, *, wamid: str, back: float, waiting: int, rate: float, bar: float
) -> list[Figure]:
    """When the fresh message is there, and how long the backlog takes while more arrives."""
    shown = asyncio.create_task(_shown(world, sink, wamid))
    # Caught up: no more waits than arrives within a second, of messages and their contacts.
    while (left := await world.waiting(sink)) > 2 * rate and time.monotonic() < back + 600:
        await asyncio.sleep(0.2)
    seconds = time.monotonic() - back
    shown_at = await shown
    return [
        at_most(
            f"{NAMES[sink]}: a new message is on the timeline after", shown_at - back, FRESH_BAR, unit=" s"
        ),
        told(f"{NAMES[sink]}: items that waited when it was back", waiting),
        at_least(
            f"{NAMES[sink]}: drains so many times the arrival rate",
            (waiting - left) / seconds / rate + 1,
            bar,
            unit=f" × {rate:g}/s",
        ),
    ]


async def _shown(world: World, sink: str, wamid: str) -> float:
    """When a person who looks into the CRM sees the message. Monotonic seconds; after two minutes never."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if await _is_there(world, sink, wamid):
            return time.monotonic()
        await asyncio.sleep(0.2)
    return float("inf")


async def _is_there(world: World, sink: str, wamid: str) -> bool:
    if sink == "hubspot":
        path = f"/crm/objects/2026-09/communications/{quote(wamid, safe='')}"
        query, token = {"idProperty": "whatsapp_message_id"}, PERSON_TOKEN
    else:
        path = f"/services/data/v67.0/sobjects/Task/WA_Message_Id__c/{quote(message_key(wamid), safe='')}"
        query, token = {}, SALESFORCE_PERSON_TOKEN
    headers = {"Authorization": f"Bearer {token}"}
    answer = await world.control[sink].get(path, params=query, headers=headers)
    return answer.status_code == 200


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    async with opened(data_dir, seed=seed, hubspot=PAID_QUOTA) as world:
        return await play(world, away=600, per_second=100, settle=600)


ROW = Row(number=7, title="CRM down 10 min, then back, under 100 events/s", run=run)
