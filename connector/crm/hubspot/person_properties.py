"""What contact records say under any names: for the parameters of templates.

A property that the portal does not have is left out of the answer without an error, so it reads as empty.
https://developers.hubspot.com/docs/api-reference/crm-contacts-v3/batch/post-crm-v3-objects-contacts-batch-read
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.reads import read_records
from connector.crm.port import Later, RecordProperties


async def read_properties(
    client: HubSpotClient, record_ids: Sequence[str], names: Sequence[str]
) -> list[RecordProperties]:
    """One answer for each record, 100 a call. Raises the connector's errors for the call itself."""
    reading = await read_records(client, "contacts", record_ids, properties=names)
    found = {str(record["id"]): _values(record, names) for record in reading.records}
    answers: list[RecordProperties] = []
    for record_id in record_ids:
        if record_id in found or record_id in reading.absent:
            answers.append(found.get(record_id))
        elif record_id in reading.unsettled:
            answers.append(Later(reason=reading.unsettled[record_id]))
        else:  # it was merged and came under its new id, which a batch does not tell
            alone = await read_records(client, "contacts", [record_id], properties=names)
            answers.append(next((_values(record, names) for record in alone.records), None))
    return answers


def _values(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    values = record.get("properties") or {}
    return {name: values.get(name) or None for name in names}
