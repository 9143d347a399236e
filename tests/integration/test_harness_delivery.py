"""What the harness promises, tried against every way in which Faust loses, doubles or stalls records."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from connector.errors import Terminal, Transient
from connector.settings import KafkaSettings, Settings, StreamSettings
from connector.streams.codec import EncodedRecord, decode
from connector.streams.harness import run_stage
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.telemetry.health import StageHealth, State
from connector.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WHATSAPP_UPDATES

PARTITIONS = 4
DEADLINE = 30.0


async def eventually(condition: Callable[[], bool], *, within: float = DEADLINE) -> None:
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until, "the condition did not come true"
        await asyncio.sleep(0.02)


async def eventually_equal(read: Callable[[], Awaitable[object]], expected: object) -> None:
    until = time.monotonic() + DEADLINE
    while (found := await read()) != expected:
        assert time.monotonic() < until, f"{found} and not {expected}"
        await asyncio.sleep(0.05)


class RecordingStage:
    """Remembers what it was given; `act` may answer, wait or raise."""

    name = "recording"
    topic = WHATSAPP_UPDATES

    def __init__(
        self, act: Callable[[Sequence[Record]], object] | None = None, *, batch_size: int = 50
    ) -> None:
        self.batch_size = batch_size
        self.handled: list[bytes] = []
        self.calls = 0
        self._act = act

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        self.calls += 1
        answer = self._act(records) if self._act else None
        if asyncio.iscoroutine(answer):
            answer = await answer
        self.handled += [record.value or b"" for record in records]
        return [Done() for _ in records] if answer is None else answer  # type: ignore[return-value]


class Bench:
    """One test's topics on the session's broker."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self.kafka = KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=prefix,
            partitions=PARTITIONS,
            replication_factor=1,
        )
        self.settings = Settings(kafka=self.kafka)
        self.source = WHATSAPP_UPDATES.full_name(prefix)
        self.group = f"{prefix}{RecordingStage.name}"

    async def fill(self, values: Sequence[bytes | None]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers, acks="all")
        await producer.start()
        try:
            sent = [
                await producer.send(
                    self.source, value=value, key=b"k%d" % number, partition=number % PARTITIONS
                )
                for number, value in enumerate(values)
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    async def committed(self) -> dict[int, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap_servers)
        await admin.start()
        try:
            found = await admin.list_consumer_group_offsets(self.group)
        finally:
            await admin.close()
        return {place.partition: position.offset for place, position in found.items() if position.offset >= 0}

    async def read(self, topic: str) -> list[bytes]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            consumer.assign(places)
            ends = await consumer.end_offsets(places)
            found: list[bytes] = []
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += [record.value for record in records]
            return found
        finally:
            await consumer.stop()

    async def dead_letters(self) -> list[object]:
        values = await self.read(DEAD_LETTERS.full_name(self.kafka.topic_prefix))
        return [decode(DEAD_LETTERS, value) for value in values]

    @contextlib.asynccontextmanager
    async def running(
        self,
        stage: RecordingStage,
        *,
        producer: DurableProducer | None = None,
        settings: Settings | None = None,
    ) -> AsyncIterator[StageHealth]:
        """The stage at work; leaving the block stops it in an orderly way."""
        stop = asyncio.Event()
        health = StageHealth(stage.name)
        task = asyncio.create_task(
            run_stage(stage, settings or self.settings, stop=stop, health=health, producer=producer)
        )
        try:
            yield health
        finally:
            stop.set()
            await asyncio.wait_for(task, 30)


@pytest.fixture
async def bench(bootstrap_servers: str, topic_prefix: str) -> Bench:
    bench = Bench(bootstrap_servers, topic_prefix)
    await create_topics(bench.kafka)
    return bench


def values(count: int) -> list[bytes]:
    return [b"v%d" % number for number in range(count)]


def full(count: int) -> dict[int, int]:
    return {partition: len(range(partition, count, PARTITIONS)) for partition in range(PARTITIONS)}


async def test_every_record_is_handled_once_and_committed_on_stop(bench: Bench) -> None:
    """A quiet life: every record handled once, in partition order, and committed by an orderly stop."""
    stage = RecordingStage()
    await bench.fill(values(400))
    async with bench.running(stage) as health:
        await eventually(lambda: len(stage.handled) == 400)
        await eventually(lambda: health.ready)
        assert health.assignment == (0, 1, 2, 3)
    assert sorted(stage.handled) == sorted(values(400))
    first = [int(value[1:]) for value in stage.handled if int(value[1:]) % PARTITIONS == 0]
    assert first == sorted(first)
    assert await bench.committed() == full(400)


async def test_exception_in_the_handler_costs_only_the_record_at_fault(bench: Bench) -> None:
    """A record that makes the handler raise becomes a dead letter with its exact bytes; the others pass."""

    def act(records: Sequence[Record]) -> None:
        if any(record.value == b"\xffbad" for record in records):
            raise KeyError("no such field")

    stage = RecordingStage(act)
    await bench.fill([*values(60), b"\xffbad", *values(40)])
    async with bench.running(stage):
        await eventually_equal(bench.committed, full(101))
    [letter] = await bench.dead_letters()
    assert letter.original == b"\xffbad"  # type: ignore[attr-defined]
    assert (letter.cause, letter.stage) == ("handler_failed", "recording")  # type: ignore[attr-defined]
    assert "KeyError" in letter.reason  # type: ignore[attr-defined]


async def test_undecodable_records_do_not_stall_the_stage(bench: Bench) -> None:
    """Bytes that are no JSON, and a tombstone, die with the codec's cause while the rest goes on."""

    def act(records: Sequence[Record]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for record in records:
            if record.value is None or record.value.startswith(b"\x00"):
                decode(WHATSAPP_UPDATES, record.value)
            outcomes.append(Done())
        return outcomes

    stage = RecordingStage(act)
    await bench.fill([*values(10), b"\x00\xff\xfe", *values(10), None, *values(10)])
    async with bench.running(stage):
        await eventually_equal(bench.committed, full(32))
    letters = await bench.dead_letters()
    assert [letter.cause for letter in letters] == ["undecodable", "undecodable"]  # type: ignore[attr-defined]
    assert {letter.original for letter in letters} == {b"\x00\xff\xfe", b""}  # type: ignore[attr-defined]


async def test_a_wrong_number_of_outcomes_is_never_silence(bench: Bench) -> None:
    """A stage that answers too few outcomes is called again record by record until the fault is found."""

    def act(records: Sequence[Record]) -> list[Outcome]:
        return [Done() for record in records if record.value != b"v7"]

    stage = RecordingStage(act)
    await bench.fill(values(20))
    async with bench.running(stage):
        await eventually_equal(bench.committed, full(20))
    [letter] = await bench.dead_letters()
    assert letter.original == b"v7"  # type: ignore[attr-defined]


async def test_produced_records_are_on_the_broker_before_the_acknowledgement(bench: Bench) -> None:
    """What outcomes produce is there, in order a key, when the batch is committed."""

    def act(records: Sequence[Record]) -> list[Outcome]:
        return [
            Done(
                produce=(
                    EncodedRecord(topic=CONVERSATION_EVENTS, key=b"k", value=r.value or b"", headers=[]),
                )
            )
            for r in records
        ]

    stage = RecordingStage(act)
    await bench.fill(values(100))
    async with bench.running(stage):
        await eventually(lambda: len(stage.handled) == 100)
    assert await bench.committed() == full(100)
    produced = await bench.read(CONVERSATION_EVENTS.full_name(bench.kafka.topic_prefix))
    assert produced == stage.handled


async def test_nothing_is_committed_while_the_producer_fails(bench: Bench) -> None:
    """While the broker does not confirm what a batch produced, the batch stays unacknowledged and visible."""
    broken = True

    class Failing(DurableProducer):
        async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
            if broken:
                raise Transient("the broker did not confirm")
            await super().send_all(records, timeout=timeout)

    stage = RecordingStage(lambda records: [Dead(cause="crm_rejected", reason="no") for _ in records])
    producer = Failing(bench.kafka, client="failing")
    await bench.fill(values(50))
    async with bench.running(stage, producer=producer) as health:
        await eventually(lambda: health.state is State.WAITING)
        assert health.snapshot()["waiting_for"]["kafka-writes"]["reason"] == "the broker did not confirm"
        assert await bench.committed() == {}
        calls = stage.calls
        broken = False
        await eventually_equal(bench.committed, full(50))
        assert stage.calls <= calls + 50 // stage.batch_size + 2, (
            "handled again although only the send failed"
        )
    await producer.stop()
    assert len(await bench.dead_letters()) == 50


async def test_transient_failure_is_waited_for_and_then_forgotten(bench: Bench) -> None:
    """While a dependency is away nothing dies and nothing is acknowledged; when it is back all of it passes."""
    away = True

    def act(_: Sequence[Record]) -> None:
        if away:
            raise Transient("the database does not answer", retry_after=0.1)

    stage = RecordingStage(act)
    await bench.fill(values(100))
    async with bench.running(stage) as health:
        await eventually(lambda: health.state is State.WAITING)
        assert health.snapshot()["waiting_for"]["work"]["reason"] == "the database does not answer"
        assert not health.ready
        assert (stage.handled, await bench.committed()) == ([], {})
        away = False
        await eventually(lambda: len(stage.handled) == 100)
        await eventually(lambda: health.ready)
    assert await bench.committed() == full(100)
    assert await bench.dead_letters() == []


async def test_a_stop_while_waiting_leaves_a_fresh_group_at_the_beginning(bench: Bench) -> None:
    """A batch given up by a group without any committed offset is not stepped over: the next one reads it."""
    calls = 0

    def act(_: Sequence[Record]) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise Transient("away", retry_after=0.05)

    await bench.fill(values(200))
    first = RecordingStage(act)
    async with bench.running(first):
        await eventually(lambda: calls > 3)
    committed = await bench.committed()
    assert sum(committed.values()) == len(first.handled)
    second = RecordingStage()
    async with bench.running(second):
        await eventually(lambda: len(first.handled) + len(second.handled) >= 200)
    assert sorted(first.handled + second.handled) == sorted(values(200))


async def test_stop_in_mid_batch_lets_the_batch_finish(bench: Bench) -> None:
    """A stop during a handler call waits for it and commits it; nothing is seen twice afterwards."""
    entered = asyncio.Event()

    async def act(_: Sequence[Record]) -> None:
        entered.set()
        await asyncio.sleep(0.5)

    first = RecordingStage(act)
    await bench.fill(values(200))
    async with bench.running(first):
        await asyncio.wait_for(entered.wait(), DEADLINE)
    assert first.handled
    second = RecordingStage()
    async with bench.running(second):
        await eventually(lambda: len(first.handled) + len(second.handled) >= 200)
    assert sorted(first.handled + second.handled) == sorted(values(200))


async def test_rebalance_in_mid_batch_loses_nothing(bench: Bench) -> None:
    """A second replica joins while the first is inside slow batches: each record is handled, all is committed."""

    joined = asyncio.Event()

    async def act(_: Sequence[Record]) -> None:
        await asyncio.sleep(0.01 if joined.is_set() else 0.25)

    first, second = RecordingStage(act, batch_size=20), RecordingStage(act, batch_size=20)
    await bench.fill(values(800))
    async with bench.running(first) as one:
        await eventually(lambda: len(first.handled) >= 40)
        async with bench.running(second) as two:
            await eventually(lambda: len(two.assignment or ()) == 2 and len(one.assignment or ()) == 2)
            joined.set()
            await eventually(lambda: len(set(first.handled + second.handled)) == 800)
        await eventually_equal(bench.committed, full(800))
    assert second.handled, "the second replica did nothing"
    assert len(first.handled + second.handled) <= 800 + 2 * first.batch_size, "too much was repeated"


async def test_rebalance_while_waiting_does_not_hang_the_group(bench: Bench) -> None:
    """A replica that waits for a dependency gives its batch back, so that another one can join and take over."""
    away = True

    def act(_: Sequence[Record]) -> None:
        if away:
            raise Transient("away", retry_after=0.2)

    first, second = RecordingStage(act), RecordingStage(act)
    await bench.fill(values(400))
    async with bench.running(first) as one:
        await eventually(lambda: first.calls > 3)
        async with bench.running(second) as two:
            await eventually(lambda: len(two.assignment or ()) == 2 and len(one.assignment or ()) == 2)
            assert await bench.committed() == {}
            away = False
            await eventually(lambda: len(set(first.handled + second.handled)) == 400)
    assert await bench.committed() == full(400)


async def test_dead_letter_limit_stops_the_line(bench: Bench) -> None:
    """A handler that fails on everything stops the line at the limit: the rest neither dies nor is committed."""

    def act(_: Sequence[Record]) -> None:
        raise TypeError("a bad deploy")

    stage = RecordingStage(act, batch_size=100)
    settings = Settings(kafka=bench.kafka, streams=StreamSettings(dead_letter_run=20))
    await bench.fill(values(200))
    async with bench.running(stage, settings=settings) as health:
        await eventually(lambda: health.state is State.STOPPED_LINE)
        stopped = health.snapshot()["stopped"]
        assert "more than 20 records in a row" in stopped["reason"]
        assert "CONNECTOR_STREAMS__DEAD_LETTER_RUN" in stopped["advice"]
    dead = len(await bench.dead_letters())
    assert dead <= 20  # batches that came before the one that passes the limit, if they were small
    assert sum((await bench.committed()).values()) <= dead


async def test_terminal_stops_the_line_and_nothing_is_lost(bench: Bench) -> None:
    """A refused credential is no dead letter: the line says what to do and keeps the records."""

    def act(_: Sequence[Record]) -> None:
        raise Terminal("the token was refused", advice="set CONNECTOR_HUBSPOT__ACCESS_TOKEN")

    await bench.fill(values(40))
    async with bench.running(RecordingStage(act)) as health:
        await eventually(lambda: health.state is State.STOPPED_LINE)
        assert health.snapshot()["stopped"]["advice"] == "set CONNECTOR_HUBSPOT__ACCESS_TOKEN"
    assert await bench.committed() == {}
    assert await bench.dead_letters() == []


async def test_more_replicas_than_partitions_is_a_ready_standby(bench: Bench) -> None:
    """A replica that got no partition is ready: it would work if there were any."""
    one_partition = bench.kafka.model_copy(update={"topic_prefix": bench.kafka.topic_prefix + "one."})
    await create_topics(one_partition, partitions=1)
    settings = Settings(kafka=one_partition)
    async with (
        bench.running(RecordingStage(), settings=settings) as one,
        bench.running(RecordingStage(), settings=settings) as two,
    ):
        await eventually(lambda: {one.state, two.state} == {State.RUNNING, State.STANDBY})
        assert one.ready
        assert two.ready


async def test_a_broker_that_is_away_is_waited_for_and_a_stop_still_works() -> None:
    """Without a broker the role starts, says what it waits for, and stops when told to."""
    settings = Settings(kafka=KafkaSettings(bootstrap_servers="127.0.0.1:9"))
    stop, health = asyncio.Event(), StageHealth("recording")
    task = asyncio.create_task(run_stage(RecordingStage(), settings, stop=stop, health=health))
    await eventually(lambda: health.state is State.WAITING)
    assert "kafka" in health.snapshot()["waiting_for"]
    stop.set()
    await asyncio.wait_for(task, 20)


async def test_a_standstill_nobody_explains_ends_in_a_new_process(bench: Bench) -> None:
    """Work, no commit and no reason: stalled first, then `Terminal`, with nothing unfinished acknowledged."""
    seen: list[State] = []

    async def act(_: Sequence[Record]) -> None:
        seen.append(health.state)
        for _step in range(30):
            await asyncio.sleep(0.1)
            seen.append(health.state)

    streams = StreamSettings(stalled_after=0.5, exit_after=1.5)
    health = StageHealth("recording")
    await bench.fill(values(40))
    with pytest.raises(Terminal, match="nothing was committed"):
        await asyncio.wait_for(
            run_stage(
                RecordingStage(act, batch_size=10),
                Settings(kafka=bench.kafka, streams=streams),
                stop=asyncio.Event(),
                health=health,
            ),
            DEADLINE,
        )
    assert State.STALLED in seen
    assert sum((await bench.committed()).values()) <= 10
