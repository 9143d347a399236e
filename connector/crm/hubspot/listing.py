"""Records with something of ours, listed by search, in the order of their ids: so no search ends at its 10,000th hit.

https://developers.hubspot.com/docs/api-reference/search/guide. A search shows no associations, and lags by seconds;
what is found out by it is read again by id.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from connector.crm.hubspot.activities import ActivityGuard, reference_in
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.comparison import as_read
from connector.crm.hubspot.contacts import timestamp
from connector.crm.hubspot.reads import read_links, read_records
from connector.crm.hubspot.schema import CONTACT_KEY, DIRECTION, MESSAGE_ID
from connector.crm.survey import Listed, ListedRecord, Page, twin_of
from connector.crm.times import read_time
from connector.errors import Transient

_PAGE = 200
_BODY = "hs_communication_body"
_OURS = (CONTACT_KEY, "whatsapp_bsuid", "whatsapp_phone")
_TYPES = {Listed.CONTACT: "contacts", Listed.ACTIVITY: "communications"}
_CREATED = {Listed.CONTACT: "createdate", Listed.ACTIVITY: "hs_createdate"}


async def list_page(
    client: HubSpotClient,
    what: Listed,
    guard: ActivityGuard,
    *,
    since: datetime | None,
    until: datetime | None,
    after: str,
) -> Page:
    """Records that were made in that time, 200 a search. `after`: the last id of the page before."""
    bounds = _bounds(_CREATED[what], since, until, after)
    body = {
        "filterGroups": [{"filters": [mark, *bounds]} for mark in _marks(what, guard)],
        "properties": _properties(what, guard),
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "limit": _PAGE,
    }
    path = client.path("objects", f"{_TYPES[what]}/search")
    _, answer = await client.call("POST", path, body, writes=False)
    records: Sequence[Mapping[str, Any]] = answer.get("results") or ()
    return Page(
        records=[_listed(what, record) for record in records if _is_ours(what, record, guard)],
        next=str(records[-1]["id"]) if len(records) == _PAGE else "",
    )


async def list_activities_of(
    client: HubSpotClient, contact_record_ids: Collection[str], guard: ActivityGuard
) -> list[ListedRecord]:
    """Activities of ours that hang on these contacts."""
    links = await read_links(client, "contacts", "communications", contact_record_ids)
    if links.unsettled:
        raise Transient(
            f"HubSpot does not tell what hangs on a contact: {next(iter(links.unsettled.values()))}"
        )
    linked = {name for names in links.found.values() for name in names}
    return await read_listed(client, Listed.ACTIVITY, linked, guard)


async def read_listed(
    client: HubSpotClient, what: Listed, record_ids: Collection[str], guard: ActivityGuard
) -> list[ListedRecord]:
    """These records as they are now. Raises `Transient` when HubSpot does not tell of each."""
    reading = await read_records(client, _TYPES[what], record_ids, properties=_properties(what, guard))
    if reading.unsettled:
        raise Transient(f"HubSpot does not show a record: {next(iter(reading.unsettled.values()))}")
    places: Mapping[str, Collection[str]] = {}
    if what is Listed.ACTIVITY:
        places = (await read_links(client, "communications", "contacts", reading.ids)).found
    return [
        _listed(what, record, places.get(str(record["id"]), ()))
        for record in reading.records
        if _is_ours(what, record, guard)
    ]


def _marks(what: Listed, guard: ActivityGuard) -> list[dict[str, str]]:
    if what is Listed.CONTACT:
        return [{"propertyName": name, "operator": "HAS_PROPERTY"} for name in _OURS]
    if guard is not ActivityGuard.NONE:
        return [{"propertyName": DIRECTION, "operator": "HAS_PROPERTY"}]
    return [{"propertyName": "hs_communication_channel_type", "operator": "EQ", "value": "WHATS_APP"}]


def _bounds(created: str, since: datetime | None, until: datetime | None, after: str) -> list[dict[str, str]]:
    bounds = [
        (created, "GTE", None if since is None else _milliseconds(since)),
        (created, "LT", None if until is None else _milliseconds(until)),
        ("hs_object_id", "GT", after or None),
    ]
    return [
        {"propertyName": name, "operator": operator, "value": value}
        for name, operator, value in bounds
        if value is not None
    ]


def _milliseconds(at: datetime) -> str:
    return str(int(at.timestamp() * 1000))


def _properties(what: Listed, guard: ActivityGuard) -> list[str]:
    if what is Listed.CONTACT:
        return [*_OURS, _CREATED[what]]
    ours = [] if guard is ActivityGuard.NONE else [MESSAGE_ID, DIRECTION]
    return [*ours, _BODY, "hs_timestamp", _CREATED[what]]


def _is_ours(what: Listed, record: Mapping[str, Any], guard: ActivityGuard) -> bool:
    """Where the object takes no property of ours, the body tells."""
    properties = record.get("properties") or {}
    if what is Listed.CONTACT:
        return any(properties.get(name) for name in _OURS)
    if guard is not ActivityGuard.NONE:
        return bool(properties.get(DIRECTION) or properties.get(MESSAGE_ID))
    return reference_in(properties.get(_BODY) or "") is not None


def _listed(what: Listed, record: Mapping[str, Any], places: Collection[str] = ()) -> ListedRecord:
    properties: Mapping[str, str | None] = record.get("properties") or {}
    made_at = read_time(properties.get(_CREATED[what]) or "") or datetime.fromtimestamp(0, UTC)
    if what is Listed.CONTACT:
        key = properties.get(CONTACT_KEY) or ""
        twin = twin_of(properties.get("whatsapp_bsuid") or properties.get("whatsapp_phone") or "")
        return ListedRecord(record_id=str(record["id"]), key=key, hashed="", twin=twin, made_at=made_at)
    body, at = properties.get(_BODY) or "", read_time(properties.get("hs_timestamp") or "")
    key = properties.get(MESSAGE_ID) or ""
    mark = reference_in(body) or ""
    return ListedRecord(
        record_id=str(record["id"]),
        key=key,
        hashed="" if key else mark.removeprefix("ref "),
        twin=twin_of(as_read(body), timestamp(at) if at else ""),
        made_at=made_at,
        places=sorted(places),
    )
