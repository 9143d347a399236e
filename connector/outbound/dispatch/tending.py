"""What nobody holds any more: attempts that a process left behind, answers that never came, messages told by a status.

An attempt is on the log before its request leaves, and its process checks the lease in between. So an attempt whose
lease has ended, and that is not on the log as it was after that end, never left; one that is there may have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from connector.errors import ConnectorError
from connector.events import ConversationEvent
from connector.outbound.announcements import STAGE
from connector.outbound.dispatch import telling
from connector.outbound.dispatch.claiming import SeenUntil, record_of
from connector.outbound.dispatch.paces import forget_pairs
from connector.outbound.dispatch.send import COLUMNS, BusinessNumber, Send
from connector.state.database import Connection, transaction
from connector.state.whole import Wholeness
from connector.streams.outgoing import queue_outgoing
from connector.sync.rest import rest
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

_LOOK_EVERY = 1.0
_MARGIN = timedelta(seconds=1)
_MOST = 500
_LOST = "the process that sent it ended before WhatsApp's answer was written down"
_NO_STATUS = "WhatsApp's answer was lost, and no status has come: it may have been sent or not"

# The rows are locked in key order, as everywhere; a row that somebody holds is looked at again the next time.
_LEFT_BEHIND = """
WITH n AS (
    SELECT send_id, attempt_logged >= attempts AS logged FROM outbound.sends
     WHERE state = 'sending' AND lease_until < clock_timestamp() AND (attempt_logged >= attempts OR lease_until < $1)
     ORDER BY send_id LIMIT $2 FOR UPDATE SKIP LOCKED
)
UPDATE outbound.sends s
   SET state = CASE WHEN n.logged THEN 'unknown' ELSE 'queued' END, lease_until = NULL,
       problem = CASE WHEN n.logged THEN $3::jsonb ELSE s.problem END
  FROM n WHERE s.send_id = n.send_id RETURNING n.logged
"""
_SILENT = f"""
SELECT {COLUMNS}, n.waba_id, n.display_phone FROM outbound.sends s
  LEFT JOIN outbound.numbers n USING (phone_number_id)
 WHERE s.state = 'unknown' AND s.settled_at IS NULL AND s.admitted_at IS NOT NULL
   AND coalesce(s.attempted_at, s.admitted_at) < clock_timestamp() - $1::interval
 ORDER BY s.send_id LIMIT $2 FOR UPDATE OF s SKIP LOCKED
"""  # noqa: S608 - the columns are ours
_REPORTED = """
UPDATE outbound.sends
   SET settled_at = $2, problem = $3,
       outcome_due_at = CASE WHEN callback IS NOT NULL THEN coalesce(outcome_due_at, $2) ELSE outcome_due_at END
 WHERE send_id = ANY($1::text[])
"""
_UNTOLD = f"""
SELECT {COLUMNS}, s.wamid, s.attempted_at, n.waba_id, n.display_phone FROM outbound.sends s
  LEFT JOIN outbound.numbers n USING (phone_number_id)
 WHERE s.wamid IS NOT NULL AND NOT s.message_told AND s.admitted_at IS NOT NULL AND s.state <> 'sending'
   AND coalesce(s.attempted_at, s.admitted_at) < clock_timestamp() - $1::interval
 ORDER BY s.send_id LIMIT $2 FOR UPDATE OF s SKIP LOCKED
"""  # noqa: S608


async def recover(connection: Connection, *, seen: datetime | None) -> tuple[int, int]:
    """(queued again, unknown) of the attempts whose lease has ended. `seen`: see `SeenUntil`."""
    rows = await connection.fetch(
        _LEFT_BEHIND,
        seen - _MARGIN if seen is not None else None,
        _MOST,
        {"code": 0, "cause": "lost_answer", "reason": _LOST},
    )
    unknown = sum(row["logged"] for row in rows)
    return len(rows) - unknown, unknown


async def report_unknown(connection: Connection, *, after: timedelta) -> int:
    """Say of attempts without an answer and without a status that nobody knows; how many events are queued."""
    rows = await connection.fetch(_SILENT, after, _MOST)
    if not rows:
        return 0
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await connection.execute(
        _REPORTED,
        [row["send_id"] for row in rows],
        now,
        {"code": 0, "cause": "outcome_unknown", "reason": _NO_STATUS},
    )
    events = [telling.unknown(Send.of(row), _number(row), reason=_NO_STATUS, at=now) for row in rows]
    await queue_outgoing(connection, stage=STAGE, records=[record_of(event) for event in events])
    return len(events)


async def tell_messages(connection: Connection, *, after: timedelta) -> int:
    """Tell the log of messages that a status named before, or instead of, our own answer; how many events."""
    rows = await connection.fetch(_UNTOLD, after, _MOST)
    events: list[ConversationEvent] = []
    for row in rows:
        events += telling.accepted(
            Send.of(row),
            _number(row),
            wamid=row["wamid"],
            message_status="accepted",
            at=row["attempted_at"] or row["created_at"],
        )
    await connection.execute(
        "UPDATE outbound.sends SET message_told = true WHERE send_id = ANY($1::text[])",
        [row["send_id"] for row in rows],
    )
    await queue_outgoing(connection, stage=STAGE, records=[record_of(event) for event in events])
    return len(events)


def _number(row: Any) -> BusinessNumber:
    return BusinessNumber(
        phone_number_id=row["phone_number_id"],
        waba_id=row["waba_id"] or "",
        display_phone=row["display_phone"] or "",
    )


async def tend(
    pool: asyncpg.Pool,
    *,
    tables: Wholeness,
    view: SeenUntil,
    unknown_after: float,
    answered_within: float,
    queued: Callable[[], None],
    due: Callable[[], None],
    health: StageHealth,
    stop: asyncio.Event,
) -> None:
    """Look after all of it every second until `stop`, in any number of processes. Never raises for a dependency.

    `answered_within`: seconds after which an answer is written down or lost. `queued` is called after rows for the
    relay were left, `due` after sends went back into the queue.
    """
    while not stop.is_set():
        try:
            async with transaction(pool) as connection:
                await tables.must_be_whole(connection)
                again, unknown = await recover(connection, seen=await view.seen_until(connection))
                silent = await report_unknown(connection, after=timedelta(seconds=unknown_after))
                told = await tell_messages(connection, after=timedelta(seconds=answered_within))
                await forget_pairs(connection, most=_MOST)
        except ConnectorError as error:
            health.waiting("tending", reason=error.message, advice=error.advice)
        else:
            health.recovered("tending")
            metrics.SENDS_RECOVERED.labels("queued").inc(again)
            metrics.SENDS_RECOVERED.labels("unknown").inc(unknown)
            metrics.SENDS_UNKNOWN.inc(silent)
            if silent or told:
                queued()
            if again:
                due()
        await rest(_LOOK_EVERY, stop)
