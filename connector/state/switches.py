"""Kill switches: what somebody paused, who, when and why. `shared.switches` is a fold of the acts, in any order of them.

Written by `connector pause` and `resume`, which put each act on the log, too; and by whoever reads the log. Read by the
dispatchers before every claim.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.events import SendsSwitched
from connector.state.database import Connection

SENDS = "sends"
"""The one kind there is: what leaves for WhatsApp."""

# One act at a time: two that come together must not each miss the other.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended('shared.switches', 0))"
_RECORD = """
INSERT INTO shared.switch_acts (act_id, kind, scope, subject, paused, reason, who, at)
SELECT a.act_id, $2, a.scope, a.subject, a.paused, a.reason, a.who, a.at
  FROM unnest($1::text[], $3::text[], $4::text[], $5::boolean[], $6::text[], $7::text[], $8::timestamptz[])
    AS a (act_id, scope, subject, paused, reason, who, at)
ON CONFLICT (act_id) DO NOTHING RETURNING act_id
"""
_LATEST = """
SELECT DISTINCT ON (scope, subject) scope, subject, paused, reason, who, at FROM shared.switch_acts
 WHERE kind = $1 AND (scope, subject) IN (SELECT * FROM unnest($2::text[], $3::text[]))
 ORDER BY scope, subject, at DESC, act_id COLLATE "C" DESC
"""
_RELEASE = "DELETE FROM shared.switches WHERE kind = $1 AND (scope, subject) IN (SELECT * FROM unnest($2::text[], $3::text[]))"
_PRESS = """
INSERT INTO shared.switches (kind, scope, subject, reason, who, at)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pressed:
    """One switch that is on."""

    scope: str
    subject: str
    reason: str
    who: str
    at: datetime


async def switch(connection: Connection, acts: Iterable[SendsSwitched]) -> int:
    """Record acts in the caller's transaction, and let the latest of each switch count; how many were new."""
    told = {act.event_id: act for act in acts}
    if not told:
        return 0
    await connection.execute(_ALONE)
    rows = list(told.values())
    new = await connection.fetch(
        _RECORD,
        [act.event_id for act in rows],
        SENDS,
        [act.scope for act in rows],
        [act.subject for act in rows],
        [act.paused for act in rows],
        [act.reason for act in rows],
        [act.client for act in rows],
        [act.received_at for act in rows],
    )
    if new:
        concerned = sorted({(act.scope, act.subject) for act in rows})
        await _derive(connection, concerned)
    return len(new)


async def _derive(connection: Connection, concerned: Sequence[tuple[str, str]]) -> None:
    columns = [scope for scope, _ in concerned], [subject for _, subject in concerned]
    latest = await connection.fetch(_LATEST, SENDS, *columns)
    on = [row for row in latest if row["paused"]]
    await connection.execute(_RELEASE, SENDS, *columns)
    if on:
        await connection.execute(
            _PRESS,
            SENDS,
            *([row[name] for row in on] for name in ("scope", "subject", "reason", "who", "at")),
        )


async def pressed(connection: Connection) -> list[Pressed]:
    """Every switch that is on: all sends first, then templates and numbers by name."""
    rows = await connection.fetch(
        "SELECT scope, subject, reason, who, at FROM shared.switches WHERE kind = $1 "
        "ORDER BY scope <> 'all', scope, subject",
        SENDS,
    )
    return [Pressed(**row) for row in rows]
