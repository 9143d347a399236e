"""Does a CRM say what was posted? From its own records and journal, without any code that the connector folds with."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chaos_figures import Figure, none_of

from connector.sandbox.audit import Audit, CrmRecords, audit, hubspot_records, salesforce_records
from connector.sandbox.whatsapp.conversations import Conversations, ExpectedPerson

NAMES = {"hubspot": "HubSpot", "salesforce": "Salesforce"}


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one CRM holds against what was posted."""

    sink: str
    audit: Audit
    wrong_texts: Sequence[str]
    """wamids whose activity does not read as the person wrote it."""
    wrong_people: Sequence[str]
    """People whose contact shows another user id, phone or time of their last message."""

    @property
    def settled(self) -> bool:
        """Waiting longer changes nothing."""
        return self.audit.settled and not self.wrong_texts and not self.wrong_people

    def figures(self) -> list[Figure]:
        """The bars that hold in every row."""
        name, found = NAMES[self.sink], self.audit
        wrong = [*found.misplaced, *found.wrong_statuses, *self.wrong_texts, *self.wrong_people]
        return [
            none_of(f"{name}: messages lost (of {found.messages:,})", found.missing),
            none_of(f"{name}: activities doubled", found.doubled_activities),
            none_of(
                f"{name}: contacts doubled or left over (of {found.contacts:,})",
                len(found.doubled_contacts) + found.left_over_contacts,
            ),
            none_of(f"{name}: on another's contact, or not as it was said", wrong),
        ]


def judge(expected: Conversations, *, sink: str, state: Mapping[str, Any]) -> Judgement:
    """Judge the `state` of a simulator."""
    found: CrmRecords = hubspot_records(state) if sink == "hubspot" else salesforce_records(state)
    bodies, people = (_hubspot if sink == "hubspot" else _salesforce)(state)
    texts = {
        message.wamid: message.text
        for person in expected.people
        for message in person.messages
        if message.text is not None
    }
    return Judgement(
        sink=sink,
        audit=audit(expected, found),
        wrong_texts=[
            wamid
            for wamid, wanted in texts.items()
            if any(not _says(body, wanted) for body in bodies.get(wamid, ()))
        ],
        wrong_people=_wrong_people(expected, found, people),
    )


def _says(body: str, wanted: str) -> bool:
    return all(line.strip() in body for line in wanted.split("\n"))


def _hubspot(state: Mapping[str, Any]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    bodies: dict[str, list[str]] = defaultdict(list)
    for item in state["communications"]:
        body = html.unescape(str(item["properties"].get("hs_communication_body") or ""))
        bodies[item["properties"].get("whatsapp_message_id") or ""].append(body)
    names = {
        "bsuid": "whatsapp_bsuid",
        "phone": "whatsapp_phone",
        "last_inbound": "whatsapp_last_inbound_at",
    }
    people = {
        item["id"]: {name: item["properties"].get(field) or "" for name, field in names.items()}
        for item in state["contacts"]
    }
    return bodies, people


def _salesforce(state: Mapping[str, Any]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]]]:
    bodies: dict[str, list[str]] = defaultdict(list)
    for item in state["tasks"]:
        bodies[item["values"].get("WA_Message_Id__c") or ""].append(
            str(item["values"].get("Description") or "")
        )
    names = {"bsuid": "WA_BSUID__c", "phone": "WA_Phone__c", "last_inbound": "WA_Last_Inbound_At__c"}
    people = {
        item["id"]: {name: item["values"].get(field) or "" for name, field in names.items()}
        for item in (*state["contacts"], *state["leads"])
    }
    return bodies, people


def _wrong_people(
    expected: Conversations, found: CrmRecords, people: Mapping[str, Mapping[str, str]]
) -> list[str]:
    records = {item.wamid: item.people for item in found.messages}
    wrong = []
    for person in expected.people:
        mine = {record for message in person.messages for record in records.get(message.wamid, ())}
        shown = people.get(next(iter(mine))) if len(mine) == 1 else None  # several are told elsewhere
        if shown is not None and not _is_current(shown, person):
            wrong.append(f"{person.name}: {dict(shown)}")
    return wrong


def _is_current(shown: Mapping[str, str], person: ExpectedPerson) -> bool:
    return (
        shown["bsuid"] == person.bsuids[-1]
        and shown["phone"] == (f"+{person.phones[-1]}" if person.phones else "")
        and _seconds(shown["last_inbound"]) == max(message.at for message in person.messages)
    )


def _seconds(text: str) -> int:
    """Unix seconds of a time as a CRM writes it: milliseconds, or ISO 8601."""
    if text.isdigit():
        return int(text) // 1000
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
