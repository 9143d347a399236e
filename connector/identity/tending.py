"""What the route role does beside its stages: count the parked statuses, and forget those that nobody will claim."""

from __future__ import annotations

import asyncio
import contextlib

import asyncpg
import structlog

from connector.errors import ConnectorError
from connector.identity.parked import count_parked, prune_parked
from connector.state.database import transaction
from connector.telemetry import metrics

log = structlog.get_logger(__name__)

_EVERY = 60.0  # seconds


async def tend_parked(pool: asyncpg.Pool, *, days: int, stop: asyncio.Event) -> None:
    """Look once a minute until `stop`. A database that is away is the stages' to tell."""
    while not stop.is_set():
        with contextlib.suppress(ConnectorError):
            await tend_once(pool, days=days)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _EVERY)


async def tend_once(pool: asyncpg.Pool, *, days: int) -> int:
    """Forget what has waited for `days` days, and show how many wait; how many were forgotten."""
    forgotten = 0
    while True:
        async with transaction(pool) as connection:
            some = await prune_parked(connection, days=days)
        forgotten += some
        if not some:
            break
    async with transaction(pool) as connection:
        metrics.PARKED_STATUSES.set(await count_parked(connection))
    if forgotten:
        metrics.PARKED_FORGOTTEN.inc(forgotten)
        log.info("parked statuses forgotten: their messages never came", statuses=forgotten, days=days)
    return forgotten
