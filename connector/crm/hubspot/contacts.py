"""Contacts: batch upsert on our unique property, update by id once the record is known.

A known record is written by its id because our key is not certain to lead there: a merge by hand makes a record with
a new id, both old ids lead to it, and what becomes of the loser's unique value is not documented. An upsert by the
key would make the person a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime

from connector.crm.hubspot.batches import BatchInput, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import conflict_holder, is_conflict
from connector.crm.hubspot.reads import Reading, read_records
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.personal_data import readable
from connector.crm.port import ContactUpsert, Gone, Later, Refused, WriteResult
from connector.crm.properties import PropertyValue
from connector.errors import ConnectorError, Terminal, Transient


def timestamp(value: datetime) -> str:
    """HubSpot's datetime: ISO 8601 in UTC with milliseconds."""
    return f"{value.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


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
    return [await again_if_ours(client, item, results[item.key]) for item in items]


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
    """Key → `Gone`, for contacts that are gone (key → record id): erased, if they are not among the deleted either.

    An account that cannot read deleted records, or is silent about those it does not have, does not tell: a person
    taken for erased would be kept from the CRM for good.
    """
    if not gone:
        return {}
    ids = {record_id for record_id in gone.values() if record_id}
    try:
        deleted = await read_records(client, "contacts", ids, properties=(), archived=True)
    except Terminal:
        deleted = Reading()
    except ConnectorError as error:
        return {key: Later(reason=error.message) for key in gone}
    named = deleted.absent - deleted.unnamed
    results: dict[str, WriteResult] = {}
    for key, record_id in gone.items():
        doubt = deleted.unsettled.get(record_id or "")
        if doubt is not None:
            results[key] = Later(reason=doubt)
        else:
            results[key] = Gone(reason="HubSpot has no such contact any more.", erased=record_id in named)
    return results


async def again_if_ours(client: HubSpotClient, item: ContactUpsert, result: WriteResult) -> WriteResult:
    """A conflict over our own key is an earlier upsert that had not ended yet: the next one updates its record.

    Any other is over a unique property of the portal's own, and stays refused: so it is when our key leads nowhere,
    or to the record that was written, or when HubSpot names another record as the holder.
    """
    if not isinstance(result, Refused) or not is_conflict(result):
        return result
    reading = await _read_key(client, item.key)
    if reading.unsettled:
        return Later(reason=reading.unsettled[item.key])
    found = next(iter(reading.ids), None)
    if found is None or found == item.record_id or conflict_holder(result.reason) not in (None, found):
        return result
    return Later(reason="HubSpot was still creating this contact.")


async def find_contact(client: HubSpotClient, key: str) -> str | None:
    """The record with our key: a batch read, which does not lag behind writes as search does.

    Raises `Transient` when HubSpot did not tell.
    """
    reading = await _read_key(client, key)
    if reading.unsettled:
        raise Transient(f"HubSpot did not tell whether it has a contact: {readable(reading.unsettled[key])}")
    return next(iter(reading.ids), None)


async def _read_key(client: HubSpotClient, key: str) -> Reading:
    return await read_records(client, "contacts", [key], properties=[CONTACT_KEY], id_property=CONTACT_KEY)
