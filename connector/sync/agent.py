"""The agent of a sync role: folds conversation events into the sink's tables and acknowledges on commit.

It writes nothing to the CRM; it wakes the writer. Past a bound of waiting items it stops folding, and Kafka
holds the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import asyncpg

from connector.errors import Rejected, Transient
from connector.events import ConversationEvent
from connector.settings import SyncSettings
from connector.state.database import transaction
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.sync.core.fold import Position
from connector.sync.core.holding import HoldRules
from connector.sync.folding import SinkTables
from connector.sync.wake import Wake
from connector.topics import CONVERSATION_EVENTS


class SyncStage:
    """One sink's half that listens. `waiting` tells how many items wait for the CRM."""

    topic = CONVERSATION_EVENTS

    def __init__(
        self,
        sink: str,
        *,
        pool: asyncpg.Pool,
        settings: SyncSettings,
        wake: Wake,
        waiting: Callable[[], int],
    ) -> None:
        self.name = f"sync-{sink}"
        self.batch_size = settings.fold_batch
        self._tables = SinkTables(
            schema=sink,
            keep_deleted_text=settings.keep_deleted_text,
            holds=HoldRules.of(create_contacts=settings.create_contacts, ignore=settings.ignore),
        )
        self._pool = pool
        self._most_waiting = settings.max_waiting
        self._wake = wake
        self._waiting = waiting

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Fold one batch in one transaction."""
        if self._waiting() > self._most_waiting:
            raise Transient(
                f"{self._waiting():,} items wait for the CRM; Kafka holds the rest.", retry_after=1.0
            )
        outcomes: list[Outcome] = []
        events: list[tuple[ConversationEvent, Position]] = []
        positions = [Position(record.topic, record.partition, record.offset) for record in records]
        for record, position in zip(records, positions, strict=True):
            try:
                events.append((decode(CONVERSATION_EVENTS, record.value), position))
                outcomes.append(Done())
            except Rejected as error:
                outcomes.append(Dead(cause=error.cause, reason=error.message, advice=error.advice))
        async with transaction(self._pool) as connection:
            result = await self._tables.apply(connection, events, offsets=records, now=datetime.now(UTC))
            await self._wake.announce(connection, self._tables.schema, result)
        self._wake.folded(result)
        return outcomes
