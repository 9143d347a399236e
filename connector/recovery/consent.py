"""What a person allows, and everything that was ever said about it: read from the ledger's tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from connector.events import ConsentGiven, Recipient
from connector.outbound.consent.acts import act_of_given
from connector.outbound.consent.ledger import NOBODY_ASKED, PURPOSES, Act, ConsentPurpose, Standing
from connector.outbound.recipients import names_of
from connector.outbound.store.consents import act_of_row, load_standings
from connector.outbound.store.waiting import waiting_act
from connector.state.database import Connection

_LOOK_AGAIN = 0.1  # seconds
_EXPORT = """
SELECT c.contact_id, c.purpose, c.state, c.at, c.source, c.by_person, c.evidence,
       coalesce(known.phone, '') AS phone, coalesce(known.bsuid, '') AS bsuid
  FROM outbound.consents c LEFT JOIN LATERAL (
       SELECT (array_agg(a.value ORDER BY a.seen_at DESC) FILTER (WHERE a.kind = 'phone'))[1] AS phone,
              (array_agg(a.value ORDER BY a.seen_at DESC) FILTER (WHERE a.kind = 'bsuid'))[1] AS bsuid
         FROM outbound.people p JOIN identity.aliases a USING (contact_id)
        WHERE p.person_id = c.contact_id AND a.released_at IS NULL) AS known ON true
 WHERE c.state IN ('granted', 'denied') AND ($1::text IS NULL OR c.purpose = $1)
 ORDER BY c.contact_id, c.purpose
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConsentView:
    """One person's ledger. `waiting`: acts that are applied once the person is known."""

    contact_id: UUID | None
    """Who it is today; None: nobody knows them yet."""
    standings: dict[ConsentPurpose, Standing]
    acts: Sequence[Act]
    """Newest first."""
    waiting: Sequence[Act]


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """How far acts have come: recorded in the ledger, waiting for their person, or not read from the log yet."""

    recorded: int
    waiting: int
    outstanding: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedConsent:
    """What counts for one person and purpose."""

    contact_id: UUID
    phone: str
    bsuid: str
    purpose: str
    state: str
    at: datetime
    source: str
    by_person: bool
    evidence: str


async def consent_of(
    connection: Connection, recipient: Recipient, contact_id: UUID | None, *, limit: int = 50
) -> ConsentView:
    """The standings and the latest `limit` acts of somebody. `contact_id`: who the recipient is today."""
    contacts = await _contacts(connection, contact_id) if contact_id else []
    person_id = contacts[0] if contacts else None
    rows = await connection.fetch(
        "SELECT * FROM outbound.consent_acts WHERE contact_id = ANY($1::uuid[]) ORDER BY at DESC, act_id LIMIT $2",
        contacts,
        limit,
    )
    aliases = await connection.fetch(
        "SELECT kind, value FROM identity.aliases WHERE contact_id = ANY($1::uuid[])", contacts
    )
    names = {*names_of(recipient), *(f"{row['kind']}:{row['value']}" for row in aliases)}
    waiting = await connection.fetch(
        "SELECT * FROM outbound.waiting_acts WHERE names && $1::text[] ORDER BY received_at DESC LIMIT $2",
        sorted(names),
        limit,
    )
    known = (await load_standings(connection, [person_id])).get(person_id, {}) if person_id else {}
    return ConsentView(
        contact_id=contact_id,
        standings={purpose: known.get(purpose, NOBODY_ASKED) for purpose in PURPOSES},
        acts=[act_of_row(row) for row in rows],
        waiting=[waiting_act(row).act for row in waiting],
    )


async def _contacts(connection: Connection, contact_id: UUID) -> list[UUID]:
    """Every contact of the person, as the ledger knows them: the one that the person is today first."""
    rows = await connection.fetch(
        "SELECT p.contact_id, p.person_id FROM outbound.people p WHERE p.person_id IN "
        "(SELECT person_id FROM outbound.people WHERE contact_id = $1) ORDER BY p.contact_id <> p.person_id, p.contact_id",
        contact_id,
    )
    return [row["contact_id"] for row in rows] or [contact_id]


async def applied(connection: Connection, acts: Collection[ConsentGiven], *, timeout: float) -> Applied:
    """Wait until every act is in the ledger or waits for its person, `timeout` seconds at most."""
    ids = sorted({act_of_given(act).act_id for act in acts})
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        row = await connection.fetchrow(
            "SELECT (SELECT count(*) FROM outbound.consent_acts WHERE act_id = ANY($1::text[])) AS recorded, "
            "(SELECT count(*) FROM outbound.waiting_acts WHERE act_id = ANY($1::text[])) AS waiting",
            ids,
        )
        assert row is not None, "two counts are always a row"
        outstanding = len(ids) - row["recorded"] - row["waiting"]
        if outstanding <= 0 or asyncio.get_running_loop().time() >= deadline:
            return Applied(recorded=row["recorded"], waiting=row["waiting"], outstanding=max(0, outstanding))
        await asyncio.sleep(_LOOK_AGAIN)


async def exported(connection: Connection, *, purpose: str | None) -> AsyncIterator[ExportedConsent]:
    """What counts for everybody who said something, of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        async for row in connection.cursor(_EXPORT, purpose, prefetch=1000):
            phone = f"+{row['phone']}" if row["phone"] else ""
            yield ExportedConsent(**{**row, "phone": phone})
