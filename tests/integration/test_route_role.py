"""The whole role: from a webhook's bytes on `whatsapp.updates` to events on `conversation.events`."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from aiokafka import AIOKafkaConsumer
from pydantic import SecretStr

from connector.ingress.splitting import split_updates
from connector.roles import route
from connector.settings import DatabaseSettings, KafkaSettings, Settings
from connector.streams.codec import decode, encode
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.topics import CONVERSATION_EVENTS, WHATSAPP_UPDATES


def webhook(**value: Any) -> bytes:
    """The body of one POST for the field `messages`."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": "106540352242922"}
    change = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": metadata, **value}}
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": "102290129340398", "changes": [change]}]}
    ).encode()


async def test_a_webhook_becomes_events_of_one_person(
    bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    """A person first seen by phone, then by user id, then by both: three messages, a status, and the merge."""
    settings = Settings(
        kafka=KafkaSettings(
            bootstrap_servers=bootstrap_servers,
            topic_prefix=topic_prefix,
            partitions=2,
            replication_factor=1,
        ),
        database=DatabaseSettings(url=SecretStr(database_url)),
    )
    await create_topics(settings.kafka)

    def text(wamid: str, **shown: str) -> dict[str, Any]:
        sender = {key.rstrip("_"): value for key, value in shown.items()}
        return {"id": wamid, "timestamp": "1777600000", "type": "text", "text": {"body": "مرحبا"}, **sender}

    body = webhook(
        messages=[
            text("wamid.1", from_="16505551234"),
            text("wamid.2", from_user_id="US.1"),
            text("wamid.3", from_="16505551234", from_user_id="US.1"),
        ],
        statuses=[
            {"id": "wamid.1", "status": "sent", "timestamp": "1777600001", "recipient_user_id": "US.1"}
        ],
    )
    # One key, so that the order of the batch is the order above.
    records = [
        encode(WHATSAPP_UPDATES, key="one", value=update, origin="ingress")
        for _, update in split_updates(body, received_at=datetime.now(UTC))
    ]
    producer = DurableProducer(settings.kafka, client="test")
    consumer = AIOKafkaConsumer(
        CONVERSATION_EVENTS.full_name(topic_prefix),
        bootstrap_servers=bootstrap_servers,
        auto_offset_reset="earliest",
        group_id=None,
    )
    stop = asyncio.Event()
    role = asyncio.create_task(route.run(settings, stop=stop))
    try:
        await producer.send_all(records, timeout=20)
        await consumer.start()
        events: list[Any] = []
        async with asyncio.timeout(60):
            while len(events) < 5:
                message = await consumer.getone()
                events.append(decode(CONVERSATION_EVENTS, message.value))
    finally:
        stop.set()
        await consumer.stop()
        await producer.stop()
        await asyncio.wait_for(role, timeout=40)
    by_type = {kind: [event for event in events if event.type == kind] for kind in ("message", "status")}
    [merged] = [event for event in events if event.type == "contact.merged"]
    assert sorted(event.wamid for event in by_type["message"]) == ["wamid.1", "wamid.2", "wamid.3"]
    assert [event.status for event in by_type["status"]] == ["sent"]
    winner, loser = merged.person.contact_id, merged.loser_id
    owners = {event.wamid: event.person.contact_id for event in by_type["message"]}
    assert owners == {"wamid.1": loser, "wamid.2": winner, "wamid.3": winner}
