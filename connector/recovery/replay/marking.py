"""Putting planned items ahead of what was written: what a replay does to a sink's tables, and all that it does.

A batch is one transaction: rows are locked in the order of locks.py, each item's version is compared with the one that
was looked at when the plan was made, and what is still the same goes one version ahead, in the class replay. The
sink's own writer finds it there, as it finds everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.crm.port import Priority
from connector.errors import Transient
from connector.recovery.replay.items import PLACE, Act, Kind
from connector.state.database import Connection
from connector.streams.codec import decode
from connector.sync.core.contacts import ContactFacts
from connector.sync.core.fold import LONG_AGO, Position, resolve
from connector.sync.core.holding import Hold, HoldRules, Standing, hold, lookup_phone
from connector.sync.folding import SinkTables
from connector.sync.holds import copy_holds
from connector.sync.locks import lock_contacts
from connector.topics import CONVERSATION_EVENTS

_CONTACT_COLUMNS = (
    "contact_id, facts, desired_version, record_id, redirect_to, held, looked_up_phone, erased, phone, "
    "lease_until > now() AS leased"
)

ELSEWHERE = "-"
"""No record of any CRM: what is said to hang there is hung on its person's record, wherever it is."""

# What waits already keeps its turn.
_AHEAD = (
    "desired_version = t.desired_version + 1, problem = NULL, attempts = 0, "
    "priority = CASE WHEN t.desired_version > t.written_version THEN t.priority ELSE $1 END, "
    "waiting_since = CASE WHEN t.desired_version > t.written_version THEN coalesce(t.waiting_since, now()) ELSE now() END"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenItem:
    """An item that is to be marked."""

    number: int
    kind: Kind
    key: str
    act: Act
    fields: Sequence[str]
    base_version: int | None
    facts: Mapping[str, Any] | None
    digest: str | None
    record_id: str | None
    event: bytes | None
    fresh_at: datetime | None
    position: Position | None


async def mark(
    connection: Connection, sink: str, items: Sequence[OpenItem], *, tables: SinkTables, now: datetime
) -> dict[int, int]:
    """Put these items of one kind ahead, in the caller's transaction. Number → the version to be written.

    Those that are missing in it have changed since the plan was made, and are left as they are.
    """
    kind = items[0].kind
    assert all(item.kind is kind for item in items)
    if kind is Kind.MERGE:
        return await _merge(connection, items, tables=tables, now=now)
    if kind is Kind.CONTACT:
        return await _contacts(connection, sink, items, rules=tables.holds)
    return await _activities(connection, sink, items)


async def _merge(
    connection: Connection, items: Sequence[OpenItem], *, tables: SinkTables, now: datetime
) -> dict[int, int]:
    """Fold the merges as the role does when it hears of them; one that it has heard of meanwhile changes nothing."""
    events = [
        (decode(CONVERSATION_EVENTS, item.event), item.position or Position("", -1, -1))
        for item in items
        if item.event is not None
    ]
    await tables.apply(connection, events, offsets=(), now=now, replay=True)
    return {item.number: 0 for item in items}


async def _contacts(
    connection: Connection, sink: str, items: Sequence[OpenItem], *, rules: HoldRules
) -> dict[int, int]:
    rows = {
        row["contact_id"]: row
        for row in await lock_contacts(
            connection, sink, [UUID(item.key) for item in items], columns=_CONTACT_COLUMNS
        )
    }
    new: list[tuple[OpenItem, ContactFacts, Hold | None]] = []
    known: list[tuple[OpenItem, ContactFacts, Hold | None]] = []
    for item in items:
        row = rows.get(UUID(item.key))
        if (row["desired_version"] if row else None) != item.base_version:
            continue
        if row is None:
            facts = dict(item.facts or {})
            new.append((item, facts, hold(Standing(), before={}, after=facts, rules=rules)))
            continue
        if item.act is Act.RESTORE and row["leased"]:
            raise _being_written()
        facts = dict(item.facts) if item.facts is not None else row["facts"]
        known.append((item, facts, hold_after(row, facts, item.act, rules)))
    marked: dict[int, int] = {}
    if new:
        new.sort(key=lambda one: one[0].key)
        inserted = await connection.fetch(
            f"INSERT INTO {sink}.contacts (contact_id, facts, desired_version, priority, fresh_at, waiting_since, "  # noqa: S608
            "held, phone) SELECT n.contact_id, n.facts, 1, $1, n.fresh_at, now(), n.held, n.phone FROM "
            "unnest($2::uuid[], $3::jsonb[], $4::timestamptz[], $5::text[], $6::text[]) AS n (contact_id, facts, "
            "fresh_at, held, phone) ON CONFLICT DO NOTHING RETURNING contact_id",
            int(Priority.REPLAY),
            *_contact_arrays(new),
        )
        created = {str(row["contact_id"]) for row in inserted}
        marked |= {item.number: 1 for item, _, _ in new if item.key in created}
    if known:
        updated = await connection.fetch(
            f"UPDATE {sink}.contacts AS t SET {_AHEAD}, facts = n.facts, fresh_at = greatest(t.fresh_at, n.fresh_at), "  # noqa: S608
            "held = n.held, phone = n.phone, written_digest = n.digest, not_before = '-infinity', "
            "record_id = CASE WHEN n.anew THEN NULL ELSE t.record_id END, "
            "shared = t.shared AND NOT n.anew, created_by_us = t.created_by_us AND NOT n.anew, "
            "intent = t.intent AND NOT n.anew, written_version = CASE WHEN n.anew THEN 0 ELSE t.written_version END, "
            "looked_up_phone = CASE WHEN n.anew THEN NULL ELSE t.looked_up_phone END "
            "FROM unnest($2::uuid[], $3::jsonb[], $4::timestamptz[], $5::text[], $6::text[], $7::text[], $8::boolean[]) "
            "AS n (contact_id, facts, fresh_at, held, phone, digest, anew) WHERE t.contact_id = n.contact_id "
            "RETURNING t.contact_id, t.desired_version",
            int(Priority.REPLAY),
            *_contact_arrays(known),
            [item.digest for item, _, _ in known],
            [item.act is Act.RESTORE for item, _, _ in known],
        )
        versions = {str(row["contact_id"]): row["desired_version"] for row in updated}
        marked |= {item.number: versions[item.key] for item, _, _ in known}
        await copy_holds(connection, sink, [UUID(item.key) for item, _, _ in known])
    return marked


def _being_written() -> Transient:
    # What a request on the way brings back is the record that is given up here.
    return Transient(
        "Somebody whose record is to be made anew is being written at this moment.", retry_after=0.5
    )


def hold_after(row: Mapping[str, Any], facts: ContactFacts, act: Act, rules: HoldRules) -> Hold | None:
    """Why a known person is held once they are marked. `row`: as it is now, which the plan may not have seen."""
    held = Hold(row["held"]) if row["held"] else None
    if act is Act.RESTORE:
        # Whoever was erased since the plan was made is not made anew, whatever the plan says.
        return hold(Standing(erased=row["erased"]), before={}, after=facts, rules=rules)
    standing = Standing(
        held=held,
        record_id=row["record_id"],
        looked_up_phone=row["looked_up_phone"],
        erased=row["erased"],
    )
    return hold(standing, before=row["facts"], after=facts, rules=rules)


def _contact_arrays(chosen: Sequence[tuple[OpenItem, ContactFacts, Hold | None]]) -> tuple[list[Any], ...]:
    return (
        [UUID(item.key) for item, _, _ in chosen],
        [facts for _, facts, _ in chosen],
        [item.fresh_at or LONG_AGO for item, _, _ in chosen],
        [held for _, _, held in chosen],
        [lookup_phone(facts) for _, facts, _ in chosen],
    )


async def _activities(connection: Connection, sink: str, items: Sequence[OpenItem]) -> dict[int, int]:
    owners = {
        item.key: UUID(owner[1]) for item in items if (owner := (item.facts or {}).get("owner")) is not None
    }
    people = await lock_contacts(
        connection,
        sink,
        set(owners.values()),
        wamids=[item.key for item in items],
        columns="contact_id, redirect_to, lease_until > now() AS leased",
    )
    if any(row["leased"] for row in people) and any(item.act is Act.RESTORE for item in items):
        raise _being_written()
    redirects = {row["contact_id"]: row["redirect_to"] for row in people if row["redirect_to"] is not None}
    versions = {
        row["wamid"]: row["desired_version"]
        for row in await connection.fetch(
            f"SELECT wamid, desired_version FROM {sink}.activities WHERE wamid = ANY($1::text[]) "  # noqa: S608
            "ORDER BY wamid FOR UPDATE",
            [item.key for item in items],
        )
    }
    same = [item for item in items if versions.get(item.key) == item.base_version]
    new = sorted((item for item in same if item.base_version is None), key=lambda item: item.key)
    known = [item for item in same if item.base_version is not None]
    marked: dict[int, int] = {}
    if new:
        positions = [item.position or Position("", -1, -1) for item in new]
        inserted = await connection.fetch(
            f"INSERT INTO {sink}.activities (wamid, contact_id, facts, desired_version, priority, fresh_at, "  # noqa: S608
            'waiting_since, topic, partition, "offset", record_id, on_record_id, written_digest, intent_at) '
            "SELECT n.wamid, n.contact_id, n.facts, 1, $1, n.fresh_at, now(), "
            "n.topic, n.partition, n.place, n.record_id, CASE WHEN n.record_id IS NULL THEN NULL WHEN n.moved THEN $12 "
            f"ELSE (SELECT c.record_id FROM {sink}.contacts c WHERE c.contact_id = n.contact_id) END, n.digest, "
            # Tables that lost a row may have written it: it is looked up before it is made.
            "CASE WHEN n.record_id IS NULL THEN now() - interval '1 day' END "
            "FROM unnest($2::text[], $3::uuid[], $4::jsonb[], $5::timestamptz[], $6::text[], $7::int[], $8::bigint[], "
            "$9::text[], $10::text[], $11::boolean[]) AS n (wamid, contact_id, facts, fresh_at, topic, partition, place, "
            "record_id, digest, moved) "
            "ON CONFLICT DO NOTHING RETURNING wamid",
            int(Priority.REPLAY),
            [item.key for item in new],
            [resolve(owners[item.key], redirects) if item.key in owners else None for item in new],
            [item.facts for item in new],
            [item.fresh_at or LONG_AGO for item in new],
            [position.topic for position in positions],
            [position.partition for position in positions],
            [position.offset for position in positions],
            [item.record_id for item in new],
            [item.digest for item in new],
            [PLACE in item.fields for item in new],
            ELSEWHERE,
        )
        created = {row["wamid"] for row in inserted}
        marked |= {item.number: 1 for item in new if item.key in created}
    if known:
        updated = await connection.fetch(
            f"UPDATE {sink}.activities AS t SET {_AHEAD}, facts = coalesce(n.facts, t.facts), "  # noqa: S608
            "fresh_at = greatest(t.fresh_at, n.fresh_at), written_digest = n.digest, "
            "record_id = CASE WHEN n.anew THEN n.record_id ELSE t.record_id END, "
            "on_record_id = CASE WHEN n.anew THEN CASE WHEN n.record_id IS NOT NULL THEN $8 END WHEN n.moved THEN coalesce(nullif(t.on_record_id, (SELECT "
            f"c.record_id FROM {sink}.contacts c WHERE c.contact_id = t.contact_id)), $8) ELSE t.on_record_id END, "
            "written_version = CASE WHEN n.anew THEN 0 ELSE t.written_version END, "
            # A create in doubt is looked up first, at its own time.
            "not_before = CASE WHEN t.intent_at IS NULL THEN '-infinity' ELSE t.not_before END "
            "FROM unnest($2::text[], $3::jsonb[], $4::timestamptz[], $5::text[], $6::boolean[], $7::boolean[], $9::text[]) "
            "AS n (wamid, facts, fresh_at, digest, anew, moved, record_id) WHERE t.wamid = n.wamid RETURNING t.wamid, t.desired_version",
            int(Priority.REPLAY),
            [item.key for item in known],
            [item.facts for item in known],
            [item.fresh_at or LONG_AGO for item in known],
            [item.digest for item in known],
            [item.act is Act.RESTORE for item in known],
            [PLACE in item.fields for item in known],
            ELSEWHERE,
            [item.record_id for item in known],
        )
        now_at = {row["wamid"]: row["desired_version"] for row in updated}
        marked |= {item.number: now_at[item.key] for item in known}
    await copy_holds(
        connection, sink, [row["contact_id"] for row in people], wamids=[item.key for item in same]
    )
    return marked
