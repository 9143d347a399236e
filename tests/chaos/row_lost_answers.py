"""Row 2: the CRM wrote, or does so later, and its answer is lost: by a timeout, a reset, half a body, or a proxy's page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chaos_figures import Figure, Row, at_least, equal, told
from chaos_judge import NAMES
from chaos_load import Load
from chaos_world import NO_QUOTA, World, opened

SHARE = 0.05


async def play(world: World, *, updates: int, per_second: float, settle: float, lands: float) -> list[Figure]:
    """Lose one answer in twenty, in several ways, of every kind of call, after the write was made or before it.

    `lands`: seconds until a write that comes late is made: longer than the request timeouts.
    """
    ways: list[dict[str, object]] = [
        {"kind": "reset", "when": "after"},
        {"kind": "stall", "when": "after"},
        {"kind": "status", "status": 502, "when": "after"},
        {"kind": "incomplete_body"},
        {"kind": "empty_body"},
        {"kind": "latency", "seconds": lands},
        {"kind": "reset", "lands_after": lands},
        {"kind": "status", "status": 504, "lands_after": lands},
    ]
    for sink in world.sinks:
        await world.fault(sink, kind="latency", seconds=0.02, seconds_max=0.2)
        for way in ways:
            # Logins are not writes; the rest of the API is hit alike.
            path = "/crm/*" if sink == "hubspot" else "/services/data/*"
            await world.fault(sink, path=path, probability=SHARE / len(ways), **way)
    async with Load(world.deployment.ingress_urls, seed=world.seed) as load:
        await load.post(world.crowd(updates), per_second=per_second)
        acknowledged = await load.all_acknowledged(within=120)
    figures = await world.settled(within=settle)
    for sink in world.sinks:
        await world.calm(sink)
    lost = [await _lost(world, sink) for sink in world.sinks]
    return [told("updates posted", load.updates), *lost, *figures, equal("acknowledged", acknowledged, True)]


async def _lost(world: World, sink: str) -> Figure:
    """How many writes really lost their answer, by the simulator's own journal."""
    calls = (await world.journal(sink, limit=100_000))["calls"]
    spoiled = {"reset", "stall", "status", "incomplete_body", "empty_body"}
    lost = [call for call in calls if call["effects"] and spoiled & set(call["faults"])]
    return at_least(
        f"{NAMES[sink]}: writes whose answer was lost (of {sum(bool(call['effects']) for call in calls):,})",
        len(lost),
        1,
    )


async def run(data_dir: Path, seed: int) -> Sequence[Figure]:
    figures: list[Figure] = []
    for unique in (True, False):
        mode = "unique property" if unique else "no unique property"
        portal = {**NO_QUOTA, "unique_communications": unique}
        sinks = ("sync-hubspot", "sync-salesforce") if unique else ("sync-hubspot",)
        async with opened(data_dir / mode.replace(" ", "-"), seed=seed, sinks=sinks, hubspot=portal) as world:
            figures.append(told("HubSpot portal", mode))
            figures += await play(world, updates=15_000, per_second=150, settle=420, lands=35)
    return figures


ROW = Row(number=2, title="CRM answers lost after writing, 5 % of calls, both HubSpot modes", run=run)
