"""Meta's webhook side of WhatsApp: realistic payloads, and a sender that behaves as Meta does."""

from connector.sandbox.whatsapp.conversations import (
    Conversations,
    ExpectedMessage,
    ExpectedPerson,
    conversations,
)
from connector.sandbox.whatsapp.payloads import (
    BusinessNumber,
    Person,
    Update,
    envelope,
    serialise,
    signature,
)
from connector.sandbox.whatsapp.sandbox import WhatsAppSandbox
from connector.sandbox.whatsapp.sender import (
    Delivery,
    DeliveryJournal,
    RetrySchedule,
    Weather,
    WebhookSender,
)

__all__ = [
    "BusinessNumber",
    "Conversations",
    "Delivery",
    "DeliveryJournal",
    "ExpectedMessage",
    "ExpectedPerson",
    "Person",
    "RetrySchedule",
    "Update",
    "Weather",
    "WebhookSender",
    "WhatsAppSandbox",
    "conversations",
    "envelope",
    "serialise",
    "signature",
]
