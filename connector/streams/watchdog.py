"""Is there work, and no progress, and no reason? Then unready, and after a while a new process.

Measured at the broker (end offsets against the group's committed ones), because Faust's own figures stop
with it. A broker restart holds a healthy worker up for half a minute, so `streams.exit_after` is above that;
waiting for a dependency is another state and never ends a process.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from connector.errors import Terminal
from connector.settings import Settings
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

_MOST_BETWEEN_LOOKS = 5.0  # seconds
_ASK_TIMEOUT = 10.0  # seconds
_PARTITION_PATIENCE = (
    10  # a slow stage may leave one partition alone for a while; ten times the limit is no while
)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where the group is on one partition, and where the log ends."""

    committed: int
    end: int

    @property
    def lag(self) -> int:
        return max(0, self.end - self.committed)


@dataclass
class Progress:
    """How long there has been work without progress. Pure: time comes in, seconds."""

    _positions: Mapping[int, Position] = field(default_factory=dict)
    _moved_at: float = 0.0
    _partition_moved_at: dict[int, float] = field(default_factory=dict)

    def observe(self, positions: Mapping[int, Position], *, at: float, excused: bool) -> None:
        """`excused`: a dependency explains a standstill, or nothing could be measured."""
        before, self._positions = self._positions, dict(positions)
        moved = {
            partition
            for partition, position in positions.items()
            if excused
            or position.lag == 0
            or partition not in before
            or before[partition].committed != position.committed
        }
        self._partition_moved_at = {
            partition: at if partition in moved else self._partition_moved_at.get(partition, at)
            for partition in positions
        }
        # Any commit is progress, or a new share of the partitions, or no work at all.
        advanced = any(
            partition not in before or before[partition].committed != position.committed
            for partition, position in positions.items()
        )
        idle = all(position.lag == 0 for position in positions.values())
        if excused or advanced or idle or before.keys() != positions.keys():
            self._moved_at = at

    def standstill(self, at: float) -> float:
        """Seconds without any progress although there is work."""
        return at - self._moved_at

    def stuck_partitions(self, at: float, *, longer_than: float) -> list[int]:
        """Partitions with work that have not moved for so long, whatever the others do."""
        return sorted(p for p, moved in self._partition_moved_at.items() if at - moved > longer_than)


async def watch_progress(settings: Settings, *, group: str, topic: str, health: StageHealth) -> None:
    """Look every few seconds until cancelled. Raises `Terminal` after `streams.exit_after` seconds of standstill."""
    streams = settings.streams
    interval = min(_MOST_BETWEEN_LOOKS, streams.stalled_after / 5)
    progress = Progress()
    broker = _BrokerView(settings, group=group, topic=topic)
    try:
        while True:
            await asyncio.sleep(interval)
            partitions = health.assignment or ()
            positions = await broker.positions(partitions, health=health)
            now = time.monotonic()
            progress.observe(positions or {}, at=now, excused=positions is None or health.is_held_up)
            if positions is not None:
                _show_lag(health, positions)
            _judge(progress, settings, health=health, at=now)
    finally:
        await broker.close()


def _show_lag(health: StageHealth, positions: Mapping[int, Position]) -> None:
    for gone in health.lag.keys() - positions.keys():
        with contextlib.suppress(KeyError):
            metrics.STREAM_LAG.remove(health.part, str(gone))
    health.lag = {partition: position.lag for partition, position in positions.items()}
    for partition, lag in health.lag.items():
        metrics.STREAM_LAG.labels(health.part, str(partition)).set(lag)


def _judge(progress: Progress, settings: Settings, *, health: StageHealth, at: float) -> None:
    streams = settings.streams
    standstill = progress.standstill(at)
    stuck = progress.stuck_partitions(at, longer_than=streams.stalled_after * _PARTITION_PATIENCE)
    if standstill <= streams.stalled_after and not stuck:
        health.progressed()
        return
    reason = (
        f"{sum(health.lag.values())} records wait and nothing was committed for {standstill:.0f} s"
        if standstill > streams.stalled_after
        else f"partitions {stuck} have records and do not move"
    )
    health.stalled(reason=reason, advice=f"the role exits after {streams.exit_after:g} s to be started anew")
    if standstill > streams.exit_after or progress.stuck_partitions(
        at, longer_than=streams.exit_after * _PARTITION_PATIENCE
    ):
        raise Terminal(
            f"{health.part}: {reason}. Nothing unfinished was acknowledged.",
            advice="the supervisor starts the role again; if it comes back, look at the log above",
        )


class _BrokerView:
    """Asks the broker. A consumer that never joins its group: it only looks."""

    def __init__(self, settings: Settings, *, group: str, topic: str) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None

    async def positions(
        self, partitions: tuple[int, ...], *, health: StageHealth
    ) -> dict[int, Position] | None:
        """None when the broker does not answer; the health then says so."""
        try:
            async with asyncio.timeout(_ASK_TIMEOUT):
                positions = await self._ask(partitions)
        except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
            await self.close()
            told = await no_answer(self._settings.kafka, error)
            health.waiting("kafka", reason=told.message, advice=told.advice)
            return None
        health.recovered("kafka")
        return positions

    async def _ask(self, partitions: tuple[int, ...]) -> dict[int, Position]:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **client_arguments(self._settings.kafka),
                group_id=self._group,
                client_id=f"{self._group}-watchdog",
                enable_auto_commit=False,
                request_timeout_ms=int(_ASK_TIMEOUT * 1000),
            )
            await self._consumer.start()
        consumer = self._consumer
        places = [TopicPartition(self._topic, partition) for partition in partitions]
        if not places:
            await consumer.topics()  # still tells whether the broker is there
            return {}
        ends = await consumer.end_offsets(places)
        found: dict[int, Position] = {}
        for place in places:
            committed = await consumer.committed(place)
            if committed is None:
                committed = (await consumer.beginning_offsets([place]))[place]
            found[place.partition] = Position(committed=committed, end=ends[place])
        return found

    async def close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError, OSError):
                await asyncio.wait_for(consumer.stop(), timeout=5)
