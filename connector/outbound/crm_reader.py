"""Reads what a CRM says of the people whom sends wait to be filled in for. One loop a CRM: none waits for another's.

What is read is claimed in the database for a minute, so a crash only means that another one reads it then. It is stored
in one transaction, and the sends are let go in the next: in between they are judged again by their own time.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import asyncpg

from connector.crm.port import Later, Priority, PropertyReads, Terms
from connector.errors import ConnectorError, Terminal, Transient
from connector.outbound.due import announce_due
from connector.outbound.store.crm_records import claim_wanted, forget_read, put_off, release, store_read
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.sync.rest import rest
from connector.telemetry.health import StageHealth

_BATCH = 200
_LOOK_EVERY = 1.0  # seconds between looks when nobody wakes the loop
_LONGEST_REST = 30.0
_STOPPED_REST = 10.0
_LATER = 2.0  # seconds until a record is asked about again of which the CRM did not tell
_FORGET_EVERY = 60  # looks
_FORGOTTEN = 1_000
_TERMS = Terms(priority=Priority.LIVE)


class CrmReader:
    """One CRM's loop in this process; other replicas run theirs."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        *,
        name: str,
        crm: PropertyReads,
        properties: Sequence[str],
        usable: timedelta,
        health: StageHealth,
        on_due: Callable[[], None],
    ) -> None:
        """`properties`: everything that messages may need. `usable`: how long it is kept. `on_due`: sends may be due."""
        self.wake = asyncio.Event()
        self._pool = pool
        self._name = name
        self._crm = crm
        self._properties = properties
        self._usable = usable
        self._health = health
        self._on_due = on_due

    async def run(self, *, stop: asyncio.Event) -> None:
        """Read until `stop`. What database and CRM do is waited for, and the health says it."""
        failures = looks = 0
        while not stop.is_set():
            self.wake.clear()
            pause = _LOOK_EVERY
            try:
                found = await self.look()
                if looks % _FORGET_EVERY == 0:
                    await self._forget()
            except ConnectorError as error:
                failures += 1
                pause = self._failed(error, failures)
                await rest(pause, stop)
                continue
            failures, looks = 0, looks + 1
            self._health.recovered(self._name)
            self._health.line_resumed()
            self._health.running()
            if not found:
                await rest(pause, self.wake, stop)

    async def look(self) -> int:
        """Read what is waited for, one batch; how many records. Raises the connector's errors; the records still wait."""
        async with transaction(self._pool) as connection:
            wanted = await claim_wanted(connection, self._name, most=_BATCH)
            at: datetime = await connection.fetchval("SELECT clock_timestamp()")
        if not wanted:
            return 0
        try:
            answers = await self._crm.read_properties(wanted, self._properties, _TERMS)
        except ConnectorError:
            async with transaction(self._pool) as connection:
                await put_off(connection, self._name, wanted, seconds=0.0)
            raise
        nothing: Mapping[str, Any] = dict.fromkeys(self._properties)
        told = {
            record_id: nothing if answer is None else answer
            for record_id, answer in zip(wanted, answers, strict=True)
            if not isinstance(answer, Later)
        }
        async with transaction(self._pool) as connection:
            await put_off(connection, self._name, sorted({*wanted} - told.keys()), seconds=_LATER)
            waiting = await store_read(connection, self._name, told, at=at)
        async with transaction(self._pool) as connection:
            await release(connection, waiting)
            await announce_due(connection)
        self._on_due()
        return len(wanted)

    async def _forget(self) -> None:
        async with transaction(self._pool) as connection:
            await forget_read(connection, after=self._usable, most=_FORGOTTEN)

    def _failed(self, error: ConnectorError, failures: int) -> float:
        """Say it; seconds until the next try."""
        if isinstance(error, Terminal):
            self._health.line_stopped(reason=error.message, advice=error.advice)
            return _STOPPED_REST
        self._health.waiting(self._name, reason=error.message, advice=error.advice)
        asked = error.retry_after if isinstance(error, Transient) else None
        return max(asked or 0.0, backoff(failures, random=random.random, longest=_LONGEST_REST))
