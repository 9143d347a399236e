"""The way of a message from the POST to the CRM without Kafka: the real ingress, stages and writer on a real database.

A list stands where each topic is; everything else is what the roles run.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sink_world import SinkWorld, sink_world

from connector.identity.role import RouteStage
from connector.ingress.app import create_app
from connector.ingress.inflight import InflightBytes
from connector.ingress.signatures import signature_of
from connector.settings import Settings
from connector.streams.batch import BatchRunner
from connector.streams.codec import EncodedRecord
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.outcomes import Record, Stage
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS, WHATSAPP_UPDATES, Topic

SECRET = "the-app-secret"


@dataclass
class Topics:
    """Where the ingress and the stages leave records; each is read once."""

    inflight: InflightBytes = field(default_factory=lambda: InflightBytes(10_000_000))
    kept: list[EncodedRecord] = field(default_factory=list)
    _read: dict[str, int] = field(default_factory=dict)

    async def publish(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        """As the ingress's publisher."""
        self.kept += records

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        """As the stages' producer."""
        self.kept += records

    def on(self, topic: Topic) -> list[EncodedRecord]:
        """All records of a topic."""
        return [record for record in self.kept if record.topic is topic]

    def unread(self, topic: Topic) -> list[Record]:
        """The records of a topic that were not read before."""
        found = self.on(topic)
        first = self._read.get(topic.name, 0)
        self._read[topic.name] = len(found)
        return [
            Record(
                topic=topic.name,
                partition=0,
                offset=offset,
                key=record.key,
                value=record.value,
                headers=dict(record.headers),
                timestamp=1.0,
                follows=offset,
            )
            for offset, record in enumerate(found[first:], start=first)
        ]


def stage_runner(stage: Stage, topics: Topics) -> BatchRunner:
    """What carries the batches of a stage through."""
    return BatchRunner(
        stage,
        sender=topics,
        limit=DeadLetterLimit(stage=stage.name, run=1_000, share=1.0),
        health=StageHealth(stage.name),
        given_up=lambda: False,
        handler_timeout=30.0,
    )


@asynccontextmanager
async def ingress_of(topics: Topics, **configured: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Calls an ingress in this process that keeps what it takes on these topics. `configured`: settings by group."""
    settings = Settings.model_validate({"whatsapp": {"app_secrets": [SECRET]}} | configured)
    app = create_app(settings, topics, StageHealth("ingress"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://ingress") as client:
        yield client


async def post_webhook(client: httpx.AsyncClient, body: bytes) -> httpx.Response:
    """A webhook signed as Meta does."""
    signature = signature_of(body, secret=SECRET.encode())
    return await client.post("/webhooks/whatsapp", content=body, headers={"X-Hub-Signature-256": signature})


@dataclass(kw_only=True)
class MessageLine:
    """One ingress, the route, and the sync role of one CRM."""

    client: httpx.AsyncClient
    topics: Topics
    sink: SinkWorld

    def __post_init__(self) -> None:
        """Make the stages."""
        self._route = stage_runner(RouteStage(self.sink.pool), self.topics)
        self._sync = stage_runner(self.sink.stage, self.topics)

    async def post(self, body: bytes) -> httpx.Response:
        """A signed webhook."""
        return await post_webhook(self.client, body)

    async def work(self) -> None:
        """Read what is there, stage by stage, and let the writer write it."""
        for topic, runner in ((WHATSAPP_UPDATES, self._route), (CONVERSATION_EVENTS, self._sync)):
            if records := self.topics.unread(topic):
                async with asyncio.timeout(60):
                    assert await runner.run(records)
        await self.sink.settle(within=60)


@asynccontextmanager
async def message_line(database_url: str, *, sink: str = "hubspot") -> AsyncIterator[MessageLine]:
    """A line over a migrated database of the test's own and a simulated CRM."""
    topics = Topics()
    async with sink_world(sink, database_url) as world, ingress_of(topics) as client:
        yield MessageLine(client=client, topics=topics, sink=world)
