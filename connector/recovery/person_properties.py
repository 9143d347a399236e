"""What the CRMs say of one person now, for whoever looks at a message before it is sent. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from connector.crm.port import Later, PropertyReads
from connector.errors import ConnectorError
from connector.events import Recipient
from connector.outbound.personalisation.filling import CrmProperties, Personalisation
from connector.outbound.personalisation.records import RecordPlace
from connector.outbound.recipients import CrmName
from connector.outbound.store.crm_records import records_of, states_of
from connector.state.database import Connection


@dataclass(kw_only=True, slots=True)
class PersonProperties:
    """What there is to fill a message in from. `notes`: what somebody should know about it, a sentence each."""

    properties: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def by_crm(self) -> CrmProperties:
        """As the rules take it."""
        return self.properties


async def person_properties(
    connection: Connection,
    contact_id: UUID | None,
    recipient: Recipient,
    *,
    crms: Mapping[CrmName, PropertyReads],
    personalisation: Personalisation,
) -> PersonProperties:
    """Ask each CRM that the personalisation reads from, within its quota. One that is away is said, and not waited for:
    then what was read of the person before is taken, however old it is.
    """
    found = PersonProperties()
    for crm, reads in crms.items():
        names = sorted(personalisation.read_from(crm))
        if not names:
            continue
        place = await _place(connection, crm, contact_id, recipient)
        if place is None:
            found.notes.append(f"{crm} has no record of this person that is known: fall-backs are used.")
            continue
        try:
            (answer,) = await reads.read_properties([place.record_id], names)
        except ConnectorError as error:
            answer = Later(reason=error.message)
        if isinstance(answer, Later):
            found.notes.append(f"{crm} does not say now: {answer.reason}")
            state = (await states_of(connection, [place]))[place]
            if state.read_at is not None:
                found.properties[crm] = state.properties
                found.notes.append(f"What {crm} said at {state.read_at:%Y-%m-%d %H:%M} UTC is shown.")
        elif answer is None:
            found.notes.append(f"{crm} has no record {place.record_id} any more: fall-backs are used.")
        else:
            found.properties[crm] = answer
    return found


async def _place(
    connection: Connection, crm: CrmName, contact_id: UUID | None, recipient: Recipient
) -> RecordPlace | None:
    named = {"hubspot": recipient.hubspot_id, "salesforce": recipient.salesforce_id}.get(crm)
    if named:
        return RecordPlace(crm, named)
    if contact_id is None:
        return None
    person: UUID = (
        await connection.fetchval("SELECT person_id FROM outbound.people WHERE contact_id = $1", contact_id)
        or contact_id
    )
    return (await records_of(connection, [person], crms=[crm]))[crm, person].place
