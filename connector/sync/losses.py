"""CRM contact records that are not there any more: what becomes of their people.

* Somebody deleted the record and the person has written since: they are looked up again, and made anew.
* Somebody deleted it and nothing but a status or a changed name would be said: the person stays away until they
  write again. Whoever deletes a contact does not want it back because a message was read.
* It was erased for good (HubSpot's privacy deletion), by what the CRM answers or by what its webhook told: nothing of
  ours makes it anew. A person who enters them again is found by the daily look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from connector.state.database import Connection
from connector.sync.holds import copy_holds

RESTORABLE_DAYS = 90
"""HubSpot keeps deleted records for so long, then forgets them like erased ones; https://knowledge.hubspot.com →
restore deleted records. A record that we have not written for nearly as long may be either."""

_MARGIN_DAYS = 10


def told_erased(schema: str, contact: str) -> str:
    """SQL: whether a webhook told that a record was erased which messages of this contact hang on.

    For contacts without a record: who was deleted first and erased later is known by nothing else. `contact`: the
    alias of the contact's row.
    """
    # `EXISTS` could be answered by a walk through all messages; this is a look into the index for each row.
    return (
        f"(SELECT 1 FROM {schema}.activities ta JOIN outbound.erased_records te "  # noqa: S608 - schema is ours
        f"ON te.crm = '{schema}' AND te.record_id = ta.on_record_id "
        f"WHERE ta.contact_id = {contact}.contact_id LIMIT 1) IS NOT NULL"
    )


async def lose_records(connection: Connection, schema: str, gone: Mapping[UUID, bool]) -> None:
    """Forget the records of these contacts. `gone`: contact → whether the CRM cannot restore it either.

    The caller has the contact rows locked.
    """
    if not gone:
        return
    await connection.execute(
        f"""
        UPDATE {schema}.contacts AS t SET record_id = NULL, shared = false, written_version = 0, written_digest = NULL,
               created_by_us = false, looked_up_phone = NULL, looked_up_at = NULL, intent = false,
               waiting_since = coalesce(t.waiting_since, now()), attempts = t.attempts + 1,
               not_before = now() + make_interval(secs => least(60, 2.0 ^ t.attempts)),
               erased = t.erased OR n.erased,
               held = CASE
                   WHEN t.held = 'ignored' THEN t.held
                   WHEN NOT (n.erased OR t.erased) AND NOT n.wrote_again THEN 'deleted'
                   WHEN t.phone IS NOT NULL THEN 'lookup'
                   WHEN n.erased OR t.erased THEN 'erased'
               END
          FROM (
            SELECT g.contact_id,
                   (g.erased AND coalesce(c.written_at >= now() - make_interval(days => $3), false))
                       OR EXISTS (SELECT 1 FROM outbound.erased_records e
                                   WHERE e.crm = '{schema}' AND e.record_id = c.record_id) AS erased,
                   EXISTS (SELECT 1 FROM {schema}.activities a
                            WHERE a.contact_id = g.contact_id AND a.record_id IS NULL AND a.problem IS NULL
                              AND a.facts->'message'->>'direction' = 'inbound') AS wrote_again
              FROM unnest($1::uuid[], $2::boolean[]) AS g (contact_id, erased)
              JOIN {schema}.contacts c USING (contact_id)
          ) AS n
         WHERE t.contact_id = n.contact_id
        """,  # noqa: S608 - schema is ours
        list(gone.keys()),
        list(gone.values()),
        RESTORABLE_DAYS - _MARGIN_DAYS,
    )
    await copy_holds(connection, schema, gone.keys())
