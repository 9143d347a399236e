"""What happens to one batch, whatever the stage does: outcomes, dead letters, produced records, waiting.

Nothing of Faust is in here. `run` returns when every effect of the batch is durable, or says that the batch
was given up; the harness acknowledges it, or not.
"""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Protocol

import structlog
from pydantic import ValidationError

from connector.errors import Paused, Rejected, TablesBehind, Terminal, Transient, Uncertain
from connector.streams.backoff import backoff
from connector.streams.codec import EncodedRecord
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.dead_letters import dead_letter_record
from connector.streams.outcomes import Dead, Done, Outcome, Record, Stage
from connector.streams.redriven import HEADER_STAGE, SOURCE, is_for
from connector.streams.traced import trace_handled
from connector.telemetry import metrics, tracing
from connector.telemetry.health import StageHealth

SEND_TIMEOUT = 20.0
"""Seconds until produced records that the broker has not confirmed count as not sent."""

_LOOK_AGAIN = 0.1  # seconds between looks for a rebalance while waiting
_STOP_GRACE = 10.0  # seconds a handler may still take when the role stops or the group rebalances
_CANCEL_GRACE = 1.0  # seconds a cancelled handler has to let go
_HELD_UP_AFTER = 1.0  # seconds of repeating until it shows: a deadlock repeated at once is no outage
_STOPPED_PAUSE = 10.0  # seconds between looks whether a person has repaired the line
_REASON_LENGTH = 300

_WORK = "work"
_KAFKA = "kafka-writes"
_OPERATOR = "operator"

_log = structlog.get_logger(__name__)


class RecordSender(Protocol):
    """What the durable producer does; a list in unit tests."""

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None: ...


class GivenUp(Exception):
    """The role stops or the group rebalances: the batch is left for whoever reads it next."""


class StageBug(Exception):
    """The stage broke its contract."""


class BatchRunner:
    """Carries batches of one stage through. One batch at a time."""

    def __init__(
        self,
        stage: Stage,
        *,
        sender: RecordSender,
        limit: DeadLetterLimit,
        health: StageHealth,
        given_up: Callable[[], bool],
        handler_timeout: float,
        passed_over: Callable[[Sequence[Record]], Awaitable[None]] | None = None,
        tables_behind: Callable[[], None] = lambda: None,
        held: Callable[[], Transient | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        random: Callable[[], float] = random.random,
        stopped_pause: float = _STOPPED_PAUSE,
    ) -> None:
        """`given_up` says whether waiting makes no sense any more. `handler_timeout`: seconds a call may take.

        `passed_over` is awaited for records that the stage failed on or is not shown: its tables have not heard of them.
        `tables_behind` is told that they lack records from before these. `held`: why no batch may be begun now.
        """
        self._stage = stage
        self._sender = sender
        self._limit = limit
        self._health = health
        self._given_up = given_up
        self._handler_timeout = handler_timeout
        self._passed_over = passed_over
        self._tables_behind = tables_behind
        self._held = held
        self._clock = clock
        self._now = now
        self._random = random
        self._stopped_pause = stopped_pause

    async def run(self, records: Sequence[Record]) -> bool:
        """True: everything that follows from the records is durable. False: given up, acknowledge nothing.

        Repeats for as long as a dependency is away or the line is stopped; the health says why.
        """
        try:
            outcomes = await self._until_durable(records)
        finally:
            # Whoever holds the partition next finds out for itself what is away.
            self._health.recovered(_WORK)
            self._health.recovered(_KAFKA)
            self._health.recovered(_OPERATOR)
            self._health.line_resumed()
        return outcomes is not None

    async def _until_durable(self, records: Sequence[Record]) -> Sequence[Outcome] | None:
        began = self._clock()
        attempt = 0
        outcomes: Sequence[Outcome] | None = None
        while not self._given_up():
            if outcomes is None and (held := self._held()) is not None:
                if isinstance(held, Paused):
                    self._health.waiting(_OPERATOR, reason=held.message, advice=held.advice)
                elif self._clock() - began > _HELD_UP_AFTER:
                    # Unshown it would count as a stall, which ends the process.
                    self._health.waiting(_WORK, reason=held.message, advice=held.advice)
                await self._pause(held.retry_after or _LOOK_AGAIN)
                continue
            self._health.recovered(_OPERATOR)
            dependency = _WORK if outcomes is None else _KAFKA
            attempt += 1
            try:
                if outcomes is None:
                    outcomes = await self._judge(records)
                    self._health.recovered(_WORK)
                    dependency = _KAFKA
                outcomes = await self._produce(records, outcomes)
            except GivenUp:
                return None
            except Terminal as error:
                outcomes = None
                self._count_retry("terminal")
                self._health.line_stopped(reason=error.message, advice=error.advice)
                await self._pause(self._stopped_pause)
            except (Transient, Uncertain) as error:
                if isinstance(error, TablesBehind):
                    self._tables_behind()
                self._count_retry("transient")
                wait = backoff(attempt, random=self._random)
                if isinstance(error, Transient) and error.retry_after is not None:
                    wait = max(error.retry_after, wait if attempt > 3 else 0.0)
                if self._clock() - began + wait > _HELD_UP_AFTER:
                    self._health.waiting(dependency, reason=error.message, advice=error.advice)
                await self._pause(wait)
            else:
                self._settled(records, outcomes, seconds=self._clock() - began)
                return outcomes
        return None

    def _count_retry(self, reason: str) -> None:
        metrics.STREAM_RETRIES.labels(self._stage.name, reason).inc()

    def _settled(self, records: Sequence[Record], outcomes: Sequence[Outcome], *, seconds: float) -> None:
        name = self._stage.name
        self._limit.record(outcomes)
        dead = [outcome for outcome in outcomes if isinstance(outcome, Dead)]
        for outcome in dead:
            metrics.STREAM_DEAD_LETTERS.labels(name, outcome.cause).inc()
        metrics.STREAM_RECORDS.labels(name, "dead").inc(len(dead))
        metrics.STREAM_RECORDS.labels(name, "done").inc(len(records) - len(dead))
        metrics.STREAM_BATCH_RECORDS.labels(name).observe(len(records))
        metrics.STREAM_BATCH_SECONDS.labels(name).observe(seconds)
        oldest = min(record.timestamp for record in records)
        if (traces := tracing.active()) is not None:
            trace_handled(traces, name, records, outcomes, seconds=seconds)
        metrics.STREAM_AGE_SECONDS.labels(name).set(max(0.0, self._now().timestamp() - oldest))

    async def _pause(self, seconds: float) -> None:
        until = self._clock() + seconds
        while not self._given_up() and (left := until - self._clock()) > 0:  # noqa: ASYNC110 - a rebalance sets no event
            await asyncio.sleep(min(left, _LOOK_AGAIN))

    async def _judge(self, records: Sequence[Record]) -> Sequence[Outcome]:
        """One outcome a record. A batch that fails unexpectedly is halved until the record at fault is alone.

        What an operator redrove for another stage is done as it is.
        """
        outcomes: list[Outcome] = []
        parts = deque([records])
        while parts:
            part = parts.popleft()
            if len(kinds := self._by_reader(part)) > 1:
                parts.extendleft(reversed(kinds))
                continue
            try:
                outcomes += await self._call(part) if self._reads(part[0]) else await self._pass_over(part)
            except (GivenUp, Transient, Terminal, Uncertain):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to some record
                if len(part) > 1:
                    if len(part) == len(records):
                        metrics.STREAM_ISOLATED.labels(self._stage.name).inc()
                    middle = len(part) // 2
                    parts.extendleft((part[middle:], part[:middle]))
                else:
                    await self._pass_over(part)
                    outcomes.append(_sourced(part[0], self._dead(part[0], error)))
            self._limit.check(outcomes)
            if parts and self._given_up():
                raise GivenUp
        return outcomes

    def _reads(self, record: Record) -> bool:
        return is_for(self._stage.name, record.headers)

    def _by_reader(self, records: Sequence[Record]) -> list[Sequence[Record]]:
        """Consecutive records that the stage reads, or does not, together."""
        if all(HEADER_STAGE not in record.headers for record in records):
            return [records]
        return [list(together) for _, together in groupby(records, key=self._reads)]

    async def _pass_over(self, records: Sequence[Record]) -> Sequence[Outcome]:
        if self._passed_over is not None:
            await self._passed_over(records)
        return [Done() for _ in records]

    def _dead(self, record: Record, error: Exception) -> Dead:
        if isinstance(error, Rejected):
            return Dead(cause=error.cause, reason=error.message, advice=error.advice)
        _log.error(
            "a record could not be handled",
            stage=self._stage.name,
            position=f"{record.topic}[{record.partition}]@{record.offset}",
            error=type(error).__name__,  # not its message: that may quote the record
            frames="".join(traceback.format_tb(error.__traceback__, limit=-4)),
        )
        return Dead(
            cause="handler_failed",
            reason=_describe(error),
            advice="this is a defect of the connector; redrive the record after it is repaired",
        )

    async def _call(self, records: Sequence[Record]) -> list[Outcome]:
        task = asyncio.ensure_future(self._stage.handle(records))
        try:
            await self._wait_for(task)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=_CANCEL_GRACE)
        if task.cancelled():
            raise Transient(f"{self._stage.name} cancelled its own work.")
        outcomes = list(task.result())
        if len(outcomes) != len(records):
            raise StageBug(f"{len(records)} records went in, {len(outcomes)} outcomes came out")
        if not all(isinstance(outcome, Done | Dead) for outcome in outcomes):
            raise StageBug("an outcome is neither Done nor Dead")
        return [_sourced(record, outcome) for record, outcome in zip(records, outcomes, strict=True)]

    async def _wait_for(self, task: asyncio.Future[Sequence[Outcome]]) -> None:
        deadline = self._clock() + self._handler_timeout
        hurried = False
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_AGAIN)
            if not hurried and self._given_up():
                hurried = True
                deadline = min(deadline, self._clock() + _STOP_GRACE)
            if not task.done() and self._clock() >= deadline:
                if hurried:
                    raise GivenUp
                raise Transient(
                    f"{self._stage.name} did not finish a batch within {self._handler_timeout:g} s.",
                    advice="look at what it waits for, or make its batches smaller",
                )

    async def _produce(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> Sequence[Outcome]:
        """Send what the outcomes say, in topic order. A record too large to send makes its source a dead letter."""
        try:
            await self._send(records, outcomes)
        except Rejected:
            settled = [
                await self._produce_one(record, outcome)
                for record, outcome in zip(records, outcomes, strict=True)
            ]
            self._limit.check(settled)
            return settled
        return outcomes

    async def _produce_one(self, record: Record, outcome: Outcome) -> Outcome:
        try:
            await self._send([record], [outcome])
        except Rejected as error:
            if isinstance(outcome, Dead):
                raise Terminal(
                    f"A dead letter of {self._stage.name} is refused: {error.message} Nothing was acknowledged.",
                    advice="raise max.message.bytes of dead.letters on the broker",
                ) from error
            return await self._produce_one(
                record, Dead(cause=error.cause, reason=error.message, advice=error.advice)
            )
        return outcome

    async def _send(self, records: Sequence[Record], outcomes: Sequence[Outcome]) -> None:
        name = self._stage.name
        to_send: list[EncodedRecord] = []
        for record, outcome in zip(records, outcomes, strict=True):
            if isinstance(outcome, Dead):
                to_send.append(dead_letter_record(record, outcome, stage=name, at=self._now()))
            else:
                to_send += outcome.produce
        if to_send:
            await self._sender.send_all(to_send, timeout=SEND_TIMEOUT)
            metrics.STREAM_PRODUCED.labels(name).inc(len(to_send))


def _sourced(record: Record, outcome: Outcome) -> Outcome:
    """A record that was dead before says nothing about this deploy when it dies again."""
    if isinstance(outcome, Dead) and HEADER_STAGE in record.headers:
        return replace(outcome, source=SOURCE)
    return outcome


def _describe(error: Exception) -> str:
    """Type and message, never the record: pydantic would quote its input."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        text = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    else:
        text = str(error)
    return f"{type(error).__name__}: {text}"[:_REASON_LENGTH]
