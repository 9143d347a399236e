"""What an operator decides about a send whose outcome nobody knows: it was sent, it was not, or it is sent again.

WhatsApp's answer was lost and no status came. Only a person can find out (in WhatsApp Manager, from the recipient),
and only a person may risk that a message comes twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from connector.errors import Rejected
from connector.events import ConversationEvent
from connector.outbound.announcements import STAGE
from connector.outbound.dispatch import telling
from connector.outbound.dispatch.claiming import record_of
from connector.outbound.dispatch.send import COLUMNS, BusinessNumber, Send
from connector.state.database import Connection
from connector.streams.outgoing import queue_outgoing

Settlement = Literal["sent", "not-sent", "resend"]

_CAUSE = "settled_by_operator"

# Locked, so that a status that comes at the same moment is either seen here or moves what is written here.
_LOCK = f"""
SELECT {COLUMNS}, s.state, n.waba_id, n.display_phone, clock_timestamp() AS now FROM outbound.sends s
  LEFT JOIN outbound.numbers n USING (phone_number_id) WHERE s.send_id = $1 FOR UPDATE OF s
"""  # noqa: S608 - the columns are ours
_SENT = """
UPDATE outbound.sends SET state = 'sent', wamid = coalesce(wamid, 'send:' || send_id), message_told = true,
    settled_at = $2, settlement = $3, problem = NULL,
    outcome_due_at = CASE WHEN callback IS NOT NULL THEN coalesce(outcome_due_at, $2) END
 WHERE send_id = $1
"""
_NOT_SENT = """
UPDATE outbound.sends SET state = 'failed', settled_at = $2, settlement = $3, problem = $4,
    outcome_due_at = CASE WHEN callback IS NOT NULL THEN coalesce(outcome_due_at, $2) END
 WHERE send_id = $1
"""
# A workflow that was told "unknown" went on; one that was not is told what becomes of it now.
_RESEND = """
UPDATE outbound.sends SET state = 'queued', not_before = $2, settled_at = NULL, settlement = $3, problem = NULL,
    outcome_due_at = CASE WHEN outcome_told_at IS NOT NULL THEN outcome_due_at END
 WHERE send_id = $1
"""


async def settle(connection: Connection, send_id: str, outcome: Settlement, *, who: str, reason: str) -> None:
    """Settle one send, in a transaction of its own; what follows from it is queued for the log and both CRMs.

    Raises `Rejected` when there is no such send, or its outcome is known, or its time is over (`resend`).
    """
    async with connection.transaction():
        row = await connection.fetchrow(_LOCK, send_id)
        if row is None:
            raise Rejected(
                f"There is no send {send_id}. Nothing was changed.",
                cause="no_send",
                advice="connector trace --contact PERSON lists their sends",
            )
        if row["state"] != "unknown":
            raise Rejected(
                f"The send {send_id} is {row['state']}: only one whose outcome is unknown can be settled. "
                "Nothing was changed.",
                cause="not_unknown",
                advice=f"connector why {send_id}",
            )
        now: datetime = row["now"]
        settlement = {"outcome": outcome, "who": who, "reason": reason, "at": now.isoformat()}
        send = Send.of(row)
        match outcome:
            case "sent":
                await connection.execute(_SENT, send_id, now, settlement)
            case "not-sent":
                await connection.execute(_NOT_SENT, send_id, now, settlement, _problem(who, reason))
            case "resend":
                if send.expires_at <= now:
                    raise Rejected(
                        f"The time of the send {send_id} ended at {send.expires_at:%Y-%m-%d %H:%M:%S} UTC: it would "
                        "expire instead of being sent. Nothing was changed.",
                        cause="expired",
                        advice=f"connector send settle {send_id} --not-sent --reason …, then connector send PERSON TEMPLATE",
                    )
                await connection.execute(_RESEND, send_id, now, settlement)
        events = _events(send, _number(row), outcome, who=who, reason=reason, at=now)
        await queue_outgoing(connection, stage=STAGE, records=[record_of(event) for event in events])


def _events(
    send: Send, number: BusinessNumber, outcome: Settlement, *, who: str, reason: str, at: datetime
) -> list[ConversationEvent]:
    """A resend needs no event: the next attempt is announced as ever."""
    match outcome:
        case "sent":
            wamid = f"send:{send.send_id}"
            return [*telling.accepted(send, number, wamid=wamid, message_status="accepted", at=at)]
        case "not-sent":
            problem = _problem(who, reason)
            return [*telling.failed(send, number, code=0, cause=_CAUSE, reason=problem["reason"], at=at)]
    return []


def _problem(who: str, reason: str) -> dict[str, Any]:
    return {"code": 0, "cause": _CAUSE, "reason": f"{who} found that it was not sent: {reason}"}


def _number(row: Any) -> BusinessNumber:
    return BusinessNumber(
        phone_number_id=row["phone_number_id"],
        waba_id=row["waba_id"] or "",
        display_phone=row["display_phone"] or "",
    )
