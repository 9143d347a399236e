"""Who a recipient is by what all roles know: the identity role's aliases, and the records of each CRM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connector.identity.directory import Alias
from connector.outbound.facts import Obstacle
from connector.outbound.recipients import CrmRecord, RecordPerson, Sought
from connector.outbound.store.erasures import erased_records
from connector.state.database import Connection

_ALIASES = """
SELECT a.kind, a.value, a.contact_id, a.released_at FROM identity.aliases a
JOIN unnest($1::text[], $2::text[]) AS n (kind, value) USING (kind, value) WHERE a.contact_id IS NOT NULL
"""
# Of contacts that share a record, the one that it was not merged into.
_RECORDS = (
    "SELECT DISTINCT ON (record_id) record_id, contact_id, erased FROM {crm}.contacts WHERE record_id = ANY($1::text[]) "
    "ORDER BY record_id, redirect_to IS NOT NULL, shared, contact_id"
)
_RESOLVE = """
WITH RECURSIVE way (contact_id, target, steps) AS (
    SELECT c, c, 0 FROM unnest($1::uuid[]) AS n (c)
    UNION ALL
    SELECT w.contact_id, i.redirect_to, w.steps + 1 FROM way w JOIN identity.contacts i ON i.contact_id = w.target
    WHERE i.redirect_to IS NOT NULL AND w.steps < 100
)
SELECT DISTINCT ON (contact_id) contact_id, target FROM way ORDER BY contact_id, steps DESC
"""
_RESOLVE_KNOWN = _RESOLVE.replace(
    "unnest($1::uuid[]) AS n (c)", "unnest($1::uuid[]) AS n (c) JOIN identity.contacts ON contact_id = c"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """Who it is. Neither a contact nor an obstacle: nobody knows them yet."""

    contact_id: UUID | None = None
    obstacle: Obstacle = ""


UNKNOWN = Found()


async def look_up(connection: Connection, wanted: Sequence[Sought], *, at: datetime) -> list[Found]:
    """One answer each. `at`: a phone that was given up before is nobody's."""
    aliases = await _aliases(connection, {alias for one in wanted for alias in one.aliases}, at=at)
    records = await _records(connection, {one.record for one in wanted if one.record is not None})
    answers = [_answer(one, aliases, records) for one in wanted]
    ids = sorted({answer.contact_id for answer in answers if answer.contact_id is not None})
    rows = await connection.fetch(_RESOLVE, ids) if ids else []
    today = {row["contact_id"]: row["target"] for row in rows}
    return [
        answer if answer.contact_id is None else Found(contact_id=today[answer.contact_id])
        for answer in answers
    ]


def _answer(one: Sought, aliases: Mapping[Alias, UUID], records: Mapping[CrmRecord, Found]) -> Found:
    if one.invalid:
        return Found(obstacle="invalid_phone")
    if one.record is not None:
        return records.get(one.record, UNKNOWN)
    if one.alias is None:
        return Found(obstacle="not_found")
    holder = next((aliases[alias] for alias in one.aliases if alias in aliases), None)
    return Found(contact_id=holder)


async def _aliases(connection: Connection, wanted: Iterable[Alias], *, at: datetime) -> dict[Alias, UUID]:
    ordered = sorted(set(wanted))
    if not ordered:
        return {}
    rows = await connection.fetch(
        _ALIASES, [alias.kind for alias in ordered], [alias.value for alias in ordered]
    )
    return {
        Alias(row["kind"], row["value"]): row["contact_id"]
        for row in rows
        if row["released_at"] is None or row["released_at"] >= at
    }


async def _records(connection: Connection, wanted: Iterable[CrmRecord]) -> dict[CrmRecord, Found]:
    by_crm: dict[str, list[CrmRecord]] = {}
    for record in wanted:
        by_crm.setdefault(record.crm, []).append(record)
    found: dict[CrmRecord, Found] = {}
    for crm, records in by_crm.items():
        ids = {record.record_id: record for record in records}
        for row in await connection.fetch(_RECORDS.format(crm=crm), sorted(ids)):
            erased: Obstacle = "erased" if row["erased"] else ""
            found[ids[row["record_id"]]] = (
                Found(obstacle=erased) if erased else Found(contact_id=row["contact_id"])
            )
        for record_id in await erased_records(connection, crm, ids):
            found[ids[record_id]] = Found(obstacle="erased")
    return found


async def look_up_people(
    connection: Connection, people: Sequence[RecordPerson], *, at: datetime
) -> list[tuple[Found, str]]:
    """(who it is, the phone that says so) for the people on CRM records; a key of ours decides, then the phones.

    Whose phones are several people's is ambiguous. The phone is that of somebody unknown, too: to introduce them by.
    """
    keys = sorted({person.key for person in people if person.key is not None})
    rows = await connection.fetch(_RESOLVE_KNOWN, keys) if keys else []
    ours = {row["contact_id"]: row["target"] for row in rows}
    phones = sorted({phone for person in people for phone in person.phones})
    wanted = [Sought(alias=Alias("phone", phone)) for phone in phones]
    answers = dict(zip(phones, await look_up(connection, wanted, at=at), strict=True))
    return [_on_record(person, ours, answers) for person in people]


def _on_record(
    person: RecordPerson, ours: Mapping[UUID, UUID], answers: Mapping[str, Found]
) -> tuple[Found, str]:
    if person.key is not None and person.key in ours:
        return Found(contact_id=ours[person.key]), ""
    if not person.phones:
        return Found(obstacle="invalid_phone" if person.unreadable else "no_phone"), ""
    holders = {
        phone: answers[phone].contact_id for phone in person.phones if answers[phone].contact_id is not None
    }
    if len(set(holders.values())) > 1:
        return Found(obstacle="ambiguous"), ""
    for phone, contact_id in holders.items():
        return Found(contact_id=contact_id), phone
    return UNKNOWN, person.phones[0]
