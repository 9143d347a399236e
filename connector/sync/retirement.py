"""CRM contact records that a merge left over: deleted if nobody but us wrote them, else flagged."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog

from connector.crm.port import ContactUpsert, Crm, Priority, Terms
from connector.errors import ConnectorError, Uncertain
from connector.state.database import Connection
from connector.sync.core.contacts import ContactFacts
from connector.sync.core.desired import contact_profile
from connector.sync.core.mapping import ContactMapping
from connector.telemetry import metrics

log = structlog.get_logger(__name__)

_TERMS = Terms(priority=Priority.REPLAY)  # nobody waits for it

# `NOT EXISTS` would be joined with all of the table; this is a look into its index for each row.
_NONE = "(SELECT 1 FROM {} LIMIT 1) IS NULL"


async def queue_retirements(connection: Connection, schema: str, contact_ids: Sequence[UUID]) -> None:
    """Queue the CRM records of merged contacts for retirement, also one we may have written without hearing.

    Called after a merge, and after a write that taught us the record of a contact that was merged while the call
    was under way. A record that a person merged with that of somebody else of ours lives on as theirs: it is not
    left over, and its facts are said anew.
    """
    await connection.execute(
        f"""
        UPDATE {schema}.contacts AS t SET shared = false, written_digest = NULL, desired_version = desired_version + 1,
               waiting_since = coalesce(waiting_since, now())
         WHERE contact_id IN (
            SELECT DISTINCT ON (s.record_id) s.contact_id FROM {schema}.contacts s JOIN {schema}.contacts l
                USING (record_id)
             WHERE l.contact_id = ANY($1::uuid[]) AND l.redirect_to IS NOT NULL AND s.shared AND s.redirect_to IS NULL
               AND NOT EXISTS (SELECT 1 FROM {schema}.contacts o WHERE o.record_id = s.record_id
                                  AND o.redirect_to IS NULL AND NOT o.shared)
             ORDER BY s.record_id, s.contact_id)
        """,  # noqa: S608 - schema is ours
        list(contact_ids),
    )
    await connection.execute(
        f"""
        INSERT INTO {schema}.retirements AS r (contact_id, record_id, created_by_us)
        SELECT contact_id, record_id, created_by_us OR record_id IS NULL FROM {schema}.contacts l
         WHERE contact_id = ANY($1::uuid[]) AND redirect_to IS NOT NULL AND (record_id IS NOT NULL OR intent)
           AND NOT EXISTS (SELECT 1 FROM {schema}.contacts o WHERE o.record_id = l.record_id
                              AND o.redirect_to IS NULL)
        ON CONFLICT (contact_id) DO UPDATE SET record_id = coalesce(r.record_id, excluded.record_id),
            settled_at = CASE WHEN r.record_id IS NULL AND excluded.record_id IS NOT NULL THEN NULL
                              ELSE r.settled_at END
        """,  # noqa: S608
        list(contact_ids),
    )


async def retire_one(
    connection: Connection, schema: str, crm: Crm, *, mapping: ContactMapping, late_write: float = 30.0
) -> bool:
    """Settle one left-over record, in the caller's transaction; False when none is ready.

    A record is ready once none of our activities hangs on it and nobody writes its contact; one that we only may
    have written, once a lost write cannot arrive any more (request timeout and `late_write` seconds). The row stays
    locked during the call; a crash repeats the look, and deleting what is deleted is no error. What fails is tried
    again later, behind the others and, when its answer was lost, once it can have ended; the record stays meanwhile.
    """
    owner = f"{schema}.contacts o WHERE o.record_id = r.record_id AND o.redirect_to IS NULL"
    row = await connection.fetchrow(
        f"""
        SELECT r.contact_id, r.record_id, r.created_by_us, c.facts
          FROM {schema}.retirements r JOIN {schema}.contacts c USING (contact_id)
         WHERE r.settled_at IS NULL AND r.not_before <= now() AND c.lease_until <= now()
           AND (r.record_id IS NOT NULL OR r.requested_at <= now() - make_interval(secs => $1))
           AND {_NONE.format(f"{schema}.activities a WHERE a.on_record_id = r.record_id")}
           AND {_NONE.format(f"{owner} AND NOT o.shared")} AND {_NONE.format(f"{owner} AND o.shared")}
         ORDER BY r.requested_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
        """,  # noqa: S608 - schema is ours
        crm.request_timeout + late_write,
    )
    if row is None:
        return False
    reason = advice = ""
    at_work = 0.0
    try:
        record_id = row["record_id"] or await crm.find_contact(str(row["contact_id"]), _TERMS)
        if record_id is None:
            outcome = "never written"
        else:
            retired = await crm.retire_contact(
                record_id,
                person=_as_made(row["contact_id"], row["facts"], mapping),
                created_by_us=row["created_by_us"],
                terms=_TERMS,
            )
            outcome = "deleted" if retired.deleted else f"flagged: {retired.reason}"
    except ConnectorError as error:
        reason, advice = error.message, error.advice
        if isinstance(error, Uncertain) and error.under_way:
            at_work = crm.request_timeout + late_write
    except Exception as error:
        log.exception("an answer about a left-over contact record is not understood", sink=schema)
        reason = f"{crm.name} answered what is not understood: {type(error).__name__}"
    if reason:
        log.warning("a left-over contact record is tried again", sink=schema, reason=reason, advice=advice)
        await connection.execute(
            f"UPDATE {schema}.retirements SET attempts = attempts + 1, "  # noqa: S608
            "not_before = now() + make_interval(secs => greatest($2, least(600, 5 * 2.0 ^ least(attempts, 10)))) "
            "WHERE contact_id = $1",
            row["contact_id"],
            at_work,
        )
        return False
    await connection.execute(
        f"UPDATE {schema}.retirements SET record_id = $2, outcome = $3, settled_at = now() WHERE contact_id = $1",  # noqa: S608
        row["contact_id"],
        record_id,
        outcome,
    )
    metrics.RETIRED.labels(schema, outcome.split(":")[0]).inc()
    log.info("left-over contact record", sink=schema, record_id=record_id, outcome=outcome)
    return True


def _as_made(contact_id: UUID, facts: ContactFacts, mapping: ContactMapping) -> ContactUpsert:
    """The person as we would make the record today: what it says beside that is somebody's work."""
    profile, key = contact_profile(facts), str(contact_id)
    return ContactUpsert(
        contact_id=contact_id,
        profile=profile,
        always=mapping.always(profile, key=key),
        once=mapping.once(profile, key=key),
        is_new=True,
    )
