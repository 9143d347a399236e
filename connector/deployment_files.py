"""Files of docker/ and k8s/ that follow from the code: `connector schemas --write` writes them, --check compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from connector.access import kafka_users
from connector.roles.tables import ALL_TABLES
from connector.sandbox.environment import sandbox_environment
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.whatsapp.config import WhatsAppConfig
from connector.settings import KafkaSettings
from connector.sync.backlog import waiting_items
from connector.topics import ALL_TOPICS, Topic

CLUSTER = "connector-kafka"
"""The Strimzi cluster of k8s/."""
BOOTSTRAP = f"{CLUSTER}-kafka-bootstrap:9093"

# What one replica keeps up with is 2,500 to 5,000 events a second (docs/performance.md): a lag of so many records is
# seconds of work, and a second replica is started before it is a minute's.
_LAG_A_REPLICA = 20_000
# A drain writes 400 items by a call or two; what limits a CRM is its quota, which more replicas do not raise.
_WAITING_A_REPLICA = 20_000
_MOST_SINKS = 4

_GENERATED = "# Written by `make schemas` from connector/{source}; change it there.\n"
_SANDBOX_HEAD = """\
# What `connector sandbox` at the host `sandbox` asks of a deployment. No secret is in here: they are the simulators' own.
# Written by `make schemas`.
"""

Manifest = dict[str, Any]


def rendered_deployment_files() -> dict[Path, str]:
    """Path in a checkout → content, deterministic."""
    return {
        Path("docker/sandbox.env"): _sandbox_env(ingress="http://ingress:8080"),
        Path("k8s/overlays/sandbox/sandbox.env"): _sandbox_env(ingress="http://connector-ingress"),
        Path("k8s/components/strimzi/topics.yaml"): _yaml("topics.py", map(_topic, ALL_TOPICS)),
        Path("k8s/components/strimzi/users.yaml"): _yaml("access.py", _users()),
        Path("k8s/components/keda/scaledobjects.yaml"): _yaml("deployment_files.py", _scaled_objects()),
    }


def _sandbox_env(*, ingress: str) -> str:
    """NAME=value lines. Values are bare: Compose would take quotes away, kustomize would keep them."""
    environment = {
        **sandbox_environment(
            hubspot_url="http://sandbox:8701",
            salesforce_url="http://sandbox:8702",
            whatsapp_url="http://sandbox:8703",
            hubspot=HubSpotConfig(),
            salesforce=SalesforceConfig(),
            whatsapp=WhatsAppConfig(),
        ),
        "CONNECTOR_INGRESS__PUBLIC_URL": ingress,
    }
    return _SANDBOX_HEAD + "".join(f"{name}={value}\n" for name, value in environment.items())


def _yaml(source: str, manifests: Iterable[Manifest]) -> str:
    documents = yaml.safe_dump_all(manifests, sort_keys=False, width=110, explicit_start=True)
    return _GENERATED.format(source=source) + documents


def _strimzi(kind: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": "kafka.strimzi.io/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": CLUSTER}},
        "spec": dict(spec),
    }


def _topic(topic: Topic) -> Manifest:
    kafka = KafkaSettings()
    return _strimzi(
        "KafkaTopic",
        topic.name,
        {
            "topicName": topic.name,
            "partitions": kafka.partitions,
            "replicas": kafka.replication_factor,
            "config": dict(topic.configs),
        },
    )


def _users() -> Iterator[Manifest]:
    for user, rules in kafka_users().items():
        acls = [
            {
                "resource": {"type": rule.kind, "name": rule.name, "patternType": "literal"},
                "operations": list(rule.operations),
            }
            for rule in rules
        ]
        yield _strimzi(
            "KafkaUser",
            f"connector-{user}",
            {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {"type": "simple", "acls": acls},
            },
        )


def _scaled_objects() -> Iterator[Manifest]:
    """A role is scaled by the lag of its groups, a sink by what waits for its CRM as well.

    Never down to nothing: what a role does beside its topics (retries, timers, pruning) goes on without any lag.
    """
    for tables in ALL_TABLES:
        triggers = [_lag(stage, topic) for stage, topic in tables.sources.items()]
        partitions = KafkaSettings().partitions
        most = partitions
        if tables.role.startswith("sync-"):
            triggers.append(_waiting(tables.schema))
            most = _MOST_SINKS
        yield _scaled_object(tables.role, triggers, most=min(most, partitions))


def _scaled_object(role: str, triggers: Sequence[Manifest], *, most: int) -> Manifest:
    # A rebalance costs every replica of the group a pause: up at once, down slowly and one at a time.
    behavior = {
        "scaleUp": {"stabilizationWindowSeconds": 60, "policies": [_step(2, seconds=60)]},
        "scaleDown": {"stabilizationWindowSeconds": 600, "policies": [_step(1, seconds=300)]},
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": f"connector-{role}"},
        "spec": {
            "scaleTargetRef": {"name": f"connector-{role}", "envSourceContainerName": "connector"},
            "pollingInterval": 30,
            "minReplicaCount": 2,
            "maxReplicaCount": most,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior}},
            # Brokers or database that do not answer are no reason to stop what works.
            "fallback": {"failureThreshold": 5, "replicas": 2, "behavior": "currentReplicas"},
            "triggers": list(triggers),
        },
    }


def _step(pods: int, *, seconds: int) -> Manifest:
    return {"type": "Pods", "value": pods, "periodSeconds": seconds}


def _lag(stage: str, topic: Topic) -> Manifest:
    return {
        "type": "kafka",
        "name": stage,
        "metadata": {
            "bootstrapServers": BOOTSTRAP,
            "consumerGroup": stage,
            "topic": topic.name,
            "lagThreshold": str(_LAG_A_REPLICA),
            "offsetResetPolicy": "earliest",
            # Not more replicas than partitions: the rest would stand by.
            "allowIdleConsumers": "false",
            "sasl": "scram_sha512",
            "tls": "enable",
        },
        "authenticationRef": {"name": "connector-kafka"},
    }


def _waiting(schema: str) -> Manifest:
    return {
        "type": "postgresql",
        "name": f"{schema}-waiting",
        "metadata": {
            "query": f"SELECT {waiting_items(schema)}",
            "targetQueryValue": str(_WAITING_A_REPLICA),
        },
        "authenticationRef": {"name": "connector-database"},
    }
