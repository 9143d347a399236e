"""What HubSpot's own records say beside what they should: batch reads, 100 records a call. Nothing is written.

HubSpot stores a text as it was given but cleans the rich text of a body, so bodies are compared as people read them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence

from connector.crm.hubspot.activities import ActivityGuard, activity_properties
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contacts import contact_properties, tell_erased
from connector.crm.hubspot.reads import Reading, read_links, read_records
from connector.crm.port import ActivityChange, Compared, ContactUpsert, Differs, Gone, Later, Same
from connector.crm.times import read_time

_BODY = "hs_communication_body"
_NOT_OURS = ("hs_communication_channel_type", "hs_communication_logged_from")
"""Said when an activity is made; nobody can change them afterwards."""
_TIMES = re.compile(r"\d{4}-\d{2}-\d{2}T")
_BREAK = re.compile(r"<br\s*/?>|</p>|</div>", re.IGNORECASE)
_TAG = re.compile(r"<[^>]*>")


async def compare_contacts(client: HubSpotClient, items: Sequence[ContactUpsert]) -> list[Compared]:
    """Known contact records, by id."""
    wanted = {item.record_id: contact_properties(item) for item in items if item.record_id}
    names = sorted({name for properties in wanted.values() for name in properties})
    reading = await read_records(client, "contacts", wanted, properties=names)
    absent = {
        item.key: item.record_id
        for item in items
        if item.record_id is None or item.record_id in reading.absent
    }
    gone = await tell_erased(client, absent)
    records = _by_id(reading)
    results: list[Compared] = []
    for item in items:
        record_id = item.record_id or ""
        if item.key in gone:
            found = gone[item.key]
            results.append(found if isinstance(found, Gone | Later) else Gone(reason="It is not there."))
        elif record_id in records:
            results.append(_compared(wanted[record_id], records[record_id]))
        else:
            results.append(Later(reason=reading.unsettled.get(record_id, "its record was merged by hand")))
    return results


async def compare_activities(
    client: HubSpotClient, items: Sequence[ActivityChange], guard: ActivityGuard
) -> list[Compared]:
    """Known communications, by id, and the contact records that they hang on."""
    wanted = {item.record_id: activity_properties(item.activity, guard) for item in items}
    names = sorted({name for properties in wanted.values() for name in properties} - set(_NOT_OURS))
    reading = await read_records(client, "communications", wanted, properties=names)
    records = _by_id(reading)
    links = await read_links(client, "communications", "contacts", records)
    results: list[Compared] = []
    for item in items:
        record = records.get(item.record_id)
        if item.record_id in reading.absent:
            results.append(Gone(reason="HubSpot has no such communication any more."))
        elif record is None or item.record_id in links.unsettled:
            reasons = {**links.unsettled, **reading.unsettled}
            results.append(Later(reason=reasons.get(item.record_id, "HubSpot did not show it")))
        else:
            elsewhere = item.activity.contact_record_id not in links.found.get(item.record_id, ())
            results.append(_compared(wanted[item.record_id], record, elsewhere=elsewhere))
    return results


def _by_id(reading: Reading) -> dict[str, Mapping[str, str | None]]:
    return {str(record["id"]): record.get("properties") or {} for record in reading.records}


def _compared(
    wanted: Mapping[str, str], there: Mapping[str, str | None], *, elsewhere: bool = False
) -> Compared:
    """`elsewhere`: it hangs on another contact record."""
    differing = [
        name
        for name, value in wanted.items()
        if name not in _NOT_OURS and not _says(value, there.get(name) or "", name)
    ]
    if elsewhere:
        differing.append("contact")
    return Differs(fields=tuple(sorted(differing))) if differing else Same()


def _says(wanted: str, there: str, name: str) -> bool:
    if wanted == there:
        return True
    if name == _BODY:
        return as_read(wanted) == as_read(there)
    if _TIMES.match(wanted):
        return read_time(wanted) == read_time(there)
    return wanted.strip() == there.strip()


def as_read(body: str) -> str:
    """A rich text as people read it."""
    return html.unescape(_TAG.sub("", _BREAK.sub("\n", body))).replace("\xa0", " ").strip()
