"""Records as they are written, from now or from a time: read by a consumer that joins no group and commits nothing."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition

from connector.settings import KafkaSettings
from connector.streams.log_view import log_reader, partitions_of
from connector.topics import Topic

_POLL_MS = 500
_AT_ONCE = 500


async def tail(
    settings: KafkaSettings, topics: Sequence[Topic], *, since: datetime | None
) -> AsyncGenerator[tuple[Topic, Any], None]:
    """Each record with its topic, until the caller stops; roughly by time. `since` None: what is written from now on.

    Raises `Transient` when the broker does not answer or lacks a topic.
    """
    async with log_reader(settings, group=None, client="connector-listen") as consumer:
        places: dict[TopicPartition, Topic] = {}
        for topic in topics:
            for place in await partitions_of(consumer, topic.full_name(settings.topic_prefix)):
                places[place] = topic
        ends = await consumer.end_offsets(list(places))
        starts = dict(ends)
        if since is not None:
            at = int(since.timestamp() * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(places, at))
            starts |= {place: answer.offset for place, answer in found.items() if answer is not None}
        consumer.assign(list(places))
        for place, start in starts.items():
            consumer.seek(place, start)
        while True:
            batch = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_AT_ONCE)
            records = [record for some in batch.values() for record in some]
            for record in sorted(records, key=lambda record: record.timestamp):
                yield places[TopicPartition(record.topic, record.partition)], record
