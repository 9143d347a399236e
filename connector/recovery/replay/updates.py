"""Updates of WhatsApp → events, by today's code, for the people whom the log found when they came.

Who wrote a message is not decided again: `route` recorded it, and its tables are only read. A message that `route`
could not make anything of is on no log of events; it is a dead letter, and redriven as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from connector.errors import Rejected
from connector.events import AccountEvent, ConversationEvent, Origin
from connector.identity.reading import MessageReading, StatusReading, read_update
from connector.state.database import Connection
from connector.streams.codec import decode
from connector.sync.core.fold import Position
from connector.topics import WHATSAPP_UPDATES


class UpdateReader:
    """Reads records of `whatsapp.updates`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def events(
        self, records: Sequence[Any]
    ) -> tuple[list[tuple[ConversationEvent, Position]], int, int]:
        """The events; how many updates are not understood, and how many are of messages that were never routed."""
        readings: list[tuple[Reading, Position]] = []
        unread = 0
        for record in records:
            try:
                readings.append((_read(record), Position(record.topic, record.partition, record.offset)))
            except Rejected:
                unread += 1
        wamids = {wamid for reading, _ in readings for wamid in _wamids(reading)}
        holders = await self._holders(wamids)
        events: list[tuple[ConversationEvent, Position]] = []
        unrouted = 0
        for reading, position in readings:
            contact_id = next((holders[wamid] for wamid in _wamids(reading) if wamid in holders), None)
            event = _event(reading, contact_id)
            if event is not None:
                events.append((event, position))
            unrouted += event is None and isinstance(reading, MessageReading)
        return events, unread, unrouted

    async def _holders(self, wamids: set[str]) -> dict[str, UUID]:
        rows = await self._connection.fetch(
            "SELECT wamid, contact_id FROM identity.messages WHERE wamid = ANY($1::text[])", list(wamids)
        )
        return {row["wamid"]: row["contact_id"] for row in rows}


Reading = MessageReading | StatusReading | AccountEvent


def _read(record: Any) -> Reading:
    update = decode(WHATSAPP_UPDATES, record.value)
    origin = Origin(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        received_at=update.received_at,
    )
    return read_update(update, origin)


def _event(reading: Reading, contact_id: UUID | None) -> ConversationEvent | None:
    if isinstance(reading, StatusReading):
        return reading.event(contact_id)
    if isinstance(reading, MessageReading) and contact_id is not None:
        return reading.event(contact_id)
    return None


def _wamids(reading: Reading) -> tuple[str, ...]:
    if isinstance(reading, MessageReading):
        return reading.wamids
    return () if isinstance(reading, AccountEvent) else (reading.parts.wamid,)
