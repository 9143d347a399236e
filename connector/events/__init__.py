"""The canonical events. One family a file; `ConversationEvent` is what `conversation.events` carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from connector.events.account import AccountEvent
from connector.events.base import Event, Origin, Person, content_hash, make_event_id
from connector.events.dead_letters import DeadLetter
from connector.events.identity import ContactChanged, ContactMerged
from connector.events.messages import (
    AdReferral,
    Amendment,
    Direction,
    Media,
    Message,
    MessageEdited,
    MessageReacted,
    MessageRevoked,
    Via,
)
from connector.events.statuses import StatusChange, StatusError
from connector.events.updates import UpdateKind, WhatsAppUpdate

ConversationEvent = Annotated[
    Message | MessageEdited | MessageRevoked | MessageReacted | StatusChange | ContactMerged | ContactChanged,
    Field(discriminator="type"),
]

__all__ = [
    "AccountEvent",
    "AdReferral",
    "Amendment",
    "ContactChanged",
    "ContactMerged",
    "ConversationEvent",
    "DeadLetter",
    "Direction",
    "Event",
    "Media",
    "Message",
    "MessageEdited",
    "MessageReacted",
    "MessageRevoked",
    "Origin",
    "Person",
    "StatusChange",
    "StatusError",
    "UpdateKind",
    "Via",
    "WhatsAppUpdate",
    "content_hash",
    "make_event_id",
]
