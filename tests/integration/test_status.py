"""`connector status` where only Kafka and PostgreSQL are reachable, and beside the running stack (test_cli_up)."""

from datetime import UTC, datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pydantic import SecretStr

from connector.embedded.ports import free_ports
from connector.events import DeadLetter
from connector.recovery.overview import look
from connector.settings import DatabaseSettings, HealthSettings, HubSpotSettings, KafkaSettings, Settings
from connector.streams.app import group_name
from connector.streams.codec import encode
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.topics import DEAD_LETTERS, WHATSAPP_UPDATES


async def _updates_behind(kafka: KafkaSettings, *, records: int, committed: int) -> None:
    """`records` on one partition of the updates, and the group of route at `committed`."""
    place = TopicPartition(WHATSAPP_UPDATES.full_name(kafka.topic_prefix), 0)
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers) as producer:
        for _ in range(records):
            await producer.send_and_wait(place.topic, b"{}", partition=0)
    async with AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        group_id=group_name(kafka, "route"),
        enable_auto_commit=False,
    ) as consumer:
        consumer.assign([place])
        await consumer.commit({place: committed})


async def test_lag_dead_letters_and_sinks_are_seen_without_any_role(
    bootstrap_servers: str, topic_prefix: str, database_url: str
) -> None:
    """Behind by three records, one dead letter sent twice, nothing waiting; a role and a CRM that do not answer."""
    kafka = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix)
    await create_topics(kafka, partitions=2, replication=1, topics=(WHATSAPP_UPDATES, DEAD_LETTERS))
    letter = DeadLetter(
        event_id="dead:route:1",
        stage="route",
        cause="unreadable_update",
        reason="no id",
        at=datetime.now(UTC),
        original=b"",
    )
    record = encode(DEAD_LETTERS, key="route", value=letter, origin="route")
    producer = DurableProducer(kafka, client="test")
    await producer.send_all([record, record], timeout=20)
    await producer.stop()
    await _updates_behind(kafka, records=5, committed=2)
    nowhere = f"http://127.0.0.1:{free_ports(1)[0]}"
    settings = Settings(
        kafka=kafka,
        database=DatabaseSettings(url=SecretStr(database_url)),
        hubspot=HubSpotSettings(enabled=True, access_token=SecretStr("x"), base_url=nowhere),
        health=HealthSettings(roles={"route": nowhere}),
    )
    overview = await look(settings, roles=settings.health.roles)
    works = {item.name: item.works for item in overview.dependencies}
    assert works == {"kafka": True, "postgresql": True, "hubspot": False, "salesforce": None}
    assert [(role.name, role.state, role.ready) for role in overview.roles] == [("route", "no answer", False)]
    lags = {group.stage: (group.lag, group.members, group.ever_committed) for group in overview.groups}
    assert lags["route"] == (3, 0, True)
    assert lags["sync-hubspot"] == (0, 0, False)
    assert [(sink.sink, sink.waiting, sink.blocked) for sink in overview.sinks] == [
        ("hubspot", 0, 0),
        ("salesforce", 0, 0),
    ]
    assert overview.dead_letters is not None
    assert [(item.stage, item.cause, item.open) for item in overview.dead_letters.groups] == [
        ("route", "unreadable_update", 1)
    ]
