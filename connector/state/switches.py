"""Switches: what somebody paused, who, when and why. `shared.switches` is a fold of the acts, in any order of them.

Written by `connector pause` and `resume`. Acts on sends are on the log, too, and folded again by whoever reads it; the
dispatchers read them before every claim. Pauses of a stage or a sink are read by the role itself (streams/pauses.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.events import SendsSwitched
from connector.state.database import Connection

SENDS = "sends"
"""What leaves for WhatsApp."""
WORK = ("stage", "sink")
"""What a role reads, and what it writes to a CRM; the subject is its name."""

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

    kind: str
    scope: str
    subject: str
    reason: str
    who: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class SwitchAct:
    """Somebody paused or resumed something."""

    act_id: str
    scope: str
    subject: str
    paused: bool
    reason: str
    who: str
    at: datetime


async def switch(connection: Connection, acts: Iterable[SendsSwitched]) -> int:
    """The same as `record_acts`, of acts on sends as they are on the log."""
    return await record_acts(
        connection,
        SENDS,
        [
            SwitchAct(
                act_id=act.event_id,
                scope=act.scope,
                subject=act.subject,
                paused=act.paused,
                reason=act.reason,
                who=act.client,
                at=act.received_at,
            )
            for act in acts
        ],
    )


async def record_acts(connection: Connection, kind: str, acts: Iterable[SwitchAct]) -> int:
    """Record acts in the caller's transaction, and let the latest of each switch count; how many were new."""
    rows = list({act.act_id: act for act in acts}.values())
    if not rows:
        return 0
    await connection.execute(_ALONE)
    new = await connection.fetch(
        _RECORD,
        [act.act_id for act in rows],
        kind,
        [act.scope for act in rows],
        [act.subject for act in rows],
        [act.paused for act in rows],
        [act.reason for act in rows],
        [act.who for act in rows],
        [act.at for act in rows],
    )
    if new:
        await _derive(connection, kind, sorted({(act.scope, act.subject) for act in rows}))
    return len(new)


async def _derive(connection: Connection, kind: str, concerned: Sequence[tuple[str, str]]) -> None:
    columns = [scope for scope, _ in concerned], [subject for _, subject in concerned]
    latest = await connection.fetch(_LATEST, kind, *columns)
    on = [row for row in latest if row["paused"]]
    await connection.execute(_RELEASE, kind, *columns)
    if on:
        await connection.execute(
            _PRESS,
            kind,
            *([row[name] for row in on] for name in ("scope", "subject", "reason", "who", "at")),
        )


async def pressed(connection: Connection, *, kind: str = SENDS) -> list[Pressed]:
    """Every switch of the kind that is on: all of it first, then by name."""
    rows = await connection.fetch(
        "SELECT kind, scope, subject, reason, who, at FROM shared.switches WHERE kind = $1 "
        "ORDER BY scope <> 'all', scope, subject",
        kind,
    )
    return [Pressed(**row) for row in rows]


async def everything_pressed(connection: Connection) -> list[Pressed]:
    """What is paused, of every kind."""
    return [switch for kind in (SENDS, *WORK) for switch in await pressed(connection, kind=kind)]
