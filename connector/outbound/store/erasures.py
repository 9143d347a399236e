"""Records that a CRM erased, merged or deleted: what was read of them is dropped, and the erased are not written to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from connector.outbound.personalisation.records import RecordPlace
from connector.state.database import Connection
from connector.sync.losses import told_erased

_ERASED = """
INSERT INTO outbound.erased_records AS e (crm, record_id, erased_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::timestamptz[]) ON CONFLICT DO NOTHING
"""
_DROP = """
DELETE FROM outbound.crm_records WHERE (crm, record_id) IN (
    SELECT r.crm, r.record_id FROM outbound.crm_records r JOIN unnest($1::text[], $2::text[]) AS n (crm, record_id)
        USING (crm, record_id) ORDER BY r.crm, r.record_id FOR UPDATE OF r)
"""
# By what the webhook said, or by what the sink saw when it wrote: either may come first. A contact whose record the
# sink found deleted does not name it any more, its messages do.
_OF_PEOPLE = " UNION ".join(
    f"SELECT p.person_id FROM outbound.people p JOIN {crm}.contacts c USING (contact_id) "  # noqa: S608 - ours
    f"LEFT JOIN outbound.erased_records e ON e.crm = '{crm}' AND e.record_id = c.record_id "
    "WHERE p.person_id = ANY($1::uuid[]) AND (c.erased OR e.record_id IS NOT NULL "
    f"OR (c.record_id IS NULL AND {told_erased(crm, 'c')}))"
    for crm in ("hubspot", "salesforce")
)


async def note_erased(connection: Connection, erased: Sequence[tuple[RecordPlace, datetime]]) -> None:
    """These records are gone for good, and whose they were is not written to any more."""
    first: dict[RecordPlace, datetime] = {}
    for place, at in sorted(erased):
        first.setdefault(place, at)
    if first:
        await connection.execute(
            _ERASED,
            [place.crm for place in first],
            [place.record_id for place in first],
            list(first.values()),
        )


async def drop_read(connection: Connection, places: Collection[RecordPlace]) -> None:
    """What was read of these records is not theirs any more: whoever needs it reads it again."""
    if places:
        ordered = sorted(places)
        await connection.execute(
            _DROP, [place.crm for place in ordered], [place.record_id for place in ordered]
        )


async def erased_among(connection: Connection, people: Collection[UUID]) -> set[UUID]:
    """Those of these people whose record a CRM erased."""
    return {row["person_id"] for row in await connection.fetch(_OF_PEOPLE, sorted(people))}


async def erased_records(connection: Connection, crm: str, record_ids: Collection[str]) -> set[str]:
    """Those of these records that were erased."""
    rows = await connection.fetch(
        "SELECT record_id FROM outbound.erased_records WHERE crm = $1 AND record_id = ANY($2::text[])",
        crm,
        sorted(record_ids),
    )
    return {row["record_id"] for row in rows}
