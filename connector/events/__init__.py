"""The canonical events. One family a file; `ConversationEvent` is what `conversation.events` carries."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from connector.events.account import AccountEvent
from connector.events.base import Event, Origin, Person, content_hash, make_event_id
from connector.events.consent import ConsentChanged
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
from connector.events.operator import OperatorAction
from connector.events.sends import (
    SendAccepted,
    SendAttempted,
    SendBlocked,
    SendEvent,
    SendFailed,
    SendUnknown,
)
from connector.events.statuses import StatusChange, StatusError
from connector.events.triggers import (
    ConsentGiven,
    CrmContactChanged,
    PersonIntroduced,
    Recipient,
    SendRequested,
    SendsSwitched,
    TemplateRef,
    Trigger,
    TriggerEvent,
    WorkflowCallback,
)
from connector.events.updates import UpdateKind, WhatsAppUpdate

ConversationEvent = Annotated[
    Message
    | MessageEdited
    | MessageRevoked
    | MessageReacted
    | StatusChange
    | ContactMerged
    | ContactChanged
    | ConsentChanged
    | SendAttempted
    | SendAccepted
    | SendBlocked
    | SendFailed
    | SendUnknown,
    Field(discriminator="type"),
]

__all__ = [
    "AccountEvent",
    "AdReferral",
    "Amendment",
    "ConsentChanged",
    "ConsentGiven",
    "ContactChanged",
    "ContactMerged",
    "ConversationEvent",
    "CrmContactChanged",
    "DeadLetter",
    "Direction",
    "Event",
    "Media",
    "Message",
    "MessageEdited",
    "MessageReacted",
    "MessageRevoked",
    "OperatorAction",
    "Origin",
    "Person",
    "PersonIntroduced",
    "Recipient",
    "SendAccepted",
    "SendAttempted",
    "SendBlocked",
    "SendEvent",
    "SendFailed",
    "SendRequested",
    "SendUnknown",
    "SendsSwitched",
    "StatusChange",
    "StatusError",
    "TemplateRef",
    "Trigger",
    "TriggerEvent",
    "UpdateKind",
    "Via",
    "WhatsAppUpdate",
    "WorkflowCallback",
    "content_hash",
    "make_event_id",
]
