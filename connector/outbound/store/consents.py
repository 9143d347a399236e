"""The consent ledger's tables: every act as it came, and what the ledger makes of them for each person."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from connector.events.triggers import ConsentState
from connector.outbound.consent.ledger import (
    PURPOSES,
    Act,
    ConsentLedger,
    ConsentPurpose,
    Registers,
    Standing,
    register_of,
)
from connector.outbound.store.people import Member
from connector.state.database import Connection

_RECORD = """
INSERT INTO outbound.consent_acts (act_id, contact_id, purpose, register, state, at, by_person, resumes, source, evidence)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::boolean[],
                     $8::boolean[], $9::text[], $10::text[])
ON CONFLICT (act_id) DO NOTHING RETURNING contact_id
"""
_LATEST = """
SELECT DISTINCT ON (contact_id, purpose, register) * FROM outbound.consent_acts WHERE contact_id = ANY($1::uuid[])
ORDER BY contact_id, purpose, register, at DESC, act_id COLLATE "C" DESC
"""
_SAVE = """
INSERT INTO outbound.consents AS c (contact_id, purpose, state, at, source, act_id, evidence, by_person, changed_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
                     $8::boolean[], $9::timestamptz[])
ON CONFLICT (contact_id, purpose) DO UPDATE SET state = excluded.state, at = excluded.at, source = excluded.source,
    act_id = excluded.act_id, evidence = excluded.evidence, by_person = excluded.by_person,
    changed_at = excluded.changed_at
"""
_MOMENT = timedelta(milliseconds=1)
"""Readers of what changed keep times in milliseconds; what came later has to be later there, too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentChange:
    """What counts for a person now, decided by `act`, and since when."""

    person_id: UUID
    purpose: ConsentPurpose
    state: ConsentState
    act: Act
    at: datetime


async def record_acts(
    connection: Connection,
    acts: Sequence[tuple[UUID, Act]],
    *,
    members: Mapping[UUID, Member],
    regrouped: Collection[UUID] = (),
) -> list[ConsentChange]:
    """Record acts (with the contact that each named) of people who are locked; what changed by it, and by merges.

    `regrouped`: the people whose contacts are others now. An act that is known already changes nothing.
    """
    told = await _record(connection, acts)
    people = {members[contact_id].person_id for contact_id in told} | {
        person_id
        for person_id in regrouped
        if person_id in members and members[person_id].person_id == person_id
    }
    changes: list[ConsentChange] = []
    if people:
        ledgers = await _ledgers(connection, people, members)
        rows = await connection.fetch(
            "SELECT * FROM outbound.consents WHERE contact_id = ANY($1::uuid[])", sorted(members)
        )
        before = {(row["contact_id"], row["purpose"]): row for row in rows}
        changes = list(_changes(ledgers, before, members))
        await _save(connection, changes)
    losers = sorted(
        contact_id
        for contact_id, member in members.items()
        if contact_id != member.person_id and member.person_id in regrouped
    )
    if losers:
        await connection.execute("DELETE FROM outbound.consents WHERE contact_id = ANY($1::uuid[])", losers)
    return changes


async def _record(connection: Connection, acts: Sequence[tuple[UUID, Act]]) -> set[UUID]:
    unique = {act.act_id: (contact_id, act) for contact_id, act in acts if register_of(act) is not None}
    if not unique:
        return set()
    kept = [unique[act_id] for act_id in sorted(unique)]
    rows = await connection.fetch(
        _RECORD,
        [act.act_id for _, act in kept],
        [contact_id for contact_id, _ in kept],
        [act.purpose for _, act in kept],
        [register_of(act) for _, act in kept],
        [act.state for _, act in kept],
        [act.at for _, act in kept],
        [act.by_person for _, act in kept],
        [act.resumes for _, act in kept],
        [act.source for _, act in kept],
        [act.evidence for _, act in kept],
    )
    return {row["contact_id"] for row in rows}


async def _ledgers(
    connection: Connection, people: Collection[UUID], members: Mapping[UUID, Member]
) -> dict[tuple[UUID, ConsentPurpose], ConsentLedger]:
    concerned = [member for member in members.values() if member.person_id in people]
    rows = await connection.fetch(_LATEST, sorted(member.contact_id for member in concerned))
    said: dict[tuple[UUID, str], dict[str, Act]] = {}
    for row in rows:
        said.setdefault((row["contact_id"], row["purpose"]), {})[row["register"]] = act_of_row(row)
    ledgers: dict[tuple[UUID, ConsentPurpose], ConsentLedger] = {}
    for person_id in people:
        own = [member for member in concerned if member.person_id == person_id]
        merged_at = {member.contact_id: member.merged_at for member in own if member.merged_at is not None}
        for purpose in PURPOSES:
            registers = {
                member.contact_id: Registers(**said[member.contact_id, purpose])
                for member in own
                if (member.contact_id, purpose) in said
            }
            ledgers[person_id, purpose] = ConsentLedger(members=registers, merged_at=merged_at)
    return ledgers


def _changes(
    ledgers: Mapping[tuple[UUID, ConsentPurpose], ConsentLedger],
    before: Mapping[tuple[UUID, str], asyncpg.Record],
    members: Mapping[UUID, Member],
) -> Iterable[ConsentChange]:
    """In the order of people and purposes. `at` never goes back, so that the latest change is the last one."""
    for (person_id, purpose), ledger in sorted(ledgers.items()):
        said = [
            row
            for (contact_id, told_of), row in before.items()
            if told_of == purpose and members[contact_id].person_id == person_id
        ]
        standing = ledger.standing()
        # Nobody asked, or a START lifted a denial and there was no yes before it: only the latter is news.
        act = standing.act or (ledger.latest_resumption() if said else None)
        if act is None:
            continue
        known = before.get((person_id, purpose))
        if known is not None and _stands(known, act, standing.state, beside=said):
            continue
        at = max([act.at, *(row["changed_at"] + _MOMENT for row in said)])
        yield ConsentChange(person_id=person_id, purpose=purpose, state=standing.state, act=act, at=at)


def _stands(known: Any, act: Act, state: str, *, beside: Iterable[Any]) -> bool:
    """Whether what was told last of the person's contacts is still so. Who merges them believes the latest."""
    if (known["state"], known["act_id"]) != (state, act.act_id):
        return False
    return not any(row["state"] != state and row["changed_at"] >= known["changed_at"] for row in beside)


async def _save(connection: Connection, changes: Sequence[ConsentChange]) -> None:
    if not changes:
        return
    await connection.execute(
        _SAVE,
        [change.person_id for change in changes],
        [change.purpose for change in changes],
        [change.state for change in changes],
        [change.act.at for change in changes],
        [change.act.source for change in changes],
        [change.act.act_id for change in changes],
        [change.act.evidence for change in changes],
        [change.act.by_person for change in changes],
        [change.at for change in changes],
    )


def act_of_row(row: Any) -> Act:
    """An act as `consent_acts` has it."""
    return Act(
        act_id=row["act_id"],
        purpose=row["purpose"],
        state=row["state"],
        at=row["at"],
        source=row["source"],
        by_person=row["by_person"],
        evidence=row["evidence"],
        resumes=row["resumes"],
    )


async def load_standings(
    connection: Connection, people: Collection[UUID]
) -> dict[UUID, dict[ConsentPurpose, Standing]]:
    """Person id → what counts for each purpose. Nobody asked: not in there."""
    rows = await connection.fetch(
        "SELECT *, false AS resumes FROM outbound.consents WHERE contact_id = ANY($1::uuid[])", sorted(people)
    )
    found: dict[UUID, dict[ConsentPurpose, Standing]] = {}
    for row in rows:
        found.setdefault(row["contact_id"], {})[row["purpose"]] = Standing(
            state=row["state"], act=act_of_row(row)
        )
    return found
