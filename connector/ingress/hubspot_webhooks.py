"""`POST /hubspot/webhooks`: what changed in HubSpot, up to 100 events a POST, at least once and in no order.

https://developers.hubspot.com/docs/api-reference/latest/webhooks/guide
HubSpot repeats a whole POST for 24 hours unless it is answered 2xx within 5 seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from connector.errors import Rejected
from connector.events import CrmContactChanged
from connector.ingress.dead_letters import dead_letter
from connector.ingress.hubspot_door import HubSpotDoor
from connector.ingress.reception import Reception, Taken, utc_now
from connector.ingress.splitting import post_id_of
from connector.ingress.strict_json import UnreadableJson, canonical, check_storable, parse_json
from connector.ingress.trigger_records import encode_trigger
from connector.streams.codec import EncodedRecord

PATH = "/hubspot/webhooks"
SOURCE = "hubspot_webhook"
WATCHED_PROPERTIES = ("whatsapp_marketing_consent", "whatsapp_utility_consent")
"""An app has one URL for all its subscriptions; what is not one of these changes nothing here."""

_CONTACT_TYPE_ID = "0-1"
_CHANGES: Mapping[str, Literal["property", "merged", "deleted", "erased"]] = {
    "propertyChange": "property",
    "merge": "merged",
    "deletion": "deleted",
    "privacyDeletion": "erased",
}


class HubSpotWebhooks:
    """The endpoint."""

    def __init__(
        self, *, door: HubSpotDoor, reception: Reception, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._door = door
        self._reception = reception
        self._now = now

    async def endpoint(self, request: Request) -> Response:
        """One batch of events."""
        return await self._reception.receive(
            request,
            door="hubspot_webhooks",
            types=("application/json",),
            check=lambda: self._door.check(request, takes_v2=False),
            read=lambda body: self._read(request, body),
        )

    def _read(self, request: Request, body: bytes) -> Taken:
        self._door.verify(request, body)
        received_at = self._now()
        try:
            batch = parse_json(body)
            if not isinstance(batch, list):
                raise UnreadableJson("it is not a list of events")
        except UnreadableJson as error:
            rejection = _not_understood(f"A signed POST of HubSpot's webhooks cannot be read: {error}.")
            record = dead_letter(body, rejection, subject=post_id_of(body), received_at=received_at)
            return Taken(records=[record], answer=JSONResponse({"kept": 1}), outcome="not_understood")
        records = [
            record
            for record in (_record(event, received_at=received_at) for event in batch)
            if record is not None
        ]
        answer = JSONResponse({"kept": len(records), "ignored": len(batch) - len(records)})
        return Taken(records=records, answer=answer, outcome="kept" if records else "ignored")


def _record(event: Any, *, received_at: datetime) -> EncodedRecord | None:
    """One event; None for one that is nothing to us. A bad event does not hold up its batch."""
    try:
        change = contact_change(event, received_at=received_at)
    except Rejected as rejection:
        original = canonical(event)
        return dead_letter(original, rejection, subject=post_id_of(original), received_at=received_at)
    return None if change is None else encode_trigger(change)


def contact_change(event: Any, *, received_at: datetime) -> CrmContactChanged | None:
    """What an event says of a contact; None when it is about something else. Raises `Rejected`.

    `eventId` is not unique by itself (webhooks guide), so the id is made of all that tells two events apart.
    """
    if not isinstance(event, dict):
        raise _not_understood("An event of HubSpot's webhooks is not an object.")
    try:
        check_storable(event)
    except UnreadableJson as error:
        raise _not_understood(f"An event of HubSpot's webhooks cannot be kept: {error}.") from None
    family, _, what = str(event.get("subscriptionType", "")).partition(".")
    change = _CHANGES.get(what)
    is_contact = family == "contact" or (
        family == "object" and str(event.get("objectTypeId", "")) == _CONTACT_TYPE_ID
    )
    name = str(event.get("propertyName") or "")
    if not is_contact or change is None or (change == "property" and name not in WATCHED_PROPERTIES):
        return None
    occurred = event.get("occurredAt")
    if not isinstance(occurred, int) or isinstance(occurred, bool) or not 0 <= occurred < 10**14:
        raise _not_understood("An event of HubSpot's webhooks has no occurredAt in milliseconds.")
    record_id, merged = _records(event, change=change)
    told_apart = [event.get(part) for part in ("portalId", "objectId", "eventId", "occurredAt")]
    return CrmContactChanged(
        event_id=f"hubspot:{family}.{what}:{':'.join(map(str, told_apart))}{f':{name}' if name else ''}",
        source=SOURCE,
        client=str(event.get("portalId", "")),
        received_at=received_at,
        crm="hubspot",
        record_id=record_id,
        change=change,
        property_name=name,
        value=str(event.get("propertyValue") if event.get("propertyValue") is not None else ""),
        merged_ids=merged,
        change_source=_writer(event),
        at=datetime.fromtimestamp(occurred / 1000, UTC),
    )


def _records(event: Mapping[str, Any], *, change: str) -> tuple[str, list[str]]:
    """The record that lives on, and those that became it. A merge makes a new record, which `newObjectId` names."""
    record_id = _id(event.get("objectId"))
    if change != "merged":
        if not record_id:
            raise _not_understood("An event of HubSpot's webhooks names no record.")
        return record_id, []
    primary = _id(event.get("primaryObjectId"))
    others = event.get("mergedObjectIds")
    old = [primary, *map(_id, others if isinstance(others, list) else [])]
    survivor = _id(event.get("newObjectId")) or primary or record_id
    merged = [item for item in dict.fromkeys(old) if item and item != survivor]
    if not survivor or not merged:
        raise _not_understood("A merge of HubSpot's webhooks does not name its records.")
    return survivor, merged


def _id(value: Any) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isdecimal() else ""


def _writer(event: Mapping[str, Any]) -> str:
    """`INTEGRATION 31415926`, `CRM_UI userId:42`: source and, when told, its id."""
    parts = (event.get("changeSource"), event.get("sourceId"))
    return " ".join(str(part) for part in parts if part)


def _not_understood(sentence: str) -> Rejected:
    return Rejected(
        sentence,
        cause="not_a_hubspot_event",
        advice="look at the original; HubSpot's format may have changed, the other events of the POST were kept",
    )
