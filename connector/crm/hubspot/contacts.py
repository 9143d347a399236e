"""Contacts: batch upsert on our unique property, update by id once the record is known; left-over records retired.

A known record is written by its id because our key is not certain to lead there: a merge by hand makes a record with
a new id, both old ids lead to it, and what becomes of the loser's unique value is not documented. An upsert by the
key would make the person a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from connector.crm.hubspot.batches import BatchInput, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, is_conflict
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.port import ContactUpsert, Gone, Later, Retired, WriteResult
from connector.crm.properties import PropertyValue
from connector.errors import ConnectorError

_WATCHED = (
    "email",
    "firstname",
    "lastname",
    "phone",
    "mobilephone",
    "company",
    "jobtitle",
    "hubspot_owner_id",
)
_LINKS = ("companies", "deals", "tickets", "notes", "tasks", "calls", "emails", "meetings")


def timestamp(value: datetime) -> str:
    """HubSpot's datetime: ISO 8601 in UTC with milliseconds."""
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def contact_properties(item: ContactUpsert) -> Mapping[str, str]:
    """What a contact should say: what the mapping makes of its facts, and our key."""
    values = {**item.said, **item.once} if item.is_new else item.said
    return {**{name: _text(value) for name, value in values.items()}, CONTACT_KEY: item.key}


def _text(value: PropertyValue) -> str:
    """HubSpot takes every value as a text; an empty one clears the property."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return timestamp(value)
    return value.isoformat() if isinstance(value, date) else str(value)


async def upsert_contacts(client: HubSpotClient, items: Sequence[ContactUpsert]) -> list[WriteResult]:
    """Update the records that are known, by id, and upsert the rest by our key."""
    known = [item for item in items if item.record_id is not None]
    results = await _write(client, "update", known)
    # Our key is on another record: that one is the person's, made by a write whose answer was lost.
    elsewhere = [item for item in known if is_conflict(results[item.key])]
    new = [item for item in items if item.record_id is None]
    results |= await _write(client, "upsert", [*new, *elsewhere])
    gone = {item.key: item.record_id for item in known if isinstance(results[item.key], Gone)}
    results |= await tell_erased(client, gone)
    return [await again_if_ours(client, item.key, results[item.key]) for item in items]


async def _write(
    client: HubSpotClient, operation: str, items: Sequence[ContactUpsert]
) -> dict[str, WriteResult]:
    inputs = []
    for item in items:
        by = {"id": item.record_id} if operation == "update" else {"id": item.key, "idProperty": CONTACT_KEY}
        inputs.append(BatchInput(key=item.key, body={**by, "properties": contact_properties(item)}))
    path = client.path("objects", f"contacts/batch/{operation}")
    return await write_batch(client, path, inputs, key_of=property_key(CONTACT_KEY))


async def tell_erased(client: HubSpotClient, gone: Mapping[str, str | None]) -> dict[str, WriteResult]:
    """Key → `Gone`, for contacts that are gone (key → record id): erased, if they are not among the deleted either."""
    if not gone:
        return {}
    ids = sorted({record_id for record_id in gone.values() if record_id})
    body = {"inputs": [{"id": record_id} for record_id in ids], "properties": []}
    path = client.path("objects", "contacts/batch/read?archived=true")
    try:
        _, answer = await client.call("POST", path, body, writes=False)
    except (ConnectorError, HubSpotRefusal) as error:
        return {key: Later(reason=error.message) for key in gone}
    deleted = {str(record["id"]) for record in answer.get("results") or ()}
    return {
        key: Gone(reason="HubSpot has no such contact any more.", erased=record_id not in deleted)
        for key, record_id in gone.items()
    }


async def again_if_ours(client: HubSpotClient, key: str, result: WriteResult) -> WriteResult:
    """A conflict over our own key is an earlier upsert that had not ended yet: the next one updates its record.

    Any other is over a unique property of the portal's own, and stays refused.
    """
    if not is_conflict(result) or await find_contact(client, key) is None:
        return result
    return Later(reason="HubSpot was still creating this contact.")


async def find_contact(client: HubSpotClient, key: str) -> str | None:
    """The record with our key: a batch read, which does not lag behind writes as search does."""
    body = {"idProperty": CONTACT_KEY, "properties": [CONTACT_KEY], "inputs": [{"id": key}]}
    _, answer = await client.call("POST", client.path("objects", "contacts/batch/read"), body, writes=False)
    results = answer.get("results") or ()
    return str(results[0]["id"]) if results else None


async def retire_contact(client: HubSpotClient, record_id: str, *, created_by_us: bool) -> Retired:
    """Delete a record left over by a merge if nobody but us ever wrote it, else leave it and say why."""
    query = ",".join((CONTACT_KEY, *_WATCHED))
    links = ",".join(_LINKS)
    path = client.path("objects", f"contacts/{record_id}?propertiesWithHistory={query}&associations={links}")
    try:
        _, record = await client.call("GET", path, writes=False)
    except HubSpotRefusal as refusal:
        if refusal.status == 404:
            return Retired(deleted=True, reason="it was gone already")
        raise
    if str(record.get("id")) != record_id:
        # Never delete it: it may be the one of the person who won.
        return Retired(deleted=True, reason=f"somebody merged it into record {record.get('id')}")
    if not created_by_us:
        return Retired(deleted=False, reason="it was in the CRM before us; merge the two records by hand")
    history = record.get("propertiesWithHistory") or {}
    ours = {_source(version) for version in history.get(CONTACT_KEY, ())}  # nobody else writes our key
    hands = [
        name for name in _WATCHED if any(_source(version) not in ours for version in history.get(name, ()))
    ]
    linked = sorted(
        kind for kind, value in (record.get("associations") or {}).items() if value.get("results")
    )
    if hands or linked:
        what = ", ".join([*hands, *(f"linked {kind}" for kind in linked)])
        return Retired(
            deleted=False, reason=f"somebody else worked on it ({what}); merge the two records by hand"
        )
    await client.call(
        "POST", client.path("objects", "contacts/batch/archive"), {"inputs": [{"id": record_id}]}, writes=True
    )
    return Retired(deleted=True)


def _source(version: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Who made one version of a property: HubSpot names the kind of source and the app's or user's id."""
    return version.get("sourceType"), version.get("sourceId")
