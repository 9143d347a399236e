"""Does the CRM say what it must? Compares the simulator's own records with what the conversations call for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.sandbox.whatsapp.conversations import Conversations


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
    expected: Conversations, state: Mapping[str, Any], *, acknowledged: Collection[str] | None = None
) -> Audit:
    """Judge a HubSpot simulator's `state`. `acknowledged`: only these updates (ids) were answered 200."""
    by_wamid: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in state["communications"]:
        by_wamid[record["properties"].get("whatsapp_message_id") or ""].append(record)
    missing: list[str] = []
    misplaced: list[str] = []
    doubled_contacts: list[str] = []
    wrong: list[str] = []
    total = 0
    met = 0
    for person in expected.people:
        contacts: Counter[str] = Counter()
        wamids = [message.wamid for message in person.messages]
        wanted = [wamid for wamid in wamids if acknowledged is None or wamid in acknowledged]
        outbound = {} if acknowledged is not None else person.outbound
        met += bool(wanted)
        total += len(wanted) + len(outbound)
        for wamid in (*wanted, *outbound):
            records = by_wamid.get(wamid, [])
            if not records:
                missing.append(wamid)
            for record in records:
                places = record["associations"].get("contacts", [])
                if len(places) != 1:
                    misplaced.append(wamid)
                contacts.update(places)
        if len(contacts) > 1:
            doubled_contacts.append(person.name)
        for wamid, final in outbound.items():
            shown = [record["properties"].get("whatsapp_status") for record in by_wamid.get(wamid, [])]
            wrong.extend(wamid for word in shown if word != final)
    return Audit(
        messages=total,
        contacts=len(state["contacts"]),
        activities=len(state["communications"]),
        missing=missing,
        doubled_activities=[wamid for wamid, records in by_wamid.items() if wamid and len(records) > 1],
        doubled_contacts=doubled_contacts,
        misplaced=misplaced,
        wrong_statuses=wrong,
        left_over_contacts=max(0, len(state["contacts"]) - met),
    )
