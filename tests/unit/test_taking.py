"""Batches taken from a channel: what is tracked, what is left alone, what holds commits up."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest
from faust.types import TP, ConsumerMessage
from mode.utils.queues import FlowControlEvent, ThrowableQueue

from connector.settings import KafkaSettings
from connector.streams.app import make_app
from connector.streams.hardened import HardenedConsumer
from connector.streams.taking import Taker

PLACE = TP("updates", 0)
NOW = 7  # the assignment of today


def event(offset: int, *, generation: int = NOW) -> SimpleNamespace:
    message = ConsumerMessage(
        topic=PLACE.topic,
        partition=PLACE.partition,
        offset=offset,
        timestamp=0.0,
        timestamp_type=0,
        headers=None,
        key=None,
        value=b"{}",
        checksum=None,
        generation_id=generation,
    )
    return SimpleNamespace(message=message)


@pytest.fixture
async def consumer() -> AsyncIterator[HardenedConsumer]:
    async def agent(_app: object, _stream: object) -> None: ...

    app = make_app(stage="unit", topic=PLACE.topic, settings=KafkaSettings(), agent=agent)
    consumer = app.consumer
    assert isinstance(consumer, HardenedConsumer)
    app.topics._acking_topics.add(PLACE.topic)
    app.consumer_generation_id = NOW
    yield consumer
    consumer.close_unstarted_thread()


@pytest.fixture
def channel() -> SimpleNamespace:
    return SimpleNamespace(queue=ThrowableQueue(flow_control=FlowControlEvent(initially_suspended=False)))


def offsets(events: list[SimpleNamespace]) -> list[int]:
    return [item.message.offset for item in events]


async def test_a_batch_is_what_waits_up_to_its_size(
    consumer: HardenedConsumer, channel: SimpleNamespace
) -> None:
    """Of seven records that wait, batches of three are three, three and one, in order."""
    taker = Taker(channel, consumer, most=3, within=0.0)
    for offset in range(7):
        channel.queue.put_nowait(event(offset))
    assert [offsets(await taker.take()) for _ in range(3)] == [[0, 1, 2], [3, 4, 5], [6]]


async def test_what_was_taken_holds_commits_up_until_it_is_acknowledged(
    consumer: HardenedConsumer, channel: SimpleNamespace
) -> None:
    """Nothing at or above an open record of a batch is committed, whatever else was acknowledged."""
    for offset in range(3):
        channel.queue.put_nowait(event(offset))
    batch = await Taker(channel, consumer, most=9, within=0.0).take()
    for item in (batch[0], batch[2]):
        consumer.ack(item.message)
    assert consumer._new_offset(PLACE) == 1
    consumer.ack(batch[1].message)
    assert consumer._new_offset(PLACE) == 3


async def test_records_of_an_earlier_assignment_are_left_alone(
    consumer: HardenedConsumer, channel: SimpleNamespace
) -> None:
    """A record that was fetched before a rebalance is read again: handled now, it would be handled twice."""
    for item in (event(4, generation=NOW - 1), event(0), event(1)):
        channel.queue.put_nowait(item)
    assert offsets(await Taker(channel, consumer, most=9, within=0.0).take()) == [0, 1]


async def test_a_wait_for_more_that_is_cut_off_loses_no_record(
    consumer: HardenedConsumer, channel: SimpleNamespace
) -> None:
    """The first record is out of the queue while it waits for others: cancelled there, it stays the limit of commits."""
    channel.queue.put_nowait(event(5))
    taking = asyncio.create_task(Taker(channel, consumer, most=9, within=60.0).take())
    while channel.queue.qsize():
        await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    consumer.ack(event(4).message)
    consumer.ack(event(6).message)
    assert consumer._new_offset(PLACE) == 5
    assert consumer._new_offset(PLACE) is None


async def test_the_end_of_a_channel_ends_a_wait(consumer: HardenedConsumer, channel: SimpleNamespace) -> None:
    """Faust stops an agent by an error in its channel, also while nothing comes."""
    taking = asyncio.create_task(Taker(channel, consumer, most=9, within=0.0).take())
    while not channel.queue._getters:
        await asyncio.sleep(0)
    channel.queue._throw(StopAsyncIteration())
    with pytest.raises(StopAsyncIteration):
        await taking
