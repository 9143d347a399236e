"""The whole role beside the route role: a request for somebody new, what they say, and Meta's notices."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from outbound_world import given, outbound_world, request
from pydantic import SecretStr

from connector.events import Recipient
from connector.identity.directory import Alias, contact_id_for
from connector.roles import outbound, route
from connector.sandbox import SandboxServer
from connector.sandbox.whatsapp import Number
from connector.sandbox.whatsapp.config import ACCESS_TOKEN, API_VERSION
from connector.settings import DatabaseSettings, KafkaSettings, Settings, WhatsAppSettings
from connector.streams.codec import encode
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.topics import CRM_TRIGGERS

NEW = Recipient(phone="+15551239999")
NEW_ID = contact_id_for(Alias("phone", "15551239999"), made=0)


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.1)


async def test_a_request_for_somebody_new_is_addressed_and_what_they_said_is_announced(
    bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    """Kafka, PostgreSQL, Graph: the person is made by route, the denial is in the ledger first, the templates are read."""
    async with SandboxServer() as server, outbound_world(database_url) as world:
        settings = Settings(
            kafka=KafkaSettings(
                bootstrap_servers=bootstrap_servers,
                topic_prefix=topic_prefix,
                partitions=2,
                replication_factor=1,
            ),
            database=DatabaseSettings(url=SecretStr(database_url)),
            whatsapp=WhatsAppSettings(
                base_url=server.whatsapp_url,
                api_version=API_VERSION,
                access_token=SecretStr(ACCESS_TOKEN),
                business_account_ids=[Number().waba_id],
                default_phone_number_id=Number().id,
            ),
        )
        await create_topics(settings.kafka)
        producer = DurableProducer(settings.kafka, client="test")
        stop = asyncio.Event()
        roles = [asyncio.create_task(role.run(settings, stop=stop)) for role in (route, outbound)]
        try:
            events: list[Any] = [given("denied", to=NEW), request("k", to=NEW, received_at=datetime.now(UTC))]
            records = [encode(CRM_TRIGGERS, key="k", value=event, origin="test") for event in events]
            await producer.send_all(records, timeout=20)

            async def addressed() -> bool:
                rows = await world.fetch(
                    "SELECT s.contact_id, s.phone_number_id, c.state AS consent, p.phone FROM outbound.sends s "
                    "LEFT JOIN outbound.consents c USING (contact_id) LEFT JOIN outbound.people p USING (contact_id) "
                    "WHERE s.contact_id IS NOT NULL"
                )
                assert not rows or rows[0]["consent"] == "denied"
                # What route announced of the person has come back, too.
                return bool(rows) and rows[0] == {
                    "contact_id": NEW_ID,
                    "phone_number_id": Number().id,
                    "consent": "denied",
                    "phone": "+15551239999",
                }

            await _until(addressed)

            async def read() -> bool:
                return bool(await world.fetch("SELECT 1 FROM outbound.templates WHERE status = 'APPROVED'"))

            await _until(read)

            async def relayed() -> bool:
                return not await world.fetch("SELECT 1 FROM shared.outgoing")

            await _until(relayed)
        finally:
            stop.set()
            await asyncio.gather(*roles)
            await producer.stop()
