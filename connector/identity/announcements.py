"""What an identity decision tells the rest of the system: `contact.merged` and `contact.changed` events. Pure.

Ids are made of the decision itself, so that a decision taken again (a rebuild) is recognised as the same.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from connector.events import ContactChanged, ContactMerged, Person, make_event_id
from connector.identity.directory import Alias
from connector.identity.reading import MessageReading
from connector.identity.rules import PHONE_MOVED, Merged, PhoneLost, Ruling
from connector.whatsapp.numbers import e164


def announcements(reading: MessageReading, ruling: Ruling) -> list[ContactMerged | ContactChanged]:
    """Everything that follows from one message beside the message itself, in the order to apply it."""
    events: list[ContactMerged | ContactChanged] = [_merged(reading, merge) for merge in ruling.merges]
    events.extend(_phone_lost(reading, loss) for loss in ruling.losses)
    if reading.change is not None:
        events.append(_changed(reading, ruling.contact_id))
    return events


def _merged(reading: MessageReading, merge: Merged) -> ContactMerged:
    return ContactMerged(
        event_id=f"contact.merged:{merge.winner_id}:{merge.loser_id}",
        person=_shown(reading.person, merge.winner_id),
        loser_id=merge.loser_id,
        reason=merge.reason,
        **_shared(reading),
    )


def _changed(reading: MessageReading, contact_id: UUID) -> ContactChanged:
    """A new number or BSUID. The person shows the aliases that are current after it."""
    assert reading.change is not None
    return ContactChanged(
        event_id=f"contact.changed:{reading.facts.event_id}",
        person=_shown(reading.person, contact_id),
        reason=reading.change.reason,
        **_shared(reading),
    )


def _phone_lost(reading: MessageReading, loss: PhoneLost) -> ContactChanged:
    """The person is the one who lost the phone; the phone they show is the lost one."""
    shared = _shared(reading)
    shared["at"] = loss.at
    return ContactChanged(
        event_id=make_event_id(
            kind="contact.changed",
            number=PHONE_MOVED,
            subject=str(loss.contact_id),
            recipient=loss.phone.value,
            content=loss.at.isoformat(),
        ),
        person=_with_phone(loss.contact_id, loss.phone),
        reason=PHONE_MOVED,
        phone_lost=True,
        **shared,
    )


def _shown(person: Person, contact_id: UUID) -> Person:
    return person.model_copy(update={"contact_id": contact_id})


def _with_phone(contact_id: UUID, phone: Alias) -> Person:
    return Person(contact_id=contact_id, wa_id=phone.value, phone=e164(phone.value))


def _shared(reading: MessageReading) -> dict[str, Any]:
    facts = reading.facts
    return {
        "waba_id": facts.waba_id,
        "phone_number_id": facts.phone_number_id,
        "business_phone": facts.business_phone,
        "at": facts.at,
        "origin": facts.origin,
    }
