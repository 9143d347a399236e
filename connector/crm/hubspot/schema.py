"""Our properties in HubSpot: names that reports and workflows of the portal rely on. Keep them stable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GROUP = "whatsapp"
GROUP_LABEL = "WhatsApp"

CONTACT_KEY = "whatsapp_contact_key"
MESSAGE_ID = "whatsapp_message_id"
STATUS = "whatsapp_status"
DIRECTION = "whatsapp_direction"

COMMUNICATION_TO_CONTACT = 81
"""HubSpot's own association type; https://developers.hubspot.com/docs/guides/api/crm/associations."""
COMMUNICATION_TYPES: Sequence[Mapping[str, Any]] = (
    {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": COMMUNICATION_TO_CONTACT},
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Property:
    """One custom property. `unique` cannot be changed once the property exists."""

    name: str
    label: str
    kind: str = "string"
    field: str = "text"
    unique: bool = False
    options: Sequence[str] = ()

    def body(self) -> Mapping[str, Any]:
        """The input of a property create."""
        body: dict[str, Any] = {
            "name": self.name,
            "label": self.label,
            "groupName": GROUP,
            "type": self.kind,
            "fieldType": self.field,
        }
        if self.unique:
            body["hasUniqueValue"] = True
        if self.options:
            body["options"] = [
                {"label": option.capitalize(), "value": option, "displayOrder": place, "hidden": False}
                for place, option in enumerate(self.options)
            ]
        return body


def _choice(name: str, label: str, *options: str) -> Property:
    return Property(name=name, label=label, kind="enumeration", field="select", options=options)


def _time(name: str, label: str) -> Property:
    return Property(name=name, label=label, kind="datetime", field="date")


CONTACT_PROPERTIES = (
    Property(name=CONTACT_KEY, label="WhatsApp contact key", unique=True),
    Property(name="whatsapp_bsuid", label="WhatsApp user id"),
    Property(name="whatsapp_phone", label="WhatsApp phone"),
    Property(name="whatsapp_username", label="WhatsApp username"),
    _choice("whatsapp_marketing_consent", "WhatsApp marketing consent", "granted", "denied", "unknown"),
    _choice("whatsapp_utility_consent", "WhatsApp utility consent", "granted", "denied", "unknown"),
    _time("whatsapp_consent_changed_at", "WhatsApp consent changed at"),
    _time("whatsapp_last_inbound_at", "WhatsApp last inbound message at"),
    _time("whatsapp_window_open_until", "WhatsApp window open until"),
    Property(name="whatsapp_ad_source", label="WhatsApp ad source"),
)

MESSAGE_ID_PROPERTY = Property(name=MESSAGE_ID, label="WhatsApp message id", unique=True)

COMMUNICATION_PROPERTIES = (
    _choice(
        STATUS, "WhatsApp status", "received", "accepted", "sent", "delivered", "read", "played", "failed"
    ),
    _choice(DIRECTION, "WhatsApp direction", "inbound", "outbound"),
)
