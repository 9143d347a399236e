"""The admission stage at work behind a real topic, so that what a command puts on the log becomes rows."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from outbound_world import OutboundWorld

from connector.settings import KafkaSettings
from connector.streams.outcomes import Record
from connector.streams.topic_admin import create_topics
from connector.topics import CRM_TRIGGERS


@asynccontextmanager
async def admitting(world: OutboundWorld, kafka: KafkaSettings) -> AsyncIterator[None]:
    """Make the topics, and admit what is put on `crm.triggers` until the end."""
    await create_topics(kafka, partitions=1, replication=1)
    consumer = AIOKafkaConsumer(
        CRM_TRIGGERS.full_name(kafka.topic_prefix),
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        metadata_max_age_ms=1_000,
    )
    await consumer.start()

    async def admit() -> None:
        while True:
            for records in (await consumer.getmany(timeout_ms=200)).values():
                await world.admission.handle(
                    [
                        Record(
                            topic=record.topic,
                            partition=record.partition,
                            offset=record.offset,
                            key=record.key,
                            value=record.value,
                        )
                        for record in records
                    ]
                )

    work = asyncio.create_task(admit())
    try:
        yield
        if work.done():
            work.result()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await consumer.stop()
