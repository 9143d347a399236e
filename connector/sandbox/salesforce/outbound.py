"""Outbound messages: a record-triggered flow sends them, Salesforce repeats them until they are acknowledged.

developer.salesforce.com → SOAP API Developer Guide, "Outbound Messaging": up to 100 notifications of one action in an
envelope, each with an id of its own; fields as they are when the message is sent, not when it was queued; repeated with
growing waits of up to two hours and dropped after 24; an acknowledgement is a SOAP body whose Ack is true, a status of
200 alone is none; no order, and doubles are possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from connector.crm.salesforce.schema import MESSAGE_FIELDS, REQUESTED_AT
from connector.sandbox.courier import Courier, Reply
from connector.sandbox.retries import RetrySchedule
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.salesforce.ids import record_id
from connector.sandbox.salesforce.records import Record

FLOW_OBJECTS = ("Contact", "Lead")

_BATCH = 100
_RETRIES = RetrySchedule(first=15.0, factor=2.0, longest=2 * 3600.0, give_up=86_400.0)
_SOAP = "http://schemas.xmlsoap.org/soap/envelope/"
_OUTBOUND = "http://soap.sforce.com/2005/09/outbound"
_HEAD = (
    f'<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope xmlns:soapenv="{_SOAP}" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    f'<soapenv:Body><notifications xmlns="{_OUTBOUND}">'
)
_TAIL = "</notifications></soapenv:Body></soapenv:Envelope>"


@dataclass(slots=True, kw_only=True)
class OutboundMessage:
    """One notification."""

    id: str
    sobject: str
    record_id: str
    state: str = "queued"
    """queued, acknowledged, dropped."""
    answers: list[int | None] = field(default_factory=list)
    """Status of each attempt; None where there was no answer."""

    def as_json(self) -> dict[str, Any]:
        """As the control side shows it."""
        return asdict(self)


class OutboundMessages:
    """The flow and its queue. `record` gives the present state of a record, None when it is gone."""

    def __init__(
        self,
        courier: Courier,
        *,
        config: Callable[[], SalesforceConfig],
        record: Callable[[str, str], Record | None],
    ) -> None:
        self._courier = courier
        self._config = config
        self._record = record
        self._numbers = count(1)
        self._requested: dict[str, Any] = {}
        self._waiting: list[OutboundMessage] = []
        self.messages: list[OutboundMessage] = []
        """Every message since the last reset."""

    def saved(self, record: Record) -> None:
        """The flow's entry: a person was created or changed. Sends when the request's time is another than before."""
        value = record.values.get(REQUESTED_AT)
        if record.sobject not in FLOW_OBJECTS or value == self._requested.get(record.id):
            return
        self._requested[record.id] = value
        if value:
            message = OutboundMessage(
                id=record_id("04l", next(self._numbers)), sobject=record.sobject, record_id=record.id
            )
            self.messages.append(message)
            self._waiting.append(message)

    def flush(self) -> None:
        """Deliver what was queued, in the background; messages of one object share envelopes."""
        waiting, self._waiting = self._waiting, []
        for sobject in FLOW_OBJECTS:
            of_one = [message for message in waiting if message.sobject == sobject]
            for start in range(0, len(of_one), _BATCH):
                batch = of_one[start : start + _BATCH]
                self._courier.spawn(self._deliver(batch))
                if self._config().outbound_duplicates:
                    self._courier.spawn(self._deliver(batch))

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self.messages.clear()
        self._requested.clear()

    async def _deliver(self, batch: Sequence[OutboundMessage]) -> None:
        for wait in _RETRIES.faster(self._courier.speed).waits():
            if await self._attempt(batch):
                return
            await asyncio.sleep(wait)
        if not await self._attempt(batch):
            for message in batch:
                message.state = "dropped" if message.state == "queued" else message.state

    async def _attempt(self, batch: Sequence[OutboundMessage]) -> bool:
        config = self._config()
        shown = [(message, self._record(message.sobject, message.record_id)) for message in batch]
        notifications = [_notification(message, record) for message, record in shown if record is not None]
        if not notifications:
            return True
        head = (
            f"<OrganizationId>{config.organization_id}</OrganizationId><ActionId>{record_id('04k', 1)}</ActionId>"
            '<SessionId xsi:nil="true"/>'
            f"<EnterpriseUrl>https://sandbox.my.salesforce.com/services/Soap/c/{config.api_version}</EnterpriseUrl>"
            f"<PartnerUrl>https://sandbox.my.salesforce.com/services/Soap/u/{config.api_version}</PartnerUrl>"
        )
        body = f"{_HEAD}{head}{''.join(notifications)}{_TAIL}".encode()
        reply = await self._courier.post(
            f"/salesforce/outbound-messages/{config.outbound_token}",
            body,
            {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""', "User-Agent": "Salesforce"},
        )
        taken = is_acknowledged(reply)
        for message in batch:
            message.answers.append(reply.status)
            if taken:
                message.state = "acknowledged"
        return taken


def is_acknowledged(reply: Reply) -> bool:
    """Whether Salesforce takes this answer for a yes."""
    if reply.status != 200 or not reply.content_type.lower().startswith("text/xml"):
        return False
    try:
        root = ET.fromstring(reply.body)  # noqa: S314 - the simulator reads its own client
    except ET.ParseError:
        return False
    ack = root.find(f"{{{_SOAP}}}Body/{{{_OUTBOUND}}}notificationsResponse/{{{_OUTBOUND}}}Ack")
    return ack is not None and (ack.text or "").strip() in ("true", "1")


def _notification(message: OutboundMessage, record: Record) -> str:
    values: Mapping[str, Any] = {"Id": record.id, **record.values}
    fields = "".join(
        f"<sf:{name}>{escape(str(values[name]))}</sf:{name}>"
        for name in sorted(MESSAGE_FIELDS)
        if values.get(name) not in (None, "")
    )
    return (
        f'<Notification><Id>{message.id}</Id><sObject xsi:type="sf:{message.sobject}" '
        f'xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{fields}</sObject></Notification>'
    )
