"""Messages on the timeline: `communications` of channel WHATS_APP, created with their association inline.

The upsert of communications takes no associations, so they are created; what keeps a create from happening
twice is, by what the portal allows (`ActivityGuard`):

* `unique`: our message id is a unique property. A repeated create is refused, and one batch read settles doubts.
* `plain`: it is a property, not unique. Doubts are settled among the contact's communications.
* `none`: the object takes no property of ours. The same, by a reference at the end of the body.
"""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from connector.crm.hubspot.batches import BatchInput, KeyOf, in_halves, property_key, write_batch
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contacts import tell_erased, timestamp
from connector.crm.hubspot.failures import HubSpotRefusal, is_conflict
from connector.crm.hubspot.moves import move
from connector.crm.hubspot.reads import Reading, read_links, read_records
from connector.crm.hubspot.schema import COMMUNICATION_TYPES, DIRECTION, MESSAGE_ID, STATUS
from connector.crm.port import (
    Activity,
    ActivityChange,
    ActivityQuery,
    FindResult,
    Gone,
    Later,
    Refused,
    WriteResult,
    Written,
)

_BODY = "hs_communication_body"
_BODY_LIMIT = 65_000  # the property takes 65,536 characters, escapes included
_REFERENCE = re.compile(r"ref [0-9a-f]{16}")


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
    body = as_html(item.body)
    if guard is not ActivityGuard.UNIQUE:
        # Behind what was cut, or the cut would take it away.
        tail = f"<br>{reference(item.wamid)}"
        body = as_html(item.body, limit=_BODY_LIMIT - len(tail)) + tail
    properties = {
        "hs_communication_channel_type": "WHATS_APP",
        "hs_communication_logged_from": "CRM",
        _BODY: body,
        "hs_timestamp": timestamp(item.at),
    }
    if guard is not ActivityGuard.NONE:
        properties[MESSAGE_ID] = item.wamid
        properties[STATUS] = item.status
        properties[DIRECTION] = item.direction
    return properties


def reference_in(body: str) -> str | None:
    """The reference at the end of a body. A person may write something that looks like one, but not behind ours."""
    found = _REFERENCE.findall(body)
    return found[-1] if found else None


def _key_of(inputs: Sequence[BatchInput], guard: ActivityGuard) -> KeyOf:
    """How a created communication is known again."""
    if guard is not ActivityGuard.NONE:
        return property_key(MESSAGE_ID)
    wamids = {reference(item.key): item.key for item in inputs}

    def key_of(result: Mapping[str, Any]) -> str | None:
        mark = reference_in((result.get("properties") or {}).get(_BODY) or "")
        return None if mark is None else wamids.get(mark)

    return key_of


async def log_activities(
    client: HubSpotClient, items: Sequence[Activity], guard: ActivityGuard
) -> list[WriteResult]:
    """Create communications; one that turns out to be there already is `Written(created=False)`."""
    inputs = [
        BatchInput(
            key=item.wamid,
            body={
                "properties": activity_properties(item, guard),
                "associations": [{"to": {"id": item.contact_record_id}, "types": COMMUNICATION_TYPES}],
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
    key_of = _key_of(inputs, guard)
    if guard is not ActivityGuard.UNIQUE:  # no value of ours can be taken, and none could be looked up
        return await write_batch(client, path, inputs, key_of=key_of)
    try:
        results = await write_batch(client, path, inputs, key_of=key_of, raise_conflict=True)
    except HubSpotRefusal as refusal:
        # A batch was refused because some are there already.
        reading = await _read_by_message_id(client, [item.key for item in inputs])
        there = _there(reading)
        absent = [item for item in inputs if item.key not in there]
        if len(absent) == len(inputs):
            if len(inputs) == 1:
                return {inputs[0].key: refusal.refused()}
            return await in_halves(inputs, lambda half: _create(client, half, guard))
        return {**there, **(await _create(client, absent, guard) if absent else {})}
    conflicts = [key for key, result in results.items() if is_conflict(result)]
    if conflicts:
        results.update(_there(await _read_by_message_id(client, conflicts)))
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
        results |= await move(client, moved)
    return [results[item.record_id] for item in items]


async def find_activities(
    client: HubSpotClient, items: Sequence[ActivityQuery], guard: ActivityGuard
) -> list[FindResult]:
    """Record ids of creates whose answer was lost, None where there is certainly none."""
    if guard is ActivityGuard.UNIQUE:
        reading = await _read_by_message_id(client, [item.wamid for item in items])
        there = reading.by(MESSAGE_ID)
        return [there.get(item.wamid) or _not_told(reading.unsettled.get(item.wamid)) for item in items]
    places = {record_id for item in items for record_id in item.contact_record_ids}
    links = await read_links(client, "contacts", "communications", places)
    linked = {name for names in links.found.values() for name in names}
    reading = await read_records(client, "communications", linked, properties=[MESSAGE_ID, _BODY])
    found: dict[str, str] = {}
    wamids = {reference(item.wamid): item.wamid for item in items}
    for record in reading.records:
        properties = record.get("properties") or {}
        mark = reference_in(properties.get(_BODY) or "") or ""
        found[properties.get(MESSAGE_ID) or wamids.get(mark, "")] = str(record["id"])
    unread = linked - reading.ids - reading.absent
    doubts = dict(links.unsettled)
    for place, names in links.found.items():
        for name in unread & set(names):
            doubts[place] = reading.unsettled.get(name, "HubSpot did not show every activity of the contact.")
    # An answer may come under another id than was asked for, when two contacts were merged.
    strangers = [reason for place, reason in doubts.items() if place not in places]
    results: list[FindResult] = []
    for item in items:
        reasons = [*strangers, *(doubts[place] for place in item.contact_record_ids if place in doubts)]
        results.append(found.get(item.wamid) or _not_told(reasons[0] if reasons else None))
    return results


def _not_told(reason: str | None) -> Later | None:
    return None if reason is None else Later(reason=reason)


async def _read_by_message_id(client: HubSpotClient, wamids: Sequence[str]) -> Reading:
    return await read_records(
        client, "communications", wamids, properties=[MESSAGE_ID], id_property=MESSAGE_ID
    )


def _there(reading: Reading) -> dict[str, WriteResult]:
    """Those that are there, and those of which HubSpot did not tell: they are asked for again, not made again."""
    found = {wamid: Written(record_id=record_id) for wamid, record_id in reading.by(MESSAGE_ID).items()}
    return {**found, **{wamid: Later(reason=reason) for wamid, reason in reading.unsettled.items()}}


def _absent_contact(result: WriteResult, item: Activity) -> WriteResult:
    """A refusal that names the contact record: it was deleted, so the contact is written anew."""
    if isinstance(result, Refused) and item.contact_record_id in result.reason and "ssociat" in result.reason:
        return Gone(reason=result.reason)
    return result
