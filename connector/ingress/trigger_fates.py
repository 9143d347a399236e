"""What became of a trigger: the outbound role's tables, read by `GET /triggers/{trigger_id}`. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from connector.ingress.trigger_records import place_of
from connector.outbound.reasons import reason_of
from connector.settings import Settings
from connector.state.database import close_pool, open_pool, transaction

_CONNECTIONS = 4
_TRIGGER = """
SELECT template, recipients, received_at FROM outbound.triggers
 WHERE trigger_id = $1 AND source = 'api' AND client = $2
"""
_SENDS = """
SELECT send_id, state, recipient, reference, wamid, category, rendered, problem, verdict, admitted_at, expires_at,
       not_before, attempted_at, settled_at
  FROM outbound.sends WHERE trigger_id = $1
"""
_REJECTIONS = "SELECT at, reason FROM outbound.rejections WHERE trigger_id = $1 ORDER BY at, event_id"


class TriggerFates(Protocol):
    """Where a trigger's sends can be looked up."""

    async def fate_of(self, trigger_id: str, *, client: str) -> Mapping[str, Any] | None:
        """`{trigger_id, recipients: [{send_id, status, …}], …}`; None when this client has no such trigger there.

        Raises `ConnectorError` when the state cannot be read.
        """
        ...


class RecordedFates:
    """The tables. One transaction a look-up, so that the sends are of one moment."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def close(self) -> None:
        """Close the connections."""
        await close_pool(self._pool)

    async def fate_of(self, trigger_id: str, *, client: str) -> Mapping[str, Any] | None:
        async with transaction(self._pool) as connection:
            trigger = await connection.fetchrow(_TRIGGER, trigger_id, client)
            if trigger is None:
                return None
            sends = await connection.fetch(_SENDS, trigger_id)
            rejections = await connection.fetch(_REJECTIONS, trigger_id)
        return {
            "trigger_id": trigger_id,
            "template": trigger["template"],
            "received_at": _moment(trigger["received_at"]),
            "recipients": [_send(row) for row in sorted(sends, key=lambda row: place_of(row["send_id"]))],
            # The same key came again with another body: nothing of these was sent.
            "rejected": [{"at": _moment(row["at"]), "reason": row["reason"]} for row in rejections],
        }


async def open_fates(settings: Settings) -> RecordedFates | None:
    """As the settings say; None while no client is configured. Connects when somebody asks."""
    if not settings.triggers.clients:
        return None
    url = settings.database.url.get_secret_value()
    return RecordedFates(await open_pool(url, size=_CONNECTIONS, application="ingress-triggers"))


def _send(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """One recipient, without what there is not."""
    status = row["state"]
    shown = {
        "send_id": row["send_id"],
        "status": status,
        "to": {name: value for name, value in row["recipient"].items() if value},
        "reference": row["reference"],
        **_why(row),
        "message_id": row["wamid"],
        "category": row["category"],
        "text": row["rendered"],
        "expires_at": _moment(row["expires_at"]),
        "not_before": _moment(row["not_before"]) if status in ("queued", "held") else None,
        "attempted_at": _moment(row["attempted_at"]),
        "settled_at": _moment(row["settled_at"]),
    }
    return {name: value for name, value in shown.items() if value not in (None, "", {})}


def _why(row: Mapping[str, Any]) -> Mapping[str, Any]:
    reason = reason_of(row["state"], problem=row["problem"], verdict=row["verdict"])
    return {} if reason is None else {"reason": reason.sentence, "cause": reason.cause, "code": reason.code}


def _moment(value: datetime | None) -> str | None:
    """ISO 8601; None for none and for `infinity`, which asyncpg reads as the last moment there is."""
    return None if value is None or value.year in (1, 9999) else value.isoformat()
