"""People: who is one with whom, by which phone and BSUID, when they last wrote to which number.

A person is all contacts with one `person_id`. Who locks a person locks all of them, in key order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connector.errors import Transient
from connector.outbound.told import Merge, PersonNews
from connector.state.database import Connection

_RESERVE = """
INSERT INTO outbound.people (contact_id, person_id) SELECT c, c FROM unnest($1::uuid[]) AS n (c) ON CONFLICT DO NOTHING
"""
_GROUPS = (
    "SELECT contact_id, person_id, redirect_to, merged_at FROM outbound.people WHERE person_id IN "
    "(SELECT person_id FROM outbound.people WHERE contact_id = ANY($1::uuid[])) ORDER BY contact_id"
)
_NOTE = """
UPDATE outbound.people AS p SET
    phone = CASE WHEN (n.phone_at, n.phone) > (p.phone_at, p.phone) THEN n.phone ELSE p.phone END,
    phone_at = greatest(p.phone_at, n.phone_at),
    bsuid = CASE WHEN (n.bsuid_at, n.bsuid) > (p.bsuid_at, p.bsuid) THEN n.bsuid ELSE p.bsuid END,
    bsuid_at = greatest(p.bsuid_at, n.bsuid_at),
    lost_phone = CASE WHEN (n.lost_at, n.lost_phone) > (p.lost_at, p.lost_phone) THEN n.lost_phone
                      ELSE p.lost_phone END,
    lost_at = greatest(p.lost_at, n.lost_at),
    unreachable_at = greatest(p.unreachable_at, n.unreachable_at),
    marketing_refused_at = greatest(p.marketing_refused_at, n.marketing_refused_at)
FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::timestamptz[])
    AS n (contact_id, phone, phone_at, bsuid, bsuid_at, lost_phone, lost_at, unreachable_at, marketing_refused_at)
WHERE p.contact_id = n.contact_id
"""
_NOTE_WINDOWS = """
INSERT INTO outbound.windows AS w (contact_id, phone_number_id, last_inbound_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) ON CONFLICT (contact_id, phone_number_id)
DO UPDATE SET last_inbound_at = greatest(w.last_inbound_at, excluded.last_inbound_at)
"""
_LINK = """
UPDATE outbound.people AS p SET person_id = n.person_id, redirect_to = n.redirect_to, merged_at = n.merged_at
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[]) AS n (contact_id, person_id, redirect_to, merged_at)
WHERE p.contact_id = n.contact_id
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One contact of a person. `merged_at`: when it was merged into another one; None: it never was."""

    contact_id: UUID
    person_id: UUID
    redirect_to: UUID | None = None
    merged_at: datetime | None = None


async def lock_people(connection: Connection, contacts: Collection[UUID]) -> dict[UUID, Member]:
    """Lock these contacts and all that are one person with them; make rows for those that have none.

    Raises `Transient` when somebody merged one of them meanwhile.
    """
    if not contacts:
        return {}
    wanted = sorted(contacts)
    await connection.execute(_RESERVE, wanted)
    locked = await connection.fetch(f"{_GROUPS} FOR UPDATE", wanted)
    # Whoever merged them while we waited changed the groups, and the query saw the old ones.
    now = await connection.fetch(_GROUPS, wanted)
    if [tuple(row) for row in locked] != [tuple(row) for row in now]:
        raise Transient("A person was merged meanwhile; nothing was written.", retry_after=0.05)
    return {row["contact_id"]: Member(**dict(row)) for row in now}


async def note_people(
    connection: Connection, news: Iterable[PersonNews], windows: Mapping[tuple[UUID, str], datetime]
) -> None:
    """Write what is new about people who are locked."""
    said = [one for one in news if one != PersonNews(contact_id=one.contact_id)]
    if said:
        await connection.execute(
            _NOTE,
            [one.contact_id for one in said],
            [one.phone for one in said],
            [one.phone_at for one in said],
            [one.bsuid for one in said],
            [one.bsuid_at for one in said],
            [one.lost_phone for one in said],
            [one.lost_at for one in said],
            [one.unreachable_at for one in said],
            [one.marketing_refused_at for one in said],
        )
    if windows:
        keys = sorted(windows)
        await connection.execute(
            _NOTE_WINDOWS,
            [contact_id for contact_id, _ in keys],
            [number for _, number in keys],
            [windows[key] for key in keys],
        )


async def link(
    connection: Connection, members: Mapping[UUID, Member], merges: Iterable[Merge]
) -> tuple[dict[UUID, Member], set[UUID]]:
    """(members after the merges, people that they changed). The members are locked."""
    after, changed = merged(members, merges)
    if changed:
        rows = [member for member in after.values() if member != members[member.contact_id]]
        await connection.execute(
            _LINK,
            [member.contact_id for member in rows],
            [member.person_id for member in rows],
            [member.redirect_to for member in rows],
            [member.merged_at for member in rows],
        )
    return after, changed


def merged(members: Mapping[UUID, Member], merges: Iterable[Merge]) -> tuple[dict[UUID, Member], set[UUID]]:
    """The members after merges, in any order of them, and the person ids whose group changed. Pure.

    A contact is merged once: the rules that decide it only ever merge who stands for a person.
    """
    redirects = {m.contact_id: m.redirect_to for m in members.values() if m.redirect_to is not None}
    times = {m.contact_id: m.merged_at for m in members.values()}
    for merge in merges:
        if merge.loser_id != merge.winner_id and merge.loser_id not in redirects:
            redirects[merge.loser_id] = merge.winner_id
            times[merge.loser_id] = merge.at
    after = {
        contact_id: Member(
            contact_id=contact_id,
            person_id=_person(contact_id, redirects),
            redirect_to=redirects.get(contact_id),
            merged_at=times[contact_id],
        )
        for contact_id in members
    }
    changed = {
        person_id
        for contact_id, member in after.items()
        if member.person_id != members[contact_id].person_id
        for person_id in (member.person_id, members[contact_id].person_id)
    }
    return after, changed


def _person(contact_id: UUID, redirects: Mapping[UUID, UUID]) -> UUID:
    """Redirects followed. A circle, which no rule makes, ends at its smallest id."""
    seen = {contact_id}
    while (target := redirects.get(contact_id)) is not None:
        if target in seen:
            return min(seen)
        seen.add(target)
        contact_id = target
    return contact_id
