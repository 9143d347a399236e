"""Salesforce's outbound messages: the SOAP envelope that comes in, and the answer that goes back. Pure.

https://developer.salesforce.com/docs → SOAP API Developer Guide, "Outbound Messaging": up to 100 notifications an
envelope, one Ack for all of them, retried for 24 hours until it is true. The sObject's fields are those that the
admin chose; an empty field is left out or nil.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

MOST_NOTIFICATIONS = 100

ACKNOWLEDGED = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)
"""The one answer that Salesforce takes for a yes, as text/xml; a status of 200 alone is none."""

_SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
_OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
_LONGEST_TEXT = 131_072
"""Characters of the longest field that Salesforce has."""


class UnreadableEnvelope(ValueError):
    """Not an envelope of outbound messages. The text says why."""


@dataclass(frozen=True, kw_only=True)
class Notification:
    """One message. `id`: Salesforce's own, the same at every repetition; "" when it is missing. `fields`: those with text."""

    id: str
    object_type: str
    fields: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """One POST."""

    organization_id: str
    notifications: Sequence[Notification]


def read_envelope(body: bytes) -> Envelope:
    """The messages of a POST.

    Raises:
        UnreadableEnvelope: not well-formed; a document type, an entity or an external reference; another document;
            no notification, or more than 100.

    """
    try:
        root = ElementTree.fromstring(body, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        raise UnreadableEnvelope(f"it has what no message needs: {type(error).__name__}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UnreadableEnvelope(f"it is not well-formed XML: {error}") from None
    wrapper = root.find(f"{_SOAP}Body/{_OUTBOUND}notifications") if root.tag == f"{_SOAP}Envelope" else None
    if wrapper is None:
        raise UnreadableEnvelope("it is not a SOAP envelope with notifications")
    found = wrapper.findall(f"{_OUTBOUND}Notification")
    if not 1 <= len(found) <= MOST_NOTIFICATIONS:
        raise UnreadableEnvelope(f"it has {len(found)} notifications; 1 to {MOST_NOTIFICATIONS} are possible")
    return Envelope(
        organization_id=_text(wrapper.find(f"{_OUTBOUND}OrganizationId")),
        notifications=[_notification(element) for element in found],
    )


def _notification(element: Any) -> Notification:
    record = element.find(f"{_OUTBOUND}sObject")
    fields: dict[str, str] = {}
    for child in [] if record is None else record:
        text = _text(child)
        if text:
            fields.setdefault(str(child.tag).rpartition("}")[2], text)
    declared = "" if record is None else record.get(_TYPE, "")
    return Notification(
        id=_text(element.find(f"{_OUTBOUND}Id")),
        object_type=declared.rpartition(":")[2],
        fields=fields,
    )


def _text(element: Any) -> str:
    return "" if element is None else (element.text or "").strip()[:_LONGEST_TEXT]
