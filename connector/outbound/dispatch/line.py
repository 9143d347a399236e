"""One business number's line: who holds its lock claims, announces and sends; nobody else does.

The claim's transaction runs on the connection that holds the lock: when that breaks, or the database behind it is
replaced, the claim fails with it. What was claimed before is still sent under its lease.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import structlog

from connector.errors import ConnectorError, Terminal, Transient
from connector.outbound.dispatch import telling
from connector.outbound.dispatch.brake import Brake
from connector.outbound.dispatch.claiming import Claimed, Judgement, claim, record_of
from connector.outbound.dispatch.departures import Departures
from connector.outbound.dispatch.judging import Judged
from connector.outbound.dispatch.settler import Settler
from connector.outbound.dispatch.settling import Attempt
from connector.outbound.dispatch.traced import trace_answered, trace_judged
from connector.outbound.pacing.number import STANDARD_RATE
from connector.settings import OutboundSettings
from connector.state.database import connect, database_errors
from connector.streams.backoff import backoff
from connector.streams.batch import SEND_TIMEOUT, RecordSender
from connector.sync.rest import rest
from connector.telemetry import metrics, tracing
from connector.telemetry.health import StageHealth
from connector.whatsapp.client import CloudApi
from connector.whatsapp.send_answers import SendAnswer, Unsent

HORIZON = timedelta(seconds=0.5)
"""How far ahead turns are taken: long enough to claim and announce, short enough for an opt-out to count."""

_MOST = 500
_IDLE = 1.0  # seconds between looks for due sends when nobody wakes the line
_FULL_PAUSE = 0.02  # seconds until there may be room for a claim again
_STANDBY = 2.0  # seconds between tries to get a lock that another process holds

_log = structlog.get_logger(__name__)


def lease_seconds(request_timeout: float) -> float:
    """A lease outlasts the announcement on the log and any request that was sent under it."""
    return SEND_TIMEOUT + HORIZON.total_seconds() + request_timeout + 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LineParts:
    """What the lines of a process share."""

    url: str
    judgement: Judgement
    settings: OutboundSettings
    api: CloudApi
    sender: RecordSender
    settler: Settler
    in_flight: asyncio.Semaphore
    queued: Callable[[], None]
    """Called after a commit that left rows for the relay."""
    wanted: Callable[[], None]
    """Called after a commit that left records to be read in a CRM."""
    clock: Callable[[], float] = time.monotonic


class NumberLine:
    """The line of one number in this process."""

    def __init__(self, phone_number_id: str, parts: LineParts, *, health: StageHealth) -> None:
        self.phone_number_id = phone_number_id
        self.wake = asyncio.Event()
        self.holds_lock = False
        self._parts = parts
        self._health = health
        self._departures = Departures()
        self._leaving: set[asyncio.Task[None]] = set()
        self._open = 0  # claimed here and not over
        self._failures = 0  # in a row
        self._per_second = STANDARD_RATE
        self._brake = Brake(
            health=health,
            name=phone_number_id,
            stopped_retry=parts.settings.stopped_retry,
            clock=parts.clock,
            random=random.random,
        )

    async def run(self, *, stop: asyncio.Event) -> None:
        """Hold the lock when it can be had, and dispatch, until `stop`. Never raises for a dependency."""
        while not stop.is_set():
            try:
                async with database_errors():
                    connection = await connect(self._parts.url)
                    try:
                        await self._hold(connection, stop=stop)
                    finally:
                        self.holds_lock = False
                        connection.terminate()
            except ConnectorError as error:
                await rest(self._failed(error), stop)
        await self._finish()

    @property
    def _dependency(self) -> str:
        return f"sends of {self.phone_number_id}"

    def _works(self) -> None:
        self._failures = 0
        self._health.recovered(self._dependency)
        self._health.running()

    def _failed(self, error: ConnectorError) -> float:
        """Seconds until it is worth while to try again."""
        self._failures += 1
        if self._failures > 2 or isinstance(error, Terminal):
            self._health.waiting(self._dependency, reason=error.message, advice=error.advice)
        return backoff(self._failures, random=random.random, longest=5.0)

    async def _hold(self, connection: asyncpg.Connection, *, stop: asyncio.Event) -> None:
        while not stop.is_set():
            if await connection.fetchval(
                "SELECT pg_try_advisory_lock(hashtextextended('dispatch:' || $1, 0))", self.phone_number_id
            ):
                break
            # Another process works: what held this one up before is not for it to wait for any more.
            self._works()
            self._health.line_resumed(by=self.phone_number_id)
            await rest(_STANDBY, stop)
        since = await _now(connection)
        self.holds_lock = True
        _log.info("sends of a number are dispatched here", phone_number_id=self.phone_number_id)
        while not stop.is_set():
            self.wake.clear()
            try:
                pause = await self._round(connection, since)
            except Transient as error:
                # The tables are behind, or somebody was merged meanwhile: the lock is ours all the same.
                await rest(self._failed(error), stop)
                since = await _now(connection)
                continue
            if pause is None:
                await rest(_IDLE, stop, self.wake)
            elif pause > 0:
                await rest(pause, stop)

    async def _round(self, connection: asyncpg.Connection, since: datetime) -> float | None:
        """One claim, and its sends set going; seconds until the next is worth while, None when there is no work."""
        parts = self._parts
        most = self._brake.allows(min(_MOST, self._room()))
        if most <= 0:
            return max(self._brake.seconds, _FULL_PAUSE)
        began = parts.clock()
        lease = lease_seconds(parts.settings.request_timeout)
        claimed = await claim(
            connection,
            self.phone_number_id,
            parts.judgement,
            since=since,
            horizon=HORIZON,
            most=most,
            lease=lease,
        )
        self._works()
        if claimed.told:
            parts.queued()
        if claimed.wanted:
            parts.wanted()
        for item in claimed.judged:
            metrics.SENDS_JUDGED.labels(item.fate).inc()
            if (decisive := item.verdict.decisive) is not None:
                metrics.SEND_VERDICTS.labels(decisive.policy, decisive.outcome).inc()
        if (traces := tracing.active()) is not None:
            trace_judged(traces, claimed.judged, seconds=parts.clock() - began)
        self._per_second = claimed.number.per_second
        if claimed.leaving:
            self._brake.trying()
            self._open += len(claimed.leaving)
            task = asyncio.create_task(self._depart(claimed, began=began, lease_until=began + lease))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        waits = (claimed.again_at - claimed.now).total_seconds()
        return min(waits, _IDLE) if waits > 0 or claimed.judged else None

    def _room(self) -> int:
        """How many more may be claimed: what is claimed leaves within the horizon, or waits for a connection."""
        ahead = int(self._per_second * HORIZON.total_seconds()) + 1
        return self._parts.settings.sends_in_flight + ahead - self._open

    async def _depart(self, claimed: Claimed, *, began: float, lease_until: float) -> None:
        """Announce, then send each in its turn. `began`: this clock's time before the database's `claimed.now`."""
        parts = self._parts
        number = claimed.number.business
        events = [telling.attempted(item.send, number, at=claimed.now) for item in claimed.leaving]
        try:
            await parts.sender.send_all([record_of(event) for event in events], timeout=SEND_TIMEOUT)
        except ConnectorError as error:
            # Some of it may be on the log: then the attempt is known there, and the next one is another.
            answer = Unsent(reason=f"the log did not take the attempt: {error.message}")
            self._health.waiting("log", reason=error.message, advice=error.advice)
            for item in claimed.leaving:
                self._over(item, claimed, answer)
            return
        self._health.recovered("log")
        async with asyncio.TaskGroup() as group:
            for item in claimed.leaving:
                assert item.at is not None
                due = began + (item.at - claimed.now).total_seconds()
                await self._until_it_may_leave(due, claimed.number.per_second)
                await parts.in_flight.acquire()
                group.create_task(self._send(item, claimed, lease_until=lease_until))

    async def _until_it_may_leave(self, due: float, per_second: int) -> None:
        clock = self._parts.clock
        while True:
            wait = max(due, self._departures.opens_at(per_second=per_second, now=clock())) - clock()
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        self._departures.left(clock())

    async def _send(self, item: Judged, claimed: Claimed, *, lease_until: float) -> None:
        parts = self._parts
        assert item.message is not None
        try:
            answer = await self._answer(item, lease_until=lease_until)
        finally:
            parts.in_flight.release()
        self._over(item, claimed, answer)

    def _over(self, item: Judged, claimed: Claimed, answer: SendAnswer) -> None:
        self._open -= 1
        self._parts.settler.put(Attempt(send=item.send, number=claimed.number.business, answer=answer))

    async def _answer(self, item: Judged, *, lease_until: float) -> SendAnswer:
        parts = self._parts
        assert item.message is not None
        began = parts.clock()
        # A process that was frozen may wake up after its lease: by then the send is somebody else's.
        if began + parts.settings.request_timeout > lease_until:
            return Unsent(reason="this process was too slow: the lease on the send would have ended first")
        try:
            answer = await parts.api.send(self.phone_number_id, item.message)
        except Terminal as error:
            self._brake.stop(reason=error.message, advice=error.advice)
            return Unsent(reason=error.message)
        metrics.SEND_SECONDS.observe(parts.clock() - began)
        if (traces := tracing.active()) is not None:
            trace_answered(traces, item.send.send_id, answer, seconds=parts.clock() - began)
        self._brake.heard(answer)
        return answer

    async def _finish(self) -> None:
        """Wait for what is under way: each of them ends by its own timeout."""
        if self._leaving:
            await asyncio.wait(self._leaving)


async def _now(connection: asyncpg.Connection) -> datetime:
    """The database's clock."""
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return now
