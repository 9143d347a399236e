"""The stage that reads `conversation.events`: who is who, who wrote when, who wants what, and what became of sends.

One transaction a batch, acknowledged on commit. Everything in it is commutative and idempotent (told.py), so a batch
that comes again, or late, changes nothing. It also is what a restored database learns from which sends have left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg

from connector.errors import Rejected
from connector.events import ConversationEvent, Origin, SendFailed, StatusChange
from connector.outbound.applying import apply_acts
from connector.outbound.consent.keywords import KeywordTables
from connector.outbound.store import SCHEMA
from connector.outbound.store.people import link, lock_people, note_people
from connector.outbound.store.sends import apply_reports
from connector.outbound.told import SEND_ID_PREFIX, Told, told_by
from connector.state.database import Connection, transaction
from connector.state.offsets import store_offsets
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.telemetry import metrics
from connector.topics import CONVERSATION_EVENTS

_STATUSES = frozenset({"sent", "delivered", "read", "failed"})


def _nobody() -> None:
    """Nobody waits for it."""


class ConversationStage:
    """Safe in any number of replicas: people are locked in key order, then sends."""

    name = "outbound"
    topic = CONVERSATION_EVENTS
    batch_size = 500

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        tables: KeywordTables,
        on_queued: Callable[[], None] = _nobody,
        on_told: Callable[[], None] = _nobody,
    ) -> None:
        """`on_queued` is called after a commit that left rows for the relay, `on_told` when sends may have moved."""
        self._pool = pool
        self._tables = tables
        self._on_queued = on_queued
        self._on_told = on_told

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Fold one batch. Raises `Transient` while the database is away or asks to repeat; nothing is kept then."""
        outcomes: list[Outcome] = []
        events: list[ConversationEvent] = []
        for record in records:
            try:
                event: ConversationEvent = decode(CONVERSATION_EVENTS, record.value)
            except Rejected as error:
                outcomes.append(Dead(cause=error.cause, reason=error.message, advice=error.advice))
                continue
            events.append(event)
            outcomes.append(Done())
        told = told_by(events, tables=self._tables)
        async with transaction(self._pool) as connection:
            changed = await _apply(connection, told, events)
            await store_offsets(connection, schema=SCHEMA, offsets=records)
        _count(events)
        if changed:
            self._on_queued()
        if told.reports or told.by_wamid:
            self._on_told()
        return outcomes


def _count(events: Sequence[ConversationEvent]) -> None:
    for event in events:
        if isinstance(event, SendFailed):
            metrics.SENDS_FAILED.labels(event.cause).inc()
        elif isinstance(event, StatusChange) and event.callback_data.startswith(SEND_ID_PREFIX):
            metrics.SEND_STATUSES.labels(event.status if event.status in _STATUSES else "other").inc()


async def _apply(connection: Connection, told: Told, events: Sequence[ConversationEvent]) -> int:
    """Write what the batch tells; how many standings of consent it changed."""
    members = await lock_people(connection, told.contacts)
    await note_people(connection, told.people.values(), told.windows)
    changed = 0
    members, regrouped = await link(connection, members, told.merges)
    if told.acts or regrouped:
        changed = await apply_acts(
            connection,
            told.acts,
            members=members,
            origins=_origins(told, events),
            otherwise=events[0].origin,
            regrouped=regrouped,
        )
    await apply_reports(connection, told.reports.values(), by_wamid=told.by_wamid.values())
    return changed


def _origins(told: Told, events: Sequence[ConversationEvent]) -> dict[str, Origin]:
    """Act → where it was said: an act's id begins with that of its event."""
    by_event = {event.event_id: event.origin for event in events}
    found = {act.act_id: by_event.get(act.act_id.rpartition(":")[0]) for _, act in told.acts}
    return {act_id: origin for act_id, origin in found.items() if origin is not None}
