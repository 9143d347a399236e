"""Sends: admitted once, moved forward by what the log says of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.outbound.told import RANKS, SendReport
from connector.state.database import Connection

# A row without `admitted_at` was made by the log's reports: it gets the request, and keeps its state.
_ADMIT = """
INSERT INTO outbound.sends AS s (send_id, trigger_id, event_id, request_hash, source, client, template_name,
    template_language, purpose, recipient, contact_id, obstacle, phone, bsuid, from_number, phone_number_id, parameters,
    reference, callback, priority, state, created_at, admitted_at, expires_at, expiry_given, problem, settled_at,
    topic, partition, "offset")
SELECT send_id, trigger_id, event_id, request_hash, source, client, template_name, template_language, purpose,
    recipient, contact_id, obstacle, phone, bsuid, from_number, phone_number_id, parameters, reference,
    callback, priority, state, created_at, now(), expires_at, expiry_given, problem, CASE WHEN state = 'blocked' THEN created_at END, topic, partition, "offset"
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::jsonb[], $11::uuid[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::jsonb[],
    $18::text[], $19::jsonb[], $20::smallint[], $21::text[], $22::timestamptz[], $23::timestamptz[], $24::boolean[],
    $25::jsonb[], $26::text[], $27::int[], $28::bigint[])
    AS n (send_id, trigger_id, event_id, request_hash, source, client, template_name, template_language, purpose,
    recipient, contact_id, obstacle, phone, bsuid, from_number, phone_number_id, parameters, reference, callback,
    priority, state, created_at, expires_at, expiry_given, problem, topic, partition, "offset")
ON CONFLICT (send_id) DO UPDATE SET trigger_id = excluded.trigger_id, event_id = excluded.event_id,
    request_hash = excluded.request_hash, source = excluded.source, client = excluded.client,
    template_name = excluded.template_name, template_language = excluded.template_language,
    purpose = excluded.purpose, recipient = excluded.recipient,
    contact_id = coalesce(s.contact_id, excluded.contact_id), obstacle = excluded.obstacle, phone = excluded.phone,
    bsuid = excluded.bsuid, from_number = excluded.from_number, phone_number_id = excluded.phone_number_id,
    parameters = excluded.parameters, reference = excluded.reference, callback = excluded.callback,
    priority = excluded.priority, created_at = excluded.created_at, admitted_at = excluded.admitted_at,
    expires_at = excluded.expires_at, expiry_given = excluded.expiry_given, topic = excluded.topic,
    partition = excluded.partition, "offset" = excluded."offset"
WHERE s.admitted_at IS NULL
RETURNING send_id
"""

_STUBS = """
INSERT INTO outbound.sends (send_id, trigger_id, state, created_at, attempts)
SELECT send_id, split_part(send_id, '.', 1), 'unknown', at, 0
FROM unnest($1::text[], $2::timestamptz[]) AS n (send_id, at) ON CONFLICT (send_id) DO NOTHING
"""

# The state moves up only (told.py). An attempt that the row does not know of was begun after the tables were saved that
# this database was restored from: whether it did anything is not known, so the row is not queued any more. A row that
# knows of the attempt is where its dispatcher put it, and the report only says that the log has it.
_REPORT = f"""
WITH rank (state, rank) AS (VALUES {", ".join(f"('{state}', {rank})" for state, rank in RANKS.items())}),
told AS (
    SELECT n.*, s.attempts, b.rank AS rank_before,
        CASE WHEN n.state <> 'unknown' THEN r.rank
             WHEN n.attempt > s.attempts OR n.cause <> '' THEN r.rank ELSE -1 END AS rank
    FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::int[], $5::text[], $6::uuid[], $7::text[], $8::text[],
                $9::int[], $10::text[], $11::text[], $12::timestamptz[])
        AS n (send_id, state, at, attempt, wamid, contact_id, category, pricing_type, code, cause, reason, attempted_at)
    JOIN outbound.sends s USING (send_id) JOIN rank r ON r.state = n.state JOIN rank b ON b.state = s.state
)
UPDATE outbound.sends AS s SET
    state = CASE WHEN t.rank > t.rank_before THEN t.state ELSE s.state END,
    attempts = greatest(s.attempts, t.attempt),
    attempt_logged = greatest(s.attempt_logged, t.attempt),
    attempted_at = CASE WHEN t.attempt > s.attempts THEN t.attempted_at ELSE s.attempted_at END,
    lease_until = CASE WHEN t.rank > t.rank_before THEN NULL ELSE s.lease_until END,
    wamid = coalesce(s.wamid, nullif(t.wamid, '')),
    contact_id = coalesce(s.contact_id, t.contact_id),
    category = CASE WHEN t.category <> '' THEN t.category ELSE s.category END,
    pricing_type = CASE WHEN t.pricing_type <> '' THEN t.pricing_type ELSE s.pricing_type END,
    problem = CASE WHEN t.rank <= t.rank_before THEN s.problem
                   WHEN t.cause = '' THEN NULL
                   ELSE jsonb_build_object('code', t.code, 'cause', t.cause, 'reason', t.reason) END,
    settled_at = CASE WHEN t.rank > t.rank_before AND t.state <> 'unknown' THEN t.at ELSE s.settled_at END,
    outcome_due_at = CASE WHEN s.callback IS NOT NULL AND t.rank > t.rank_before AND t.rank >= {RANKS["sent"]}
                          THEN coalesce(s.outcome_due_at, now()) ELSE s.outcome_due_at END
FROM told t WHERE s.send_id = t.send_id
"""  # noqa: S608 - ranks are ours


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """A send as it was asked for, with what is known of its recipient and number already.

    `problem`: what is wrong with the request itself: it is blocked from the start.
    """

    send_id: str
    trigger_id: str
    event_id: str
    request_hash: str
    source: str
    client: str
    template_name: str
    template_language: str
    purpose: str
    recipient: dict[str, Any]
    contact_id: UUID | None
    obstacle: str
    phone: str
    bsuid: str
    from_number: str
    phone_number_id: str
    parameters: dict[str, Any]
    reference: str
    callback: dict[str, Any] | None
    priority: int
    created_at: datetime
    expires_at: datetime
    expiry_given: bool
    topic: str
    partition: int
    offset: int
    problem: dict[str, Any] | None = field(default=None)

    @property
    def state(self) -> str:
        """As it begins."""
        return "queued" if self.problem is None else "blocked"


async def admit(connection: Connection, sends: Iterable[Admission]) -> set[str]:
    """Write these sends, unless they are there. The ids of those that were new."""
    rows = sorted({send.send_id: send for send in sends}.values(), key=lambda send: send.send_id)
    if not rows:
        return set()
    admitted = await connection.fetch(
        _ADMIT,
        [row.send_id for row in rows],
        [row.trigger_id for row in rows],
        [row.event_id for row in rows],
        [row.request_hash for row in rows],
        [row.source for row in rows],
        [row.client for row in rows],
        [row.template_name for row in rows],
        [row.template_language for row in rows],
        [row.purpose for row in rows],
        [row.recipient for row in rows],
        [row.contact_id for row in rows],
        [row.obstacle for row in rows],
        [row.phone for row in rows],
        [row.bsuid for row in rows],
        [row.from_number for row in rows],
        [row.phone_number_id for row in rows],
        [row.parameters for row in rows],
        [row.reference for row in rows],
        [row.callback for row in rows],
        [row.priority for row in rows],
        [row.state for row in rows],
        [row.created_at for row in rows],
        [row.expires_at for row in rows],
        [row.expiry_given for row in rows],
        [row.problem for row in rows],
        [row.topic for row in rows],
        [row.partition for row in rows],
        [row.offset for row in rows],
    )
    return {row["send_id"] for row in admitted}


async def apply_reports(
    connection: Connection, reports: Iterable[SendReport], *, by_wamid: Iterable[SendReport] = ()
) -> None:
    """Move sends on by what the log says of them. `by_wamid`: statuses that name only the message.

    Commutative and idempotent. A send that is not there yet is noted as it was told, and admitted later.
    """
    told = {report.send_id: report for report in reports}
    more = {report.wamid: report for report in by_wamid}
    if more:
        rows = await connection.fetch(
            "SELECT send_id, wamid FROM outbound.sends WHERE wamid = ANY($1::text[])", sorted(more)
        )
        # The batch itself may tell whose message it is.
        found = {row["wamid"]: row["send_id"] for row in rows}
        found |= {report.wamid: report.send_id for report in told.values() if report.wamid}
        for wamid, report in more.items():
            if (send_id := found.get(wamid)) is not None:
                named = _named(report, send_id)
                told[send_id] = told[send_id] | named if send_id in told else named
    if not told:
        return
    ids = sorted(told)
    await connection.execute(_STUBS, ids, [told[send_id].at for send_id in ids])
    await connection.fetch(
        "SELECT send_id FROM outbound.sends WHERE send_id = ANY($1::text[]) ORDER BY send_id FOR UPDATE", ids
    )
    await connection.execute(_REPORT, *_columns([told[send_id] for send_id in ids]))


def _named(report: SendReport, send_id: str) -> SendReport:
    return SendReport(
        send_id=send_id,
        state=report.state,
        at=report.at,
        wamid=report.wamid,
        contact_id=report.contact_id,
        category=report.category,
        pricing_type=report.pricing_type,
        code=report.code,
        cause=report.cause,
        reason=report.reason,
    )


def _columns(reports: Sequence[SendReport]) -> tuple[list[Any], ...]:
    return (
        [report.send_id for report in reports],
        [report.state for report in reports],
        [report.at for report in reports],
        [report.attempt for report in reports],
        [report.wamid for report in reports],
        [report.contact_id for report in reports],
        [report.category for report in reports],
        [report.pricing_type for report in reports],
        [report.code for report in reports],
        [report.cause for report in reports],
        [report.reason for report in reports],
        [report.attempted_at for report in reports],
    )
