"""What each sink's tables say about its work: what waits, what is held, what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.recovery.retry import Refusals, refusals
from connector.state.database import Connection
from connector.sync.backlog import in_doubt, waiting


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkStatus:
    """One sink's items."""

    sink: str
    waiting: int
    """Items whose desired state is ahead of the CRM, but for those below."""
    oldest: datetime | None
    """Since when the first of them waits."""
    in_doubt: int
    """Of those waiting: creates whose answer was lost; they are looked up before anything is repeated."""
    held: Mapping[str, int]
    """People who are not written, by reason (sync/core/holding.py)."""
    blocked: int
    """Messages of people whom the CRM refuses."""
    refused: Sequence[Refusals]
    """What waits for a person."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parked:
    """Statuses that came before anybody knew whose they are."""

    count: int
    oldest: datetime | None


async def sink_status(connection: Connection, sink: str) -> SinkStatus:
    """Count one sink's items; each count has an index to go by."""
    items, oldest = await waiting(connection, sink)
    held = await connection.fetch(
        f"SELECT held, count(*) AS people FROM {sink}.contacts "  # noqa: S608
        "WHERE held IS NOT NULL AND redirect_to IS NULL GROUP BY held ORDER BY held"
    )
    blocked = await connection.fetchval(
        f"SELECT count(*) FROM {sink}.contacts c JOIN {sink}.activities a USING (contact_id) "  # noqa: S608
        "WHERE c.held = 'refused' AND c.redirect_to IS NULL AND a.desired_version > a.written_version"
    )
    return SinkStatus(
        sink=sink,
        waiting=items,
        oldest=oldest,
        in_doubt=await in_doubt(connection, sink),
        held={row["held"]: row["people"] for row in held},
        blocked=blocked,
        refused=await refusals(connection, sink),
    )


async def parked_statuses(connection: Connection) -> Parked:
    """How many statuses wait for their person."""
    row = await connection.fetchrow(
        "SELECT count(*) AS count, min(parked_at) AS oldest FROM identity.parked_statuses"
    )
    assert row is not None
    return Parked(count=row["count"], oldest=row["oldest"])
