"""Sends and acts whose person, or whose number, is not known yet: claimed for a try, then settled or put off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from connector.outbound.facts import Obstacle
from connector.state.database import Connection

LEASE = 30.0
"""Seconds that whoever looks for somebody has; then another one may."""

_CLAIM_SENDS = """
UPDATE outbound.sends SET resolutions = resolutions + 1, not_before = now() + make_interval(secs => $2)
WHERE send_id IN (
    SELECT send_id FROM outbound.sends WHERE state IN ('queued', 'held') AND not_before <= now()
        AND ((contact_id IS NULL AND obstacle = '') OR phone_number_id = '')
    ORDER BY not_before LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING *
"""
_CLAIM_ACTS = """
UPDATE outbound.waiting_acts SET resolutions = resolutions + 1, not_before = now() + make_interval(secs => $2)
WHERE act_id IN (
    SELECT act_id FROM outbound.waiting_acts WHERE not_before <= now() ORDER BY not_before LIMIT $1
    FOR UPDATE SKIP LOCKED)
RETURNING *
"""
_SETTLE = """
UPDATE outbound.sends AS s SET contact_id = coalesce(s.contact_id, n.contact_id),
    obstacle = CASE WHEN n.obstacle <> '' THEN n.obstacle ELSE s.obstacle END,
    phone = CASE WHEN n.phone <> '' AND s.phone = '' THEN n.phone ELSE s.phone END,
    phone_number_id = CASE WHEN s.phone_number_id = '' THEN n.number ELSE s.phone_number_id END,
    resolutions = CASE WHEN n.wait > 0 THEN s.resolutions ELSE 0 END,
    not_before = CASE WHEN n.wait > 0 THEN now() + make_interval(secs => n.wait) ELSE '-infinity' END
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::float8[])
    AS n (send_id, contact_id, obstacle, phone, number, wait)
WHERE s.send_id = n.send_id AND s.state IN ('queued', 'held')
"""
_PUT_OFF_ACTS = """
UPDATE outbound.waiting_acts AS a SET not_before = now() + make_interval(secs => n.wait)
FROM unnest($1::text[], $2::float8[]) AS n (act_id, wait) WHERE a.act_id = n.act_id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """What one try came to for one send. `wait`: seconds until the next; 0: it is for the dispatcher now."""

    send_id: str
    contact_id: UUID | None = None
    obstacle: Obstacle = ""
    phone: str = ""
    number: str = ""
    wait: float = 0.0


async def claim_sends(connection: Connection, *, limit: int) -> list[Any]:
    """Up to `limit` sends that are due for a look, held for the lease."""
    return list(await connection.fetch(_CLAIM_SENDS, limit, LEASE))


async def claim_acts(connection: Connection, *, limit: int) -> list[Any]:
    """Up to `limit` waiting acts that are due for a look, held for the lease."""
    return list(await connection.fetch(_CLAIM_ACTS, limit, LEASE))


async def settle_sends(connection: Connection, settlements: Sequence[Settlement]) -> None:
    """Write what a try came to."""
    rows = sorted(settlements, key=lambda one: one.send_id)
    if rows:
        await connection.execute(
            _SETTLE,
            [row.send_id for row in rows],
            [row.contact_id for row in rows],
            [row.obstacle for row in rows],
            [row.phone for row in rows],
            [row.number for row in rows],
            [row.wait for row in rows],
        )


async def fail_sends(connection: Connection, reasons: Sequence[tuple[str, str, str]]) -> list[Any]:
    """End sends (id, cause, reason) that can leave from no number; their rows."""
    return list(
        await connection.fetch(
            "UPDATE outbound.sends AS s SET state = 'failed', settled_at = now(), "
            "problem = jsonb_build_object('code', 0, 'cause', n.cause, 'reason', n.reason), "
            "outcome_due_at = CASE WHEN s.callback IS NOT NULL THEN now() END "
            "FROM unnest($1::text[], $2::text[], $3::text[]) AS n (send_id, cause, reason) "
            "WHERE s.send_id = n.send_id AND s.state IN ('queued', 'held') RETURNING s.*",
            [send_id for send_id, _, _ in reasons],
            [cause for _, cause, _ in reasons],
            [reason for _, _, reason in reasons],
        )
    )


async def put_off_acts(connection: Connection, waits: Sequence[tuple[str, float]]) -> None:
    """Look for the people of these acts again in so many seconds."""
    if waits:
        await connection.execute(_PUT_OFF_ACTS, [act_id for act_id, _ in waits], [wait for _, wait in waits])


async def forget_acts(connection: Connection, act_ids: Sequence[str]) -> None:
    """These acts are in the ledger, or nobody's."""
    if act_ids:
        await connection.execute(
            "DELETE FROM outbound.waiting_acts WHERE act_id = ANY($1::text[])", list(act_ids)
        )
