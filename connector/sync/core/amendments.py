"""What was done to a message after it was sent, as facts of that message. Plain JSON, folded in any order.

| fact      | fold                                                                      |
|-----------|---------------------------------------------------------------------------|
| edit      | the latest: what the message says now                                     |
| revoked   | the first: a deleted message stays deleted                                |
| reactions | one register a person, the latest wins; "" is a reaction taken back       |
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connector.events import Amendment, Event, MessageEdited, MessageReacted, MessageRevoked
from connector.sync.core.contacts import milliseconds
from connector.sync.core.excerpt import excerpt
from connector.sync.core.registers import Register, latest

_KEPT_OF_DELETED_MESSAGE = (
    "direction",
    "via",
    "wamid",
    "type",
    "at",
    "business_phone",
    "phone_number_id",
    "person",
    "name",
    "reply_to",
    "referral",
    "errors",
)
_KEPT_OF_DELETED_EDIT = ("direction", "type", "at", "who")
# One reaction a person, and no person more than one: the most that a group of WhatsApp could bring about.
_BUSINESS, _PERSON = "business", "person"


def amendment_facts(event: Amendment) -> dict[str, Any]:
    """What one edit, deletion or reaction says about the message that it is about."""
    facts: dict[str, Any] = {
        "numbers": {"business_phone": event.business_phone, "phone_number_id": event.phone_number_id}
    }
    at, who = milliseconds(event), shown_as(event)
    if isinstance(event, MessageEdited):
        edit: dict[str, Any] = {
            "at": at,
            "direction": event.direction,
            "who": who,
            "type": event.message_type,
            "text": event.text,
        }
        if event.media is not None:
            edit["media"] = event.media.model_dump(exclude_defaults=True)
        if event.content:
            edit["content"] = excerpt(event.content)
        facts["edit"] = edit
    elif isinstance(event, MessageRevoked):
        facts["revoked"] = [at, event.direction, who]
    elif isinstance(event, MessageReacted):
        facts["reactions"] = {_reactor(event): [event.emoji, at, event.direction, who]}
    return facts


def shown_as(event: Event) -> str:
    """The person as a reader of a timeline knows them: by name, else by number, else by whatever was shown."""
    person = event.person
    return person.name or person.phone or person.wa_id or person.username or person.bsuid or ""


def latest_edit(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """What the message says now."""
    return left if left == right else max(left, right, key=_edit_order)


def merged_reactions(left: Mapping[str, Register], right: Mapping[str, Register]) -> dict[str, Register]:
    """The latest of each person."""
    merged = dict(left)
    for name, register in right.items():
        known = merged.get(name)
        merged[name] = register if known is None else latest(known, register)
    return merged


def without_deleted_text(facts: dict[str, Any]) -> dict[str, Any]:
    """The same facts; of a deleted message only who, when and what kind it was. Others are returned as they are."""
    if "revoked" not in facts:
        return facts
    kept = dict(facts)
    if "message" in kept:
        kept["message"] = emptied(kept["message"])
    if "edit" in kept:
        kept["edit"] = _emptied_edit(kept["edit"])
    return kept


def emptied(version: dict[str, Any]) -> dict[str, Any]:
    """A version of a message without what it said."""
    return {"text": ""} | {name: version[name] for name in _KEPT_OF_DELETED_MESSAGE if name in version}


def _emptied_edit(edit: dict[str, Any]) -> dict[str, Any]:
    return {"text": ""} | {name: edit[name] for name in _KEPT_OF_DELETED_EDIT if name in edit}


def _edit_order(edit: dict[str, Any]) -> tuple[int, str, str]:
    # What a deletion leaves decides first: emptied and whole edits then compare alike, whichever was folded first.
    return edit["at"], json.dumps(_emptied_edit(edit), sort_keys=True), json.dumps(edit, sort_keys=True)


def _reactor(event: MessageReacted) -> str:
    """Whose register. In a chat of two the person has one, whatever contacts were merged into theirs."""
    if event.direction == "outbound":
        return _BUSINESS
    return f"{_PERSON} {event.person.contact_id}" if event.group_id else _PERSON
