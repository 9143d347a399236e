"""A person's record left over by a merge: deleted if we made it and nobody else worked on it, else flagged.

Salesforce tells who wrote a record first and last, not who wrote in between, so what people type and link is
looked at as well. A deleted record stays in the recycle bin for 15 days.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simple_salesforce.format import format_soql

from connector.crm.port import Retired
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import Kind, row_failure
from connector.crm.salesforce.queries import select
from connector.crm.salesforce.successors import object_of
from connector.errors import Terminal, Transient, Uncertain

_BY_HAND = "merge the two records by hand"
_TYPED = ("Email", "Title", "FirstName", "Description")
"""Fields that we never write, so that a value is somebody's work."""
_CHILDREN = {
    "Contact": ("Tasks", "Events", "Cases", "OpportunityContactRoles", "CampaignMembers"),
    "Lead": ("Tasks", "Events", "CampaignMembers"),
}


async def retire_contact(client: SalesforceClient, record_id: str, *, created_by_us: bool) -> Retired:
    """Delete or flag one record. Deleting what is deleted is no error."""
    sobject = object_of(record_id)
    children = ", ".join(f"(SELECT Id FROM {name} LIMIT 1)" for name in _CHILDREN[sobject])  # noqa: S608 - ours
    fields = ", ".join(("Id", "CreatedById", "LastModifiedById", "OwnerId", *_TYPED))
    soql = format_soql(f"SELECT {fields}, {children} FROM {sobject} WHERE Id = {{}}", record_id)  # noqa: S608
    try:
        rows = await select(client, soql)
    except Terminal as unseen:  # an object that our user may not see: something may hang there
        reason = f"what hangs on it cannot be seen ({unseen.message}); {_BY_HAND}"
        return Retired(deleted=False, reason=reason)
    if not rows:
        return Retired(deleted=True, reason="it was gone already")
    hands = _others_work(rows[0], user_id=client.user_id, children=_CHILDREN[sobject])
    if not created_by_us:
        return Retired(deleted=False, reason=f"it was in the CRM before us; {_BY_HAND}")
    if hands:
        return Retired(deleted=False, reason=f"somebody else worked on it ({', '.join(hands)}); {_BY_HAND}")
    answer = await client.call(
        "DELETE",
        "composite/sobjects",
        params={"ids": record_id, "allOrNone": "false"},
        writes=True,
    )
    result = answer[0] if isinstance(answer, list) and len(answer) == 1 else {}
    if result.get("success"):
        return Retired(deleted=True)
    failure = row_failure(result.get("errors"))
    if failure is None:
        raise Uncertain("Salesforce's answer to a delete names neither a success nor an error.")
    if failure.kind is Kind.GONE:
        return Retired(deleted=True, reason="it was gone already")
    if failure.kind is Kind.LATER:
        raise Transient(f"Salesforce has the record locked: {failure.message}")
    return Retired(deleted=False, reason=f"Salesforce keeps it ({failure.message}); {_BY_HAND}")


def _others_work(row: Mapping[str, Any], *, user_id: str, children: tuple[str, ...]) -> list[str]:
    names = ("CreatedById", "LastModifiedById", "OwnerId")
    hands = [name for name in names if not user_id or row.get(name) != user_id]
    hands += [name for name in _TYPED if row.get(name)]
    return hands + [name for name in children if row.get(name)]
