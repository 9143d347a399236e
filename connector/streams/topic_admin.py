"""Makes the declared topics on a broker and says where a broker's topics differ from their declaration."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from connector.errors import Terminal, Transient
from connector.settings import KafkaSettings
from connector.streams.connection import client_arguments
from connector.streams.reachability import no_answer
from connector.topics import ALL_TOPICS, Topic


class TopicChange(StrEnum):
    """What happened to a topic."""

    CREATED = "created"
    UNCHANGED = "unchanged"
    DIFFERS = "differs"


@dataclass(frozen=True, kw_only=True, slots=True)
class TopicReport:
    """One topic. `differences`: sentences; an existing topic is never altered."""

    name: str
    change: TopicChange
    partitions: int
    differences: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PresentTopic:
    """A topic as it is. `replicas`: of the partition that has fewest; `in_sync_needed`: min.insync.replicas."""

    name: str
    partitions: int
    replicas: int
    in_sync_needed: int
    configs: dict[str, str]


async def present_topics(
    settings: KafkaSettings, topics: Sequence[Topic], *, timeout: float = 15.0
) -> dict[str, PresentTopic]:
    """Full name → topic, of those that are there. Raises `Transient` when no broker answers, `Terminal` when it refuses."""
    wanted = {topic.full_name(settings.topic_prefix) for topic in topics}
    admin = AIOKafkaAdminClient(
        **client_arguments(settings), client_id="connector-topics", request_timeout_ms=10_000
    )
    try:
        async with asyncio.timeout(timeout):
            await admin.start()
            names = sorted(wanted & set(await admin.list_topics()))
            described = (
                {topic["topic"]: topic for topic in await admin.describe_topics(names)} if names else {}
            )
            configs = await _configs(admin, names) if names else {}
    except (ClusterAuthorizationFailedError, TopicAuthorizationFailedError) as error:
        raise Terminal(
            f"Kafka does not let us describe topics: {error!r}.", advice="grant Describe and DescribeConfigs"
        ) from error
    except (KafkaError, TimeoutError, OSError) as error:
        raise Transient(
            f"Kafka at {settings.bootstrap_servers} does not describe topics: {error!r}.",
            advice="check CONNECTOR_KAFKA__BOOTSTRAP_SERVERS and the brokers",
        ) from error
    finally:
        await admin.close()
    return {
        name: PresentTopic(
            name=name,
            partitions=len(described[name]["partitions"]),
            replicas=min((len(part["replicas"]) for part in described[name]["partitions"]), default=0),
            in_sync_needed=int(configs[name].get("min.insync.replicas", "1")),
            configs=configs[name],
        )
        for name in names
    }


async def create_topics(
    settings: KafkaSettings,
    *,
    partitions: int | None = None,
    replication: int | None = None,
    topics: Sequence[Topic] = ALL_TOPICS,
    timeout: float = 30.0,
) -> list[TopicReport]:
    """Create what is missing, compare what exists. Repeating it changes nothing.

    `partitions` and `replication` default to the settings. Returns when every new partition has a leader.
    Raises `Transient` when no broker answers within `timeout` seconds, `Terminal` when it refuses.
    """
    partitions = partitions or settings.partitions
    replication = replication or settings.replication_factor
    admin = AIOKafkaAdminClient(
        **client_arguments(settings), client_id="connector-topics", request_timeout_ms=20_000
    )
    try:
        async with asyncio.timeout(timeout):
            await admin.start()
            made = await _create(admin, settings, topics, partitions=partitions, replication=replication)
            names = [topic.full_name(settings.topic_prefix) for topic in topics]
            present = await _wait_for_leaders(admin, names)
            configs = await _configs(admin, names)
    except (ClusterAuthorizationFailedError, TopicAuthorizationFailedError) as error:
        raise Terminal(
            f"Kafka does not let us create or describe topics: {error!r}.",
            advice="grant Create and DescribeConfigs, or create the topics by other means, as `connector topics list` names them",
        ) from error
    except InvalidReplicationFactorError as error:
        raise Terminal(
            f"The cluster has fewer brokers than the {replication} replicas asked for. No topic was created.",
            advice="set CONNECTOR_KAFKA__REPLICATION_FACTOR to the number of brokers at most",
        ) from error
    except (KafkaConnectionError, ssl.SSLError) as error:
        raise await no_answer(settings, error) from error
    except (KafkaError, TimeoutError, OSError) as error:
        raise Transient(
            f"Kafka at {settings.bootstrap_servers} did not finish creating topics: {error!r}.",
            advice="check CONNECTOR_KAFKA__BOOTSTRAP_SERVERS and the brokers, then repeat it: topics that exist are kept",
        ) from error
    finally:
        await admin.close()
    return [
        _report(
            topic, name, made=name in made, found=present[name], config=configs[name], partitions=partitions
        )
        for topic, name in zip(topics, names, strict=True)
    ]


async def _create(
    admin: AIOKafkaAdminClient,
    settings: KafkaSettings,
    topics: Sequence[Topic],
    *,
    partitions: int,
    replication: int,
) -> set[str]:
    existing = set(await admin.list_topics())
    missing = [topic for topic in topics if topic.full_name(settings.topic_prefix) not in existing]
    if not missing:
        return set()
    response = await admin.create_topics(
        [
            NewTopic(
                topic.full_name(settings.topic_prefix),
                num_partitions=partitions,
                replication_factor=replication,
                topic_configs=topic.configs,
            )
            for topic in missing
        ]
    )
    made: set[str] = set()
    for name, code, *details in response.topic_errors:
        if code == 0:
            made.add(name)
        elif code != TopicAlreadyExistsError.errno:  # somebody else was faster: just as well
            raise for_code(code)(f"{name}: {details[0] if details else ''}")
    return made


async def _wait_for_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, list[Any]]:
    """Topic → its partitions, as soon as each has a leader: a send before that fails."""
    while True:
        found = {topic["topic"]: topic for topic in await admin.describe_topics(list(names))}
        if all(
            found.get(name, {}).get("partitions")
            and all(partition["leader"] >= 0 for partition in found[name]["partitions"])
            for name in names
        ):
            return {name: found[name]["partitions"] for name in names}
        await asyncio.sleep(0.05)


async def _configs(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _kind, name, entries in response.resources:
            if code:
                raise for_code(code)(message)
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _report(
    topic: Topic, name: str, *, made: bool, found: list[Any], config: dict[str, str], partitions: int
) -> TopicReport:
    differences: list[str] = []
    if len(found) != partitions:
        differences.append(f"has {len(found)} partitions, settings say {partitions}")
    differences += [
        f"{key} is {config.get(key)}, declared {value}"
        for key, value in topic.configs.items()
        if config.get(key) != value
    ]
    change = TopicChange.CREATED if made else TopicChange.DIFFERS if differences else TopicChange.UNCHANGED
    return TopicReport(name=name, change=change, partitions=len(found), differences=tuple(differences))
