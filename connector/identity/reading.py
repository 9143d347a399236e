"""One WhatsApp update → what it says and about whom, before anybody is looked up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from connector.errors import Rejected
from connector.events import (
    AccountEvent,
    Direction,
    Message,
    MessageEdited,
    MessageReacted,
    MessageRevoked,
    Origin,
    Person,
    StatusChange,
    Via,
    WhatsAppUpdate,
)
from connector.identity.directory import Alias
from connector.identity.rules import Change, Inquiry, Sighting
from connector.whatsapp import people
from connector.whatsapp.history import THREAD, is_past_message, read_past_message
from connector.whatsapp.lenient import as_object, as_text
from connector.whatsapp.messages import MessageParts, read_message
from connector.whatsapp.numbers import e164, lookup_variants
from connector.whatsapp.statuses import StatusParts, read_status
from connector.whatsapp.system import IdentityChange, read_identity_change
from connector.whatsapp.text import NAME_LIMIT, identifier, storable_json
from connector.whatsapp.timestamps import fact_time

# Kind, number, wamid, recipient and hash; an index has to hold it beside an alias.
_EVENT_ID_LIMIT = 400
# Messages that are about an earlier one and change how it reads.
_AMENDING = frozenset({"edit", "revoke", "reaction"})
# In these fields an update of no kind is one whose element has no form at all.
_CONVERSATION_FIELDS = frozenset({"", "messages", "smb_message_echoes"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What every reading has: which account and number, when, and where the record lies."""

    event_id: str
    waba_id: str
    phone_number_id: str
    business_phone: str
    at: datetime
    origin: Origin


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageReading:
    """A message, and who is on the other side. `change`: Meta says that this person's aliases changed."""

    facts: Facts
    parts: MessageParts
    direction: Direction
    person: Person
    change: Change | None
    via: Via = "platform"
    reported_status: str = ""

    @property
    def target(self) -> str:
        """The wamid of the message that this one edits, deletes or reacts to; "" for any other."""
        return self.parts.reply_to if self.parts.message_type in _AMENDING else ""

    @property
    def wamids(self) -> tuple[str, ...]:
        """Its own id, and that of the message that it is about: either may tell whose it is."""
        return (self.parts.wamid, self.target) if self.target else (self.parts.wamid,)

    @property
    def aliases(self) -> tuple[Alias, ...]:
        """Everything that the message shows or names, to be locked before a rule looks at it."""
        if self.change is not None:
            return self.change.aliases
        shown = tuple(alias for alias in (bsuid_alias(self.person), phone_alias(self.person)) if alias)
        return (*shown, *_other_forms(self.person))

    @property
    def sighting(self) -> Sighting:
        """The message as evidence of who holds what."""
        return Sighting(
            event_id=self.facts.event_id,
            at=self.facts.at,
            bsuid=bsuid_alias(self.person),
            phone=phone_alias(self.person),
            other_forms=_other_forms(self.person),
        )

    def event(self, contact_id: UUID) -> Message | MessageEdited | MessageRevoked | MessageReacted:
        """The canonical event, once the contact is known. An edit that holds no message is a message of its own."""
        parts, target = self.parts, self.target
        shared = self._shared(contact_id)
        if target and parts.message_type == "reaction":
            group_id = identifier(parts.content.get("group_id"))
            return MessageReacted(target=target, emoji=parts.text, group_id=group_id, **shared)
        if target and parts.message_type == "revoke":
            return MessageRevoked(target=target, **shared)
        if target and parts.edited is not None:
            edited = parts.edited
            return MessageEdited(
                target=target,
                message_type=edited.message_type,
                text=edited.text,
                media=edited.media,
                content=edited.content,
                **shared,
            )
        return Message(
            message_type=parts.message_type,
            text=parts.text,
            media=parts.media,
            reply_to=parts.reply_to,
            referral=parts.referral,
            content=parts.content,
            errors=parts.errors,
            reported_status=self.reported_status,
            **shared,
        )

    def _shared(self, contact_id: UUID) -> dict[str, Any]:
        facts = self.facts
        return {
            "event_id": facts.event_id,
            "waba_id": facts.waba_id,
            "phone_number_id": facts.phone_number_id,
            "business_phone": facts.business_phone,
            "at": facts.at,
            "person": self.person.model_copy(update={"contact_id": contact_id}),
            "origin": facts.origin,
            "direction": self.direction,
            "wamid": self.parts.wamid,
            "via": self.via,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StatusReading:
    """A status, and whose device it speaks of."""

    facts: Facts
    parts: StatusParts
    person: Person

    @property
    def inquiry(self) -> Inquiry:
        """The status as a question: whose is the message?"""
        return inquiry(self.parts.wamid, self.person, self.facts.at)

    def event(self, contact_id: UUID | None) -> StatusChange:
        """The canonical event; without a contact when nobody knows the message or the person."""
        facts, parts = self.facts, self.parts
        return StatusChange(
            event_id=facts.event_id,
            waba_id=facts.waba_id,
            phone_number_id=facts.phone_number_id,
            business_phone=facts.business_phone,
            at=facts.at,
            person=self.person.model_copy(update={"contact_id": contact_id}),
            origin=facts.origin,
            wamid=parts.wamid,
            status=parts.status,
            errors=parts.errors,
            callback_data=parts.callback_data,
            pricing_category=parts.pricing_category,
            pricing_type=parts.pricing_type,
        )


Reading = MessageReading | StatusReading | AccountEvent


def bsuid_alias(person: Person) -> Alias | None:
    """The BSUID that an event showed, as an alias."""
    return Alias("bsuid", person.bsuid) if person.bsuid else None


def phone_alias(person: Person) -> Alias | None:
    """The phone that an event showed, as an alias: the wa_id, never its E.164 or a variant."""
    return Alias("phone", person.wa_id) if person.wa_id else None


def _other_forms(person: Person) -> tuple[Alias, ...]:
    return tuple(Alias("phone", form) for form in lookup_variants(person.wa_id)[1:]) if person.wa_id else ()


def inquiry(wamid: str, person: Person, at: datetime) -> Inquiry:
    """The question that a status asks about the person as it showed them."""
    return Inquiry(wamid=wamid, bsuid=bsuid_alias(person), phone=phone_alias(person), at=at)


def read_update(update: WhatsAppUpdate, origin: Origin) -> Reading:
    """What the update says. Raises `Rejected` (cause `unreadable_update`) when a person could not tell either."""
    if update.kind == "message":
        return _message(update, origin, direction="inbound")
    if update.kind == "echo":
        return _message(update, origin, direction="outbound", via="business_app")
    if update.kind == "status":
        return _status(update, origin)
    if update.kind == "history" and is_past_message(update.update):
        return _past_message(update, origin)
    return _account(update, origin)


def _message(
    update: WhatsAppUpdate, origin: Origin, *, direction: Direction, via: Via = "platform"
) -> MessageReading:
    raw = _object(update)
    facts = _facts(update, origin, raw.get("timestamp"))
    stated = read_identity_change(raw) if direction == "inbound" else None
    if stated is not None:
        person, change = _person_after(stated), _change(stated, facts)
    else:
        read = people.sender if direction == "inbound" else people.addressee
        person, change = read(raw, update.contact), None
    return MessageReading(
        facts=facts, parts=read_message(raw), direction=direction, person=person, change=change, via=via
    )


def _past_message(update: WhatsAppUpdate, origin: Origin) -> MessageReading:
    """A message of the app's history. Who wrote it is told by whose number `from` is."""
    raw = _object(update)
    facts = _facts(update, origin, raw.get("timestamp"))
    past = read_past_message(raw, thread=update.context.get(THREAD), business_phone=facts.business_phone)
    return MessageReading(
        facts=facts,
        parts=read_message(raw),
        direction=past.direction,
        person=people.person(user_id=past.user_id, phone=past.phone, contact=update.contact),
        change=None,
        via="history",
        reported_status=past.status,
    )


def _status(update: WhatsAppUpdate, origin: Origin) -> StatusReading:
    raw = _object(update)
    parts = read_status(raw)
    if not parts.wamid or not parts.status:
        raise Rejected(
            "A status names no message or no status.",
            cause="unreadable_update",
            advice="nothing can be updated by it; look at the original bytes if it was sent by Meta",
        )
    return StatusReading(
        facts=_facts(update, origin, raw.get("timestamp")),
        parts=parts,
        person=people.recipient(raw, update.contact),
    )


def _account(update: WhatsAppUpdate, origin: Origin) -> AccountEvent:
    """Account fields, errors without a message, history chunks and fields that are new: kept as sent."""
    raw = _object(update)
    if update.kind == "unknown" and update.field in _CONVERSATION_FIELDS and not _is_envelope(raw):
        raise _unreadable(update)
    # `entry[].time` is Meta's time of the change; elements carry a time of their own.
    stated = raw.get("timestamp", update.entry_time)
    facts = _facts(update, origin, stated)
    content: dict[str, Any] = storable_json(raw)
    belongings = {"metadata": update.metadata, "contact": update.contact, "context": update.context}
    for name, value in belongings.items():
        if value:
            content.setdefault(name, storable_json(value))
    return AccountEvent(
        event_id=facts.event_id,
        waba_id=facts.waba_id,
        field=identifier(update.field),
        at=facts.at,
        content=content,
        origin=origin,
    )


def _is_envelope(raw: dict[str, Any]) -> bool:
    """A part of the POST around the elements that the split kept as a record of its own."""
    return "messaging_product" in raw or "metadata" in raw or any(key.startswith("@") for key in raw)


def _object(update: WhatsAppUpdate) -> dict[str, Any]:
    if not isinstance(update.update, dict):
        raise _unreadable(update)
    return update.update


def _unreadable(update: WhatsAppUpdate) -> Rejected:
    return Rejected(
        f"An update of kind {update.kind} in the field {identifier(update.field) or '(none)'!r} has no known form.",
        cause="unreadable_update",
        advice="look at the original bytes; if it is a new format of Meta's, redrive after an upgrade",
    )


def _facts(update: WhatsAppUpdate, origin: Origin, timestamp: object) -> Facts:
    metadata = as_object(update.metadata)
    return Facts(
        event_id=identifier(update.event_id, limit=_EVENT_ID_LIMIT),
        waba_id=identifier(update.waba_id),
        phone_number_id=identifier(metadata.get("phone_number_id")),
        business_phone=as_text(metadata.get("display_phone_number"), limit=NAME_LIMIT),
        at=fact_time(timestamp, received_at=update.received_at),
        origin=origin,
    )


def _person_after(change: IdentityChange) -> Person:
    """The person as they are after the change: the old aliases must not look current on the event."""
    return Person(
        bsuid=change.new_bsuid or (None if change.reason == "user_changed_user_id" else change.old_bsuid),
        wa_id=change.new_phone,
        phone=e164(change.new_phone) if change.new_phone else None,
    )


def _change(change: IdentityChange, facts: Facts) -> Change:
    return Change(
        event_id=facts.event_id,
        at=facts.at,
        reason=change.reason,
        old_bsuid=Alias("bsuid", change.old_bsuid) if change.old_bsuid else None,
        old_phone=Alias("phone", change.old_phone) if change.old_phone else None,
        new_bsuid=Alias("bsuid", change.new_bsuid) if change.new_bsuid else None,
        new_phone=Alias("phone", change.new_phone) if change.new_phone else None,
    )
