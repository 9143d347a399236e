"""Where a person's record went: a merge leaves its master, a converted Lead its Contact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select_in
from connector.crm.salesforce.schema import CONTACT_KEY

_HOPS = 5
_OBJECTS = {"003": "Contact", "00Q": "Lead"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Successor:
    """A live record. `key`: whose it is by our key, "" while nobody's."""

    record_id: str
    key: str

    @property
    def sobject(self) -> str:
        """Contact or Lead."""
        return object_of(self.record_id)


def object_of(record_id: str) -> str:
    """The object of a person's record: ids begin with their object's prefix."""
    return _OBJECTS.get(record_id[:3], "Contact")


async def successors_of_keys(
    client: SalesforceClient, sobject: str, keys: Sequence[str]
) -> dict[str, Successor]:
    """Our key → the live record that its deleted or converted record went to."""
    soql = f"SELECT Id, {CONTACT_KEY} FROM {sobject} WHERE {CONTACT_KEY} IN {{}}"  # noqa: S608 - ours
    rows = await select_in(client, soql, keys, deleted=True)
    origins = {row["Id"]: row[CONTACT_KEY] for row in rows}
    found = await successors_of_records(client, list(origins))
    return {origins[record_id]: successor for record_id, successor in found.items()}


async def successors_of_records(client: SalesforceClient, record_ids: Sequence[str]) -> dict[str, Successor]:
    """Record id → the live record it went to, over several merges; one that is simply deleted has none."""
    found: dict[str, Successor] = {}
    places = {record_id: record_id for record_id in record_ids}  # where each one is by now
    for _ in range(_HOPS):
        if not places:
            break
        onward: dict[str, str] = {}
        for sobject in sorted({object_of(place) for place in places.values()}):
            conversion = ", IsConverted, ConvertedContactId" if sobject == "Lead" else ""
            rows = await select_in(
                client,
                f"SELECT Id, IsDeleted, MasterRecordId, {CONTACT_KEY}{conversion} "  # noqa: S608 - ours
                f"FROM {sobject} WHERE Id IN {{}}",
                [place for place in places.values() if object_of(place) == sobject],
                deleted=True,
            )
            by_id = {bare(row["Id"]): row for row in rows}
            for origin, place in places.items():
                row = by_id.get(bare(place))
                if row is None:
                    continue
                if row.get("IsConverted") and row.get("ConvertedContactId"):
                    onward[origin] = row["ConvertedContactId"]
                elif row.get("IsDeleted") and row.get("MasterRecordId"):
                    onward[origin] = row["MasterRecordId"]
                elif not row.get("IsDeleted"):
                    found[origin] = Successor(record_id=place, key=row.get(CONTACT_KEY) or "")
        places = onward
    return found
