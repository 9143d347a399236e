"""Writes what came of attempts, many at once, until it is written: answers wait here while the database is away."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import asyncpg

from connector.errors import ConnectorError
from connector.outbound.dispatch.settling import Attempt, settle
from connector.settings import OutboundSettings
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.sync.rest import rest
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth
from connector.whatsapp.send_answers import Refused, SendAnswer

_MOST = 500
_GATHER = 0.02  # seconds that answers are gathered for: a transaction for one would be dear


class Settler:
    """The answers of a process. What is not written when it dies is unknown, and looked after by the next."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        settings: OutboundSettings,
        *,
        health: StageHealth,
        queued: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._health = health
        self._queued = queued
        self._waiting: list[Attempt] = []
        self._some = asyncio.Event()

    def put(self, attempt: Attempt) -> None:
        """Take one attempt that is over."""
        metrics.SENDS_ANSWERED.labels(_outcome(attempt.answer)).inc()
        self._waiting.append(attempt)
        self._some.set()

    async def run(self, *, stop: asyncio.Event) -> None:
        """Write until `stop`, which the lines have ended before, and all is written."""
        failures = 0
        while not (stop.is_set() and not self._waiting):
            if not self._waiting:
                self._some.clear()
                await rest(60.0, self._some, stop)
                await asyncio.sleep(_GATHER)
                continue
            batch = self._waiting[:_MOST]
            try:
                async with transaction(self._pool) as connection:
                    told = await settle(
                        connection,
                        batch,
                        stopped_retry=self._settings.stopped_retry,
                        random=random.random,
                    )
            except ConnectorError as error:
                failures += 1
                if failures > 2:
                    self._health.waiting("database", reason=error.message, advice=error.advice)
                await rest(backoff(failures, random=random.random, longest=2.0), stop)
                if stop.is_set() and failures > 5:
                    return
                continue
            failures = 0
            self._health.recovered("database")
            del self._waiting[: len(batch)]
            if told:
                self._queued()


def _outcome(answer: SendAnswer) -> str:
    return str(answer.rule.error_class) if isinstance(answer, Refused) else type(answer).__name__.lower()
