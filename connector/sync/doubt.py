"""After a restore: what the tables lack a record of may be in the CRM all the same.

Whatever was folded, or waited, when the tables were found behind may have been written from the tables that were
lost. So none of it is created before it was looked up: messages as creates in doubt, people by our unique key (an
upsert finds its record), the records of merged people before they are retired.
"""

from __future__ import annotations

from datetime import datetime

import asyncpg

from connector.state.database import transaction
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
                f"WITH part AS (SELECT wamid FROM {schema}.activities WHERE record_id IS NULL AND wamid > $1 "  # noqa: S608 - schema is ours
                "ORDER BY wamid LIMIT $2 FOR UPDATE), "
                f"marked AS (UPDATE {schema}.activities a SET intent_at = $3, lookups = 0, on_record_id = NULL "
                "FROM part WHERE a.wamid = part.wamid AND a.intent_at IS NULL) "
                "SELECT wamid FROM part ORDER BY wamid",
                after,
                _ROWS,
                since,
            )
        if not rows:
            return count
        count += len(rows)
        after = rows[-1]["wamid"]


async def _doubt_people(pool: asyncpg.Pool, schema: str) -> None:
    after = None
    while True:
        async with transaction(pool) as connection:
            rows = await connection.fetch(
                f"WITH part AS (SELECT contact_id, redirect_to FROM {schema}.contacts "  # noqa: S608
                "WHERE record_id IS NULL AND ($1::uuid IS NULL OR contact_id > $1) "
                "ORDER BY contact_id LIMIT $2 FOR UPDATE), "
                f"marked AS (UPDATE {schema}.contacts c SET intent = true FROM part "
                "WHERE c.contact_id = part.contact_id AND NOT c.intent) "
                "SELECT contact_id, redirect_to FROM part ORDER BY contact_id",
                after,
                _ROWS,
            )
            await queue_retirements(
                connection, schema, [row["contact_id"] for row in rows if row["redirect_to"] is not None]
            )
        if not rows:
            return
        after = rows[-1]["contact_id"]
