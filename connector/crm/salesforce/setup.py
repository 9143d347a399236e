"""Our fields in an org: what is there, what is missing. Fields are made by an admin, who deploys docs/crm/salesforce.

What the org's description leaves out says nothing against a field. An org that describes nothing to us is asked for
our fields by a query; what remains unknown is said, and the first write tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.crm.personal_data import readable
from connector.crm.port import SetupReport
from connector.crm.properties import MappedProperty
from connector.crm.salesforce.activities import COMPLETED
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import SETUP_ADVICE, SalesforceRefusal, SetupLacking
from connector.crm.salesforce.mapped import mapped_misfits, text_lengths
from connector.crm.salesforce.queries import select
from connector.crm.salesforce.schema import FIELDS, CustomField, FieldType


async def check_setup(
    client: SalesforceClient, sobject: str, *, mapped: Sequence[MappedProperty] = ()
) -> tuple[SetupReport, Mapping[str, int]]:
    """Look at the fields of the objects that are written. A field that our user may not write counts as missing.

    Returns the report, and how long the texts of a person may be: field, in lower case → characters.
    `mapped`: fields of the org's own that the mapping writes.
    """
    # A Lead that is converted goes on as a Contact, which needs our fields too.
    names = ("Contact", "Lead", "Task") if sobject == "Lead" else ("Contact", "Task")
    found: list[str] = []
    missing: list[str] = []
    misfits: list[str] = []
    unchecked: list[str] = []
    lengths: dict[str, int] = {}
    for name in names:
        there = await _described(client, name)
        if there is None:
            refused = await _refused_in_query(client, name)
            fields = [f"{name}.{wanted.name}" for wanted in FIELDS[name]]
            if refused is None:
                unchecked += fields
            elif refused:
                missing.append(f"{name}: {refused}")
            else:
                found += fields
            continue
        for wanted in FIELDS[name]:
            problems = list(_problems(wanted, there.get(wanted.name)))
            if problems:
                missing.append(f"{name}.{wanted.name} ({', '.join(problems)})")
            else:
                found.append(f"{name}.{wanted.name}")
        if name == "Task":
            missing += _status_missing(there.get("Status") or {})
            continue
        # A Contact that a Lead became is never made by us, only updated.
        misfits += mapped_misfits(
            name, there, [item for item in mapped if name == sobject or not item.only_new]
        )
        for field, length in text_lengths(there).items():
            lengths[field] = min(length, lengths.get(field, length))
    advice = "make these fields or correct the mapping, then restart the role" if misfits else ""
    report = SetupReport(
        ready=not missing and not misfits,
        unique_activities=True,
        found=tuple(found),
        missing=(*missing, *misfits),
        unchecked=tuple(unchecked),
        advice=SETUP_ADVICE if missing else advice,
    )
    return report, lengths


def _problems(wanted: CustomField, there: Mapping[str, Any] | None) -> Iterator[str]:
    if there is None:
        yield "not there, or hidden from our user"
        return
    if there.get("createable") is False or there.get("updateable") is False:
        yield "read-only for our user"
    if wanted.key:
        for flag in ("externalId", "unique", "caseSensitive"):
            if there.get(flag) is False:
                yield f"{flag} is off"
    if wanted.kind is FieldType.TEXT and 0 < int(there.get("length") or 0) < wanted.length:
        yield f"shorter than {wanted.length} characters"


async def _described(client: SalesforceClient, name: str) -> Mapping[str, Mapping[str, Any]] | None:
    """The object's fields by name; None: the org does not describe it to us."""
    try:
        answer = await client.call("GET", f"sobjects/{name}/describe", writes=False)
    except (SalesforceRefusal, SetupLacking):
        return None
    return {field["name"]: field for field in answer["fields"]}


async def _refused_in_query(client: SalesforceClient, name: str) -> str | None:
    """What the org says against a query for our fields; "" when it takes it, None when it does not tell."""
    names = ", ".join(("Id", *(field.name for field in FIELDS[name])))
    try:
        await select(client, f"SELECT {names} FROM {name} LIMIT 1")  # noqa: S608 - ours
    except SetupLacking as refusal:
        return readable(refusal.said)
    except SalesforceRefusal:
        return None
    return ""


def _status_missing(status: Mapping[str, Any]) -> Sequence[str]:
    active = [value.get("value") for value in status.get("picklistValues") or () if value.get("active")]
    return [] if not active or COMPLETED in active else [f"Task.Status value {COMPLETED}"]
