"""Requests by their idempotency key: the first body that is read counts, another one is a recorded rejection."""

from __future__ import annotations

from collections.abc import Sequence

from connector.events import SendRequested
from connector.state.database import Connection

REUSED_KEY = "the idempotency key was used before for another request"

_REMEMBER = """
INSERT INTO outbound.triggers (trigger_id, request_hash, source, client, template, recipients, received_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::timestamptz[])
ON CONFLICT (trigger_id) DO NOTHING
"""
_REJECT = """
INSERT INTO outbound.rejections (event_id, trigger_id, request_hash, at, reason)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::text[]) ON CONFLICT (event_id) DO NOTHING
"""


async def accepted(connection: Connection, requests: Sequence[SendRequested]) -> list[SendRequested]:
    """Those that belong to the first request with their key. The others are recorded as rejected."""
    first: dict[str, SendRequested] = {}
    for request in requests:
        first.setdefault(request.trigger_id, request)
    if not first:
        return []
    triggers = [first[trigger_id] for trigger_id in sorted(first)]
    await connection.execute(
        _REMEMBER,
        [request.trigger_id for request in triggers],
        [request.request_hash for request in triggers],
        [request.source for request in triggers],
        [request.client for request in triggers],
        [request.template.name for request in triggers],
        [request.recipients for request in triggers],
        [request.received_at for request in triggers],
    )
    rows = await connection.fetch(
        "SELECT trigger_id, request_hash FROM outbound.triggers WHERE trigger_id = ANY($1::text[])",
        sorted(first),
    )
    counts = {(row["trigger_id"], row["request_hash"]) for row in rows}
    others = [one for one in requests if (one.trigger_id, one.request_hash) not in counts]
    if others:
        await connection.execute(
            _REJECT,
            [other.event_id for other in others],
            [other.trigger_id for other in others],
            [other.request_hash for other in others],
            [other.received_at for other in others],
            [REUSED_KEY] * len(others),
        )
    return [one for one in requests if (one.trigger_id, one.request_hash) in counts]
