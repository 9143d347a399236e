"""What each role may do on the brokers: no more than it does. A Kafka with ACLs is given these rules, and no others.

Follows from `connector/topics.py` (who writes what) and `connector/roles/tables.py` (who folds what, in which group).
Operators' commands and the job before a release are one more user, `operator`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from connector.roles import ROLES
from connector.roles.tables import ALL_TABLES
from connector.topics import ALL_TOPICS, OPERATOR


@dataclass(frozen=True, slots=True)
class AclRule:
    """Operations on one topic or group, by Kafka's words. Where something may be read or written, it may be described."""

    kind: str
    name: str
    operations: Sequence[str]


def kafka_users() -> Mapping[str, Sequence[AclRule]]:
    """User → its rules: every role, and `operator`. Names without a deployment's topic prefix."""
    return {**{role: tuple(_of_role(role)) for role in ROLES}, OPERATOR: tuple(_of_operators())}


def _of_role(role: str) -> list[AclRule]:
    tables = [tables for tables in ALL_TABLES if tables.role == role]
    read = {topic.name for entry in tables for topic in entry.sources.values()}
    read |= {entry.told_by.name for entry in tables if entry.told_by}
    rules = []
    for topic in ALL_TOPICS:
        operations = [
            *(["Read"] if topic.name in read else []),
            *(["Write"] if role in topic.written_by else []),
        ]
        if operations:
            rules.append(AclRule("topic", topic.name, operations))
    return [*rules, *(AclRule("group", stage, ["Read"]) for entry in tables for stage in entry.sources)]


def _of_operators() -> list[AclRule]:
    # `topics create` makes and compares, `replay` and `dlq` read and write again, `status` looks at the groups.
    topics = [
        AclRule("topic", topic.name, ["Create", "DescribeConfigs", "Read", "Write"]) for topic in ALL_TOPICS
    ]
    stages = [stage for tables in ALL_TABLES for stage in tables.sources]
    return [*topics, *(AclRule("group", stage, ["Describe"]) for stage in stages)]
