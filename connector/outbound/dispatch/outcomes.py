"""Tells the workflows that wait what became of their send: one batch after the other, at least once.

One process tells at a time, by an advisory lock and not by locks on the rows: statuses must be able to move a send on
while HubSpot takes its time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg

from connector.crm.hubspot.callbacks import MOST_CALLBACKS, Completion, complete
from connector.crm.hubspot.client import HubSpotClient
from connector.errors import ConnectorError, Terminal, Transient
from connector.outbound.gate import Verdict
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.sync.rest import rest
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

_LOOK_EVERY = 1.0
_STOPPED_PAUSE = 10.0
_LONGEST_REASON = 1_000
_OUTCOMES = {
    "sent": "sent",
    "delivered": "sent",
    "read": "sent",
    "accepted": "sent",
    "blocked": "blocked",
    "expired": "blocked",
    "failed": "failed",
    "unknown": "unknown",
}
_DUE = """
SELECT send_id, state, wamid, problem, verdict, callback, clock_timestamp() AS now FROM outbound.sends
 WHERE outcome_due_at <= clock_timestamp() AND outcome_told_at IS NULL AND callback IS NOT NULL
 ORDER BY outcome_due_at, send_id LIMIT $1
"""
_TOLD = "UPDATE outbound.sends SET outcome_told_at = clock_timestamp() WHERE send_id = ANY($1::text[])"


def completion(row: Any) -> Completion:
    """What a workflow is told about one send, as its row stands."""
    outcome = _OUTCOMES.get(row["state"], "unknown")
    reason = ""
    if outcome != "sent":
        reason = (row["problem"] or {}).get("reason", "")
        if not reason and row["verdict"]:
            reason = Verdict.from_json(row["verdict"]).explain()
    return Completion(
        callback_id=row["callback"]["callback_id"],
        outcome=outcome,
        reason=reason[:_LONGEST_REASON],
        message_id=row["wamid"] or "",
    )


async def tell_outcomes(pool: asyncpg.Pool, client: HubSpotClient) -> int | None:
    """Tell up to a batch of workflows; how many. None: another process is at it.

    Raises `Transient`, `Uncertain` and `Terminal` as the client and the database do; then they are told again.
    """
    async with transaction(pool) as connection:
        if not await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('outbound outcomes', 0))"
        ):
            return None
        rows = await connection.fetch(_DUE, MOST_CALLBACKS)
        if not rows:
            return 0
        waiting = _still_waiting(rows)
        told = await complete(client, [completion(row) for row in waiting])
        await connection.execute(_TOLD, [row["send_id"] for row in rows])
    metrics.OUTCOMES_TOLD.labels("told").inc(sum(told))
    metrics.OUTCOMES_TOLD.labels("nobody waits").inc(len(rows) - sum(told))
    return len(rows)


def _still_waiting(rows: Sequence[Any]) -> list[Any]:
    """One a callback, and only those that HubSpot still waits for."""
    found: dict[str, Any] = {}
    for row in rows:
        until = row["callback"].get("expires_at")
        if not until or datetime.fromisoformat(until) > row["now"]:
            found[row["callback"]["callback_id"]] = row
    return list(found.values())


async def run_outcomes(
    pool: asyncpg.Pool,
    client: HubSpotClient,
    *,
    wake: asyncio.Event,
    health: StageHealth,
    stop: asyncio.Event,
) -> None:
    """Tell until `stop`, woken when sends moved. Never raises for a dependency."""
    failures = 0
    while not stop.is_set():
        wake.clear()
        pause = _LOOK_EVERY
        try:
            told = await tell_outcomes(pool, client)
            failures = 0
            health.recovered("hubspot")
            health.line_resumed()
            health.running()
            if told:
                continue
        except Terminal as error:
            pause = _STOPPED_PAUSE
            health.line_stopped(reason=error.message, advice=error.advice)
        except ConnectorError as error:
            failures += 1
            given = error.retry_after if isinstance(error, Transient) else None
            pause = given or backoff(failures, random=random.random)
            if failures > 2:
                health.waiting("hubspot", reason=error.message, advice=error.advice)
        await rest(pause, stop, wake)
