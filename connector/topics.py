"""Every topic, declared once: name, key, value, retention, cleanup. A public contract.

`connector topics create` makes them; `schemas/` is generated from the value models. Nothing else names a topic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from connector.events import (
    AccountEvent,
    ConversationEvent,
    DeadLetter,
    OperatorAction,
    Trigger,
    WhatsAppUpdate,
)

_DAY_MS = 24 * 3600 * 1000

OPERATOR = "operator"
"""Writes where no role does: a person, by a command."""


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One topic. `retention_ms` is time-based deletion; no topic is compacted: the log is the truth."""

    name: str
    key: str
    value: Any
    retention_ms: int
    description: str
    written_by: Sequence[str]
    read_by: Sequence[str] = ()
    """Roles. Tools read every topic and write where an operator sends something again."""
    max_message_bytes: int = 12 * 1024 * 1024

    def full_name(self, prefix: str) -> str:
        """The name on the broker of a deployment that shares a cluster."""
        return prefix + self.name

    @property
    def configs(self) -> dict[str, str]:
        """Topic-level broker settings."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
        }


WHATSAPP_UPDATES = Topic(
    name="whatsapp.updates",
    key="the customer: from_user_id, else from; statuses recipient_user_id, else recipient_id; account fields the WABA",
    value=WhatsAppUpdate,
    retention_ms=30 * _DAY_MS,
    description="Every message, status and account update of every webhook, verbatim.",
    written_by=("ingress",),
    read_by=("route",),
)
WHATSAPP_HISTORY = Topic(
    name="whatsapp.history",
    key="WABA id, so that the late files of an import come after what they belong to",
    value=WhatsAppUpdate,
    retention_ms=30 * _DAY_MS,
    description="Imports of a number's earlier chats, a chunk of up to thousands of messages a record, verbatim.",
    written_by=("ingress",),
    read_by=("route",),
)
CONVERSATION_EVENTS = Topic(
    name="conversation.events",
    key="contact id; for a status of an unknown person its wamid",
    value=ConversationEvent,
    retention_ms=365 * _DAY_MS,
    description="Canonical events with their person: the log that every CRM is a fold of.",
    written_by=("route", "outbound"),
    read_by=("sync-hubspot", "sync-salesforce", "media", "outbound"),
)
ACCOUNT_EVENTS = Topic(
    name="account.events",
    key="WABA id",
    value=AccountEvent,
    retention_ms=30 * _DAY_MS,
    description="What Meta says about the business's account, numbers and templates.",
    written_by=("route",),
    read_by=("outbound",),
)
CRM_TRIGGERS = Topic(
    name="crm.triggers",
    key="the recipient: bsuid, else phone digits, else the CRM's record id",
    value=Trigger,
    retention_ms=30 * _DAY_MS,
    description="What CRMs, scripts and operators ask for: sends, consent, changed contact records; as asked. People whom "
    "nobody has met are introduced here.",
    written_by=("ingress", "outbound"),
    read_by=("outbound", "route"),
)
DEAD_LETTERS = Topic(
    name="dead.letters",
    key="stage",
    value=DeadLetter,
    retention_ms=30 * _DAY_MS,
    description="What a stage could not understand or apply, with the original bytes.",
    written_by=("ingress", "route", "sync-hubspot", "sync-salesforce", "media", "outbound"),
    max_message_bytes=24 * 1024 * 1024,  # the largest record of another topic, in base64
)

OPERATOR_ACTIONS = Topic(
    name="operator.actions",
    key="the act",
    value=OperatorAction,
    retention_ms=365 * _DAY_MS,
    description="What operators did by commands that repair: who, when, why, to what, with which result.",
    written_by=(OPERATOR,),
)

ALL_TOPICS = (
    WHATSAPP_UPDATES,
    WHATSAPP_HISTORY,
    CONVERSATION_EVENTS,
    ACCOUNT_EVENTS,
    CRM_TRIGGERS,
    DEAD_LETTERS,
    OPERATOR_ACTIONS,
)
