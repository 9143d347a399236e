"""Records with something of ours, listed by queries; Salesforce gives each in pages, whatever there is in all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.queries import first_page, next_page, select_in
from connector.crm.salesforce.schema import CONTACT_KEY, DIRECTION, MESSAGE_ID, SENT_AT
from connector.crm.salesforce.successors import object_of
from connector.crm.salesforce.texts import date_time
from connector.crm.survey import Listed, ListedRecord, Page, twin_of
from connector.crm.times import read_time

_HASHED = "sha256:"
_BSUID, _PHONE = "WA_BSUID__c", "WA_Phone__c"
_PERSON = ("Id", "CreatedDate", CONTACT_KEY, _BSUID, _PHONE)
_TASK = ("Id", "CreatedDate", "WhoId", MESSAGE_ID, DIRECTION, SENT_AT, "Subject", "Description")


async def list_page(
    client: SalesforceClient,
    what: Listed,
    sobject: str,
    *,
    since: datetime | None,
    until: datetime | None,
    after: str,
) -> Page:
    """Records that were made in that time. `sobject`: what people are. `after`: where the page before said."""
    if after:
        rows, after = await next_page(client, after)
        return Page(records=[_listed(what, row) for row in rows], next=after)
    bounds = "".join(
        f" AND CreatedDate {operator} {date_time(at)}"
        for operator, at in ((">=", since), ("<", until))
        if at is not None
    )
    if what is Listed.CONTACT:
        # A converted Lead lives on as its Contact.
        converted = " AND IsConverted = false" if sobject == "Lead" else ""
        marks = f"({CONTACT_KEY} != null OR {_BSUID} != null OR {_PHONE} != null)"
        soql = f"SELECT {', '.join(_PERSON)} FROM {sobject} WHERE {marks}{converted}{bounds}"  # noqa: S608 - ours
    else:
        marks = f"({MESSAGE_ID} != null OR {SENT_AT} != null)"
        soql = f"SELECT {', '.join(_TASK)} FROM Task WHERE {marks}{bounds}"  # noqa: S608
    rows, after = await first_page(client, soql)
    return Page(records=[_listed(what, row) for row in rows], next=after)


async def list_activities_of(
    client: SalesforceClient, contact_record_ids: Collection[str]
) -> list[ListedRecord]:
    """Tasks of ours that hang on these people."""
    soql = f"SELECT {', '.join(_TASK)} FROM Task WHERE {SENT_AT} != null AND WhoId IN {{}}"  # noqa: S608
    return [
        _listed(Listed.ACTIVITY, row) for row in await select_in(client, soql, sorted(contact_record_ids))
    ]


async def read_listed(
    client: SalesforceClient, what: Listed, record_ids: Collection[str]
) -> list[ListedRecord]:
    """These records as they are now."""
    found: list[ListedRecord] = []
    if what is Listed.ACTIVITY:
        kinds = {"Task": sorted(record_ids)}
    else:
        names = {object_of(record_id) for record_id in record_ids}
        kinds = {
            name: sorted(record_id for record_id in record_ids if object_of(record_id) == name)
            for name in names
        }
    for sobject, ids in kinds.items():
        fields = ", ".join(_TASK if what is Listed.ACTIVITY else _PERSON)
        rows = await select_in(client, f"SELECT {fields} FROM {sobject} WHERE Id IN {{}}", ids)  # noqa: S608
        found += [_listed(what, row) for row in rows]
    return found


def _listed(what: Listed, row: Mapping[str, Any]) -> ListedRecord:
    made_at = read_time(str(row.get("CreatedDate") or "")) or datetime.fromtimestamp(0, UTC)
    if what is Listed.CONTACT:
        twin = twin_of(str(row.get(_BSUID) or row.get(_PHONE) or ""))
        key = str(row.get(CONTACT_KEY) or "")
        return ListedRecord(record_id=str(row["Id"]), key=key, hashed="", twin=twin, made_at=made_at)
    mark = str(row.get(MESSAGE_ID) or "")
    at = read_time(str(row.get(SENT_AT) or ""))
    return ListedRecord(
        record_id=str(row["Id"]),
        key="" if mark.startswith(_HASHED) else mark,
        hashed=mark.removeprefix(_HASHED) if mark.startswith(_HASHED) else "",
        twin=twin_of(
            str(row.get("Subject") or ""), str(row.get("Description") or ""), date_time(at) if at else ""
        ),
        made_at=made_at,
        places=[str(row["WhoId"])] if row.get("WhoId") else [],
    )
