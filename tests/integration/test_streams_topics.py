"""Creating topics on a real broker."""

import pytest

from connector.errors import Terminal, Transient
from connector.settings import KafkaSettings
from connector.streams.topic_admin import TopicChange, create_topics
from connector.topics import ALL_TOPICS, WHATSAPP_UPDATES


@pytest.fixture
def settings(bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=3, replication_factor=1
    )


async def test_topics_are_created_once(settings: KafkaSettings) -> None:
    """The first run creates every declared topic, the second changes nothing."""
    first = await create_topics(settings)
    assert [(topic.change, topic.partitions) for topic in first] == [(TopicChange.CREATED, 3)] * len(
        ALL_TOPICS
    )
    assert all(topic.differences == () for topic in first), "a new topic has every declared setting"
    again = await create_topics(settings)
    assert {topic.change for topic in again} == {TopicChange.UNCHANGED}


async def test_drift_is_told_and_never_repaired(settings: KafkaSettings) -> None:
    """A topic made by other means is compared with its declaration, and left as it is."""
    await create_topics(settings, partitions=1, topics=[WHATSAPP_UPDATES])
    report = {topic.name: topic for topic in await create_topics(settings)}
    updates = report[WHATSAPP_UPDATES.full_name(settings.topic_prefix)]
    assert (updates.change, updates.partitions) == (TopicChange.DIFFERS, 1)
    assert updates.differences == ("has 1 partitions, settings say 3",)


async def test_more_replicas_than_brokers_is_for_a_person(settings: KafkaSettings) -> None:
    """The cluster's refusal names the setting to change."""
    with pytest.raises(Terminal, match="CONNECTOR_KAFKA__REPLICATION_FACTOR"):
        await create_topics(settings, replication=3)


async def test_no_broker_is_transient() -> None:
    """Without a broker nothing was decided: it may be repeated."""
    with pytest.raises(Transient, match=r"does not answer at 127\.0\.0\.1:9"):
        await create_topics(KafkaSettings(bootstrap_servers="127.0.0.1:9"), timeout=5)
