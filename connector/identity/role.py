"""The route stage: `whatsapp.updates` → whose it is → `conversation.events` and `account.events`.

One transaction a batch: identity, recorded messages, the offsets folded, and the events about people
(`shared.outgoing`). The events made of a record itself are handed to the harness, which awaits them before
it acknowledges. A crash in between repeats the batch: a recorded message keeps its contact, so the same
events come out again and the decisions are not announced twice. A status that finds nobody is parked, and sent
again with its person (`shared.outgoing`) by the batch that learns who that is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg

from connector.errors import Rejected
from connector.events import Origin, WhatsAppUpdate
from connector.identity.batches import Guard, route_batch, unguarded
from connector.identity.reading import Reading, read_update
from connector.identity.routing import STAGE
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Outcome, Record
from connector.topics import WHATSAPP_UPDATES, Topic


def _nothing() -> None:
    """Nobody waits for what was queued."""


class RouteStage:
    """Safe in any number of replicas: batches about the same people wait for each other in the database."""

    name: str = STAGE
    topic: Topic = WHATSAPP_UPDATES
    batch_size: int = 500

    def __init__(
        self, pool: asyncpg.Pool, *, on_queued: Callable[[], None] = _nothing, guard: Guard = unguarded
    ) -> None:
        """`on_queued` is called after a commit that left rows for the relay. `guard`: see batches.py."""
        self._pool = pool
        self._guard = guard
        self._on_queued = on_queued

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """Route one batch. Raises `Transient` when the database is away or asks to repeat; nothing is kept then."""
        routed = await route_batch(
            self._pool, [_read(record) for record in records], offsets=records, guard=self._guard
        )
        if routed.queued:
            self._on_queued()
        return routed.outcomes


def _read(record: Record) -> Reading | Dead:
    source, foretold = "", False
    try:
        update: WhatsAppUpdate = decode(WHATSAPP_UPDATES, record.value)
        source, foretold = update.received_at.isoformat(), update.kind == "unknown"  # one instant a POST
        origin = Origin(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            received_at=update.received_at,
        )
        return read_update(update, origin)
    except Rejected as error:
        return Dead(
            cause=error.cause, reason=error.message, advice=error.advice, source=source, foretold=foretold
        )
