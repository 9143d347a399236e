"""Kafka: whether it answers, how old it is, whether our topics are as declared and survive the loss of a broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from connector.errors import ConnectorError
from connector.recovery.doctor.finding import Finding, fail, ok, warn
from connector.settings import KafkaSettings
from connector.streams.lag import broker_view
from connector.streams.topic_admin import PresentTopic, present_topics
from connector.topics import ALL_TOPICS

_AREA = "kafka"
_FETCH = 1  # key of the request whose versions tell a broker's age
_OF_3_5 = 15
_CREATE = "connector topics create"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cluster:
    """What the brokers say. `fetch_version`: the newest Fetch that is understood; 0: not told."""

    brokers: int
    fetch_version: int
    topics: Mapping[str, PresentTopic]
    """Full name → topic, of ours that are there."""


async def examine_broker(settings: KafkaSettings) -> list[Finding]:
    """Look at the cluster. Nothing is created."""
    try:
        async with broker_view(settings, timeout=15) as view:
            brokers = len((await view.admin.describe_cluster())["brokers"])
            fetch = view.newest_version(_FETCH)
        topics = await present_topics(settings, ALL_TOPICS)
    except ConnectorError as error:
        return [fail(_AREA, "reachable", error.message, mend=error.advice)]
    found = [ok(_AREA, "reachable", f"{brokers} brokers answer at {settings.bootstrap_servers}")]
    cluster = Cluster(brokers=brokers, fetch_version=fetch, topics=topics)
    return [*found, *judged_cluster(cluster, settings)]


def judged_cluster(cluster: Cluster, settings: KafkaSettings) -> Iterator[Finding]:
    """Age, and every topic against its declaration."""
    if 0 < cluster.fetch_version < _OF_3_5:
        yield fail(
            _AREA,
            "version",
            "the brokers are older than Kafka 3.5; supported are 3.6 to 4.x",
            mend="upgrade the brokers",
        )
    else:
        yield ok(_AREA, "version", "3.5 or later" if cluster.fetch_version else "not told")
    names = {topic.full_name(settings.topic_prefix): topic for topic in ALL_TOPICS}
    missing = sorted(names.keys() - cluster.topics.keys())
    if missing:
        yield fail(_AREA, "topics", f"missing: {', '.join(missing)}", mend=_CREATE)
    else:
        yield ok(_AREA, "topics", f"all {len(names)} are there")
    for name, found in sorted(cluster.topics.items()):
        wrong = [
            f"{key} is {found.configs.get(key)}, declared {value}"
            for key, value in names[name].configs.items()
            if found.configs.get(key) != value
        ]
        if wrong:
            yield warn(
                _AREA,
                name,
                "; ".join(wrong),
                mend=f"kafka-configs --alter --entity-type topics --entity-name {name} --add-config …, if it is not meant so",
            )
    yield _replication(cluster)


def _replication(cluster: Cluster) -> Finding:
    """Whether acknowledged records survive one broker, and whether one broker's absence stops writes."""
    topics = cluster.topics.items()
    unwritable = [name for name, topic in topics if topic.in_sync_needed > topic.replicas]
    if unwritable:
        return fail(
            _AREA,
            "replication",
            f"min.insync.replicas is above the number of replicas, nothing can be written: {', '.join(sorted(unwritable))}",
            mend="lower min.insync.replicas of these topics, or add replicas",
        )
    if cluster.brokers < 2:
        return warn(
            _AREA,
            "replication",
            "one broker: its disk is the only copy",
            mend="fine for development; for production at least three brokers and replication factor 3",
        )
    few = sorted(name for name, topic in topics if topic.replicas < 3 or topic.in_sync_needed < 2)
    if few:
        return warn(
            _AREA,
            "replication",
            f"fewer than 3 replicas, or min.insync.replicas below 2: {', '.join(few)}",
            mend="replication factor 3 with min.insync.replicas 2: acknowledged records survive a broker",
        )
    stuck = sorted(name for name, topic in topics if topic.replicas <= topic.in_sync_needed)
    if stuck:
        return warn(
            _AREA,
            "replication",
            f"the restart of one broker stops writes, as every replica must be in sync: {', '.join(stuck)}",
            mend="min.insync.replicas one below the number of replicas",
        )
    return ok(_AREA, "replication", "acknowledged records survive a broker, and its restart stops nothing")
