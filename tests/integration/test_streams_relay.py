"""The relay and its producer, on a real PostgreSQL and a real Kafka."""

import asyncio
import base64
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.errors import Rejected, Transient
from connector.settings import KafkaSettings
from connector.state.database import close_pool, open_pool, transaction
from connector.streams.codec import EncodedRecord
from connector.streams.outgoing import queue_outgoing
from connector.streams.producer import DurableProducer
from connector.streams.relay import relay_once, run_relay
from connector.streams.topic_admin import create_topics
from connector.telemetry.health import StageHealth, State
from connector.topics import CONVERSATION_EVENTS, DEAD_LETTERS


class FakeSender:
    """Keeps what it is sent; fails while `broken`."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.broken = False
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise Transient("the broker did not confirm", retry_after=0.01)
        self.sent += [record.value for record in records]


def record(value: bytes, *, key: bytes = b"k") -> EncodedRecord:
    return EncodedRecord(topic=CONVERSATION_EVENTS, key=key, value=value, headers=[("event-id", b"e1")])


async def eventually(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "the condition did not come true"
        await asyncio.sleep(0.02)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database_url, size=4, application="test")
    yield pool
    await close_pool(pool)


@pytest.fixture
async def kafka_settings(bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=1, replication_factor=1
    )
    await create_topics(settings)
    return settings


async def queue(pool: asyncpg.Pool, *values: bytes, stage: str = "route") -> None:
    async with transaction(pool) as connection:
        await queue_outgoing(connection, stage=stage, records=[record(value) for value in values])


async def waiting(pool: asyncpg.Pool) -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM shared.outgoing")
    return count


async def read(
    settings: KafkaSettings, count: int
) -> list[tuple[bytes, bytes, tuple[tuple[str, bytes], ...]]]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(CONVERSATION_EVENTS.full_name(settings.topic_prefix), 0)])
        found = [await asyncio.wait_for(consumer.getone(), 10) for _ in range(count)]
    finally:
        await consumer.stop()
    return [(entry.key, entry.value, entry.headers) for entry in found]


async def test_rows_reach_the_topic_in_order_and_are_gone(
    pool: asyncpg.Pool, kafka_settings: KafkaSettings
) -> None:
    """What a transaction queued is on the topic with key, value and headers; another stage's rows stay."""
    await queue(pool, b"a", b"b")
    await queue(pool, b"c")
    await queue(pool, b"theirs", stage="outbound")
    producer = DurableProducer(kafka_settings, client="test")
    assert await relay_once(pool, stage="route", sender=producer) == 3
    assert await relay_once(pool, stage="route", sender=producer) == 0
    await producer.stop()
    headers = (("event-id", b"e1"),)
    assert await read(kafka_settings, 3) == [(b"k", value, headers) for value in (b"a", b"b", b"c")]
    assert await waiting(pool) == 1


async def test_rows_stay_until_the_broker_confirms(pool: asyncpg.Pool) -> None:
    """While sending fails the rows are kept and the relay says what it waits for; then they go, in order."""
    sender, wake, stop = FakeSender(), asyncio.Event(), asyncio.Event()
    sender.broken = True
    health = StageHealth("relay")
    await queue(pool, b"a", b"b")
    task = asyncio.create_task(
        run_relay(pool, stage="route", sender=sender, wake=wake, stop=stop, health=health)
    )
    await eventually(lambda: health.state is State.WAITING)
    assert await waiting(pool) == 2
    sender.broken = False
    await eventually(lambda: sender.sent == [b"a", b"b"])
    await eventually(lambda: health.state is State.RUNNING)
    began = time.monotonic()
    await queue(pool, b"c")
    wake.set()
    await eventually(lambda: sender.sent == [b"a", b"b", b"c"])
    assert time.monotonic() - began < 0.9, "woken, not found by the timer"
    stop.set()
    await asyncio.wait_for(task, 5)
    assert await waiting(pool) == 0


async def test_one_relay_a_stage_at_a_time(pool: asyncpg.Pool) -> None:
    """A second relay of a stage finds the first at work and leaves its rows alone; other stages go on."""
    slow, other = FakeSender(), FakeSender()
    slow.gate = asyncio.Event()
    await queue(pool, b"a")
    await queue(pool, b"theirs", stage="outbound")
    first = asyncio.create_task(relay_once(pool, stage="route", sender=slow))
    await asyncio.wait_for(slow.entered.wait(), 10)
    assert await relay_once(pool, stage="route", sender=other) is None
    assert await relay_once(pool, stage="outbound", sender=other) == 1
    slow.gate.set()
    assert await first == 1
    assert (slow.sent, other.sent[-1]) == ([b"a"], b"theirs")


async def test_a_record_larger_than_the_topic_takes_is_refused_for_good(
    kafka_settings: KafkaSettings,
) -> None:
    """Too large is the record's fault; the producer goes on with the next one."""

    producer = DurableProducer(kafka_settings, client="test")
    with pytest.raises(Rejected) as refused:
        await producer.send_all([record(os.urandom(13 * 1024 * 1024))], timeout=20)
    assert refused.value.cause == "record_too_large"
    await producer.send_all([record(b"small")], timeout=20)
    await producer.stop()
    assert [value for _, value, _ in await read(kafka_settings, 1)] == [b"small"]


async def test_the_dead_letter_of_the_largest_webhook_fits(kafka_settings: KafkaSettings) -> None:
    """Eight incompressible megabytes, in base64, still fit into dead.letters."""

    letter = EncodedRecord(
        topic=DEAD_LETTERS, key=b"ingress", value=base64.b64encode(os.urandom(8 * 1024 * 1024)), headers=[]
    )
    producer = DurableProducer(kafka_settings, client="test")
    await producer.send_all([letter], timeout=20)
    await producer.stop()


async def test_a_producer_without_a_broker_is_transient_and_closes_at_once() -> None:
    """No broker: nothing hangs, nothing is left open."""
    producer = DurableProducer(KafkaSettings(bootstrap_servers="127.0.0.1:9"), client="test")
    with pytest.raises(Transient, match="CONNECTOR_KAFKA__BOOTSTRAP_SERVERS"):
        await producer.send_all([record(b"a")], timeout=10)
    await asyncio.wait_for(producer.stop(), 1)


async def test_an_unknown_topic_is_named_with_the_command_that_makes_it(
    bootstrap_servers: str, topic_prefix: str
) -> None:
    """Topics are never created by themselves; the error says how."""
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    producer = DurableProducer(settings, client="test")
    with pytest.raises(Transient, match="connector topics create"):
        await producer.send_all([record(b"a")], timeout=3)
    await producer.stop()
