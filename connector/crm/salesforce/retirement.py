"""A person's record left over by a merge: deleted if we made it and all of it is ours, else flagged.

Salesforce tells who wrote a record first and last, not who wrote in between. So every field that can be written is
looked at: one that we do not write has to be empty or as a new record has it, and one that we say once has to say so
still. So is what hangs on it: people's own objects, and the standard ones below. A deleted record stays in the
recycle bin for 15 days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.port import ContactUpsert, Retired
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contacts import People, first_values, person_values
from connector.crm.salesforce.failures import Kind, row_failure
from connector.crm.salesforce.queries import select
from connector.crm.salesforce.schema import PERSON_FIELDS
from connector.crm.salesforce.sdk import format_soql
from connector.crm.salesforce.successors import object_of
from connector.errors import Terminal, Transient, Uncertain

_BY_HAND = "merge the two records by hand"
_CHILDREN = {
    "Contact": ("Tasks", "Events", "Cases", "OpportunityContactRoles", "CampaignMembers"),
    "Lead": ("Tasks", "Events", "CampaignMembers"),
}
"""Relationships that every org has. One that describe does not show is hidden from our user, and may hold anything."""
_MORE_CHILDREN = frozenset(
    {
        "Assets",
        "Contracts",
        "ContractContactRoles",
        "AccountContactRoles",
        "Opportunities",
        "Orders",
        "Quotes",
    }
    | {"Notes", "Attachments", "Individuals", "ReportsTo"}
)
"""Relationships that some orgs have. Others of Salesforce's own (Shares, Histories, Feeds) are its bookkeeping."""
_SUBQUERIES = 20
"""Of one query; https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta (relationship queries, limits)."""
_FIELDS_PER_QUERY = 100
_SYSTEM = ("CreatedById", "LastModifiedById", "OwnerId")


async def retire_contact(
    client: SalesforceClient, record_id: str, person: ContactUpsert, people: People, *, created_by_us: bool
) -> Retired:
    """Delete or flag one record. `person`: as we would make it today. Deleting what is deleted is no error."""
    sobject = object_of(record_id)
    try:
        described = await client.call("GET", f"sobjects/{sobject}/describe", writes=False)
        fields = {item["name"]: item for item in described["fields"] if item.get("updateable")}
        types = _record_type(described)
        defaults = {name: types.get(name, _default(item)) for name, item in fields.items()}
        children = _relationships(sobject, described.get("childRelationships") or ())
        row = await _whole(client, sobject, record_id, [*_SYSTEM, *fields], children)
    except Terminal as unseen:  # an object that our user may not see: something may hang there
        reason = f"what hangs on it cannot be seen ({unseen.message}); {_BY_HAND}"
        return Retired(deleted=False, reason=reason)
    if row is None:
        return Retired(deleted=True, reason="it was gone already")
    if not created_by_us:
        return Retired(deleted=False, reason=f"it was in the CRM before us; {_BY_HAND}")
    hands = [name for name in _SYSTEM if not client.user_id or row.get(name) != client.user_id]
    hands += _others_values(row, defaults, person, people)
    hands += [name for name in children if row.get(name)]
    if hands:
        return Retired(
            deleted=False, reason=f"somebody else worked on it ({', '.join(hands[:10])}); {_BY_HAND}"
        )
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


async def _whole(
    client: SalesforceClient, sobject: str, record_id: str, fields: Sequence[str], children: Sequence[str]
) -> dict[str, Any] | None:
    """Every one of these fields of a record and one record of each relationship, None when it is not there."""
    names = list(dict.fromkeys(fields))
    parts = [", ".join(names[at : at + _FIELDS_PER_QUERY]) for at in range(0, len(names), _FIELDS_PER_QUERY)]
    for at in range(0, len(children), _SUBQUERIES):
        some = children[at : at + _SUBQUERIES]
        parts.append(", ".join(("Id", *(f"(SELECT Id FROM {name} LIMIT 1)" for name in some))))  # noqa: S608
    row: dict[str, Any] = {}
    for part in parts:
        rows = await select(client, format_soql(f"SELECT {part} FROM {sobject} WHERE Id = {{}}", record_id))  # noqa: S608
        if not rows:
            return None
        row |= rows[0]
    return row


def _relationships(sobject: str, described: Sequence[Mapping[str, Any]]) -> list[str]:
    own = [
        str(item["relationshipName"])
        for item in described
        if item.get("relationshipName")
        and (item["relationshipName"] in _MORE_CHILDREN or str(item.get("childSObject")).endswith("__c"))
    ]
    return list(dict.fromkeys((*_CHILDREN[sobject], *own)))


def _others_values(
    row: Mapping[str, Any], defaults: Mapping[str, Any], person: ContactUpsert, people: People
) -> list[str]:
    """Fields that say what neither we nor a new record would. `defaults`: field → what a new record has."""
    always = {field.name for field in PERSON_FIELDS} | person_values(person, people).keys()
    once = first_values(person, people)
    return [
        name
        for name, default in defaults.items()
        if name not in _SYSTEM
        and name not in always
        and row.get(name) not in (None, False, "", once.get(name), default)
    ]


def _default(field: Mapping[str, Any]) -> Any:
    """What a new record has without anybody's doing."""
    if field.get("defaultValue") is not None:
        return field["defaultValue"]
    chosen = [item.get("value") for item in field.get("picklistValues") or () if item.get("defaultValue")]
    return chosen[0] if chosen else None


def _record_type(described: Mapping[str, Any]) -> dict[str, Any]:
    """The record type that our user's records get."""
    types = described.get("recordTypeInfos") or ()
    chosen = [item.get("recordTypeId") for item in types if item.get("defaultRecordTypeMapping")]
    return {"RecordTypeId": chosen[0]} if chosen else {}
