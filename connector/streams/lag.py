"""What the broker says about the consumer groups: how far each is behind, and whether anybody works in it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from connector.settings import KafkaSettings
from connector.streams.app import group_name
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer
from connector.topics import Topic


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupLag:
    """One stage's group on its topic. `lag`: records; `members`: workers; `state`: the broker's word, e.g. Stable."""

    stage: str
    topic: str
    lag: int
    members: int
    state: str
    ever_committed: bool


@dataclass(frozen=True, slots=True)
class BrokerView:
    """A look at the brokers that joins no group and changes nothing."""

    admin: AIOKafkaAdminClient
    consumer: AIOKafkaConsumer
    prefix: str

    async def committed(self, stage: str) -> dict[TopicPartition, int]:
        """How far the group of a stage has come on the partitions where it ever committed."""
        found = await self.admin.list_consumer_group_offsets(f"{self.prefix}{stage}")
        return {place: known.offset for place, known in found.items() if known.offset >= 0}

    def newest_version(self, request: int) -> int:
        """The newest version of a request (its API key) that a broker we are connected to understands; 0: not told."""
        connections = self.admin._client._conns.values()  # noqa: SLF001 - aiokafka shows it nowhere else
        return max((connection._versions.get(request, (0, 0))[1] for connection in connections), default=0)  # noqa: SLF001

    async def workers(self, stage: str) -> int:
        """How many work in the group of a stage."""
        return (await _group(self.admin, f"{self.prefix}{stage}"))[1]

    async def places(self, topic: Topic) -> list[TopicPartition]:
        """The partitions of a topic; none when it is not there."""
        name = topic.full_name(self.prefix)
        if name not in await self.admin.list_topics():
            return []
        [described] = await self.admin.describe_topics([name])
        return sorted(TopicPartition(name, item["partition"]) for item in described["partitions"])


@contextlib.asynccontextmanager
async def broker_view(settings: KafkaSettings, *, timeout: float | None) -> AsyncIterator[BrokerView]:
    """Look for at most `timeout` seconds; None: as long as it takes. Raises `Transient` when no broker answers."""
    arguments = {**client_arguments(settings), "client_id": "connector-status", "request_timeout_ms": 5000}
    admin = AIOKafkaAdminClient(**arguments)
    consumer = AIOKafkaConsumer(**arguments, enable_auto_commit=False)
    try:
        async with asyncio.timeout(timeout):
            try:
                await admin.start()
                await consumer.start()
                yield BrokerView(admin, consumer, settings.topic_prefix)
            finally:
                await consumer.stop()
                await admin.close()
    except (KafkaError, OSError) as error:  # a TimeoutError is an OSError
        raise await no_answer(settings, error) from error


async def group_lags(
    settings: KafkaSettings, stages: Iterable[tuple[str, Topic]], *, timeout: float = 10.0
) -> list[GroupLag]:
    """The lag of each (stage, topic). What a group never committed counts from the beginning of the log.

    Raises `Transient` when no broker answers. A topic that is not there has no lag.
    """
    async with broker_view(settings, timeout=timeout) as view:
        return [await _lag(view, group_name(settings, stage), stage, topic) for stage, topic in stages]


async def _lag(view: BrokerView, group: str, stage: str, topic: Topic) -> GroupLag:
    places = await view.places(topic)
    offsets = await view.committed(stage)
    committed: Mapping[TopicPartition, int] = {place: offsets[place] for place in places if place in offsets}
    ends = await view.consumer.end_offsets(places) if places else {}
    begins = await view.consumer.beginning_offsets(places) if places else {}
    state, members = await _group(view.admin, group)
    return GroupLag(
        stage=stage,
        topic=topic.full_name(view.prefix),
        lag=sum(max(0, ends[place] - max(committed.get(place, 0), begins[place])) for place in places),
        members=members,
        state=state,
        ever_committed=bool(committed),
    )


async def _group(admin: AIOKafkaAdminClient, group: str) -> tuple[str, int]:
    for response in await admin.describe_consumer_groups([group]):
        for described in response.to_object()["groups"]:
            return described["state"] or "Dead", len(described["members"])
    return "Dead", 0
