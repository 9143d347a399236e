"""The second route stage: `whatsapp.history`, imports of old chats → `conversation.events`.

A record holds up to thousands of messages. They are routed in slices, a transaction each, so that the people of
live messages are locked for moments only; the record's offset is committed with its last slice. A crash in
between repeats the record: recorded messages keep their contacts, so the same events come out again.
A message that cannot be routed becomes a dead letter by itself; the rest of its chunk goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg

from connector.errors import Rejected
from connector.events import Origin, WhatsAppUpdate
from connector.identity.batches import Guard, route_batch, unguarded
from connector.identity.reading import Reading, read_update
from connector.streams.codec import EncodedRecord, decode, encode
from connector.streams.dead_letters import dead_letter_record
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.topics import WHATSAPP_HISTORY, Topic
from connector.whatsapp.history import past_updates

STAGE = "route-history"
SLICE = 200
"""Messages routed in one transaction."""


class HistoryStage:
    """Like `RouteStage`, for imports. Safe in any number of replicas, and beside the live stage."""

    name: str = STAGE
    topic: Topic = WHATSAPP_HISTORY
    batch_size: int = 2

    def __init__(
        self, pool: asyncpg.Pool, *, on_queued: Callable[[], None], guard: Guard = unguarded
    ) -> None:
        """`on_queued` is called after a commit that left rows for the relay. `guard`: see batches.py."""
        self._pool = pool
        self._guard = guard
        self._on_queued = on_queued

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Route each chunk. Raises `Transient` when the database is away or asks to repeat."""
        return [await self._chunk(record) for record in records]

    async def _chunk(self, record: Record) -> Outcome:
        try:
            chunk: WhatsAppUpdate = decode(WHATSAPP_HISTORY, record.value)
        except Rejected as error:
            await route_batch(self._pool, [], offsets=[record], guard=self._guard)
            return Dead(cause=error.cause, reason=error.message, advice=error.advice)
        origin = Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            received_at=chunk.received_at,
        )
        updates = list(past_updates(chunk))
        produced: list[EncodedRecord] = []
        for start in range(0, max(1, len(updates)), SLICE):
            part = updates[start : start + SLICE]
            last = start + SLICE >= len(updates)
            routed = await route_batch(
                self._pool,
                [_read(update, origin) for update in part],
                offsets=[record] if last else [],
                guard=self._guard,
            )
            if routed.queued:
                self._on_queued()
            for update, outcome in zip(part, routed.outcomes, strict=True):
                produced.extend(_kept(update, outcome, record=record))
            await asyncio.sleep(0)  # the live stage runs in the same process
        return Done(produce=tuple(produced))


def _read(update: WhatsAppUpdate, origin: Origin) -> Reading | Dead:
    try:
        return read_update(update, origin)
    except Rejected as error:
        return Dead(cause=error.cause, reason=error.message, advice=error.advice)


def _kept(update: WhatsAppUpdate, outcome: Outcome, *, record: Record) -> tuple[EncodedRecord, ...]:
    """What a message's outcome leaves on the log: its events, or the message itself as a dead letter."""
    if isinstance(outcome, Done):
        return outcome.produce
    alone = replace(record, value=encode(WHATSAPP_HISTORY, key="", value=update, origin=STAGE).value)
    letter = dead_letter_record(alone, outcome, stage=STAGE, at=datetime.now(UTC), part=update.event_id)
    return (letter,)
