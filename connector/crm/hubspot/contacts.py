"""Contacts: batch upsert on our unique property; the loser of a merge deleted or flagged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from connector.crm.hubspot.batches import BatchInput, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, is_conflict
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.port import ContactUpsert, Later, Retired, WriteResult
from connector.crm.properties import PropertyValue

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
    """Upsert by our key; a record that is known but carries another key is written by its id."""
    by_key = [
        BatchInput(
            key=item.key,
            body={"id": item.key, "idProperty": CONTACT_KEY, "properties": contact_properties(item)},
        )
        for item in items
        if item.record_id is None
    ]
    by_id = [
        BatchInput(key=item.key, body={"id": item.record_id, "properties": contact_properties(item)})
        for item in items
        if item.record_id is not None
    ]
    key_of = property_key(CONTACT_KEY)
    results: dict[str, WriteResult] = {}
    for operation, inputs in (("upsert", by_key), ("update", by_id)):
        path = client.path("objects", f"contacts/batch/{operation}")
        results.update(await write_batch(client, path, inputs, key_of=key_of))
    return [await again_if_ours(client, item.key, results[item.key]) for item in items]


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
