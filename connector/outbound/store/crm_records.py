"""What the CRMs say of people: read when a send needs it, kept while it may be used, never longer.

Order of locks: people, sends, paces, then these rows by (crm, record id). Who releases sends locks nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connector.outbound.personalisation.records import RecordPlace, RecordState
from connector.state.database import Connection

LEASE = 60.0
"""Seconds that whoever reads records has; then another one may."""

# Of all records of a person the one that is theirs today. `held`: nothing will be made or found of them.
_OF_PEOPLE = (
    "SELECT DISTINCT ON (p.person_id) p.person_id, c.record_id, "
    "c.record_id IS NULL AND NOT c.erased AND c.problem IS NULL AND coalesce(c.held, 'lookup') = 'lookup' AS coming "
    "FROM outbound.people p JOIN {crm}.contacts c USING (contact_id) WHERE p.person_id = ANY($1::uuid[]) "
    "ORDER BY p.person_id, c.record_id IS NULL, c.redirect_to IS NOT NULL, c.shared, c.contact_id"
)
_STATES = """
SELECT r.* FROM outbound.crm_records r JOIN unnest($1::text[], $2::text[]) AS n (crm, record_id) USING (crm, record_id)
"""
_WANT = """
INSERT INTO outbound.crm_records AS r (crm, record_id, wanted_at, waiting)
SELECT crm, record_id, $4::timestamptz, array_agg(DISTINCT contact_id)
  FROM unnest($1::text[], $2::text[], $3::uuid[]) AS n (crm, record_id, contact_id)
 GROUP BY crm, record_id ORDER BY crm, record_id
ON CONFLICT (crm, record_id) DO UPDATE SET wanted_at = coalesce(r.wanted_at, excluded.wanted_at),
    waiting = ARRAY(SELECT DISTINCT unnest(r.waiting || excluded.waiting))
"""
_CLAIM = """
WITH n AS (
    SELECT crm, record_id FROM outbound.crm_records WHERE crm = $1 AND wanted_at IS NOT NULL AND not_before <= now()
     ORDER BY wanted_at LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE outbound.crm_records r SET not_before = now() + make_interval(secs => $3)
  FROM n WHERE r.crm = n.crm AND r.record_id = n.record_id RETURNING r.record_id
"""
_STORE = """
UPDATE outbound.crm_records r
   SET properties = n.properties, read_at = $4,
       wanted_at = CASE WHEN r.wanted_at > $4 THEN r.wanted_at END, waiting = '{}', not_before = '-infinity'
  FROM (SELECT r.crm, r.record_id, n.properties, r.waiting
          FROM unnest($2::text[], $3::jsonb[]) AS n (record_id, properties)
          JOIN outbound.crm_records r ON r.crm = $1 AND r.record_id = n.record_id
         ORDER BY r.crm, r.record_id FOR UPDATE OF r) n
 WHERE r.crm = n.crm AND r.record_id = n.record_id RETURNING n.waiting
"""
_RELEASE = """
WITH n AS (
    SELECT send_id FROM outbound.sends WHERE contact_id = ANY($1::uuid[]) AND state = 'held'
     ORDER BY send_id FOR UPDATE
)
UPDATE outbound.sends s SET not_before = '-infinity' FROM n WHERE s.send_id = n.send_id
"""
_FORGET = """
DELETE FROM outbound.crm_records WHERE (crm, record_id) IN (
    SELECT crm, record_id FROM outbound.crm_records WHERE wanted_at IS NULL AND read_at < now() - $1::interval
     LIMIT $2 FOR UPDATE SKIP LOCKED)
"""


async def records_of(
    connection: Connection, people: Collection[UUID], *, crms: Iterable[str]
) -> dict[tuple[str, UUID], RecordState]:
    """(CRM, person) → where their record is. A person whom a CRM's sink has not met yet is on the way to it."""
    found: dict[tuple[str, UUID], RecordState] = {}
    wanted = sorted(people)
    for crm in crms:
        found |= {(crm, person): RecordState(coming=True) for person in wanted}
        for row in await connection.fetch(_OF_PEOPLE.format(crm=crm), wanted):
            place = RecordPlace(crm, row["record_id"]) if row["record_id"] else None
            found[crm, row["person_id"]] = RecordState(place=place, coming=row["coming"])
    return found


async def states_of(
    connection: Connection, places: Collection[RecordPlace]
) -> dict[RecordPlace, RecordState]:
    """What is known of these records; of one that was never asked about, nothing."""
    ordered = sorted(places)
    rows = await connection.fetch(
        _STATES, [place.crm for place in ordered], [place.record_id for place in ordered]
    )
    states = {place: RecordState(place=place) for place in ordered}
    for row in rows:
        place = RecordPlace(row["crm"], row["record_id"])
        states[place] = RecordState(
            place=place, properties=row["properties"], read_at=row["read_at"], wanted_at=row["wanted_at"]
        )
    return states


async def want_records(
    connection: Connection, wanted: Sequence[tuple[RecordPlace, UUID]], *, at: datetime
) -> None:
    """Have these records read, each for the sends of a contact."""
    if wanted:
        await connection.execute(
            _WANT,
            [place.crm for place, _ in wanted],
            [place.record_id for place, _ in wanted],
            [contact_id for _, contact_id in wanted],
            at,
        )


async def claim_wanted(connection: Connection, crm: str, *, most: int) -> list[str]:
    """Up to `most` records of a CRM that somebody waits for, longest first; held for the lease."""
    return [row["record_id"] for row in await connection.fetch(_CLAIM, crm, most, LEASE)]


async def store_read(
    connection: Connection, crm: str, read: Mapping[str, Mapping[str, Any]], *, at: datetime
) -> set[UUID]:
    """Write what was read (record id → properties), asked at `at`; the contacts whose sends waited for it.

    Who began to wait after `at` still does: they want to know what is there now.
    """
    ids = sorted(read)
    rows = await connection.fetch(_STORE, crm, ids, [dict(read[record_id]) for record_id in ids], at)
    return {contact_id for row in rows for contact_id in row["waiting"]}


async def put_off(connection: Connection, crm: str, record_ids: Sequence[str], *, seconds: float) -> None:
    """Ask about these records again in so long."""
    await connection.execute(
        "UPDATE outbound.crm_records SET not_before = now() + make_interval(secs => $3) "
        "WHERE crm = $1 AND record_id = ANY($2::text[])",
        crm,
        sorted(record_ids),
        seconds,
    )


async def release(connection: Connection, contacts: Collection[UUID]) -> None:
    """Let the held sends of these contacts be judged now."""
    await connection.execute(_RELEASE, sorted(contacts))


async def forget_read(connection: Connection, *, after: timedelta, most: int) -> int:
    """Delete what may not be used any more; how many rows."""
    status = await connection.execute(_FORGET, after, most)
    return int(status.rpartition(" ")[2])
