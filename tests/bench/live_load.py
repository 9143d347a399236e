"""Webhooks at a steady pace, whatever the answers: how soon each is answered, and how soon it is in the CRM."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import httpx_aiohttp
from bench_world import BenchWorld

from connector.embedded.deployment import SANDBOX_APP_SECRET
from connector.sandbox.whatsapp.payloads import Update, envelope, serialise, signature


@dataclass(frozen=True, kw_only=True)
class Paced:
    """When each update was due, and how long its answer took from then."""

    due: dict[str, float]
    """wamid → Unix seconds."""
    answered: Sequence[float]
    """Seconds from the moment a POST was due to its 200."""


async def post_paced(world: BenchWorld, updates: Sequence[Update], *, per_second: float) -> Paced:
    """Post one update at a time in an open loop: a slow answer delays no later POST, and its wait counts."""
    bodies = [serialise(envelope([update])) for update in updates]
    due: dict[str, float] = {}
    answered: list[float] = []
    url = f"{world.deployment.ingress_url}/webhooks/whatsapp"
    async with (
        httpx_aiohttp.HttpxAiohttpClient(timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):

        async def post(body: bytes, at: float) -> None:
            headers = {"X-Hub-Signature-256": signature(body, SANDBOX_APP_SECRET)}
            answer = await client.post(url, content=body, headers=headers)
            answer.raise_for_status()
            answered.append(time.time() - at)

        began = time.time()
        for number, (update, body) in enumerate(zip(updates, bodies, strict=True)):
            at = began + number / per_second
            await asyncio.sleep(at - time.time())
            if update.wamid is not None:
                due.setdefault(update.wamid, at)
            group.create_task(post(body, at))
    return Paced(due=due, answered=answered)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
