"""Sends what a stage queued in its transactions (`shared.outgoing`): in order, at least once, by one relay at a time."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import asyncpg

from connector.errors import Rejected, Terminal, Transient
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.streams.batch import SEND_TIMEOUT, RecordSender
from connector.streams.codec import EncodedRecord
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth
from connector.topics import ALL_TOPICS

_ROWS = 500
_LOOK_AGAIN = 1.0  # seconds: rows of a replica that died are found by this timer
_STOPPED_PAUSE = 10.0
_TOPICS = {topic.name: topic for topic in ALL_TOPICS}


async def relay_once(pool: asyncpg.Pool, *, stage: str, sender: RecordSender) -> int | None:
    """Send and delete up to 500 rows of a stage, oldest first. None: another relay of the stage is at work.

    The rows stay locked until the broker has confirmed them; a crash in between sends them again. Raises
    `Transient` when database or broker is away and `Terminal` for a row that can never be sent.
    """
    async with transaction(pool) as connection:
        if not await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('relay:' || $1, 0))", stage
        ):
            return None
        rows = await connection.fetch(
            "SELECT id, topic, key, value, headers FROM shared.outgoing WHERE stage = $1 ORDER BY id LIMIT $2",
            stage,
            _ROWS,
        )
        if not rows:
            return 0
        try:
            await sender.send_all([_record(row) for row in rows], timeout=SEND_TIMEOUT)
        except Rejected as error:
            raise Terminal(
                f"A row of shared.outgoing of {stage} cannot be sent: {error.message} All of them are kept.",
                advice=error.advice,
            ) from error
        await connection.execute(
            "DELETE FROM shared.outgoing WHERE id = ANY($1::bigint[])", [row["id"] for row in rows]
        )
    metrics.RELAY_SENT.labels(stage).inc(len(rows))
    return len(rows)


def _record(row: Any) -> EncodedRecord:
    topic = _TOPICS.get(row["topic"])
    if topic is None:
        raise Terminal(
            f"shared.outgoing holds a row for the topic {row['topic']!r}, which this version does not know.",
            advice="run the version that wrote it, or a newer one",
        )
    headers = [(name, value.encode()) for name, value in row["headers"].items()]
    return EncodedRecord(topic=topic, key=row["key"], value=row["value"], headers=headers)


async def run_relay(
    pool: asyncpg.Pool,
    *,
    stage: str,
    sender: RecordSender,
    wake: asyncio.Event,
    stop: asyncio.Event,
    health: StageHealth,
) -> None:
    """Relay until `stop`, woken by `wake` (set it after a commit that queued rows) and by a slow timer.

    Never raises for what a dependency does; the health says what is waited for.
    """
    attempt = 0
    while not stop.is_set():
        wake.clear()
        pause = _LOOK_AGAIN
        try:
            sent = await relay_once(pool, stage=stage, sender=sender)
            attempt = 0
            health.recovered("relay")
            health.line_resumed()
            health.running()
            if sent:
                continue
        except Transient as error:
            attempt += 1
            pause = error.retry_after or backoff(attempt, random=random.random)
            if attempt > 2:
                health.waiting("relay", reason=error.message, advice=error.advice)
        except Terminal as error:
            pause = _STOPPED_PAUSE
            health.line_stopped(reason=error.message, advice=error.advice)
        await _first_of(wake, stop, timeout=pause)


async def _first_of(*events: asyncio.Event, timeout: float) -> None:
    tasks = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)
