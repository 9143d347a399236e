"""Let the writer try again what a CRM refused: once the cause was mended, nothing else would."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from connector.state.database import Connection
from connector.sync.holds import copy_holds
from connector.sync.locks import lock_contacts

_AT_ONCE = 500

# `problem` is "cause: reason".
_MATCHES = "problem IS NOT NULL AND ($1::text IS NULL OR split_part(problem, ': ', 1) = $1)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusals:
    """Items of one sink that its CRM refused for one cause."""

    cause: str
    contacts: int
    activities: int
    example: str
    """The reason of one of them."""


async def refusals(connection: Connection, sink: str) -> list[Refusals]:
    """What stands refused, by cause."""
    rows = await connection.fetch(
        f"""
        SELECT split_part(problem, ': ', 1) AS cause, count(*) FILTER (WHERE person) AS contacts,
               count(*) FILTER (WHERE NOT person) AS activities, min(problem) AS example
          FROM (SELECT problem, true AS person FROM {sink}.contacts
                 WHERE problem IS NOT NULL AND redirect_to IS NULL
                UNION ALL SELECT problem, false FROM {sink}.activities WHERE problem IS NOT NULL) AS refused
         GROUP BY 1 ORDER BY 1
        """,  # noqa: S608 - sink is ours
    )
    return [
        Refusals(
            cause=row["cause"],
            contacts=row["contacts"],
            activities=row["activities"],
            example=row["example"].removeprefix(f"{row['cause']}: "),
        )
        for row in rows
    ]


async def retry_some(connection: Connection, sink: str, *, cause: str | None) -> tuple[int, int]:
    """Queue up to 500 refused contacts and 500 activities again, in the caller's transaction; how many of each.

    `cause`: only those; None: all. A person without a record is looked up again first: somebody may have entered
    them, and that is one way of mending it. Call it until it says (0, 0).
    """
    contacts = [
        row["contact_id"]
        for row in await connection.fetch(
            f"SELECT contact_id FROM {sink}.contacts WHERE {_MATCHES} ORDER BY contact_id LIMIT {_AT_ONCE}",  # noqa: S608
            cause,
        )
    ]
    wamids = [
        row["wamid"]
        for row in await connection.fetch(
            f"SELECT wamid FROM {sink}.activities WHERE {_MATCHES} ORDER BY wamid LIMIT {_AT_ONCE}",  # noqa: S608
            cause,
        )
    ]
    await lock_contacts(connection, sink, contacts, wamids=wamids)
    people: list[UUID] = [
        row["contact_id"]
        for row in await connection.fetch(
            f"""
            UPDATE {sink}.contacts SET problem = NULL, attempts = 0, not_before = '-infinity',
                   waiting_since = coalesce(waiting_since, now()),
                   looked_up_phone = CASE WHEN held = 'refused' THEN NULL ELSE looked_up_phone END,
                   held = CASE WHEN held IS DISTINCT FROM 'refused' THEN held
                               WHEN phone IS NOT NULL THEN 'lookup' WHEN erased THEN 'erased' END
             WHERE {_MATCHES} AND contact_id = ANY($2::uuid[]) RETURNING contact_id
            """,  # noqa: S608
            cause,
            contacts,
        )
    ]
    await copy_holds(connection, sink, people)
    messages = await connection.fetch(
        f"UPDATE {sink}.activities SET problem = NULL, attempts = 0, not_before = '-infinity', "  # noqa: S608
        f"waiting_since = coalesce(waiting_since, now()) WHERE {_MATCHES} AND wamid = ANY($2::text[]) RETURNING 1",
        cause,
        wamids,
    )
    return len(people), len(messages)
