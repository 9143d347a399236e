"""What each sink's tables say about its work: what waits, what is held, what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.recovery.retry import Refusals, refusals
from connector.state.database import Connection
from connector.sync.backlog import in_doubt, waiting

RETRIED_OFTEN = 5
"""Times that an item did not pass until it is told of."""


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
    retried: int = 0
    """Of those waiting: items that did not pass five times or more; they are tried again."""
    setback: str = ""
    """Why the one of them that was tried last did not pass."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberPause:
    """A business number that WhatsApp lets send nothing before `until`."""

    phone_number_id: str
    reason: str
    until: datetime


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
    retried = await connection.fetchrow(
        f"""
        SELECT count(*) AS items, (array_agg(setback ORDER BY not_before DESC))[1] AS setback FROM (
            SELECT setback, not_before FROM {sink}.activities WHERE desired_version > written_version
               AND problem IS NULL AND contact_id IS NOT NULL AND held IS NULL AND attempts >= {RETRIED_OFTEN}
            UNION ALL
            SELECT setback, not_before FROM {sink}.contacts WHERE desired_version > written_version
               AND problem IS NULL AND redirect_to IS NULL AND held IS NULL AND attempts >= {RETRIED_OFTEN}) AS often
        """  # noqa: S608
    )
    assert retried is not None
    return SinkStatus(
        sink=sink,
        waiting=items,
        oldest=oldest,
        in_doubt=await in_doubt(connection, sink),
        held={row["held"]: row["people"] for row in held},
        blocked=blocked,
        refused=await refusals(connection, sink),
        retried=retried["items"],
        setback=retried["setback"] or "",
    )


async def number_pauses(connection: Connection) -> list[NumberPause]:
    """The numbers that rest after an error of theirs or their account's, or after refusals for their rate."""
    rows = await connection.fetch(
        "SELECT n.phone_number_id, greatest(n.paused_until, p.closed_until) AS until, "
        "CASE WHEN n.paused_until > now() THEN n.pause_reason ELSE '' END AS reason "
        "FROM outbound.numbers n LEFT JOIN outbound.paces p ON p.kind = 'number' AND p.key = n.phone_number_id "
        "WHERE greatest(n.paused_until, p.closed_until) > now() ORDER BY n.phone_number_id"
    )
    return [
        NumberPause(
            phone_number_id=row["phone_number_id"],
            reason=row["reason"] or "WhatsApp refused messages for its rate",
            until=row["until"],
        )
        for row in rows
    ]


async def parked_statuses(connection: Connection) -> Parked:
    """How many statuses wait for their person."""
    row = await connection.fetchrow(
        "SELECT count(*) AS count, min(parked_at) AS oldest FROM identity.parked_statuses"
    )
    assert row is not None
    return Parked(count=row["count"], oldest=row["oldest"])
