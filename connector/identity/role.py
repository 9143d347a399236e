"""The route stage: `whatsapp.updates` → whose it is → `conversation.events` and `account.events`.

One transaction a batch: identity, recorded messages, the offsets folded, and the events about people
(`shared.outgoing`). The events made of a record itself are handed to the harness, which awaits them before
it acknowledges. A crash in between repeats the batch: a recorded message keeps its contact, so the same
events come out again and the decisions are not announced twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from connector.errors import Rejected
from connector.events import AccountEvent, Message, Origin, StatusChange, WhatsAppUpdate
from connector.identity.announcements import announcements
from connector.identity.directory import Alias, Directory
from connector.identity.reading import (
    MessageReading,
    Reading,
    StatusReading,
    bsuid_alias,
    phone_alias,
    read_update,
)
from connector.identity.rules import Ruling, changed, known, sighted
from connector.identity.store import RecordedConflict, RecordedMessage, load_directory, save_directory
from connector.state.database import transaction
from connector.state.offsets import store_offsets
from connector.streams.codec import EncodedRecord, decode, encode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.streams.outgoing import queue_outgoing
from connector.topics import ACCOUNT_EVENTS, CONVERSATION_EVENTS, WHATSAPP_UPDATES, Topic

STAGE = "route"


def _nothing() -> None:
    """Nobody waits for what was queued."""


class RouteStage:
    """Safe in any number of replicas: batches about the same people wait for each other in the database."""

    name: str = STAGE
    topic: Topic = WHATSAPP_UPDATES
    batch_size: int = 500

    def __init__(self, pool: asyncpg.Pool, *, on_queued: Callable[[], None] = _nothing) -> None:
        """`on_queued` is called after a commit that left rows for the relay."""
        self._pool = pool
        self._on_queued = on_queued

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Route one batch. Raises `Transient` when the database is away or asks to repeat; nothing is kept then."""
        readings = [_read(record) for record in records]
        lock, look, wamids = _needs(readings)
        async with transaction(self._pool) as connection:
            directory = await load_directory(connection, lock=lock, look=look, wamids=wamids)
            routing = Routing(directory)
            outcomes = [routing.route(reading) for reading in readings]
            await save_directory(
                connection,
                directory,
                locked=lock,
                messages=routing.messages,
                conflicts=routing.conflicts,
            )
            await queue_outgoing(connection, stage=STAGE, records=routing.outgoing)
            await store_offsets(connection, schema="identity", offsets=records)
        if routing.outgoing:
            self._on_queued()
        return outcomes


@dataclass(slots=True)
class Routing:
    """One batch on its way through the rules, in memory. What has to be written gathers in the lists."""

    directory: Directory
    messages: list[RecordedMessage] = field(default_factory=list)
    conflicts: list[RecordedConflict] = field(default_factory=list)
    outgoing: list[EncodedRecord] = field(default_factory=list)

    def route(self, reading: Reading | Dead) -> Outcome:
        """Decide one record, in the order of the batch: the next one sees what this one changed."""
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
                return Dead(
                    cause="no_person",
                    reason="A message shows neither a phone nor a user id: nobody's timeline can have it.",
                    advice="look at the original bytes; redrive after an upgrade if WhatsApp names people anew",
                )
            contact_id = self._decide(reading)
            self._record(reading, contact_id)
        return _conversation(reading.event(contact_id), key=str(contact_id))

    def _status(self, reading: StatusReading) -> Outcome:
        wamid = reading.parts.wamid
        contact_id = known(
            self.directory,
            wamid=wamid,
            bsuid=bsuid_alias(reading.person),
            phone=phone_alias(reading.person),
            at=reading.facts.at,
        )
        return _conversation(reading.event(contact_id), key=str(contact_id or wamid))

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
        self.outgoing.extend(
            encode(CONVERSATION_EVENTS, key=str(event.person.contact_id), value=event, origin=STAGE)
            for event in announcements(reading, ruling)
        )
        return ruling.contact_id

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


def _read(record: Record) -> Reading | Dead:
    try:
        update: WhatsAppUpdate = decode(WHATSAPP_UPDATES, record.value)
        origin = Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            received_at=update.received_at,
        )
        return read_update(update, origin)
    except Rejected as error:
        return Dead(cause=error.cause, reason=error.message, advice=error.advice)


def _needs(readings: Iterable[Reading | Dead]) -> tuple[set[Alias], set[Alias], set[str]]:
    """Aliases that may change, aliases that are only looked up, and messages that may be recorded already."""
    lock: set[Alias] = set()
    look: set[Alias] = set()
    wamids: set[str] = set()
    for reading in readings:
        if isinstance(reading, MessageReading):
            lock.update(reading.aliases)
            wamids.add(reading.parts.wamid)
        elif isinstance(reading, StatusReading):
            shown = (bsuid_alias(reading.person), phone_alias(reading.person))
            look.update(alias for alias in shown if alias is not None)
            wamids.add(reading.parts.wamid)
    return lock, look, wamids


def _conversation(event: Message | StatusChange, *, key: str) -> Done:
    return Done(produce=(encode(CONVERSATION_EVENTS, key=key, value=event, origin=STAGE),))
