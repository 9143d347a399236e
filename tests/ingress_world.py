"""What the ingress's integration tests share: a running ingress, signed POSTs, and what lies on the topics."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.ingress.server import serve
from connector.ingress.signatures import signature_of
from connector.settings import Settings
from connector.streams.codec import decode
from connector.topics import Topic

SECRET = "the-app-secret"
URL = "/webhooks/whatsapp"


def ingress_settings(bootstrap_servers: str, topic_prefix: str, **ingress: Any) -> Settings:
    return Settings.model_validate(
        {
            "kafka": {
                "bootstrap_servers": bootstrap_servers,
                "topic_prefix": topic_prefix,
                "partitions": 4,
                "replication_factor": 1,
            },
            "ingress": {"port": 0, **ingress},
            "whatsapp": {"app_secrets": [SECRET], "verify_token": "our-token"},
        }
    )


def signed(body: bytes) -> dict[str, str]:
    return {"X-Hub-Signature-256": signature_of(body, secret=SECRET.encode())}


@dataclasses.dataclass
class RunningIngress:
    """An ingress in this process. `client` talks to it over a real socket."""

    client: httpx.AsyncClient
    stop: asyncio.Event
    serving: asyncio.Task[None]

    async def post(self, body: bytes) -> httpx.Response:
        return await self.client.post(URL, content=body, headers=signed(body))

    async def until_ready(self) -> None:
        await eventually(self._is_ready)

    async def _is_ready(self) -> bool:
        return (await self.client.get("/readyz")).status_code == 200


@asynccontextmanager
async def running_ingress(settings: Settings) -> AsyncIterator[RunningIngress]:
    """Listening when entered, not necessarily connected; stopped when left."""
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(settings, stop=stop, listening=listening.set_result))
    either: list[asyncio.Future[Any]] = [serving, listening]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    async with httpx.AsyncClient(base_url=await listening, timeout=15) as client:
        try:
            yield RunningIngress(client=client, stop=stop, serving=serving)
        finally:
            stop.set()
            await serving


def text_body(*wamids: str, text: str = "مرحبا 😀", sender: str = "49170") -> bytes:
    """One POST with one message an id, escaped as Meta escapes."""
    messages = [
        {"id": wamid, "from": sender + wamid[-2:], "type": "text", "text": {"body": text}} for wamid in wamids
    ]
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": "1065"}, "messages": messages}
    entry = {"id": "WABA", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).replace("/", "\\/").encode()


async def read_topic(settings: Settings, topic: Topic) -> list[tuple[int, bytes, Any]]:
    """Partition, key and decoded value of every record that is on the topic now."""
    name = topic.full_name(settings.kafka.topic_prefix)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=32 * 1024 * 1024,
    )
    await consumer.start()
    try:
        await consumer._client._wait_on_metadata(name)
        partitions = [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name))]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        records = []
        async with asyncio.timeout(30):
            for partition, end in ends.items():
                while await consumer.position(partition) < end:
                    for batch in (await consumer.getmany(*partitions, timeout_ms=500)).values():
                        records += [
                            (found.partition, found.key, decode(topic, found.value)) for found in batch
                        ]
        return records
    finally:
        await consumer.stop()


async def eventually(condition: Callable[[], Any], *, within: float = 30.0) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(0.05)
