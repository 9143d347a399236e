"""How current the outbound role's tables are: the latest moment up to which everything on the log is in them.

The ends of the log are looked at again and again, each time with the moment of the look by the database's clock. A look
whose ends the stored offsets have passed says that at that moment nothing was on the log which the tables lack.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
import structlog
from aiokafka import AIOKafkaConsumer

from connector.errors import ConnectorError
from connector.settings import KafkaSettings
from connector.state.database import Connection, transaction
from connector.state.offsets import Place, load_offsets
from connector.streams.log_view import log_ends, log_reader
from connector.sync.rest import rest
from connector.telemetry.health import StageHealth
from connector.topics import Topic

LOOK_EVERY = 0.5
"""Seconds; what is judged is at least so old, which is far below what the gate allows."""

_RECONNECT = 2.0
_LOOKS_KEPT = 1_200

_log = structlog.get_logger(__name__)


class LogWatch:
    """One process's looks at the log. `schema`: whose stored offsets count."""

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[Topic],
        *,
        schema: str,
        pool: asyncpg.Pool,
        health: StageHealth,
    ) -> None:
        self._settings = settings
        self._topics = [topic.full_name(settings.topic_prefix) for topic in topics]
        self._schema = schema
        self._pool = pool
        self._health = health
        self._looks: deque[tuple[datetime, Mapping[Place, int]]] = deque(maxlen=_LOOKS_KEPT)
        """Oldest first: when, and place → the end below which everything has to be folded."""

    async def seen_until(self, connection: Connection) -> datetime | None:
        """See `SeenUntil`. None: not known yet, as just after a start."""
        stored = await load_offsets(connection, schema=self._schema)
        passed: tuple[datetime, Mapping[Place, int]] | None = None
        while self._looks and _passed(stored, self._looks[0][1]):
            passed = self._looks.popleft()
        if passed is not None:
            self._looks.appendleft(passed)  # it says so until a later one does
            return passed[0]
        return None

    async def run(self, *, stop: asyncio.Event) -> None:
        """Look until `stop`. Never raises for what broker and database do: what is known just grows old."""
        while not stop.is_set():
            try:
                async with log_reader(
                    self._settings, group=None, client="connector-outbound-watch"
                ) as consumer:
                    while not stop.is_set():
                        await self._look(consumer)
                        self._health.recovered("log")
                        self._health.running()
                        await rest(LOOK_EVERY, stop)
            except ConnectorError as error:
                self._health.waiting("log", reason=error.message, advice=error.advice)
                await rest(_RECONNECT, stop)

    async def _look(self, consumer: AIOKafkaConsumer) -> None:
        async with transaction(self._pool) as connection:
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
        self._looks.append((at, await log_ends(consumer, self._topics)))


def _passed(stored: Mapping[Place, int], ends: Mapping[Place, int]) -> bool:
    return all(stored.get(place, 0) >= end for place, end in ends.items())
