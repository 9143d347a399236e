"""Finding people by phone: SOQL over every phone field of the object, by the last digits in order.

Numbers are stored as they were typed, so the pattern lets anything stand between the digits. SOQL and not SOSL: its
answer is complete and does not lag behind writes, and what its search index makes of a number is not documented. The
price is a scan, once for each batch of people who are new to us.
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta (LIKE; text search tokens)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from simple_salesforce.format import format_soql

from connector.crm.phone_hits import attribute, tail
from connector.crm.port import NOW, CandidateContact, ContactHits, ContactQuery, Terms
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.queries import select, select_in
from connector.crm.salesforce.schema import CONTACT_KEY
from connector.crm.salesforce.successors import object_of

PEOPLE_PER_CALL = 40
"""So that a query stays within a URI of 16,384 bytes, and its conditions within a few hundred."""

_OTHERS_NUMBERS = frozenset({"Fax", "AssistantPhone"})


class ContactSearch:
    """Searches of one org. `sobject`: what people are written as; a Contact is theirs too where they are Leads."""

    def __init__(self, client: SalesforceClient, sobject: str) -> None:
        self._client = client
        self._objects = ("Contact", "Lead") if sobject == "Lead" else ("Contact",)
        self._fields: dict[str, tuple[str, ...]] = {}

    async def find(self, queries: Sequence[ContactQuery], terms: Terms = NOW) -> list[ContactHits]:
        """Candidates for each query, by phone and by our key."""
        client = self._client.under(terms)
        found: list[CandidateContact] = []
        for sobject in self._objects:
            for soql in await self._queries(client, sobject, queries):
                found += [self._candidate(sobject, row) for row in await select(client, soql)]
        return [ContactHits(candidates=hits) for hits in attribute(queries, found)]

    async def fetch(self, record_ids: Sequence[str], terms: Terms = NOW) -> list[CandidateContact | None]:
        """These records, as a search would show them. None: it is not there (any more), or was converted."""
        client = self._client.under(terms)
        found: dict[str, CandidateContact] = {}
        for sobject in sorted({object_of(record_id) for record_id in record_ids}):
            fields = await self._phone_fields(client, sobject)
            names = ", ".join(("Id", CONTACT_KEY, "Name", "CreatedDate", "LastModifiedDate", *fields))
            unconverted = " AND IsConverted = false" if sobject == "Lead" else ""
            soql = f"SELECT {names} FROM {sobject} WHERE Id IN {{}}{unconverted}"  # noqa: S608 - ours
            wanted = [record_id for record_id in record_ids if object_of(record_id) == sobject]
            for row in await select_in(client, soql, wanted):
                found[str(row["Id"])] = self._candidate(sobject, row)
        return [found.get(record_id) for record_id in record_ids]

    async def _queries(
        self, client: SalesforceClient, sobject: str, queries: Sequence[ContactQuery]
    ) -> list[str]:
        fields = await self._phone_fields(client, sobject)
        names = ", ".join(("Id", CONTACT_KEY, "Name", "CreatedDate", "LastModifiedDate", *fields))
        unconverted = " AND IsConverted = false" if sobject == "Lead" else ""
        texts = []
        for start in range(0, len(queries), PEOPLE_PER_CALL):
            chunk = queries[start : start + PEOPLE_PER_CALL]
            tails = sorted({tail(phone) for query in chunk for phone in query.phones})
            patterns = ["%" + "%".join(digits) + "%" for digits in tails]
            hits = [f"{name} LIKE '{pattern}'" for name in fields for pattern in patterns]
            keys = format_soql(f"{CONTACT_KEY} IN {{}}", [query.key for query in chunk])
            anybody = " OR ".join((keys, *hits))  # our user may see no phone field at all
            texts.append(f"SELECT {names} FROM {sobject} WHERE ({anybody}){unconverted}")  # noqa: S608 - digits
        return texts

    async def _phone_fields(self, client: SalesforceClient, sobject: str) -> tuple[str, ...]:
        """Every field of phones that our user sees, the org's own included; not those of other people's numbers."""
        if sobject not in self._fields:
            answer = await client.call("GET", f"sobjects/{sobject}/describe", writes=False)
            self._fields[sobject] = tuple(
                field["name"]
                for field in answer["fields"]
                if field.get("type") == "phone"
                and field.get("filterable", True)
                and field["name"] not in _OTHERS_NUMBERS
            )
        return self._fields[sobject]

    def _candidate(self, sobject: str, row: Mapping[str, Any]) -> CandidateContact:
        return CandidateContact(
            record_id=str(row["Id"]),
            key=row.get(CONTACT_KEY) or "",
            name=str(row.get("Name") or ""),
            phones=tuple(str(row[name]) for name in self._fields[sobject] if row.get(name)),
            created_at=_time(row.get("CreatedDate")),
            updated_at=_time(row.get("LastModifiedDate")),
            second_choice=sobject == "Lead",
        )


def _time(value: str | None) -> datetime | None:
    return None if not value else datetime.fromisoformat(value)
