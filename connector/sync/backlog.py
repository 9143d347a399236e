"""How much waits for the CRM, and since when: a sink's scaling signal beside the lag; and what waits for an answer."""

from __future__ import annotations

from datetime import datetime

from connector.state.database import Connection

_ACTIVITIES = (
    "activities WHERE desired_version > written_version AND problem IS NULL AND contact_id IS NOT NULL"
)
_CONTACTS = "contacts WHERE desired_version > written_version AND problem IS NULL AND redirect_to IS NULL"
_PARTS = tuple(
    f"{table} AND {held}"
    for table in (_ACTIVITIES, _CONTACTS)
    for held in ("held IS NULL", "held = 'lookup'")
)


def waiting_items(schema: str) -> str:
    """An SQL expression of the items that wait for the CRM."""
    return " + ".join(f"(SELECT count(*) FROM {schema}.{part})" for part in _PARTS)  # noqa: S608 - schema is ours


async def waiting(connection: Connection, schema: str) -> tuple[int, datetime | None]:
    """(items waiting, since when the oldest waits). Each part has an index of its own; call it every few seconds.

    What waits for a look-up counts. What is held for another reason waits for a person, not for the CRM.
    """
    counts = waiting_items(schema)
    oldest = ", ".join(f"(SELECT min(waiting_since) FROM {schema}.{part})" for part in _PARTS)  # noqa: S608
    row = await connection.fetchrow(f"SELECT {counts} AS items, least({oldest}) AS oldest")
    assert row is not None
    return row["items"], row["oldest"]


async def in_doubt(connection: Connection, schema: str) -> int:
    """Of those waiting: creates whose answer was lost. It walks through all that waits."""
    count: int = await connection.fetchval(
        f"SELECT count(*) FROM {schema}.{_ACTIVITIES} "  # noqa: S608
        "AND held IS NULL AND intent_at IS NOT NULL AND record_id IS NULL"
    )
    return count


async def refused(connection: Connection, schema: str) -> int:
    """Contacts and activities that the CRM refuses for what they are; they are not waiting."""
    count: int = await connection.fetchval(
        f"SELECT (SELECT count(*) FROM {schema}.contacts WHERE problem IS NOT NULL) "  # noqa: S608
        f"+ (SELECT count(*) FROM {schema}.activities WHERE problem IS NOT NULL)"
    )
    return count
