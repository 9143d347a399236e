"""The one order in which a sync role locks rows, so that folds, drains and merges never wait for each other in a ring.

1. Contact rows, all that a transaction will touch, by contact_id, in its first locking statement (`lock_contacts`).
2. Activity rows: only under the lock of their contact's row, so that their own order does not matter. One that has
   no contact yet is touched by the fold alone, which locks activities by wamid.
3. New rows, contacts before activities, each by key.

Claims and look-ups skip rows that others hold, and wait for nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from connector.state.database import Connection


async def lock_contacts(
    connection: Connection,
    schema: str,
    contacts: Collection[UUID],
    *,
    wamids: Collection[str] = (),
    record_ids: Collection[str] = (),
    sharers: bool = False,
    columns: str = "contact_id",
) -> Sequence[Any]:
    """Lock these contacts' rows, and those of everybody who may have to change with them: `columns` of all of them.

    With them go whoever they were merged into, the holders of the messages `wamids`, the owners and sharers of
    `record_ids` and, with `sharers`, those of the records that the contacts have by now.
    """
    rows: Sequence[Any] = await connection.fetch(
        f"""
        WITH RECURSIVE chain AS (
            SELECT unnest($1::uuid[]) AS contact_id
            UNION SELECT contact_id FROM {schema}.activities
                   WHERE wamid = ANY($2::text[]) AND contact_id IS NOT NULL
            UNION SELECT c.redirect_to FROM chain JOIN {schema}.contacts c USING (contact_id)
                   WHERE c.redirect_to IS NOT NULL
        ), records AS (
            SELECT unnest($3::text[]) AS record_id
            UNION SELECT c.record_id FROM chain JOIN {schema}.contacts c USING (contact_id)
                   WHERE $4 AND c.record_id IS NOT NULL
        )
        SELECT {columns} FROM {schema}.contacts WHERE contact_id IN (
            SELECT contact_id FROM chain
            UNION SELECT o.contact_id FROM records r JOIN {schema}.contacts o ON o.record_id = r.record_id
                   AND o.record_id IS NOT NULL AND o.redirect_to IS NULL AND NOT o.shared
            UNION SELECT s.contact_id FROM records r JOIN {schema}.contacts s ON s.record_id = r.record_id AND s.shared)
        ORDER BY contact_id FOR UPDATE
        """,  # noqa: S608 - schema and columns are ours
        list(contacts),
        list(wamids),
        list(record_ids),
        sharers,
    )
    return rows
