"""Keeps templates and numbers as Meta has them: read whole at the start, from time to time, and when somebody asks.

Webhooks tell changes within seconds; a reading finds those whose webhook was lost, brings what webhooks leave out, and
notices what is not there any more. Both are folded by the times of what they say, so they may cross.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import asyncpg
import structlog

from connector.errors import ConnectorError, Terminal, Transient
from connector.outbound.store.account_syncs import claim_account, note_failure, note_read
from connector.outbound.store.numbers import NumberReading, forget_numbers, save_numbers
from connector.outbound.store.templates import fold_changes, listed_before
from connector.outbound.templates.reading import gone
from connector.outbound.templates.template import TemplateChange
from connector.state.database import transaction
from connector.streams.backoff import backoff
from connector.telemetry.health import StageHealth

_LOOK_EVERY = 1.0  # seconds
_FIRST_RETRY = 2.0
_LONGEST_RETRY = 300.0

_log = structlog.get_logger(__name__)


class AccountReads(Protocol):
    """What Graph, or a test, is asked."""

    async def templates(self, waba_id: str, *, asked_at: datetime) -> list[TemplateChange]: ...

    async def numbers(self, waba_id: str, *, asked_at: datetime) -> list[NumberReading]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SyncReport:
    """What one reading of an account found."""

    waba_id: str
    templates: int
    changed: int
    gone: int
    numbers: int


async def sync_account(
    pool: asyncpg.Pool, graph: AccountReads, waba_id: str, *, asked_at: datetime
) -> SyncReport:
    """Read one account and fold what is there. Raises what Graph and the database raise; nothing is kept then."""
    numbers = await graph.numbers(waba_id, asked_at=asked_at)
    changes = await graph.templates(waba_id, asked_at=asked_at)
    listed = {change.key for change in changes}
    async with transaction(pool) as connection:
        missing = [
            gone(key, asked_at=asked_at)
            for key in await listed_before(connection, waba_id)
            if key not in listed
        ]
        changed = await fold_changes(connection, [*changes, *missing])
        await save_numbers(connection, numbers)
        await forget_numbers(connection, waba_id, kept=[one.phone_number_id for one in numbers])
        await note_read(connection, waba_id, asked_at=asked_at, templates=len(changes))
    return SyncReport(
        waba_id=waba_id,
        templates=len(changes),
        changed=len(changed),
        gone=len(missing),
        numbers=len(numbers),
    )


class AccountSync:
    """One loop; with several replicas each account is read by one of them."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        graph: AccountReads,
        *,
        accounts: Sequence[str],
        every: float,
        health: StageHealth,
        on_read: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = random.random,
    ) -> None:
        """`every`: seconds between readings that nobody asked for. `on_read`: sends may go on."""
        self._pool = pool
        self._graph = graph
        self._accounts = accounts
        self._every = every
        self._health = health
        self._on_read = on_read
        self._now = now
        self._random = random

    async def run(self, *, wake: asyncio.Event, stop: asyncio.Event) -> None:
        """Read what is due until `stop`, woken by `wake`. What Meta and the database do is waited for and shown."""
        while not stop.is_set():
            wake.clear()
            try:
                if await self.read_one():
                    continue
                self._health.recovered("database")
                self._health.running()
            except ConnectorError as error:
                self._health.waiting("database", reason=error.message, advice=error.advice)
            waiting = [asyncio.create_task(event.wait()) for event in (wake, stop)]
            await asyncio.wait(waiting, timeout=_LOOK_EVERY, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(waiting)

    async def read_one(self) -> bool:
        """Read the account that is due, if there is one. A failure is noted, shown, and tried again later."""
        async with transaction(self._pool) as connection:
            account = await claim_account(connection, self._accounts, every=self._every)
        if account is None:
            return False
        try:
            report = await sync_account(self._pool, self._graph, account.waba_id, asked_at=self._now())
        except ConnectorError as error:
            await self._failed(account.waba_id, account.failures, error)
            return True
        self._health.recovered("whatsapp")
        self._health.line_resumed()
        if report.changed or report.gone:
            _log.info(
                "templates were read",
                account=report.waba_id,
                templates=report.templates,
                changed=report.changed,
                gone=report.gone,
            )
        self._on_read()
        return True

    async def _failed(self, waba_id: str, failures: int, error: ConnectorError) -> None:
        wait = backoff(failures + 1, random=self._random, first=_FIRST_RETRY, longest=_LONGEST_RETRY)
        if isinstance(error, Transient) and error.retry_after is not None:
            wait = max(wait, error.retry_after)
        if isinstance(error, Terminal):
            self._health.line_stopped(reason=error.message, advice=error.advice)
        else:
            self._health.waiting("whatsapp", reason=error.message, advice=error.advice)
        async with transaction(self._pool) as connection:
            await note_failure(connection, waba_id, problem=error.message, wait=wait)
