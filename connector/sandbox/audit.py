"""Does the CRM say what it must? Compares a simulator's own records with what the conversations call for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector.sandbox.whatsapp.conversations import Conversations


@dataclass(frozen=True, kw_only=True)
class LoggedMessage:
    """One WhatsApp message as it hangs on a CRM's timeline."""

    record_id: str
    wamid: str
    """Empty for an activity that is none of ours."""
    people: Sequence[str]
    """Record ids of the people whose timeline shows it."""
    direction: str
    status: str
    text: str
    """The first line, as a person reads it."""
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class CrmRecords:
    """What a CRM holds, whichever it is."""

    people: int
    messages: Sequence[LoggedMessage]


def hubspot_records(state: Mapping[str, Any]) -> CrmRecords:
    """Read the `state` of the HubSpot simulator: contacts, and communications associated with them."""
    return CrmRecords(
        people=len(state["contacts"]),
        messages=[
            LoggedMessage(
                record_id=record["id"],
                wamid=record["properties"].get("whatsapp_message_id") or "",
                people=record["associations"].get("contacts", []),
                direction=record["properties"].get("whatsapp_direction") or "",
                status=record["properties"].get("whatsapp_status") or "",
                text=str(record["properties"].get("hs_communication_body") or "").split("<br>")[0],
                created_at=datetime.fromisoformat(record["properties"]["hs_createdate"]),
            )
            for record in state["communications"]
        ],
    )


def salesforce_records(state: Mapping[str, Any]) -> CrmRecords:
    """Read the `state` of the Salesforce simulator: Contacts and Leads, and the Tasks whose WhoId they are."""
    return CrmRecords(
        people=len(state["contacts"]) + len(state["leads"]),
        messages=[
            LoggedMessage(
                record_id=record["id"],
                wamid=record["values"].get("WA_Message_Id__c") or "",
                people=[record["values"]["WhoId"]] if record["values"].get("WhoId") else [],
                direction=record["values"].get("WA_Direction__c") or "",
                status=record["values"].get("WA_Status__c") or "",
                text=str(record["values"].get("Description") or "").split("\n")[0],
                created_at=datetime.fromisoformat(record["values"]["CreatedDate"]),
            )
            for record in state["tasks"]
        ],
    )


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What the CRM has, and what is wrong with it. Complete when nothing is missing, doubled or misplaced."""

    messages: int
    contacts: int
    activities: int
    missing: Sequence[str]
    """wamids that are not on any timeline."""
    doubled_activities: Sequence[str]
    """wamids with more than one activity."""
    doubled_contacts: Sequence[str]
    """People with more than one contact."""
    misplaced: Sequence[str]
    """wamids that do not hang on exactly their person's contact."""
    wrong_statuses: Sequence[str]
    """Outbound wamids that do not show their final status."""
    left_over_contacts: int
    """Contacts beyond one a person."""

    @property
    def passed(self) -> bool:
        """Nothing missing, doubled, misplaced or left over."""
        return self.settled and not self.doubled_activities

    @property
    def settled(self) -> bool:
        """Everything has arrived; waiting longer would not mend what is doubled."""
        return not (
            self.missing
            or self.doubled_contacts
            or self.misplaced
            or self.wrong_statuses
            or self.left_over_contacts
        )


def audit(
    expected: Conversations, found: CrmRecords, *, acknowledged: Collection[str] | None = None
) -> Audit:
    """Judge what a CRM holds. `acknowledged`: only these updates (ids) were answered 200."""
    by_wamid: dict[str, list[LoggedMessage]] = defaultdict(list)
    for logged in found.messages:
        by_wamid[logged.wamid].append(logged)
    missing: list[str] = []
    misplaced: list[str] = []
    doubled_contacts: list[str] = []
    wrong: list[str] = []
    total = 0
    met = 0
    owners: dict[str, str] = {}
    for person in expected.people:
        contacts: Counter[str] = Counter()
        wamids = [message.wamid for message in person.messages]
        wanted = [wamid for wamid in wamids if acknowledged is None or wamid in acknowledged]
        outbound = {} if acknowledged is not None else person.outbound
        met += bool(wanted)
        total += len(wanted) + len(outbound)
        for wamid in (*wanted, *outbound):
            if wamid not in by_wamid:
                missing.append(wamid)
            for logged in by_wamid.get(wamid, ()):
                # A record that is somebody else's already makes two people one.
                strangers = {owners.setdefault(record, person.name) for record in logged.people}
                if len(logged.people) != 1 or strangers != {person.name}:
                    misplaced.append(wamid)
                contacts.update(logged.people)
        if len(contacts) > 1:
            doubled_contacts.append(person.name)
        for wamid, final in outbound.items():
            wrong.extend(wamid for logged in by_wamid.get(wamid, ()) if logged.status != final)
    return Audit(
        messages=total,
        contacts=found.people,
        activities=len(found.messages),
        missing=missing,
        doubled_activities=[wamid for wamid, logged in by_wamid.items() if wamid and len(logged) > 1],
        doubled_contacts=doubled_contacts,
        misplaced=misplaced,
        wrong_statuses=wrong,
        left_over_contacts=max(0, found.people - met),
    )
