"""Which stage reads which topic, for tools that look at consumer groups."""

from __future__ import annotations

from connector.identity.history_stage import STAGE as ROUTE_HISTORY
from connector.identity.introductions import STAGE as INTRODUCTIONS
from connector.identity.routing import STAGE as ROUTE
from connector.topics import (
    ACCOUNT_EVENTS,
    CONVERSATION_EVENTS,
    CRM_TRIGGERS,
    WHATSAPP_HISTORY,
    WHATSAPP_UPDATES,
    Topic,
)

SINKS = ("hubspot", "salesforce")

STAGES: tuple[tuple[str, Topic], ...] = (
    (ROUTE, WHATSAPP_UPDATES),
    (ROUTE_HISTORY, WHATSAPP_HISTORY),
    (INTRODUCTIONS, CRM_TRIGGERS),
    *((f"sync-{sink}", CONVERSATION_EVENTS) for sink in SINKS),
    ("media", CONVERSATION_EVENTS),
    ("outbound", CONVERSATION_EVENTS),
    ("outbound-admission", CRM_TRIGGERS),
    ("outbound-account", ACCOUNT_EVENTS),
)
"""Stage, which is also the name of its group, and its topic."""


def role_of(stage: str) -> str:
    """The role that a stage is part of."""
    return stage if stage.startswith("sync-") else stage.partition("-")[0]
