"""What people's records say under any field names: for the parameters of templates.

A field may be one of a related record (`Account.Name`). One that the object lacks, or that our user may not see, fails
the whole query, so it is left out of the next and reads as empty: a Lead need not have what a Contact has.
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta (relationship queries; INVALID_FIELD)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from connector.crm.port import RecordProperties
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import SetupLacking
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select_in
from connector.crm.salesforce.successors import object_of, successors_of_records

_FIELD = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*){0,5}", re.ASCII)
"""SOQL follows at most five parents."""

_log = structlog.get_logger(__name__)


async def read_properties(
    client: SalesforceClient, record_ids: Sequence[str], names: Sequence[str]
) -> list[RecordProperties]:
    """One answer for each record. Raises the connector's errors for the call itself."""
    found = await _read(client, record_ids, names)
    missing = [record_id for record_id in record_ids if bare(record_id) not in found]
    if missing:
        moved = await successors_of_records(client, missing)
        there = await _read(client, [one.record_id for one in moved.values()], names) if moved else {}
        for record_id, successor in moved.items():
            if (values := there.get(bare(successor.record_id))) is not None:
                found[bare(record_id)] = values
    return [found.get(bare(record_id)) for record_id in record_ids]


async def _read(
    client: SalesforceClient, record_ids: Sequence[str], names: Sequence[str]
) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for sobject in sorted({object_of(record_id) for record_id in record_ids}):
        wanted = [record_id for record_id in record_ids if object_of(record_id) == sobject]
        for row in await _rows(client, sobject, wanted, [name for name in names if _FIELD.fullmatch(name)]):
            found[bare(str(row["Id"]))] = {name: _value(row, name) for name in names}
    return found


async def _rows(
    client: SalesforceClient, sobject: str, record_ids: Sequence[str], fields: Sequence[str]
) -> list[dict[str, Any]]:
    living = " AND IsConverted = false" if sobject == "Lead" else ""
    asked = list(fields)
    while True:
        # No name twice, however it is written: Salesforce refuses a query for that.
        shown = ", ".join({name.lower(): name for name in (*asked, "Id")}.values())
        try:
            return await select_in(
                client,
                f"SELECT {shown} FROM {sobject} WHERE Id IN {{}}{living}",  # noqa: S608 - names are checked
                record_ids,
            )
        except SetupLacking as error:
            lacking = _lacking(error.said, asked)
            if not lacking:
                raise
            asked = [name for name in asked if name not in lacking]
            _log.warning("Salesforce has no such field", sobject=sobject, fields=sorted(lacking))


def _lacking(said: str, asked: Sequence[str]) -> set[str]:
    """The fields that an error names: `No such column 'Size__c' on entity 'Lead'`, `… relationship 'Account' …`."""
    named = {word.lower() for word in re.findall(r"'(\w+)'", said)} - {"contact", "lead"}
    return {name for name in asked if named & set(name.lower().split("."))}


def _value(row: Mapping[str, Any], name: str) -> Any:
    # Salesforce takes names in any case, and answers with its own.
    value: Any = row
    for part in name.lower().split("."):
        fields = {key.lower(): of for key, of in value.items()} if isinstance(value, Mapping) else {}
        value = fields.get(part)
    return None if isinstance(value, Mapping) or value == "" else value
