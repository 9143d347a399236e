"""What the broker says about partitions and consumer groups, seen by a consumer that joins no group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from connector.errors import Transient
from connector.settings import KafkaSettings
from connector.state.offsets import Place
from connector.state.standing import LogSpan
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer

_ASK_TIMEOUT = 15.0  # seconds
_ENDS_TIMEOUT = 10.0
_TAIL = 1000  # offsets at the end of a partition among which its last record is looked for
_TAIL_TIMEOUT_MS = 2000


@asynccontextmanager
async def log_reader(
    settings: KafkaSettings, *, group: str | None, client: str
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer to assign partitions to. With `group` it may ask for the group's offsets; it never joins it.

    Raises `Transient` for everything that the broker does, also in the body.
    """
    consumer = AIOKafkaConsumer(
        **client_arguments(settings),
        group_id=group,
        client_id=client,
        enable_auto_commit=False,
        auto_offset_reset="none",
        request_timeout_ms=int(_ASK_TIMEOUT * 1000),
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    try:
        await consumer.start()
        yield consumer
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise await no_answer(settings, error) from error
    finally:
        with contextlib.suppress(KafkaError, OSError):
            await asyncio.wait_for(consumer.stop(), timeout=5)


async def read_spans(settings: KafkaSettings, sources: Mapping[str, str | None]) -> dict[Place, LogSpan]:
    """Every partition of these topics. `sources`: full topic name → full name of the group that folds it, or None.

    `end` is one above the last record: markers of transactions behind it will never be folded. Raises `Transient`
    when the broker does not answer or lacks a topic.
    """
    spans: dict[Place, LogSpan] = {}
    for topic, group in sources.items():
        async with log_reader(settings, group=group, client="connector-log-view") as consumer:
            async with asyncio.timeout(_ASK_TIMEOUT):
                spans |= await _spans(consumer, topic, grouped=group is not None)
    return spans


async def partitions_of(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    """Every partition of a topic, whether the consumer reads it or not. Raises `Transient` when there is none."""
    # `partitions_for_topic` knows only topics that the consumer reads already.
    cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001
    partitions = cluster.partitions_for_topic(topic)
    if not partitions:
        raise Transient(f"The topic {topic} is missing on the broker.", advice="run: connector topics create")
    return [TopicPartition(topic, partition) for partition in sorted(partitions)]


async def log_ends(consumer: AIOKafkaConsumer, topics: Iterable[str]) -> dict[Place, int]:
    """Where each partition of these topics (full names) ends now; those that hold nothing are left out.

    Raises `Transient` when a topic is missing, and within 10 s when the broker does not answer.
    """
    async with asyncio.timeout(_ENDS_TIMEOUT):
        places = [place for topic in topics for place in await partitions_of(consumer, topic)]
        begins = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
    return {Place(p.topic, p.partition): ends[p] for p in places if ends[p] > begins[p]}


async def _spans(consumer: AIOKafkaConsumer, topic: str, *, grouped: bool) -> dict[Place, LogSpan]:
    places = await partitions_of(consumer, topic)
    begins = await consumer.beginning_offsets(places)
    ends = await consumer.end_offsets(places)
    spans: dict[Place, LogSpan] = {}
    for place in places:
        committed = await consumer.committed(place) if grouped else None
        end = await _last(consumer, place, begin=begins[place], end=ends[place])
        spans[Place(topic, place.partition)] = LogSpan(begin=begins[place], end=end, committed=committed)
    return spans


async def _last(consumer: AIOKafkaConsumer, place: TopicPartition, *, begin: int, end: int) -> int:
    """One above the last record; `begin` when there is none among the last offsets."""
    if end <= begin:
        return begin
    consumer.assign([place])
    for start in dict.fromkeys((end - 1, max(begin, end - _TAIL))):
        consumer.seek(place, start)
        last = begin
        while await consumer.position(place) < end:
            found = await consumer.getmany(place, timeout_ms=_TAIL_TIMEOUT_MS)
            records = found.get(place, [])
            if not records:
                break
            last = max(last, records[-1].offset + 1)
        if last > begin:
            return min(last, end)
    return begin


async def offsets_since(
    settings: KafkaSettings, *, topic: str, since: datetime | None
) -> dict[Place, LogSpan]:
    """Every partition: `begin` is its first record written at or after `since` (None: the first there is)."""
    spans = await read_spans(settings, {topic: None})
    if since is None:
        return spans
    at = int(since.timestamp() * 1000)
    async with log_reader(settings, group=None, client="connector-log-view") as consumer:
        found = await consumer.offsets_for_times(
            {TopicPartition(topic, place.partition): at for place in spans}
        )
    firsts = {place.partition: answer.offset for place, answer in found.items() if answer is not None}
    return {
        place: LogSpan(begin=min(firsts.get(place.partition, span.end), span.end), end=span.end)
        for place, span in spans.items()
    }


def total(spans: Iterable[LogSpan]) -> int:
    """Records on the log, as far as offsets tell."""
    return sum(span.end - span.begin for span in spans)
