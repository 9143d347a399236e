"""Holds in the sink's tables: why nothing is written for a person, copied to their messages.

A copy on each message keeps the writer's index to what it may write: with `known_only` most people may be held, and
every claim would wade through their messages. Both rows change under the lock of the contact row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from connector.state.database import Connection
from connector.sync.core.holding import HoldRules

LOOK_AGAIN_AFTER = 24 * 3600.0
"""Seconds between two searches for somebody whom the CRM does not have."""

LOOK_AGAIN_WITHIN = 30 * 24 * 3600.0
"""Seconds since their last message after which nobody is searched for again, so that the search budget is for others."""

_AGAIN_AT_ONCE = 200


async def copy_holds(
    connection: Connection, schema: str, contacts: Iterable[UUID], *, wamids: Sequence[str] | None = None
) -> None:
    """Give these contacts' messages the contact's hold; `wamids`: only to these. The contact rows are locked."""
    ids = sorted(contacts)
    if not ids:
        return
    query = (
        f"UPDATE {schema}.activities AS a SET held = c.held FROM {schema}.contacts c "  # noqa: S608 - schema is ours
        "WHERE c.contact_id = ANY($1::uuid[]) AND a.contact_id = c.contact_id AND a.held IS DISTINCT FROM c.held"
    )
    if wamids is None:
        await connection.execute(query, ids)
    else:
        await connection.execute(f"{query} AND a.wamid = ANY($2::text[])", ids, list(wamids))


async def apply_rules(
    connection: Connection, schema: str, rules: HoldRules, *, after: UUID, most: int = 10_000
) -> UUID | None:
    """Hold and release the next `most` contacts by the settings of today; after whom to go on, None at the end.

    A writer goes through all of them when it starts, a transaction a page: a setting may change for a million people.
    """
    names = sorted(rules.ignore)
    last: UUID | None = await connection.fetchval(
        f"SELECT contact_id FROM {schema}.contacts WHERE contact_id > $1 ORDER BY contact_id OFFSET $2 LIMIT 1",  # noqa: S608
        after,
        most - 1,
    )
    changed = await connection.fetch(
        f"""
        WITH judged AS (
            SELECT contact_id, held, erased, record_id, phone, looked_up_phone, problem,
                   CASE WHEN cardinality($1::text[]) = 0 THEN false  -- spares a look into the facts
                   ELSE ltrim(coalesce(phone, ''), '+') = ANY($1) OR facts->'bsuid'->>0 = ANY($1) END AS ignored
              FROM {schema}.contacts
             WHERE redirect_to IS NULL AND contact_id > $3 AND ($4::uuid IS NULL OR contact_id <= $4)
        ), decided AS (
            SELECT contact_id, held, CASE
                WHEN ignored THEN 'ignored'
                WHEN record_id IS NOT NULL THEN NULL
                WHEN held = 'deleted' OR held = 'refused' AND problem IS NOT NULL THEN held
                WHEN phone IS DISTINCT FROM looked_up_phone AND phone IS NOT NULL THEN 'lookup'
                WHEN erased THEN 'erased'
                WHEN NOT $2 THEN 'unknown'
            END AS wanted FROM judged
        ), locked AS (
            SELECT c.contact_id, d.wanted FROM {schema}.contacts c JOIN decided d USING (contact_id)
             WHERE d.wanted IS DISTINCT FROM d.held AND c.held IS NOT DISTINCT FROM d.held
             ORDER BY c.contact_id FOR UPDATE OF c
        )
        UPDATE {schema}.contacts AS t SET held = l.wanted FROM locked l WHERE t.contact_id = l.contact_id
        RETURNING t.contact_id
        """,  # noqa: S608
        names,
        rules.create_contacts,
        after,
        last,
    )
    await copy_holds(connection, schema, [row["contact_id"] for row in changed])
    return last


async def look_again(connection: Connection, schema: str) -> int:
    """Queue another search for people whom the CRM did not have a day ago; how many."""
    rows = await connection.fetch(
        f"""
        UPDATE {schema}.contacts SET held = 'lookup', looked_up_phone = NULL WHERE contact_id IN (
            SELECT contact_id FROM {schema}.contacts
             WHERE held IN ('unknown', 'erased') AND redirect_to IS NULL AND phone IS NOT NULL
               AND looked_up_at <= now() - make_interval(secs => $1)
               AND fresh_at >= now() - make_interval(secs => $2)
             ORDER BY contact_id LIMIT {_AGAIN_AT_ONCE} FOR UPDATE SKIP LOCKED)
        RETURNING contact_id
        """,  # noqa: S608
        LOOK_AGAIN_AFTER,
        LOOK_AGAIN_WITHIN,
    )
    await copy_holds(connection, schema, [row["contact_id"] for row in rows])
    return len(rows)
