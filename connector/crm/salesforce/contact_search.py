"""Finding people by phone: SOQL over every phone field of the object, by the last digits in order.

Numbers are stored as they were typed, so the pattern lets anything stand between the digits. SOQL and not SOSL: its
answer is complete and does not lag behind writes, and what its search index makes of a number is not documented. The
price is a scan, once for each batch of people who are new to us.

A query that the org refuses is taken apart, down to one person. Who cannot be asked about by the pattern is asked
about by the numbers as they are usually written, and at last by our key alone, which is said: to wait for an answer
that never comes would keep a person from the CRM for good.
https://developer.salesforce.com/docs/atlas.en-us.soql_sosl.meta (LIKE; text search tokens)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from connector.crm.personal_data import readable
from connector.crm.phone_hits import attribute, tail, written_forms
from connector.crm.port import NOW, CandidateContact, ContactHits, ContactQuery, Terms
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.failures import SalesforceRefusal, SetupLacking
from connector.crm.salesforce.ids import bare
from connector.crm.salesforce.queries import select, select_in
from connector.crm.salesforce.schema import CONTACT_KEY
from connector.crm.salesforce.sdk import format_soql
from connector.crm.salesforce.successors import object_of
from connector.crm.times import read_time

log = structlog.get_logger(__name__)

PEOPLE_PER_CALL = 40
"""So that a query stays within a URI of 16,384 bytes, and its conditions within a few hundred."""

_STANDARD = {
    "Contact": ("Phone", "MobilePhone", "HomePhone", "OtherPhone", "WA_Phone__c"),
    "Lead": ("Phone", "MobilePhone", "WA_Phone__c"),
}
"""Fields of phones in every org, where ours does not describe what it has."""
_OTHERS_NUMBERS = frozenset({"Fax", "AssistantPhone"})


class ContactSearch:
    """Searches of one org. `sobject`: what people are written as; a Contact is theirs too where they are Leads."""

    def __init__(self, client: SalesforceClient, sobject: str) -> None:
        self._client = client
        self._objects = ("Contact", "Lead") if sobject == "Lead" else ("Contact",)
        self._fields: dict[str, tuple[str, ...]] = {}
        self._ways: dict[str, int] = {}  # how far down the ways to ask this org is

    async def find(self, queries: Sequence[ContactQuery], terms: Terms = NOW) -> list[ContactHits]:
        """Candidates for each query, by phone and by our key."""
        client = self._client.under(terms)
        found: list[CandidateContact] = []
        untold: set[str] = set()
        for sobject in self._objects:
            for start in range(0, len(queries), PEOPLE_PER_CALL):
                chunk = queries[start : start + PEOPLE_PER_CALL]
                found += await self._search(client, sobject, chunk, untold)
        return [
            ContactHits(candidates=hits, complete=query.key not in untold)
            for query, hits in zip(queries, attribute(queries, found), strict=True)
        ]

    async def fetch(self, record_ids: Sequence[str], terms: Terms = NOW) -> list[CandidateContact | None]:
        """These records, as a search would show them. None: it is not there (any more), or was converted."""
        client = self._client.under(terms)
        found: dict[str, CandidateContact] = {}
        for sobject in sorted({object_of(record_id) for record_id in record_ids}):
            fields = await self._phone_fields(client, sobject)
            soql = f"{_select(sobject, fields)} WHERE Id IN {{}}{_living(sobject)}"
            wanted = [record_id for record_id in record_ids if object_of(record_id) == sobject]
            for row in await select_in(client, soql, wanted):
                found[bare(str(row["Id"]))] = self._candidate(sobject, row)
        return [found.get(bare(record_id)) for record_id in record_ids]

    async def _search(
        self, client: SalesforceClient, sobject: str, queries: Sequence[ContactQuery], untold: set[str]
    ) -> list[CandidateContact]:
        """Records of one object. `untold` gets the keys of those who were asked about by their key alone."""
        fields = await self._phone_fields(client, sobject)
        by_key = format_soql(f"{CONTACT_KEY} IN {{}}", [query.key for query in queries])
        ways = (_in_order, _as_written, _by_key_alone)
        way = self._ways.get(sobject, 0)
        anybody = " OR ".join((by_key, *ways[way](fields, queries)))  # our user may see no phone field at all
        try:
            rows = await select(client, f"{_select(sobject, fields)} WHERE ({anybody}){_living(sobject)}")
        except SalesforceRefusal as refusal:
            if len(queries) > 1:
                middle = len(queries) // 2
                first = await self._search(client, sobject, queries[:middle], untold)
                return [*first, *await self._search(client, sobject, queries[middle:], untold)]
            if way == len(ways) - 1:
                raise
            self._ways[sobject] = way + 1
            log.warning(
                "Salesforce refuses a search by phone", sobject=sobject, reason=readable(refusal.message)
            )
            return await self._search(client, sobject, queries, untold)
        except SetupLacking as error:  # a field that is listed, and cannot be asked about all the same
            named = set(re.findall(r"\w+", error.said))
            if CONTACT_KEY in named or not named & set(fields):
                raise
            self._fields[sobject] = tuple(name for name in fields if name not in named)
            log.warning("Salesforce cannot search by a field", sobject=sobject, reason=error.message)
            return await self._search(client, sobject, queries, untold)
        if ways[way] is _by_key_alone:
            untold.update(query.key for query in queries)
        return [self._candidate(sobject, row) for row in rows]

    async def _phone_fields(self, client: SalesforceClient, sobject: str) -> tuple[str, ...]:
        """Every field of phones that our user sees, the org's own included; not those of other people's numbers."""
        if sobject not in self._fields:
            try:
                described = (await client.call("GET", f"sobjects/{sobject}/describe", writes=False))["fields"]
            except (SalesforceRefusal, SetupLacking):
                described = [{"name": name, "type": "phone"} for name in _STANDARD[sobject]]
            self._fields[sobject] = tuple(
                field["name"]
                for field in described
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
            created_at=read_time(row.get("CreatedDate")),
            updated_at=read_time(row.get("LastModifiedDate")),
            second_choice=sobject == "Lead",
        )


def _select(sobject: str, fields: Sequence[str]) -> str:
    names = ", ".join(("Id", CONTACT_KEY, "Name", "CreatedDate", "LastModifiedDate", *fields))
    return f"SELECT {names} FROM {sobject}"  # noqa: S608 - ours


def _living(sobject: str) -> str:
    return " AND IsConverted = false" if sobject == "Lead" else ""


def _by_key_alone(_fields: Sequence[str], _queries: Sequence[ContactQuery]) -> list[str]:
    return []


def _in_order(fields: Sequence[str], queries: Sequence[ContactQuery]) -> list[str]:
    """Conditions for the last digits in order, with anything between them."""
    tails = sorted({tail(phone) for query in queries for phone in query.phones})
    patterns = ["%" + "%".join(digits) + "%" for digits in tails]
    return [f"{name} LIKE '{pattern}'" for name in fields for pattern in patterns]


def _as_written(fields: Sequence[str], queries: Sequence[ContactQuery]) -> list[str]:
    """Conditions for the numbers as people and programs usually write them."""
    phones = sorted({phone for query in queries for phone in query.phones})
    forms = list(dict.fromkeys(form for phone in phones for form in written_forms(phone)))
    return [format_soql(f"{name} IN {{}}", forms) for name in fields]
