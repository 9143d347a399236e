"""One batch on its way through the rules, in memory: readings → what is produced and what is to be written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from connector.events import AccountEvent, ConversationEvent, StatusChange
from connector.identity.announcements import announcements
from connector.identity.directory import Directory
from connector.identity.parked import ParkedStatus
from connector.identity.reading import MessageReading, Reading, StatusReading, inquiry
from connector.identity.rules import Ruling, changed, known, sighted, told_change
from connector.identity.store import RecordedConflict, RecordedMessage
from connector.streams.codec import EncodedRecord, decode, encode
from connector.streams.outcomes import Dead, Done, Outcome
from connector.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS

STAGE = "route"


@dataclass(slots=True)
class Routing:
    """What has to be written gathers in the lists.

    `announce_again`: say once more what follows from recorded messages, by the same event ids. For tables that were
    restored: the ones that were lost may not have sent it.
    """

    directory: Directory
    announce_again: bool = False
    messages: list[RecordedMessage] = field(default_factory=list)
    conflicts: list[RecordedConflict] = field(default_factory=list)
    parked: list[ParkedStatus] = field(default_factory=list)
    outgoing: list[EncodedRecord] = field(default_factory=list)
    _owned: set[str] = field(default_factory=set)

    def route(self, readings: Sequence[Reading | Dead]) -> list[Outcome]:
        """Decide in the order of the batch: each record sees what the ones before it changed.

        Only a status that finds nobody is looked at again at the end, when the whole batch has been told.
        """
        outcomes = [self._outcome(reading) for reading in readings]
        for index, reading in enumerate(readings):
            if outcomes[index] is None and isinstance(reading, StatusReading):
                outcomes[index] = self._last_look(reading)
        return [outcome for outcome in outcomes if outcome is not None]

    def release(self, candidates: Iterable[ParkedStatus]) -> list[ParkedStatus]:
        """Those of the parked statuses that have a person now. The same events, with it, join `outgoing`."""
        released = []
        for status in candidates:
            event: StatusChange = decode(CONVERSATION_EVENTS, status.event)
            contact_id = known(self.directory, inquiry(event.wamid, event.person, event.at))
            if contact_id is None:
                continue
            released.append(status)
            if status.event_id not in self._owned:
                person = event.person.model_copy(update={"contact_id": contact_id})
                owned = event.model_copy(update={"person": person})
                self.outgoing.append(encoded(owned, key=str(contact_id)))
        return released

    def _outcome(self, reading: Reading | Dead) -> Outcome | None:
        """None: a status of nobody, so far."""
        if isinstance(reading, MessageReading):
            return self._message(reading)
        if isinstance(reading, StatusReading):
            return self._status(reading)
        if isinstance(reading, AccountEvent):
            return Done(produce=(encode(ACCOUNT_EVENTS, key=reading.waba_id, value=reading, origin=STAGE),))
        return reading

    def _message(self, reading: MessageReading) -> Outcome:
        wamid = reading.parts.wamid
        contact_id = self.directory.messages.get(wamid)
        if contact_id is None:
            if not reading.aliases:
                # A deletion in the app need not say to whom; the message that it deletes does.
                contact_id = self.directory.messages.get(reading.target)
            if contact_id is not None:
                self._record(reading, contact_id)
                return Done(produce=(encoded(reading.event(contact_id), key=str(contact_id)),))
            if not reading.aliases:
                return Dead(
                    cause="no_person",
                    reason="A message shows neither a phone nor a user id: nobody's timeline can have it.",
                    advice="look at the original bytes; redrive after an upgrade if WhatsApp names people anew",
                )
            contact_id = self._decide(reading)
            self._record(reading, contact_id)
        elif self.announce_again:
            self._again(reading, contact_id)
        return Done(produce=(encoded(reading.event(contact_id), key=str(contact_id)),))

    def _again(self, reading: MessageReading, contact_id: UUID) -> None:
        """A message whose contact the log told: what followed from it may never have been sent.

        A fact that is applied again changes nobody, where BSUIDs decide. Who has a changed number by now is not asked.
        """
        change, holder = reading.change, self.directory.holder
        if change is None:
            certain = holder(reading.sighting.bsuid) is not None
        else:
            before, after = holder(change.old_bsuid), holder(change.new_bsuid)
            certain = before is not None and after is not None and before != after
        if certain:
            self._decide(reading)
        elif change is not None:
            told_change(self.directory, contact_id=contact_id, change=change)
            self._announce(reading, Ruling(contact_id=contact_id))

    def _status(self, reading: StatusReading) -> Outcome | None:
        contact_id = known(self.directory, reading.inquiry)
        if contact_id is None:
            return None
        self._owned.add(reading.facts.event_id)
        return Done(produce=(encoded(reading.event(contact_id), key=str(contact_id)),))

    def _last_look(self, reading: StatusReading) -> Outcome:
        """A status that still finds nobody goes on without a person, and is parked."""
        owned = self._status(reading)
        if owned is not None:
            return owned
        asked = reading.inquiry
        record = encoded(reading.event(None), key=asked.wamid)
        self.parked.append(
            ParkedStatus(
                event_id=reading.facts.event_id,
                wamid=asked.wamid,
                bsuid=asked.bsuid,
                phone=asked.phone,
                event=record.value,
            )
        )
        return Done(produce=(record,))

    def _decide(self, reading: MessageReading) -> UUID:
        ruling: Ruling
        if reading.change is not None:
            ruling = changed(self.directory, reading.change)
        else:
            ruling = sighted(self.directory, reading.sighting)
        facts = reading.facts
        self.conflicts.extend(
            RecordedConflict(event_id=facts.event_id, at=facts.at, conflict=conflict)
            for conflict in ruling.conflicts
        )
        self._announce(reading, ruling)
        return ruling.contact_id

    def _announce(self, reading: MessageReading, ruling: Ruling) -> None:
        self.outgoing.extend(
            encoded(event, key=str(event.person.contact_id)) for event in announcements(reading, ruling)
        )

    def _record(self, reading: MessageReading, contact_id: UUID) -> None:
        wamid, facts = reading.parts.wamid, reading.facts
        self.directory.messages[wamid] = contact_id
        self.messages.append(
            RecordedMessage(
                wamid=wamid,
                contact_id=contact_id,
                first_event_id=facts.event_id,
                received_at=facts.origin.received_at,
                topic=facts.origin.topic,
                partition=facts.origin.partition,
                offset=facts.origin.offset,
            )
        )


def encoded(event: ConversationEvent, *, key: str) -> EncodedRecord:
    """The event as the route role sends it."""
    return encode(CONVERSATION_EVENTS, key=key, value=event, origin=STAGE)
