"""Who an update is about, as the update and its `contacts[]` entry show them.

"" and absent mean the same: a phone that is not shared was an empty string in Meta's first pages and is a
missing key since. A BSUID in a phone's place is recognised by its form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.events import Person
from connector.whatsapp.lenient import as_object, as_text
from connector.whatsapp.numbers import bare_number, e164, is_bsuid
from connector.whatsapp.text import NAME_LIMIT, identifier


def person(*, user_id: object, phone: object, contact: object) -> Person:
    """The person without our id. The update's own ids go before those of the `contacts[]` entry.

    An entry whose BSUID is another one belongs to somebody else and is ignored, unless the update's id is the
    entry's parent BSUID.
    """
    bsuid, wa_id = _ids(user_id, phone)
    entry = as_object(contact)
    entry_bsuid, entry_wa_id = _ids(entry.get("user_id"), entry.get("wa_id"))
    if bsuid and entry_bsuid and bsuid not in {entry_bsuid, identifier(entry.get("parent_user_id"))}:
        entry, entry_bsuid, entry_wa_id = {}, "", ""
    bsuid = bsuid or entry_bsuid
    wa_id = wa_id or entry_wa_id
    profile = as_object(entry.get("profile"))
    username = as_text(profile.get("username") or entry.get("username"), limit=NAME_LIMIT)
    return Person(
        bsuid=bsuid or None,
        wa_id=wa_id or None,
        phone=e164(wa_id) if wa_id else None,
        username=username.strip().removeprefix("@") or None,
        name=as_text(profile.get("name"), limit=NAME_LIMIT).strip() or None,
    )


def sender(message: Mapping[str, Any], contact: object) -> Person:
    """Who wrote an inbound message."""
    return person(user_id=message.get("from_user_id"), phone=message.get("from"), contact=contact)


def addressee(message: Mapping[str, Any], contact: object) -> Person:
    """Whom the business wrote to, on an echo of the WhatsApp Business app."""
    return person(user_id=message.get("to_user_id"), phone=message.get("to"), contact=contact)


def recipient(status: Mapping[str, Any], contact: object) -> Person:
    """Whose device a status speaks of. In a group it is the participant: `recipient_id` is then the group."""
    phone = status.get("recipient_id")
    if status.get("recipient_type") == "group" or status.get("recipient_participant_id"):
        phone = status.get("recipient_participant_id")
    return person(user_id=status.get("recipient_user_id"), phone=phone, contact=contact)


def _ids(user_id: object, phone: object) -> tuple[str, str]:
    """(BSUID, phone digits), each "" when not shown."""
    bsuid = identifier(user_id)
    number = bare_number(identifier(phone))
    if number and is_bsuid(number):
        return bsuid or number, ""
    return bsuid, number
