"""One send from its request to its outcome, read from the outbound role's tables; nothing is changed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.outbound.gate import Verdict
from connector.outbound.reasons import reason_of
from connector.state.database import Connection

WAITING = frozenset({"queued", "held", "sending"})
"""States that something else follows by itself."""
WENT_WRONG = frozenset({"blocked", "failed", "expired", "unknown"})


@dataclass(frozen=True, kw_only=True, slots=True)
class SendTrace:
    """A row of `outbound.sends` for people. Times None: it has not happened."""

    send_id: str
    trigger_id: str
    request_hash: str
    """Of the request that counts; "" while only reports about it are known."""
    source: str
    client: str
    reference: str
    requested_at: datetime
    record: str
    """Where the request lies on the log: topic/partition/offset."""
    template: str
    language: str
    purpose: str
    category: str
    recipient: Mapping[str, str]
    contact_id: UUID | None
    phone: str
    phone_number_id: str
    campaign: bool
    state: str
    reason: str
    cause: str | None
    code: int | None
    verdict: Mapping[str, Any] | None
    """As it was recorded: see `Verdict.from_json`."""
    not_before: datetime | None
    expires_at: datetime | None
    attempts: int
    attempts_logged: int
    attempted_at: datetime | None
    wamid: str | None
    text: str
    pricing_type: str
    settled_at: datetime | None
    settlement: Mapping[str, Any] | None
    """What an operator decided about an unknown one: outcome, who, why, at."""
    workflow_waits: bool
    outcome_told_at: datetime | None

    @property
    def judged(self) -> Verdict | None:
        """What the gate said last; None: it was not asked yet."""
        return Verdict.from_json(dict(self.verdict)) if self.verdict else None


async def send_trace(connection: Connection, send_id: str) -> SendTrace | None:
    """One send; None when no such send has been admitted."""
    row = await connection.fetchrow("SELECT * FROM outbound.sends WHERE send_id = $1", send_id)
    return None if row is None else _trace(row)


async def send_of_message(connection: Connection, wamid: str) -> SendTrace | None:
    """The send that a message came of; None for one that we did not send."""
    row = await connection.fetchrow("SELECT * FROM outbound.sends WHERE wamid = $1", wamid)
    return None if row is None else _trace(row)


async def sends_of(connection: Connection, contacts: Collection[UUID], *, limit: int) -> list[SendTrace]:
    """The latest `limit` sends to these contacts, oldest first."""
    rows = await connection.fetch(
        "SELECT * FROM outbound.sends WHERE contact_id = ANY($1::uuid[]) ORDER BY created_at DESC LIMIT $2",
        sorted(contacts),
        limit,
    )
    return [_trace(row) for row in reversed(rows)]


def _trace(row: Any) -> SendTrace:
    reason = reason_of(row["state"], problem=row["problem"], verdict=row["verdict"])
    return SendTrace(
        send_id=row["send_id"],
        trigger_id=row["trigger_id"],
        request_hash=row["request_hash"],
        source=row["source"],
        client=row["client"],
        reference=row["reference"],
        requested_at=row["created_at"],
        record=f"{row['topic']}/{row['partition']}/{row['offset']}" if row["topic"] else "",
        template=row["template_name"],
        language=row["template_language"],
        purpose=row["purpose"],
        category=row["category"],
        recipient={name: value for name, value in row["recipient"].items() if value},
        contact_id=row["contact_id"],
        phone=row["phone"],
        phone_number_id=row["phone_number_id"],
        campaign=row["priority"] > 0,
        state=row["state"],
        reason=reason.sentence if reason else "",
        cause=reason.cause if reason else None,
        code=reason.code if reason else None,
        verdict=row["verdict"],
        not_before=_finite(row["not_before"]) if row["state"] in ("queued", "held") else None,
        expires_at=_finite(row["expires_at"]),
        attempts=row["attempts"],
        attempts_logged=row["attempt_logged"],
        attempted_at=row["attempted_at"],
        wamid=row["wamid"],
        text=row["rendered"],
        pricing_type=row["pricing_type"],
        settled_at=row["settled_at"],
        settlement=row["settlement"],
        workflow_waits=row["callback"] is not None,
        outcome_told_at=row["outcome_told_at"],
    )


def _finite(value: datetime | None) -> datetime | None:
    return None if value is None or value.year in (1, 9999) else value
