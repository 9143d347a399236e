"""WhatsApp as Meta runs it: the Graph API, realistic payloads, and a sender that behaves as Meta does."""

from connector.sandbox.retries import RetrySchedule
from connector.sandbox.whatsapp.config import Number, WhatsAppConfig
from connector.sandbox.whatsapp.conversations import (
    Conversations,
    ExpectedMessage,
    ExpectedPerson,
    conversations,
)
from connector.sandbox.whatsapp.kinds import KINDS, Kind, Occasion
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
    Weather,
    WebhookSender,
)

__all__ = [
    "KINDS",
    "BusinessNumber",
    "Conversations",
    "Delivery",
    "DeliveryJournal",
    "ExpectedMessage",
    "ExpectedPerson",
    "Kind",
    "Number",
    "Occasion",
    "Person",
    "RetrySchedule",
    "Update",
    "Weather",
    "WebhookSender",
    "WhatsAppConfig",
    "WhatsAppSandbox",
    "conversations",
    "envelope",
    "serialise",
    "signature",
]
