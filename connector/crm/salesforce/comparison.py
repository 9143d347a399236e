"""What Salesforce's own records say beside what they should: queries by id. Nothing is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.port import ActivityChange, Compared, ContactUpsert, Differs, Gone, Later, Same
from connector.crm.salesforce.activities import task_values
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contacts import People, person_values
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select_in
from connector.crm.salesforce.successors import object_of
from connector.crm.times import read_time

_TIMES = re.compile(r"\d{4}-\d{2}-\d{2}T")
_CONVERTED = "IsConverted"


async def compare_contacts(
    client: SalesforceClient, items: Sequence[ContactUpsert], people: People
) -> list[Compared]:
    """Known Contacts and Leads, by id."""
    wanted = {
        bare(item.record_id): (object_of(item.record_id), person_values(item, people))
        for item in items
        if item.record_id
    }
    there: dict[str, Mapping[str, Any]] = {}
    for sobject in sorted({sobject for sobject, _ in wanted.values()}):
        ids = [record_id for record_id, (kind, _) in wanted.items() if kind == sobject]
        names = {name for record_id in ids for name in wanted[record_id][1]}
        there |= await _records(client, sobject, names | ({_CONVERTED} if sobject == "Lead" else set()), ids)
    results: list[Compared] = []
    for item in items:
        record = there.get(bare(item.record_id or ""))
        if record is None:
            results.append(Gone(reason="Salesforce has no such record any more."))
        elif record.get(_CONVERTED):
            # The next write follows it to its Contact.
            results.append(Later(reason="its Lead was converted"))
        else:
            results.append(_compared(wanted[bare(item.record_id or "")][1], record))
    return results


async def compare_activities(client: SalesforceClient, items: Sequence[ActivityChange]) -> list[Compared]:
    """Known Tasks, by id, and whom they hang on."""
    wanted = {
        bare(item.record_id): {**task_values(item.activity), "WhoId": item.activity.contact_record_id}
        for item in items
    }
    names = {name for values in wanted.values() for name in values}
    there = await _records(client, "Task", names, list(wanted))
    return [
        Gone(reason="Salesforce has no such Task any more.")
        if (record := there.get(bare(item.record_id))) is None
        else _compared(wanted[bare(item.record_id)], record)
        for item in items
    ]


async def _records(
    client: SalesforceClient, sobject: str, names: set[str], ids: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    fields = ", ".join(sorted(names | {"Id"}))
    rows = await select_in(client, f"SELECT {fields} FROM {sobject} WHERE Id IN {{}}", ids)  # noqa: S608 - ours
    return {bare(str(row["Id"])): row for row in rows}


def _compared(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> Compared:
    known = {name.lower(): value for name, value in there.items()}
    differing = [name for name, value in wanted.items() if not _says(name, value, known.get(name.lower()))]
    # Whom it hangs on is called the same in every CRM.
    names = sorted("contact" if name == "WhoId" else name for name in differing)
    return Differs(fields=tuple(names)) if names else Same()


def _says(name: str, wanted: Any, there: Any) -> bool:
    if wanted == there or (wanted in (None, "") and there in (None, "")):
        return True
    if name == "WhoId":
        return bare(str(wanted)) == bare(str(there or ""))
    if isinstance(wanted, str) and isinstance(there, str):
        if _TIMES.match(wanted):
            return read_time(wanted) == read_time(there)
        # Line ends and blanks at the end are not kept as they were given.
        return _lines(wanted) == _lines(there)
    return False


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
