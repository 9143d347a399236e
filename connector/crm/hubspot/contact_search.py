"""Finding contacts by phone, many people in one search, within the search's own narrow limits.

https://developers.hubspot.com/docs/api-reference/search/guide: bodies of 3,000 characters, 5 groups of filters,
200 results a page, 5 searches a second and account. Phones are searched in `hs_searchable_calculated_*`, which hold
area code and local number without the country code, whatever was typed; leading zeros fall away (observed). A
number without "+" stands there with all its digits. So a hit is only a candidate, and one number in two countries
is found twice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import phonenumbers

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.phone_hits import attribute
from connector.crm.port import NOW, CandidateContact, ContactQuery, Terms
from connector.errors import Terminal

PEOPLE_PER_CALL = 100

_BODY_LIMIT = 3_000
_PAGE = 200
_CALCULATED = ("hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number")
_VERBATIM = ("hs_whatsapp_phone_number", "whatsapp_phone")
_TYPED = ("phone", "mobilephone", "hs_whatsapp_phone_number", "whatsapp_phone")
_SHOWN = (CONTACT_KEY, *_TYPED, "firstname", "lastname", "createdate", "lastmodifieddate")


class ContactSearch:
    """Searches of one account."""

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client
        self._verbatim: Sequence[str] = _VERBATIM

    async def find(self, queries: Sequence[ContactQuery], terms: Terms = NOW) -> list[list[CandidateContact]]:
        """Candidates for each query: by its phones, and by its key for those whose phone brought somebody up."""
        client = self._client.under(terms)
        try:
            found = await self._by_phone(client, queries)
        except (HubSpotRefusal, Terminal) as error:
            absent = {name for name in self._verbatim if name in error.message}
            if not absent:
                raise
            # A property that this portal lacks; nobody's number is in it.
            self._verbatim = tuple(name for name in self._verbatim if name not in absent)
            return await self.find(queries, terms)
        candidates = attribute(queries, found.values())
        # A record with our key is the person's, also when search lags behind the write that made it.
        keys = [query.key for query, hits in zip(queries, candidates, strict=True) if hits]
        for record in await _with_keys(client, keys):
            found[str(record["id"])] = _candidate(record)
        return attribute(queries, found.values()) if keys else candidates

    async def _by_phone(
        self, client: HubSpotClient, queries: Sequence[ContactQuery]
    ) -> dict[str, CandidateContact]:
        found: dict[str, CandidateContact] = {}
        for body in search_bodies(queries, verbatim=self._verbatim):
            async for record in _pages(client, body):
                found[str(record["id"])] = _candidate(record)
        return found


async def _pages(client: HubSpotClient, body: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
    path = client.path("objects", "contacts/search")
    after: str | None = None
    while True:
        page = dict(body) if after is None else {**body, "after": after}
        _, answer = await client.call("POST", path, page, writes=False)
        for record in answer.get("results") or ():
            yield record
        after = ((answer.get("paging") or {}).get("next") or {}).get("after")
        if after is None:
            return


async def _with_keys(client: HubSpotClient, keys: Sequence[str]) -> Sequence[Mapping[str, Any]]:
    if not keys:
        return ()
    body = {"idProperty": CONTACT_KEY, "properties": _SHOWN, "inputs": [{"id": key} for key in keys]}
    path = client.path("objects", "contacts/batch/read")
    _, answer = await client.call("POST", path, body, writes=False)
    records: Sequence[Mapping[str, Any]] = answer.get("results") or ()
    return records


def search_bodies(
    queries: Sequence[ContactQuery], *, verbatim: Sequence[str] = _VERBATIM
) -> list[dict[str, Any]]:
    """As few searches for these people as fit into HubSpot's body limit. `verbatim`: properties that hold E.164."""
    bodies: list[dict[str, Any]] = []
    chunk: list[ContactQuery] = []
    for query in queries:
        if chunk and _length(_body([*chunk, query], verbatim)) > _BODY_LIMIT:
            bodies.append(_body(chunk, verbatim))
            chunk = []
        chunk.append(query)
    return [*bodies, _body(chunk, verbatim)] if chunk else bodies


def searched_forms(phone: str) -> frozenset[str]:
    """What the calculated properties may hold of a number, however it was typed."""
    forms = {phone}
    try:
        number = phonenumbers.parse(f"+{phone}")
    except phonenumbers.NumberParseException:
        return frozenset(forms)
    forms.add(phonenumbers.national_significant_number(number))
    # Dialled within the country: 011 15-2345-6789 for Argentina's +54 9 11 2345-6789.
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    forms.add("".join(filter(str.isdigit, national)))
    return frozenset(form.lstrip("0") for form in forms)


def _body(queries: Iterable[ContactQuery], verbatim: Sequence[str]) -> dict[str, Any]:
    phones = sorted({phone for query in queries for phone in query.phones})
    forms = sorted({form for phone in phones for form in searched_forms(phone)})
    filters = [(name, forms) for name in _CALCULATED]
    filters += [(name, [f"+{phone}" for phone in phones]) for name in verbatim]
    return {
        "filterGroups": [
            {"filters": [{"propertyName": name, "operator": "IN", "values": values}]}
            for name, values in filters
        ],
        "properties": list(_SHOWN),
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "limit": _PAGE,
    }


def _length(body: Mapping[str, Any]) -> int:
    """As it goes out, with the place of the next page."""
    return len(json.dumps({**body, "after": "10000"}))


def _candidate(record: Mapping[str, Any]) -> CandidateContact:
    values = record.get("properties") or {}
    return CandidateContact(
        record_id=str(record["id"]),
        key=values.get(CONTACT_KEY) or "",
        name=" ".join(filter(None, (values.get("firstname"), values.get("lastname")))),
        phones=tuple(values[name] for name in _TYPED if values.get(name)),
        created_at=_time(record.get("createdAt") or values.get("createdate")),
        updated_at=_time(record.get("updatedAt") or values.get("lastmodifieddate")),
    )


def _time(value: str | None) -> datetime | None:
    return None if not value else datetime.fromisoformat(value)
