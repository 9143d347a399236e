"""Canonical events for tests, made from what a test cares about."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from connector.events import ContactChanged, ContactMerged, Message, Origin, Person, StatusChange

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
_PEOPLE = UUID("5b0f3f1e-5a51-4f3c-8f44-1b2f0a6d9c11")
_ORIGIN = Origin(topic="whatsapp.updates", partition=0, offset=0, received_at=T0)


def contact(name: str) -> UUID:
    """The contact id of a person that a test calls `name`."""
    return uuid5(_PEOPLE, name)


def at(seconds: float) -> datetime:
    """A time `seconds` after the test's beginning."""
    return T0 + timedelta(seconds=seconds)


def _person(who: str | None, /, **shown: Any) -> Person:
    return Person(contact_id=None if who is None else contact(who), **shown)


def message(
    wamid: str, who: str, *, seconds: float = 0, shown: dict[str, Any] | None = None, **fields: Any
) -> Message:
    """A text from `who`, unless `fields` say otherwise."""
    values: dict[str, Any] = {
        "direction": "inbound",
        "message_type": "text",
        "text": f"text of {wamid}",
    } | fields
    return Message(
        event_id=f"message:{wamid}:{seconds}:{values['message_type']}",
        waba_id="waba",
        phone_number_id="1000",
        business_phone="+15550783881",
        at=at(seconds),
        person=_person(who, **({"name": who, "wa_id": "15551230000"} if shown is None else shown)),
        origin=_ORIGIN,
        wamid=wamid,
        **values,
    )


def status(wamid: str, word: str, who: str | None, *, seconds: float = 0, **fields: Any) -> StatusChange:
    """A status of an outbound message to `who`."""
    return StatusChange(
        event_id=f"status:{wamid}:{word}:{seconds}",
        waba_id="waba",
        phone_number_id="1000",
        at=at(seconds),
        person=_person(who),
        origin=_ORIGIN,
        wamid=wamid,
        status=word,
        **fields,
    )


def merged(loser: str, winner: str, *, seconds: float = 0, **shown: Any) -> ContactMerged:
    """`loser` turned out to be `winner`."""
    return ContactMerged(
        event_id=f"merged:{loser}:{winner}",
        waba_id="waba",
        at=at(seconds),
        person=_person(winner, **shown),
        origin=_ORIGIN,
        loser_id=contact(loser),
        reason="user_changed_number",
    )


def changed(who: str, *, seconds: float = 0, phone_lost: bool = False, **shown: Any) -> ContactChanged:
    """The aliases of `who` changed."""
    return ContactChanged(
        event_id=f"changed:{who}:{seconds}",
        waba_id="waba",
        at=at(seconds),
        person=_person(who, **shown),
        origin=_ORIGIN,
        reason="test",
        phone_lost=phone_lost,
    )
