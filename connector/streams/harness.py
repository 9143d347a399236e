"""Runs a stage on Faust so that nothing is lost: every effect durable first, then acknowledged in order, last.

Faust acknowledges what an agent was working on when an exception leaves it, stalls for ever on a record its
codec cannot read, and waits without end for what it believes is in flight. So the agent below gets raw bytes,
lets no exception out, and gives a batch back explicitly when the group rebalances or the role stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from typing import Any, cast

import structlog
from aiokafka.errors import KafkaError
from faust.types import TP

from connector.errors import ConnectorError, Terminal
from connector.settings import KafkaSettings, Settings
from connector.streams.app import HANDLER_TIMEOUT, StageApp, group_name, make_app
from connector.streams.backoff import backoff
from connector.streams.batch import BatchRunner
from connector.streams.completeness import Completeness
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.hardened import HardenedConsumer
from connector.streams.outcomes import Record, Stage
from connector.streams.pauses import Pauses
from connector.streams.producer import DurableProducer
from connector.streams.reachability import no_answer
from connector.streams.taking import Taker
from connector.streams.watchdog import watch_progress
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

BATCH_WITHIN = 0.02
"""Seconds that the first record of a batch waits for others; all of it is added to the latency of a quiet topic."""

_LOOK_AGAIN = 0.2  # seconds between looks at the app
_LOOK_AT_TABLES = 1.0  # seconds between looks whether tables that are behind need records read again
_STOP_TIMEOUT = 25.0  # seconds the app has to stop: a handler's grace, the last commit, leaving the group
_HEALTHY_AFTER = 60.0  # seconds after which a failure is the first one again
_MOST_FAILURES = 5  # unexplained failures in a row after which the process had better start anew

_log = structlog.get_logger(__name__)


async def run_stage(
    stage: Stage,
    settings: Settings,
    *,
    stop: asyncio.Event,
    health: StageHealth,
    producer: DurableProducer | None = None,
    completeness: Completeness | None = None,
    pauses: Pauses | None = None,
) -> None:
    """Work until `stop`; then finish or give back the batch in hand, commit and leave the group.

    `completeness` watches the tables that the stage folds into: when they lack what the group has read, it is read
    again. `pauses` tells whether an operator holds the stage up.

    The group is the deployment's prefix and the stage's name. A broker that is away is waited for, also at
    start. Raises `Terminal` when only a new process can help: no progress for `streams.exit_after` seconds,
    or an app that does not stop. Nothing unfinished was acknowledged then.
    """
    own = producer is None
    producer = producer or DurableProducer(settings.kafka, client=f"connector-{stage.name}")
    limit = DeadLetterLimit(
        stage=stage.name, run=settings.streams.dead_letter_run, share=settings.streams.dead_letter_share
    )
    watchdog = asyncio.create_task(
        watch_progress(
            settings,
            group=group_name(settings.kafka, stage.name),
            topic=stage.topic.full_name(settings.kafka.topic_prefix),
            health=health,
        )
    )
    failures = 0
    try:
        while not stop.is_set():
            line = _Line(
                stage,
                settings,
                stop=stop,
                health=health,
                producer=producer,
                limit=limit,
                completeness=completeness,
                pauses=pauses,
            )
            began = time.monotonic()
            failure = await line.run(watchdog)
            if failure is None:
                break
            if isinstance(failure, _SetBack):
                health.starting()
                continue
            failures = 1 if time.monotonic() - began > _HEALTHY_AFTER else failures + 1
            await _consider(
                failure, failures=failures, stage=stage, health=health, kafka=settings.kafka, stop=stop
            )
    finally:
        watchdog.cancel()
        await asyncio.wait({watchdog})
        if own:
            await producer.stop()


async def _consider(
    failure: BaseException,
    *,
    failures: int,
    stage: Stage,
    health: StageHealth,
    kafka: KafkaSettings,
    stop: asyncio.Event,
) -> None:
    """Wait before the app is built again; or raise `Terminal`."""
    if isinstance(failure, Terminal):
        raise failure
    metrics.STREAM_RESTARTS.labels(stage.name).inc()
    health.starting()
    if isinstance(failure, KafkaError | OSError):
        told = await no_answer(kafka, failure)
        health.waiting("kafka", reason=told.message, advice=told.advice)
    elif failures >= _MOST_FAILURES:
        raise Terminal(
            f"The stream app of {stage.name} failed {failures} times in a row, last with {failure!r}. "
            "Nothing unfinished was acknowledged.",
            advice="the supervisor starts the role again; if it comes back, look at the log above",
        ) from failure
    else:
        _log.error("the stream app failed and is built again", stage=stage.name, failure=repr(failure))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), backoff(failures, random=random.random))


class _SetBack(Exception):
    """The group was set back to what the tables hold; the app begins anew from there."""


class _Line:
    """One life of the Faust app, from its start to its stop or failure."""

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        *,
        stop: asyncio.Event,
        health: StageHealth,
        producer: DurableProducer,
        limit: DeadLetterLimit,
        completeness: Completeness | None,
        pauses: Pauses | None,
    ) -> None:
        self._stage = stage
        self._topic = stage.topic.full_name(settings.kafka.topic_prefix)
        self._completeness = completeness
        self._looked_at = time.monotonic()
        self._reads = _Reads()
        self._stop = stop
        self._health = health
        self._failure: BaseException | None = None
        self._joined = False
        self._app = make_app(
            stage=stage.name,
            topic=self._topic,
            settings=settings.kafka,
            agent=self._agent,
        )
        self._runner = BatchRunner(
            stage,
            sender=producer,
            limit=limit,
            health=health,
            given_up=self._given_up,
            handler_timeout=HANDLER_TIMEOUT,
            passed_over=completeness.pass_over if completeness else None,
            tables_behind=completeness.doubt if completeness else lambda: None,
            held=(lambda: pauses.held("stage", stage.name)) if pauses else lambda: None,
        )

    async def run(self, watchdog: asyncio.Task[None]) -> BaseException | None:
        """None after an orderly stop, else what failed. The app is stopped in both cases."""
        starting = asyncio.create_task(self._app.start())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            while self._failure is None and not self._stop.is_set():
                await asyncio.wait(
                    {stopping, watchdog} if starting.done() else {stopping, watchdog, starting},
                    timeout=_LOOK_AGAIN,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                self._failure = self._failure or _error_of(watchdog) or _error_of(starting) or self._crash()
                self._show()
                await self._compare()
        finally:
            stopping.cancel()
            await self._stop_app(starting)
        return None if self._stop.is_set() else self._failure

    def _crash(self) -> BaseException | None:
        app = self._app
        if not app.crashed:
            return None
        reason: BaseException | None = app.crash_reason
        return reason or RuntimeError("Faust gave no reason")

    def _show(self) -> None:
        app = self._app
        if self._failure is None and app.flow_control.is_active() and not app.rebalancing:
            partitions = [tp.partition for tp in app.consumer.assignment()]
            if not self._joined:
                self._joined = True
                self._health.recovered("kafka")
            self._health.running(assignment=partitions)
            metrics.STREAM_PARTITIONS.labels(self._stage.name).set(len(partitions))

    async def _compare(self) -> None:
        """Set the group back where the tables lack what it has read; see completeness.py."""
        completeness, app = self._completeness, self._app
        if completeness is None or self._failure is not None or not self._joined or app.rebalancing:
            return
        if not completeness.behind or time.monotonic() - self._looked_at < _LOOK_AT_TABLES:
            return
        self._looked_at = time.monotonic()
        consumer = cast("HardenedConsumer", app.consumer)
        generation = app.consumer_generation_id
        positions = {tp.partition: consumer.committed_offset(tp) or 0 for tp in consumer.assignment()}
        try:
            again = await completeness.to_read_again(self._topic, positions)
        except ConnectorError:
            return  # the health of the tables says so
        if again and generation == app.consumer_generation_id and not app.rebalancing:
            offsets = {TP(self._topic, partition): offset for partition, offset in again.items()}
            if await consumer.set_back(offsets):
                _log.warning("records are read again", stage=self._stage.name, offsets=again)
                self._failure = _SetBack()

    async def _stop_app(self, starting: asyncio.Task[Any]) -> None:
        stopped = asyncio.create_task(self._app.stop())
        await asyncio.wait({stopped}, timeout=_STOP_TIMEOUT)
        if not starting.done():
            starting.cancel()
            await asyncio.wait({starting}, timeout=1)
        if not stopped.done():
            # A task that swallows its cancellation (Faust's wait_empty does) is left to the end of the process.
            raise Terminal(
                f"The stream app of {self._stage.name} did not stop within {_STOP_TIMEOUT:g} s. "
                "Nothing unfinished was acknowledged.",
                advice="the process has to end; the next one reads again from the committed offsets",
            )
        if self._app._consumer is not None:  # noqa: SLF001 - the property would make one
            cast("HardenedConsumer", self._app._consumer).close_unstarted_thread()  # noqa: SLF001
        if (error := stopped.exception()) is not None:
            _log.warning("the stream app stopped with an error", stage=self._stage.name, error=repr(error))

    def _given_up(self) -> bool:
        app = self._app
        return (
            self._stop.is_set()
            or self._failure is not None
            or app.rebalancing
            or app.should_stop
            or not app.flow_control.is_active()
        )

    async def _agent(self, app: StageApp, stream: Any) -> None:
        consumer = cast("HardenedConsumer", app.consumer)
        taker = Taker(stream.channel, consumer, most=self._stage.batch_size, within=BATCH_WITHIN)
        with contextlib.suppress(StopAsyncIteration):
            while not app.should_stop:
                await self._process(app, await taker.take())
        if not app.should_stop:
            self._failure = RuntimeError("the channel ended by itself")

    async def _process(self, app: StageApp, events: Sequence[Any]) -> None:
        """Never raises, except when it is cancelled: what leaves an agent is acknowledged by Faust."""
        settled = False
        try:
            if events and not self._given_up():
                consumer = cast("HardenedConsumer", app.consumer)
                generation = events[0].message.generation_id
                records = self._reads.records([event.message for event in events], consumer)
                settled = await self._runner.run(records)
                # Evicted meanwhile: others read these records already.
                settled = settled and generation == app.consumer_generation_id
            if settled:
                self._reads.handled(records, generation=generation)
                for event in events:
                    event.ack()
        except Exception as error:  # noqa: BLE001 - see the docstring
            settled = False
            _log.exception("the harness failed; the app is built again", stage=self._stage.name)
            self._failure = error
        finally:
            if not settled:
                consumer = cast("HardenedConsumer", app.consumer)
                for event in events:
                    if not event.message.acked:
                        consumer.abandon(event.message)
                metrics.STREAM_ABANDONED.labels(self._stage.name).inc(len(events))


class _Reads:
    """How far this reader has handled each partition of one assignment."""

    def __init__(self) -> None:
        self._generation: int | None = None
        self._next: dict[TP, int] = {}

    def records(self, messages: Sequence[Any], consumer: HardenedConsumer) -> list[Record]:
        """The messages, each with where the reader was before it: at first, at the group's offset."""
        generation = messages[0].generation_id
        if generation != self._generation:
            self._generation, self._next = generation, {}
        reached: dict[TP, int] = {}
        records = []
        for message in messages:
            tp = message.tp
            if tp not in self._next:
                self._next[tp] = min(consumer.committed_offset(tp) or 0, message.offset)
            records.append(
                Record(
                    topic=message.topic,
                    partition=message.partition,
                    offset=message.offset,
                    key=message.key,
                    value=message.value,
                    headers=dict(message.headers or ()),
                    timestamp=message.timestamp or 0.0,
                    follows=reached.get(tp, self._next[tp]),
                )
            )
            reached[tp] = message.offset + 1
        return records

    def handled(self, records: Sequence[Record], *, generation: int) -> None:
        """Everything that follows from the records is durable."""
        if generation == self._generation:
            self._next.update({TP(record.topic, record.partition): record.offset + 1 for record in records})


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    if not task.done() or task.cancelled():
        return None
    return task.exception()
