"""Identity tables that were restored learn from `conversation.events` what was decided since the backup.

A contact's id comes from the first alias that was seen, and which came first differs when partitions are read anew.
But every decision is on the log: each event names its contact beside the aliases that it shows, merges and changes
are events of their own. So these are read first, and only then the updates that the tables lack
(docs/decisions/0004-a-restored-database.md). What is written here is what the rules would write who heard the
contact's name with each message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.errors import ConnectorError, Rejected
from connector.events import Amendment, ContactChanged, ContactMerged, ConversationEvent, Message
from connector.identity.directory import Alias, Directory
from connector.identity.reading import bsuid_alias, phone_alias
from connector.identity.rules import told, told_lost, told_merged
from connector.identity.store import RecordedMessage, load_directory, release_phones, save_directory
from connector.settings import KafkaSettings
from connector.state.database import Connection, transaction
from connector.state.offsets import Place, store_offsets
from connector.state.standing import LogSpan, lock, open_targets
from connector.streams.codec import decode
from connector.streams.completeness import Completeness
from connector.streams.log_view import log_reader, offsets_since
from connector.streams.outcomes import Record
from connector.topics import CONVERSATION_EVENTS

SCHEMA = "identity"
_BATCH = 2000  # records a transaction
_LOOK_EVERY = 0.5  # seconds
_NUMBER_CHANGED = "user_changed_number"

_MARGIN = timedelta(minutes=15)
"""How much earlier than the tables' last fold the reading begins: clocks differ, and an event is written after its fold."""

_log = structlog.get_logger(__name__)


async def what_was_told(
    connection: Connection, settings: KafkaSettings, places: Collection[Place]
) -> Mapping[Place, LogSpan]:
    """The part of `conversation.events` that the tables have to read again, by when they last folded from `places`.

    No places: they are as old as their newest fold.
    """
    newest: datetime | None = await connection.fetchval("SELECT max(stored_at) FROM identity.offsets")
    oldest: datetime | None = await connection.fetchval(
        "SELECT min(stored_at) FROM identity.offsets "
        "JOIN unnest($1::text[], $2::int[]) AS p (topic, partition) USING (topic, partition)",
        [place.topic for place in places],
        [place.partition for place in places],
    )
    folded_at = oldest or newest
    topic = CONVERSATION_EVENTS.full_name(settings.topic_prefix)
    return await offsets_since(settings, topic=topic, since=folded_at and folded_at - _MARGIN)


class Relearning:
    """Reads what was told, one replica at a time, while the identity tables are behind."""

    def __init__(self, completeness: Completeness, *, pool: asyncpg.Pool, settings: KafkaSettings) -> None:
        self._completeness = completeness
        self._pool = pool
        self._settings = settings
        self._topic = CONVERSATION_EVENTS.full_name(settings.topic_prefix)

    async def run(self, *, stop: asyncio.Event) -> None:
        """Work until `stop`; what fails is tried again, and the health of the tables says what is waited for."""
        while not stop.is_set():
            try:
                if self._completeness.behind:
                    await self._learn(stop)
            except ConnectorError as error:
                _log.info("reading what was told is tried again", reason=error.message)
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_EVERY)
            except TimeoutError:
                continue

    async def _learn(self, stop: asyncio.Event) -> None:
        async with transaction(self._pool) as connection:
            targets = await open_targets(connection, SCHEMA, self._topic)
        if not targets:
            return
        async with log_reader(self._settings, group=None, client="connector-relearning") as consumer:
            consumer.assign([TopicPartition(self._topic, partition) for partition in sorted(targets)])
            while targets and not stop.is_set():
                targets = dict(await self._step(consumer))

    async def _step(self, consumer: AIOKafkaConsumer) -> Mapping[int, tuple[int, int]]:
        """Learn from one batch, in one transaction; what is still to be read, {} when another replica reads it."""
        async with transaction(self._pool) as connection:
            await lock(connection, SCHEMA)
            targets = await open_targets(connection, SCHEMA, self._topic)
            records = await _read(consumer, self._topic, targets)
            await learn(connection, records)
            return await open_targets(connection, SCHEMA, self._topic)


async def _read(
    consumer: AIOKafkaConsumer, topic: str, targets: Mapping[int, tuple[int, int]]
) -> list[Record]:
    """Up to a batch of the records that are still to be read, of all partitions beside each other."""
    positions = {partition: begin for partition, (begin, _) in targets.items()}
    for partition, begin in positions.items():
        consumer.seek(TopicPartition(topic, partition), begin)
    records: list[Record] = []
    while len(records) < _BATCH and any(positions[p] < until for p, (_, until) in targets.items()):
        found = await consumer.getmany(timeout_ms=2000, max_records=_BATCH)
        for place, messages in found.items():
            if place.partition not in positions:
                continue
            for message in messages:
                records.append(
                    Record(
                        topic=topic,
                        partition=place.partition,
                        offset=message.offset,
                        key=message.key,
                        value=message.value,
                        follows=positions[place.partition],
                    )
                )
                positions[place.partition] = message.offset + 1
        if not found:
            break
    return records


async def learn(connection: Connection, records: Sequence[Record]) -> None:
    """Enter what these records of `conversation.events` say about people, in the caller's transaction."""
    events = sorted(_decoded(records), key=lambda event: event.at)
    shown = [event for event in events if isinstance(event, Message | Amendment | ContactChanged)]
    people = [one for event in shown if (one := _evidence(event)) is not None]
    merges = [event for event in events if isinstance(event, ContactMerged)]
    messages = [event for event in events if isinstance(event, Message | Amendment)]
    directory = await load_directory(
        connection,
        shown={alias for one in people for alias in (one.bsuid, one.phone) if alias is not None},
        wamids={event.wamid for event in messages},
        inquiries=[],
        contacts={one.contact_id for one in people}.union(*(_merged(event) for event in merges)),
    )
    for event in merges:  # first, so that their people are one person when they are seen below
        if event.person.contact_id is not None:
            told_merged(
                directory,
                loser_id=event.loser_id,
                winner_id=event.person.contact_id,
                at=event.at,
                reason=event.reason,
            )
    for one in people:
        if not one.phone_lost:
            told(directory, contact_id=one.contact_id, at=one.at, bsuid=one.bsuid, phone=one.phone)
    for one in people:  # last, so that whoever has the phone now is known
        if one.phone_lost and one.phone is not None:
            told_lost(directory, contact_id=one.contact_id, phone=one.phone, at=one.at)
    recorded = list(_recorded(messages, directory))
    await save_directory(connection, directory, messages=recorded, parked=(), conflicts=())
    await release_phones(
        connection,
        [
            (directory.resolve(one.contact_id), one.phone, one.at)
            for one in people
            if one.number_changed and one.phone is not None
        ],
    )
    await store_offsets(connection, schema=SCHEMA, offsets=records)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Evidence:
    """Whose an event is, and what it shows of them."""

    contact_id: UUID
    at: datetime
    bsuid: Alias | None
    phone: Alias | None
    number_changed: bool = False
    phone_lost: bool = False


def _evidence(event: Message | Amendment | ContactChanged) -> _Evidence | None:
    """None: it names nobody."""
    if event.person.contact_id is None:
        return None
    change = event if isinstance(event, ContactChanged) else None
    return _Evidence(
        contact_id=event.person.contact_id,
        at=event.at,
        bsuid=bsuid_alias(event.person),
        phone=phone_alias(event.person),
        number_changed=change is not None and change.reason == _NUMBER_CHANGED,
        phone_lost=change is not None and change.phone_lost,
    )


def _merged(event: ContactMerged) -> set[UUID]:
    winner = event.person.contact_id
    return {event.loser_id} if winner is None else {event.loser_id, winner}


def _decoded(records: Iterable[Record]) -> list[ConversationEvent]:
    events: list[ConversationEvent] = []
    for record in records:
        try:
            events.append(decode(CONVERSATION_EVENTS, record.value))
        except Rejected:  # whoever folds the topic keeps it as a dead letter
            continue
    return events


def _recorded(messages: Iterable[Message | Amendment], directory: Directory) -> Iterable[RecordedMessage]:
    """The messages that the tables do not know, each with its contact."""
    new: dict[str, RecordedMessage] = {}
    for event in messages:
        if event.person.contact_id is None or event.wamid in directory.messages:
            continue
        new.setdefault(
            event.wamid,
            RecordedMessage(
                wamid=event.wamid,
                contact_id=event.person.contact_id,
                first_event_id=event.event_id,
                received_at=event.origin.received_at,
                topic=event.origin.topic,
                partition=event.origin.partition,
                offset=event.origin.offset,
            ),
        )
    return new.values()
