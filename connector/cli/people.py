"""Who an operator means: a phone, a BSUID, a CRM's record or one of our contact ids."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from connector.errors import Rejected
from connector.events import Recipient
from connector.ingress import trigger_fields as fields
from connector.outbound.recipients import sought
from connector.outbound.store.recipients import look_up
from connector.state.database import Connection
from connector.whatsapp.numbers import is_bsuid

if TYPE_CHECKING:
    from connector.outbound.personalisation.filling import Personalisation
    from connector.recovery.person_properties import PersonProperties
    from connector.settings import Settings

_VALID = "a phone with its country code, a BSUID, hubspot:ID, salesforce:ID, or a contact id"


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """Somebody as they were named, and who that is. `contact_id` None: nobody knows them (yet)."""

    recipient: Recipient
    contact_id: UUID | None
    obstacle: str = ""
    """Why it can be nobody: erased | invalid_phone."""


def recipient_named(text: str) -> Recipient | UUID:
    """What the text names: a recipient, or a contact id of ours. Pure.

    Raises `Rejected` (cause `no_person`) for text that names nobody.
    """
    text = text.strip()
    crm, colon, record_id = text.partition(":")
    try:
        if colon and crm == "hubspot":
            return Recipient(hubspot_id=fields.hubspot_id(record_id))
        if colon and crm == "salesforce":
            return Recipient(salesforce_id=fields.salesforce_id(record_id))
        if is_bsuid(text):
            return Recipient(bsuid=text)
    except ValueError as error:
        raise Rejected(f"{text[:80]} {error}.", cause="no_person", advice=f"give {_VALID}") from None
    try:
        return UUID(text)
    except ValueError:
        pass
    try:
        return Recipient(phone=fields.phone(text))
    except ValueError:
        raise Rejected(f"{text[:80]!r} names nobody.", cause="no_person", advice=f"give {_VALID}") from None


async def find_person(connection: Connection, text: str, *, at: datetime) -> Named:
    """Who it is today, merges followed. `at`: now. Raises `Rejected` as `recipient_named` does, and for a contact id
    that is none of ours.
    """
    named = recipient_named(text)
    if isinstance(named, UUID):
        return await _contact(connection, named)
    (found,) = await look_up(connection, [sought(named)], at=at)
    return Named(recipient=named, contact_id=found.contact_id, obstacle=found.obstacle)


async def _contact(connection: Connection, contact_id: UUID) -> Named:
    today: UUID | None = await connection.fetchval(
        "WITH RECURSIVE chain AS (SELECT contact_id, redirect_to, 0 AS depth FROM identity.contacts "
        "WHERE contact_id = $1 UNION ALL SELECT c.contact_id, c.redirect_to, depth + 1 FROM identity.contacts c "
        "JOIN chain ON c.contact_id = chain.redirect_to WHERE depth < 50) "
        "SELECT contact_id FROM chain ORDER BY depth DESC LIMIT 1",
        contact_id,
    )
    if today is None:
        raise Rejected(f"{contact_id} is no contact of ours.", cause="no_person", advice=f"give {_VALID}")
    rows = await connection.fetch(
        "SELECT kind, value FROM identity.aliases WHERE contact_id = $1 AND released_at IS NULL ORDER BY seen_at",
        today,
    )
    aliases = {row["kind"]: row["value"] for row in rows}
    phone = aliases.get("phone", "")
    recipient = Recipient(bsuid=aliases.get("bsuid", ""), phone=f"+{phone}" if phone else "")
    return Named(recipient=recipient, contact_id=today)


async def said_of(
    connection: Connection, settings: Settings, named: Named, personalisation: Personalisation
) -> PersonProperties:
    """What the CRMs say of somebody now, as far as messages are filled in from it; what should be known of it is noted."""
    from connector.cli.output import err
    from connector.recovery.person_properties import person_properties
    from connector.roles.crm_accounts import crm_accounts

    async with crm_accounts(settings, stop=asyncio.Event()) as crms:
        found = await person_properties(
            connection,
            named.contact_id,
            named.recipient,
            crms=crms.accounts,
            personalisation=personalisation,
        )
    for note in found.notes:
        err.print(f"note: {note}", markup=False)
    return found


def reachable(named: Named) -> Named:
    """The same, unless it can be nobody. Raises `Rejected` that says why."""
    why = {
        "erased": "asked to be forgotten: nothing is kept about them",
        "invalid_phone": "is no possible number of any country",
    }.get(named.obstacle)
    if why:
        shown = named.recipient.phone or named.recipient.hubspot_id or named.recipient.salesforce_id
        raise Rejected(f"{shown} {why}. Nothing was recorded.", cause="no_person", advice=f"give {_VALID}")
    return named


async def names_of(connection: Connection, person: Named) -> frozenset[str]:
    """Every text that records about them may name them by: contact ids, BSUIDs, phones with and without +, CRM ids."""
    to = person.recipient
    names = {to.bsuid, to.phone, to.phone.removeprefix("+"), to.hubspot_id, to.salesforce_id}
    rows = await connection.fetch(
        "SELECT c.contact_id, a.value FROM identity.contacts c LEFT JOIN identity.aliases a "
        "ON a.contact_id = c.contact_id AND a.released_at IS NULL WHERE c.contact_id = $1 OR c.redirect_to = $1",
        person.contact_id,
    )
    for row in rows:
        value = row["value"] or ""
        names |= {str(row["contact_id"]), value} | ({f"+{value}"} if value.isdecimal() else set())
    return frozenset(names) - {""}
