"""CRM contact records that a merge left over: deleted if nobody but us wrote them, else flagged."""

from __future__ import annotations

import structlog

from connector.crm.port import Crm
from connector.errors import Uncertain
from connector.state.database import Connection
from connector.telemetry import metrics

log = structlog.get_logger(__name__)


async def retire_one(connection: Connection, schema: str, crm: Crm) -> bool:
    """Settle one left-over record, in the caller's transaction; False when none is ready.

    A record is ready once none of our activities hangs on it and nobody writes its contact. The row stays locked
    during the call; a crash repeats the look, and deleting what is deleted is no error.
    """
    row = await connection.fetchrow(
        f"""
        SELECT r.record_id, r.contact_id, r.created_by_us
          FROM {schema}.retirements r
         WHERE r.settled_at IS NULL AND r.not_before <= now()
           AND NOT EXISTS (SELECT 1 FROM {schema}.activities a WHERE a.on_record_id = r.record_id)
           AND NOT EXISTS (SELECT 1 FROM {schema}.contacts c
                            WHERE c.record_id = r.record_id AND c.lease_until > now())
         ORDER BY r.requested_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
        """  # noqa: S608 - schema is ours
    )
    if row is None:
        return False
    try:
        retired = await crm.retire_contact(row["record_id"], created_by_us=row["created_by_us"])
    except Uncertain as error:
        log.info("retiring is tried again", sink=schema, reason=error.message)
        await connection.execute(
            f"UPDATE {schema}.retirements SET attempts = attempts + 1, "  # noqa: S608
            "not_before = now() + interval '10 seconds' WHERE record_id = $1",
            row["record_id"],
        )
        return False
    outcome = "deleted" if retired.deleted else f"flagged: {retired.reason}"
    await connection.execute(
        f"UPDATE {schema}.retirements SET outcome = $2, settled_at = now() WHERE record_id = $1",  # noqa: S608
        row["record_id"],
        outcome,
    )
    metrics.RETIRED.labels(schema, "deleted" if retired.deleted else "flagged").inc()
    log.info("left-over contact record", sink=schema, record_id=row["record_id"], outcome=outcome)
    return True
