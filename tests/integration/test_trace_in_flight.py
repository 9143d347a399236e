"""`connector trace` of what no stage has handled: it lies on a topic, before a group's offset, or among dead letters."""

import base64
import json
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from operator_shell import Operator

from connector.events import DeadLetter
from connector.settings import KafkaSettings
from connector.streams.app import group_name
from connector.streams.codec import EncodedRecord, encode
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.topics import ALL_TOPICS, DEAD_LETTERS, WHATSAPP_UPDATES

LOST = "wamid.HBgLMTU1NTEyMzAwMDEVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcA"
DEAD = "wamid.HBgLMTU1NTEyMzAwMDIVAgARGBI5QTNDQTVCM0Q0Q0Q2RTY3RTcB"


def update(wamid: str, *, phone: str) -> EncodedRecord:
    value = json.dumps({"update": {"id": wamid, "from": phone}}, separators=(",", ":")).encode()
    return EncodedRecord(topic=WHATSAPP_UPDATES, key=phone.encode(), value=value, headers=[])


async def test_a_message_that_nobody_has_read_is_found_where_it_waits(
    bootstrap_servers: str, topic_prefix: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind one record that route has not read either; and a letter about another message."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    await create_topics(kafka, partitions=1, replication=1, topics=ALL_TOPICS)
    letter = DeadLetter(
        event_id="dead:route:7",
        stage="route",
        cause="unreadable_update",
        reason="no id",
        at=datetime.now(UTC),
        topic=WHATSAPP_UPDATES.full_name(topic_prefix),
        original=base64.b64encode(json.dumps({"id": DEAD}).encode()),
    )
    producer = DurableProducer(kafka, client="test")
    records = [
        update("wamid.read", phone="1"),
        update("wamid.before", phone="1"),
        update(LOST, phone="15551230001"),
    ]
    records.append(encode(DEAD_LETTERS, key="route", value=letter, origin="route"))
    await producer.send_all(records, timeout=20)
    await producer.stop()
    place = TopicPartition(WHATSAPP_UPDATES.full_name(topic_prefix), 0)
    async with AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers, group_id=group_name(kafka, "route"), enable_auto_commit=False
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: 1})
    operator = Operator(
        monkeypatch,
        kafka__bootstrap_servers=bootstrap_servers,
        kafka__topic_prefix=topic_prefix,
        database__url=database_url,
    )
    code, out, _ = await operator.run("trace", "--contact", "+1 555 123 0001")
    assert code == 0
    assert f"not read by route yet: {place.topic}/0/2, 1 records before it, nobody works there" in out
    found = await operator.json("trace", LOST)
    assert [(one["stage"], one["ahead"], one["workers"]) for one in found["in_flight"]["unread"]] == [
        ("route", 1, 0)
    ]
    code, out, _ = await operator.run("trace", DEAD)
    assert (code, "next: connector dlq show dead:route:7" in out) == (0, True)
    code, out, err = await operator.run(
        "listen",
        "--from",
        "1h",
        "--person",
        "15551230001",
        "--limit",
        "1",
        "--topic",
        "whatsapp.updates",
        "--json",
    )
    assert code == 0, err
    heard = json.loads(out)
    assert (heard["offset"], heard["key"], heard["document"]["update"]["from"]) == (2, "***01", "***01")
