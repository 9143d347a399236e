"""Where is this message, and where does it wait? Read from the roles' tables; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from connector.recovery.adoptions import AdoptionTrace, adoptions_of, held_because
from connector.recovery.log_stages import SINKS
from connector.recovery.sends import SendTrace, send_of_message, send_trace, sends_of
from connector.state.database import Connection
from connector.sync.core.desired import BODY_LIMIT, activity_status, contact_profile, cut
from connector.sync.core.rendering import render


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """The update as it lies on `whatsapp.updates`."""

    at: datetime
    topic: str
    partition: int
    offset: int
    event_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkTrace:
    """What one CRM should say and was told. `stage` says in a sentence where the item is."""

    sink: str
    stage: str
    desired_version: int
    written_version: int
    record_id: str | None
    contact_record_id: str | None
    status: str
    statuses: Sequence[Any]
    text: str
    direction: str = ""
    at: datetime | None = None
    """Of a message: when it was written, by WhatsApp's clock."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageTrace:
    """One message on its way. `send`: what was asked for, of one that we sent or were not allowed to."""

    wamid: str
    contact_id: UUID | None
    received: Received | None
    sinks: Sequence[SinkTrace]
    send: SendTrace | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactTrace:
    """One person: who they are to us and to each CRM, and their messages."""

    contact_id: UUID
    merged: Sequence[UUID]
    aliases: Sequence[str]
    records: Sequence[SinkTrace]
    adoptions: Sequence[AdoptionTrace]
    messages: Sequence[MessageTrace]
    sends: Sequence[SendTrace]


async def trace_message(connection: Connection, name: str) -> MessageTrace | None:
    """One message by its wamid, or by the id of the send that it came of; None when no stage has ever seen it."""
    send = await send_trace(connection, name) or await send_of_message(connection, name)
    # What was never sent stands on the timelines under the send's own id.
    wamid = name if send is None else send.wamid or f"send:{send.send_id}"
    received = await connection.fetchrow("SELECT * FROM identity.messages WHERE wamid = $1", wamid)
    sinks = []
    contact_id: UUID | None = received["contact_id"] if received else send.contact_id if send else None
    for sink in SINKS:
        row = await connection.fetchrow(
            f"SELECT a.*, c.record_id AS contact_record FROM {sink}.activities a "  # noqa: S608 - sink is ours
            f"LEFT JOIN {sink}.contacts c USING (contact_id) WHERE a.wamid = $1",
            wamid,
        )
        if row is not None:
            sinks.append(_activity(sink, row))
            contact_id = row["contact_id"] or contact_id
    if received is None and not sinks and send is None:
        return None
    return MessageTrace(
        wamid=wamid,
        contact_id=contact_id,
        received=None
        if received is None
        else Received(
            at=received["received_at"],
            topic=received["topic"],
            partition=received["partition"],
            offset=received["offset"],
            event_id=received["first_event_id"],
        ),
        sinks=sinks,
        send=send,
    )


async def trace_contact(connection: Connection, contact_id: UUID, *, limit: int = 50) -> ContactTrace:
    """A person and their latest `limit` messages, oldest first."""
    merged = await connection.fetch(
        "SELECT contact_id FROM identity.contacts WHERE redirect_to = $1 ORDER BY contact_id", contact_id
    )
    everybody = [contact_id, *(row["contact_id"] for row in merged)]
    aliases = await connection.fetch(
        "SELECT kind, value, released_at FROM identity.aliases WHERE contact_id = ANY($1::uuid[]) ORDER BY kind, value",
        everybody,
    )
    records = []
    adoptions: list[AdoptionTrace] = []
    wamids: dict[str, datetime] = {}
    for sink in SINKS:
        row = await connection.fetchrow(f"SELECT * FROM {sink}.contacts WHERE contact_id = $1", contact_id)  # noqa: S608
        if row is not None:
            records.append(_contact(sink, row))
        adoptions += await adoptions_of(connection, sink, everybody)
        rows = await connection.fetch(
            f"SELECT wamid, fresh_at FROM {sink}.activities WHERE contact_id = $1 ORDER BY fresh_at DESC LIMIT $2",  # noqa: S608
            contact_id,
            limit,
        )
        wamids.update((item["wamid"], item["fresh_at"]) for item in rows)
    rows = await connection.fetch(
        "SELECT wamid, received_at FROM identity.messages WHERE contact_id = ANY($1::uuid[]) "
        "ORDER BY received_at DESC LIMIT $2",
        everybody,
        limit,
    )
    for item in rows:
        wamids.setdefault(item["wamid"], item["received_at"])
    messages = [
        await trace_message(connection, wamid) for wamid in sorted(wamids, key=lambda name: wamids[name])
    ]
    return ContactTrace(
        contact_id=contact_id,
        merged=[row["contact_id"] for row in merged],
        aliases=[
            f"{row['kind']} {row['value']}{' (given up)' if row['released_at'] else ''}" for row in aliases
        ],
        records=records,
        adoptions=adoptions,
        messages=[message for message in messages if message is not None],
        sends=await sends_of(connection, everybody, limit=limit),
    )


def _activity(sink: str, row: Any) -> SinkTrace:
    facts = row["facts"]
    rendering = render(facts)
    statuses = [facts["status"]] if "status" in facts else []
    return SinkTrace(
        sink=sink,
        stage=_stage(row, sink, knows_person=row["contact_id"] is not None),
        desired_version=row["desired_version"],
        written_version=row["written_version"],
        record_id=row["record_id"],
        contact_record_id=row["on_record_id"] or row["contact_record"],
        status=activity_status(facts, rendering.direction),
        statuses=[*statuses, *facts.get("other_statuses", [])],
        text=cut(rendering.text, BODY_LIMIT),
        direction=rendering.direction,
        at=datetime.fromtimestamp(rendering.at / 1000, UTC) if rendering.at else None,
    )


def _contact(sink: str, row: Any) -> SinkTrace:
    profile = contact_profile(row["facts"])
    return SinkTrace(
        sink=sink,
        stage=_stage(row, sink, knows_person=True),
        desired_version=row["desired_version"],
        written_version=row["written_version"],
        record_id=row["record_id"],
        contact_record_id=row["record_id"],
        status="",
        statuses=[],
        text=" · ".join(
            part for part in (profile.name, profile.phone, profile.username, profile.bsuid) if part
        ),
    )


def _stage(row: Any, sink: str, *, knows_person: bool) -> str:
    if row["problem"]:
        return f"refused by {sink}: {row['problem']}"
    if not knows_person:
        return "waits for its message: a status came, its person is not known yet"
    if row["desired_version"] <= row["written_version"]:
        return f"written to {sink}"
    if row["held"]:
        return held_because(row["held"], sink)
    since = f" since {row['waiting_since']:%Y-%m-%d %H:%M:%S} UTC" if row["waiting_since"] else ""
    if row.get("intent_at") and not row["record_id"]:
        return f"in doubt{since}: {sink}'s answer was lost; it is looked up before anything is repeated"
    return f"waits for {sink}{since} ({row['attempts']} attempts)"
