"""Hanging communications on another contact record.

The new association comes first, then the old one goes: a crash between leaves the activity on both, not on none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal, as_connector_error, item_failure
from connector.crm.hubspot.reads import read_records
from connector.crm.hubspot.schema import COMMUNICATION_TYPES
from connector.crm.port import ActivityChange, Gone, Homeless, Later, Refused, WriteResult

_UNSAID = "HubSpot's answer does not name the activity's new association."
_ON_BOTH = "it hangs on its person's old contact record too; take it off there by hand"
_Step = Callable[[HubSpotClient, Sequence[ActivityChange]], Awaitable[dict[str, WriteResult]]]


async def move(client: HubSpotClient, items: Sequence[ActivityChange]) -> dict[str, WriteResult]:
    """Move activities; record id → what is wrong, for those that HubSpot did not move."""
    failed = await _in_halves(client, items, _associate)
    failed |= await _which_is_gone(
        client, [item for item in items if isinstance(failed.get(item.record_id), Gone)]
    )
    moved = [item for item in items if item.record_id not in failed]
    if moved:
        failed |= await _in_halves(client, await _on_two_records(client, moved), _dissociate)
    return failed


async def _in_halves(
    client: HubSpotClient, items: Sequence[ActivityChange], step: _Step
) -> dict[str, WriteResult]:
    """Take a step, and take it apart when HubSpot refuses it for one of the items. Each step may be repeated."""
    if not items:
        return {}
    try:
        return await step(client, items)
    except HubSpotRefusal as refusal:
        if not refusal.is_about_content:
            raise as_connector_error(refusal) from refusal
        if len(items) == 1:
            refused = refusal.refused()
            advice = _ON_BOTH if step is _dissociate else ""
            return {items[0].record_id: Refused(cause=refused.cause, reason=refused.reason, advice=advice)}
        middle = len(items) // 2
        failed = await _in_halves(client, items[:middle], step)
        return failed | await _in_halves(client, items[middle:], step)


async def _associate(client: HubSpotClient, items: Sequence[ActivityChange]) -> dict[str, WriteResult]:
    """HubSpot tells what it did not associate by leaving it out of the results, beside errors[] (observed)."""
    path = client.path("associations", "communications/contacts/batch/create")
    pairs = [
        {
            "from": {"id": item.record_id},
            "to": {"id": item.activity.contact_record_id},
            "types": COMMUNICATION_TYPES,
        }
        for item in items
    ]
    status, answer = await client.call("POST", path, {"inputs": pairs}, writes=True)
    errors = answer.get("errors") or ()
    if status != 207 and not errors:
        return {}
    named = {_start_of(result) for result in answer.get("results") or ()}
    return {item.record_id: _failure(item, errors) for item in items if item.record_id not in named}


def _failure(item: ActivityChange, errors: Sequence[Mapping[str, Any]]) -> WriteResult:
    """What the errors of an answer say about a pair; where they name nobody, the first is taken for everybody's."""
    nameless: WriteResult | None = None
    for error in errors:
        context = error.get("context") or {}
        names = {str(name) for found in context.values() if isinstance(found, list) for name in found}
        if item.record_id in names:
            return item_failure(error)
        if not names and nameless is None:
            nameless = item_failure(error)
    return nameless or Later(reason=_UNSAID)


async def _which_is_gone(client: HubSpotClient, items: Sequence[ActivityChange]) -> dict[str, WriteResult]:
    """One of a pair is not there: the contact record, which is then found or made anew, or the activity itself."""
    if not items:
        return {}
    places = {item.activity.contact_record_id for item in items}
    contacts = await read_records(client, "contacts", places, properties=())
    names = {item.record_id for item in items}
    activities = await read_records(client, "communications", names, properties=())
    results: dict[str, WriteResult] = {}
    for item in items:
        place, name = item.activity.contact_record_id, item.record_id
        if place in contacts.absent:
            results[name] = Homeless(reason=f"HubSpot has no contact {place} any more.")
        elif name in activities.absent:
            results[name] = Gone(reason=f"HubSpot has no communication {name} any more.")
        elif place in contacts.unsettled or name in activities.unsettled:
            results[name] = Later(reason=contacts.unsettled.get(place) or activities.unsettled[name])
        else:
            results[name] = Refused(
                cause="hubspot_not_associated",
                reason=f"HubSpot did not associate communication {name} with contact {place}; both are there.",
            )
    return results


async def _on_two_records(client: HubSpotClient, items: Sequence[ActivityChange]) -> Sequence[ActivityChange]:
    """Those whose old contact record lives on by itself.

    One that a person merged leads to the record that it was merged into. That may be the activity's new one, and
    taking it off the old one would take it off the new one.
    """
    places = {item.moved_from for item in items if item.moved_from}
    living = (await read_records(client, "contacts", places, properties=())).ids
    return [item for item in items if item.moved_from in living]


async def _dissociate(client: HubSpotClient, items: Sequence[ActivityChange]) -> dict[str, WriteResult]:
    path = client.path("associations", "communications/contacts/batch/archive")
    pairs = [{"from": {"id": item.record_id}, "to": [{"id": item.moved_from}]} for item in items]
    await client.call("POST", path, {"inputs": pairs}, writes=True)
    return {}


def _start_of(association: Mapping[str, Any]) -> str:
    """The `from` record of a created association; its form differs between versions of the API."""
    return str(association.get("fromObjectId") or (association.get("from") or {}).get("id"))
