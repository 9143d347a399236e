"""Pausing and resuming: the switch takes effect with the transaction.

An act on sends goes to the log behind it. One on a stage or a sink is on `operator.actions` only: a database restored from
before it does not know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from connector.errors import Rejected
from connector.events import SendsSwitched
from connector.outbound.announcements import STAGE
from connector.state.database import Connection
from connector.state.switches import Pressed, SwitchAct, pressed, record_acts, switch
from connector.streams.codec import encode
from connector.streams.outgoing import queue_outgoing
from connector.sync.backlog import waiting as backlog
from connector.topics import CRM_TRIGGERS
from connector.whatsapp.numbers import bare_number

_ORIGIN = "cli"


@dataclass(frozen=True, kw_only=True, slots=True)
class Switched:
    """What there is after an act. `waiting`: sends that it concerns and that have not left."""

    changed: bool
    waiting: int
    pressed: Sequence[Pressed]


async def press(connection: Connection, act: SendsSwitched) -> Switched:
    """Let an act count and queue it for the log, in one transaction of its own."""
    async with connection.transaction():
        before = {(item.scope, item.subject) for item in await pressed(connection)}
        await switch(connection, [act])
        record = encode(CRM_TRIGGERS, key=f"switch:{act.scope}:{act.subject}", value=act, origin=_ORIGIN)
        await queue_outgoing(connection, stage=STAGE, records=[record])
        now = await pressed(connection)
        waiting = await _waiting(connection, act)
    return Switched(changed=((act.scope, act.subject) in before) != act.paused, waiting=waiting, pressed=now)


async def press_work(connection: Connection, kind: str, act: SwitchAct) -> Switched:
    """Let an act on a stage or a sink count. `kind`: one of `WORK`. `waiting`: of a sink, items; of a stage 0."""
    async with connection.transaction():
        before = {item.subject for item in await pressed(connection, kind=kind)}
        await record_acts(connection, kind, [act])
        now = await pressed(connection, kind=kind)
        items = (await backlog(connection, act.subject))[0] if kind == "sink" else 0
    return Switched(changed=(act.subject in before) != act.paused, waiting=items, pressed=now)


async def _waiting(connection: Connection, act: SendsSwitched) -> int:
    count: int = await connection.fetchval(
        "SELECT count(*) FROM outbound.sends WHERE state IN ('queued', 'held') AND "
        "CASE $1 WHEN 'template' THEN template_name = $2 WHEN 'number' THEN phone_number_id = $2 ELSE true END",
        act.scope,
        act.subject,
    )
    return count


async def known_template(connection: Connection, name: str) -> str:
    """The name, if there is such a template, or none at all is known yet.

    Raises `Rejected` for a name that is none: pausing it would pause nothing.
    """
    rows = await connection.fetch("SELECT DISTINCT name FROM outbound.templates WHERE status <> 'DELETED'")
    names = [row["name"] for row in rows]
    if not names or name in names:
        return name
    near = get_close_matches(name, names, n=1)
    raise Rejected(
        f"There is no template {name}{f' (is it {near[0]}?)' if near else ''}. Nothing was changed.",
        cause="unknown_template",
        advice="connector templates list",
    )


async def known_number(connection: Connection, named: str) -> str:
    """The phone number id of a business number, given as that or as it is dialled.

    Raises `Rejected` for one that is none of ours, as far as any is known.
    """
    rows = await connection.fetch("SELECT phone_number_id, display_phone FROM outbound.numbers")
    ours: dict[str, str] = {row["phone_number_id"]: bare_number(row["display_phone"]) for row in rows}
    digits = bare_number(named)
    for phone_number_id, display in ours.items():
        if digits in (phone_number_id, display):
            return phone_number_id
    if not ours and digits.isdecimal():
        return digits
    raise Rejected(
        f"{named} is no number of this business. Nothing was changed.",
        cause="unknown_number",
        advice="known are: " + (", ".join(f"{one} (+{shown})" for one, shown in ours.items()) or "none yet"),
    )
