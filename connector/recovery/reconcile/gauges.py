"""What the last reconciliation found, as a role's gauges: a scheduled run is over before anybody could scrape it."""

from __future__ import annotations

import asyncio

import asyncpg
import structlog

from connector.errors import ConnectorError
from connector.recovery.reconcile.drift import DriftKind
from connector.state.database import transaction
from connector.sync.rest import rest
from connector.telemetry import metrics

_EVERY = 30.0  # seconds

_log = structlog.get_logger(__name__)


async def watch_reconciliations(pool: asyncpg.Pool, sink: str, *, stop: asyncio.Event) -> None:
    """Show them until `stop`. While the database is away the last values stay."""
    while not stop.is_set():
        try:
            await show_reconciliation(pool, sink)
        except ConnectorError as error:
            _log.warning("the last reconciliation cannot be read", sink=sink, reason=error.message)
        await rest(_EVERY, stop)


async def show_reconciliation(pool: asyncpg.Pool, sink: str) -> None:
    """Set the gauges of one sink. Raises `Transient` when the database is away."""
    async with transaction(pool) as connection:
        row = await connection.fetchrow("SELECT at, drift FROM replay.reconciliations WHERE sink = $1", sink)
        flagged = await connection.fetchval("SELECT count(*) FROM replay.left_over WHERE sink = $1", sink)
    drift = row["drift"] if row else {}
    for kind in DriftKind:
        metrics.RECONCILE_DRIFT.labels(sink, str(kind)).set(drift.get(str(kind), 0))
    metrics.RECONCILED_AT.labels(sink).set(row["at"].timestamp() if row else 0)
    metrics.RECONCILE_FLAGGED.labels(sink).set(flagged)
