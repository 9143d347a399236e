"""How far the outbound role's tables are behind the log, at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta

from connector.settings import KafkaSettings
from connector.state.database import Connection
from connector.state.offsets import load_offsets
from connector.streams.log_view import log_ends, log_reader
from connector.topics import Topic

_LOOK_AGAIN = 0.1  # seconds


async def lag_of(
    connection: Connection,
    kafka: KafkaSettings,
    topics: Collection[Topic],
    *,
    schema: str,
    patience: float,
) -> timedelta | None:
    """How old the moment is up to which everything on the log is in the tables; None: they are behind for longer.

    `patience`: seconds to wait for the role to read what is there. Raises `Transient` when the broker does not answer.
    """
    at: datetime = await connection.fetchval("SELECT clock_timestamp()")
    names = [topic.full_name(kafka.topic_prefix) for topic in topics]
    async with log_reader(kafka, group=None, client="connector-cli") as consumer:
        wanted = await log_ends(consumer, names)
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        stored = await load_offsets(connection, schema=schema)
        if all(stored.get(place, 0) >= end for place, end in wanted.items()):
            now: datetime = await connection.fetchval("SELECT clock_timestamp()")
            return now - at
        if asyncio.get_running_loop().time() >= deadline:
            return None
        await asyncio.sleep(_LOOK_AGAIN)
