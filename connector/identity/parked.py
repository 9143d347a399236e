"""Statuses that came before their person: kept until somebody turns out to be it.

Webhooks are unordered, and two updates of one person may have different keys, so all statuses of a message can
be routed before the first update that shows whose they are. They go on without a person at once, and wait here.
The aliases of a parked status are locked while it is parked (store.py), so that the batch that assigns one of
them either was first, and the status found its person, or comes after, and finds the status.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connector.identity.directory import Alias
from connector.state.database import Connection

_PARK = """
INSERT INTO identity.parked_statuses (event_id, wamid, bsuid, phone, event)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT (event_id) DO NOTHING
"""
_FIND = """
SELECT event_id, wamid, bsuid, phone, event FROM identity.parked_statuses
WHERE wamid = ANY($1::text[]) OR bsuid = ANY($2::text[]) OR phone = ANY($3::text[])
ORDER BY event_id FOR UPDATE
"""
_DISCARD = "DELETE FROM identity.parked_statuses WHERE event_id = ANY($1::text[])"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedStatus:
    """A status without a person. `event`: its encoded value on `conversation.events`."""

    event_id: str
    wamid: str
    bsuid: Alias | None
    phone: Alias | None
    event: bytes


async def park(connection: Connection, statuses: Sequence[ParkedStatus]) -> None:
    """Keep statuses until their person is known; one that is kept already stays as it is."""
    ordered = sorted(statuses, key=lambda status: status.event_id)
    await connection.execute(
        _PARK,
        [status.event_id for status in ordered],
        [status.wamid for status in ordered],
        [status.bsuid.value if status.bsuid else None for status in ordered],
        [status.phone.value if status.phone else None for status in ordered],
        [status.event for status in ordered],
    )


async def find_parked(
    connection: Connection, *, wamids: Collection[str], aliases: Collection[Alias]
) -> list[ParkedStatus]:
    """The statuses that wait for one of these messages or aliases, locked: nobody else can send them on."""
    if not wamids and not aliases:
        return []
    rows = await connection.fetch(
        _FIND,
        sorted(wamids),
        sorted(alias.value for alias in aliases if alias.kind == "bsuid"),
        sorted(alias.value for alias in aliases if alias.kind == "phone"),
    )
    return [
        ParkedStatus(
            event_id=row["event_id"],
            wamid=row["wamid"],
            bsuid=Alias("bsuid", row["bsuid"]) if row["bsuid"] is not None else None,
            phone=Alias("phone", row["phone"]) if row["phone"] is not None else None,
            event=row["event"],
        )
        for row in rows
    ]


async def discard_parked(connection: Connection, statuses: Sequence[ParkedStatus]) -> None:
    """Forget statuses that have found their person."""
    if statuses:
        await connection.execute(_DISCARD, [status.event_id for status in statuses])


async def count_parked(connection: Connection) -> int:
    """How many statuses wait for their person."""
    count: int = await connection.fetchval("SELECT count(*) FROM identity.parked_statuses")
    return count


async def prune_parked(connection: Connection, *, days: int, most: int = 1000) -> int:
    """Forget up to `most` statuses that have waited for `days` days; how many.

    Their messages were sent before the connector listened. One that is being sent on at this moment is skipped.
    """
    rows = await connection.fetch(
        "DELETE FROM identity.parked_statuses WHERE event_id IN (SELECT event_id FROM identity.parked_statuses "
        "WHERE parked_at <= now() - make_interval(days => $1) ORDER BY parked_at LIMIT $2 FOR UPDATE SKIP LOCKED) "
        "RETURNING 1",
        days,
        most,
    )
    return len(rows)
