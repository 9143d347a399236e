"""Messages on the timeline: `communications` of channel WHATS_APP, created with their association inline.

The upsert of communications takes no associations, so they are created; what keeps a create from happening
twice is, by what the portal allows (`ActivityGuard`):

* `unique`: our message id is a unique property. A repeated create is refused, and one batch read settles doubts.
* `plain`: it is a property, not unique. Doubts are settled among the contact's communications.
* `none`: the object takes no property of ours. The same, by a reference in the body.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from connector.crm.hubspot.batches import BatchInput, in_halves, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contacts import tell_erased, timestamp
from connector.crm.hubspot.failures import HubSpotRefusal, is_conflict
from connector.crm.hubspot.schema import COMMUNICATION_TO_CONTACT, DIRECTION, MESSAGE_ID, STATUS
from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    Gone,
    Later,
    Refused,
    WriteResult,
    Written,
)

_BODY = "hs_communication_body"
_BODY_LIMIT = 65_000  # the property takes 65,536 characters, escapes included
_READ_LIMIT = 100
_ASSOCIATION_READ_LIMIT = 1000
_PARTIAL = 207
_NOT_MOVED = "HubSpot did not associate the activity with its person's contact record."
_TYPES = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": COMMUNICATION_TO_CONTACT}]


class ActivityGuard(StrEnum):
    """What the portal lets us keep on a communication to know it again."""

    UNIQUE = "unique"
    PLAIN = "plain"
    NONE = "none"


def reference(wamid: str) -> str:
    """A short name of a message for the body, found again where no property is allowed."""
    return "ref " + hashlib.sha256(wamid.encode("utf-8", "replace")).hexdigest()[:16]


def as_html(text: str, *, limit: int = _BODY_LIMIT) -> str:
    """Untrusted plain text as the rich text HubSpot shows: escaped, lines kept, cut visibly."""
    escaped = html.escape(text, quote=False).replace("\n", "<br>")
    if len(escaped) <= limit:
        return escaped
    kept = escaped[: limit - 60]
    # Never end within an entity or a tag.
    kept = (
        kept[: max(kept.rfind("&"), kept.rfind("<"))]
        if kept[-10:].count("&") or kept[-4:].count("<")
        else kept
    )
    return f"{kept}… [cut: {len(text):,} characters in all]"


def activity_properties(item: Activity, guard: ActivityGuard) -> dict[str, str]:
    """What a communication should say."""
    body = item.body if guard is ActivityGuard.UNIQUE else f"{item.body}\n{reference(item.wamid)}"
    properties = {
        "hs_communication_channel_type": "WHATS_APP",
        "hs_communication_logged_from": "CRM",
        _BODY: as_html(body),
        "hs_timestamp": timestamp(item.at),
    }
    if guard is not ActivityGuard.NONE:
        properties[MESSAGE_ID] = item.wamid
        properties[STATUS] = item.status
        properties[DIRECTION] = item.direction
    return properties


async def log_activities(
    client: HubSpotClient, items: Sequence[Activity], guard: ActivityGuard
) -> list[WriteResult]:
    """Create communications; one that turns out to be there already is `Written(created=False)`."""
    inputs = [
        BatchInput(
            key=item.wamid,
            body={
                "properties": activity_properties(item, guard),
                "associations": [{"to": {"id": item.contact_record_id}, "types": _TYPES}],
            },
        )
        for item in items
    ]
    results = await _create(client, inputs, guard)
    results |= {item.wamid: _absent_contact(results[item.wamid], item) for item in items}
    gone = {item.wamid: item.contact_record_id for item in items if isinstance(results[item.wamid], Gone)}
    results |= await tell_erased(client, gone)
    return [results[item.wamid] for item in items]


async def _create(
    client: HubSpotClient, inputs: Sequence[BatchInput], guard: ActivityGuard
) -> dict[str, WriteResult]:
    path = client.path("objects", "communications/batch/create")
    key_of = property_key(MESSAGE_ID)
    if guard is not ActivityGuard.UNIQUE:  # no value of ours can be taken, and none could be looked up
        return await write_batch(client, path, inputs, key_of=key_of)
    try:
        results = await write_batch(client, path, inputs, key_of=key_of, raise_conflict=True)
    except HubSpotRefusal as refusal:
        # A batch was refused because some are there already.
        there = await _read_by_message_id(client, [item.key for item in inputs])
        absent = [item for item in inputs if item.key not in there]
        if len(absent) == len(inputs):
            if len(inputs) == 1:
                return {inputs[0].key: refusal.refused()}
            return await in_halves(inputs, lambda half: _create(client, half, guard))
        return {**_found(there), **(await _create(client, absent, guard) if absent else {})}
    conflicts = [key for key, result in results.items() if is_conflict(result)]
    if conflicts:
        results.update(_found(await _read_by_message_id(client, conflicts)))
    return results


async def update_activities(
    client: HubSpotClient, items: Sequence[ActivityChange], guard: ActivityGuard
) -> list[WriteResult]:
    """Update communications by record id, and hang those that moved on their new contact."""
    inputs = [
        BatchInput(
            key=item.record_id,
            body={"id": item.record_id, "properties": activity_properties(item.activity, guard)},
        )
        for item in items
    ]

    def key_of(result: Mapping[str, Any]) -> str | None:
        return str(result.get("id"))

    path = client.path("objects", "communications/batch/update")
    results = await write_batch(client, path, inputs, key_of=key_of)
    moved = [item for item in items if item.moved_from and isinstance(results[item.record_id], Written)]
    if moved:
        left = await _move(client, moved)
        results.update({record_id: Later(reason=_NOT_MOVED) for record_id in left})
    return [results[item.record_id] for item in items]


async def find_activities(
    client: HubSpotClient, items: Sequence[ActivityQuery], guard: ActivityGuard
) -> list[str | None]:
    """Record ids of creates whose answer was lost, None where there is none."""
    if guard is ActivityGuard.UNIQUE:
        there = await _read_by_message_id(client, [item.wamid for item in items])
        return [there.get(item.wamid) for item in items]
    communications = await _communications_of(client, {item.contact_record_id for item in items})
    found: dict[str, str] = {}
    wanted = {item.wamid: reference(item.wamid) for item in items}
    ids = sorted(communications)
    for start in range(0, len(ids), _READ_LIMIT):
        body = {
            "properties": [MESSAGE_ID, _BODY],
            "inputs": [{"id": record_id} for record_id in ids[start : start + _READ_LIMIT]],
        }
        path = client.path("objects", "communications/batch/read")
        _, answer = await client.call("POST", path, body, writes=False)
        for record in answer.get("results") or ():
            properties = record.get("properties") or {}
            text = properties.get(_BODY) or ""
            for wamid, mark in wanted.items():
                if properties.get(MESSAGE_ID) == wamid or mark in text:
                    found[wamid] = str(record["id"])
    return [found.get(item.wamid) for item in items]


async def _read_by_message_id(client: HubSpotClient, wamids: Sequence[str]) -> dict[str, str]:
    if not wamids:
        return {}
    body = {
        "idProperty": MESSAGE_ID,
        "properties": [MESSAGE_ID],
        "inputs": [{"id": wamid} for wamid in wamids],
    }
    _, answer = await client.call(
        "POST", client.path("objects", "communications/batch/read"), body, writes=False
    )
    return {
        record["properties"][MESSAGE_ID]: str(record["id"])
        for record in answer.get("results") or ()
        if (record.get("properties") or {}).get(MESSAGE_ID)
    }


async def _communications_of(client: HubSpotClient, contact_ids: Iterable[str]) -> set[str]:
    """Every communication of these contacts, page by page."""
    found: set[str] = set()
    pages: list[dict[str, str]] = [{"id": contact_id} for contact_id in sorted(contact_ids)]
    path = client.path("associations", "contacts/communications/batch/read")
    while pages:
        inputs, pages = pages[:_ASSOCIATION_READ_LIMIT], pages[_ASSOCIATION_READ_LIMIT:]
        _, answer = await client.call("POST", path, {"inputs": inputs}, writes=False)
        for result in answer.get("results") or ():
            found.update(str(to.get("toObjectId") or to.get("id")) for to in result.get("to") or ())
            after = ((result.get("paging") or {}).get("next") or {}).get("after")
            if after:
                pages.append({"id": str(result["from"]["id"]), "after": after})
    return found


async def _move(client: HubSpotClient, items: Sequence[ActivityChange]) -> set[str]:
    """New association first, then the old one away: a crash between leaves the activity on both, not on none.

    Returns the activities that HubSpot did not associate, e.g. with a contact that somebody deleted. It says so by
    a 207 without their results, and they stay where they are.
    """
    status, answer = await client.call(
        "POST",
        client.path("associations", "communications/contacts/batch/create"),
        {
            "inputs": [
                {
                    "from": {"id": item.record_id},
                    "to": {"id": item.activity.contact_record_id},
                    "types": _TYPES,
                }
                for item in items
            ]
        },
        writes=True,
    )
    left: set[str] = set()
    if status == _PARTIAL or answer.get("errors"):
        named = {_start_of(result) for result in answer.get("results") or ()}
        left = {item.record_id for item in items} - named
    moved = [item for item in items if item.record_id not in left]
    if moved:
        await client.call(
            "POST",
            client.path("associations", "communications/contacts/batch/archive"),
            {"inputs": [{"from": {"id": item.record_id}, "to": [{"id": item.moved_from}]} for item in moved]},
            writes=True,
        )
    return left


def _start_of(association: Mapping[str, Any]) -> str:
    """The `from` record of a created association; its form differs between versions of the API."""
    return str(association.get("fromObjectId") or (association.get("from") or {}).get("id"))


def _found(there: Mapping[str, str]) -> dict[str, WriteResult]:
    return {wamid: Written(record_id=record_id) for wamid, record_id in there.items()}


def _absent_contact(result: WriteResult, item: Activity) -> WriteResult:
    """A refusal that names the contact record: it was deleted, so the contact is written anew."""
    if isinstance(result, Refused) and item.contact_record_id in result.reason and "ssociat" in result.reason:
        return Gone(reason=result.reason)
    return result
