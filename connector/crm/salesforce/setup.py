"""Our fields in an org: what is there, what is missing. Fields are made by an admin, who deploys docs/crm/salesforce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from connector.crm.port import SetupReport
from connector.crm.properties import MappedProperty
from connector.crm.salesforce.activities import COMPLETED
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import SETUP_ADVICE
from connector.crm.salesforce.mapped import mapped_misfits, text_lengths
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
    lengths: dict[str, int] = {}
    for name in names:
        answer = await client.call("GET", f"sobjects/{name}/describe", writes=False)
        there: Mapping[str, Mapping[str, Any]] = {field["name"]: field for field in answer["fields"]}
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
        advice=SETUP_ADVICE if missing else advice,
    )
    return report, lengths


def _problems(wanted: CustomField, there: Mapping[str, Any] | None) -> Iterator[str]:
    if there is None:
        yield "not there, or hidden from our user"
        return
    if not (there.get("createable") and there.get("updateable")):
        yield "read-only for our user"
    if wanted.key:
        for flag in ("externalId", "unique", "caseSensitive"):
            if not there.get(flag):
                yield f"{flag} is off"
    if wanted.kind is FieldType.TEXT and int(there.get("length") or 0) < wanted.length:
        yield f"shorter than {wanted.length} characters"


def _status_missing(status: Mapping[str, Any]) -> Sequence[str]:
    active = [value.get("value") for value in status.get("picklistValues") or () if value.get("active")]
    return [] if not active or COMPLETED in active else [f"Task.Status value {COMPLETED}"]
