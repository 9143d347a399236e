"""What became of a trigger, for `GET /triggers/{trigger_id}`: read from the outbox, one row a recipient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg

from connector.state.database import transaction

_TRIGGER = """
SELECT t.*, (SELECT count(DISTINCT request_hash) FROM outbound.rejections r WHERE r.trigger_id = t.trigger_id) AS rejected
FROM outbound.triggers t WHERE trigger_id = $1 AND client = $2
"""
_SENDS = """
SELECT send_id, state, reference, wamid, category, verdict, problem, not_before, created_at, attempted_at, settled_at,
    contact_id, obstacle
FROM outbound.sends WHERE trigger_id = $1 AND admitted_at IS NOT NULL
ORDER BY nullif(split_part(send_id, '.', 2), '')::bigint NULLS LAST, send_id
"""


class OutboxFates:
    """`TriggerFates` over the tables of the outbound role, which this only reads."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def fate_of(self, trigger_id: str, *, client: str) -> Mapping[str, Any] | None:
        """See `TriggerFates`. Raises `Transient` and `Terminal` as the database does."""
        async with transaction(self._pool) as connection:
            trigger = await connection.fetchrow(_TRIGGER, trigger_id, client)
            if trigger is None:
                return None
            sends = await connection.fetch(_SENDS, trigger_id)
        fate: dict[str, Any] = {
            "trigger_id": trigger_id,
            "received_at": _moment(trigger["received_at"]),
            "template": trigger["template"],
            "recipients": [_recipient(send) for send in sends],
        }
        missing = trigger["recipients"] - len(sends)
        if missing > 0:
            fate["not_admitted_yet"] = missing
        if trigger["rejected"]:
            fate["rejected"] = {
                "requests": trigger["rejected"],
                "reason": "the same idempotency key came with another body; nothing of that was sent",
            }
        return fate


def _recipient(send: Any) -> dict[str, Any]:
    """One send, without what is not there to say."""
    shown: dict[str, Any] = {
        "send_id": send["send_id"],
        "status": send["state"],
        "reference": send["reference"],
        "message_id": send["wamid"],
        "category": send["category"],
        "reason": _reason(send),
        "attempted_at": _moment(send["attempted_at"]),
        "settled_at": _moment(send["settled_at"]),
    }
    if send["state"] == "held":
        shown["held_until"] = _moment(send["not_before"])
    return {name: value for name, value in shown.items() if value not in (None, "")}


def _reason(send: Any) -> str:
    """Why it is as it is, in a sentence."""
    problem, verdict = send["problem"], send["verdict"]
    if problem and problem.get("reason"):
        return str(problem["reason"])
    if verdict and send["state"] in ("blocked", "held", "expired"):
        return str(verdict.get("explanation", ""))
    if send["state"] == "queued" and send["contact_id"] is None and not send["obstacle"]:
        return "the recipient is being looked for"
    return ""


def _moment(value: Any) -> str | None:
    return None if value is None else str(value.isoformat()).replace("+00:00", "Z")
