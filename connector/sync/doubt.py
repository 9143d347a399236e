"""After a restore: what the tables lack a record of may be in the CRM all the same.

Whatever was folded, or waited, when the tables were found behind may have been written from the tables that were
lost. So none of it is created before it was looked up: messages as creates in doubt, people by our unique key (an
upsert finds its record), the records of merged people before they are retired.
"""

from __future__ import annotations

from datetime import datetime

import asyncpg

from connector.state.database import transaction
from connector.sync.locks import lock_contacts
from connector.sync.retirement import queue_retirements

_ROWS = 10_000  # a transaction; the fold goes on beside it


async def doubt_everything(pool: asyncpg.Pool, schema: str, *, since: datetime) -> int:
    """Mark every message and person without a record as begun at `since`; how many messages.

    Called once the tables hold the log as it was at `since`, and before anything is written. Repeating is harmless.
    """
    await _doubt_people(pool, schema)
    return await _doubt_messages(pool, schema, since=since)


async def _doubt_messages(pool: asyncpg.Pool, schema: str, *, since: datetime) -> int:
    after, count = "", 0
    while True:
        async with transaction(pool) as connection:
            rows = await connection.fetch(
                f"SELECT wamid FROM {schema}.activities WHERE record_id IS NULL AND wamid > $1 "  # noqa: S608 - schema is ours
                "ORDER BY wamid LIMIT $2",
                after,
                _ROWS,
            )
            wamids = [row["wamid"] for row in rows]
            await lock_contacts(connection, schema, (), wamids=wamids)
            # Those without a contact are locked by wamid, as the fold does.
            await connection.execute(
                f"WITH part AS (SELECT wamid FROM {schema}.activities WHERE wamid = ANY($1::text[]) "  # noqa: S608
                "AND record_id IS NULL AND intent_at IS NULL ORDER BY wamid FOR UPDATE) "
                f"UPDATE {schema}.activities a SET intent_at = $2, lookups = 0, on_record_id = NULL "
                "FROM part WHERE a.wamid = part.wamid",
                wamids,
                since,
            )
        if not rows:
            return count
        count += len(rows)
        after = wamids[-1]


async def _doubt_people(pool: asyncpg.Pool, schema: str) -> None:
    after = None
    while True:
        async with transaction(pool) as connection:
            part = await connection.fetch(
                f"SELECT contact_id FROM {schema}.contacts WHERE record_id IS NULL "  # noqa: S608
                "AND ($1::uuid IS NULL OR contact_id > $1) ORDER BY contact_id LIMIT $2",
                after,
                _ROWS,
            )
            names = [row["contact_id"] for row in part]
            await lock_contacts(connection, schema, names)
            rows = await connection.fetch(
                f"UPDATE {schema}.contacts SET intent = true WHERE contact_id = ANY($1::uuid[]) "  # noqa: S608
                "AND record_id IS NULL RETURNING contact_id, redirect_to",
                names,
            )
            await queue_retirements(
                connection, schema, [row["contact_id"] for row in rows if row["redirect_to"] is not None]
            )
        if not part:
            return
        after = names[-1]
