"""Finding contacts by phone, many people in one search, within the search's own narrow limits.

https://developers.hubspot.com/docs/api-reference/search/guide: bodies of 3,000 characters, 5 groups of filters,
200 results a page, 5 searches a second and account. Phones are searched in `hs_searchable_calculated_*`, which hold
area code and local number without the country code, whatever was typed; leading zeros fall away (observed). A
number without "+" stands there with all its digits. So a hit is only a candidate, and one number in two countries
is found twice. No search shows more than 10,000 hits: one for many people is taken apart, and one for a single person
is said to be incomplete.

Five searches a second bound how many new people a second there may be, so a body holds as many as it can. A record
without our key whose number is in a WhatsApp property alone is rare: where one search says that there is none in the
portal, these properties are left out for a large batch, and half as many people more fit.

An account may lack one of the properties, or search altogether. What it lacks is done without: a calculated property is
replaced by the one that people type into, and without any search only the records with our key are found, which is
said too. New people then are made although their number may be on file; to wait for a search that never comes would
keep them from the CRM for good.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
import phonenumbers
import structlog

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.failures import HubSpotRefusal
from connector.crm.hubspot.reads import read_records
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.personal_data import readable
from connector.crm.phone_hits import attribute
from connector.crm.port import NOW, CandidateContact, ContactHits, ContactQuery, Later, Terms
from connector.crm.times import read_time
from connector.errors import Terminal

log = structlog.get_logger(__name__)

PEOPLE_PER_CALL = 250
"""Some ten searches; the last one of them is seldom full."""

_BODY_LIMIT = 3_000
_PAGE = 200
_AT_ONCE = 2  # searches in flight: five a second also when each takes 0.4 s
_MOST_HITS = 10_000
_ASK_AGAIN = (
    600.0  # seconds; a portal whose people are in the WhatsApp properties is not asked for each batch
)
_CALCULATED = ("hs_searchable_calculated_phone_number", "hs_searchable_calculated_mobile_number")
_VERBATIM = ("hs_whatsapp_phone_number", "whatsapp_phone")
_TYPED = ("phone", "mobilephone", "hs_whatsapp_phone_number", "whatsapp_phone")
_INSTEAD = dict(zip(_CALCULATED, ("phone", "mobilephone"), strict=True))
"""Calculated property → the typed one that it is made of."""
_ABSENT = re.compile(
    r"not? exist|no property|unknown|unrecogni[sz]ed|not found|not searchable|not filterable", re.IGNORECASE
)
_NAME = re.compile(r"\w+")
_SHOWN = (CONTACT_KEY, *_TYPED, "firstname", "lastname")


@dataclass(kw_only=True, slots=True)
class _Found:
    """Record id → record; and of whom (by key) there is more than was shown, or nothing was told."""

    records: dict[str, CandidateContact] = field(default_factory=dict)
    incomplete: set[str] = field(default_factory=set)
    untold: dict[str, str] = field(default_factory=dict)


class ContactSearch:
    """Searches of one account."""

    def __init__(self, client: HubSpotClient) -> None:
        self._client = client
        self._numbers: tuple[str, ...] = _CALCULATED
        self._verbatim: tuple[str, ...] = _VERBATIM
        self._ask_from = 0.0  # monotonic seconds

    async def find(self, queries: Sequence[ContactQuery], terms: Terms = NOW) -> list[ContactHits | Later]:
        """Candidates for each query: by its phones, and by its key for those whose phone brought somebody up."""
        client = self._client.under(terms)
        if not (self._numbers or self._verbatim):
            return await self._by_key_alone(client, queries)
        found = _Found()
        full = (*self._numbers, *self._verbatim)
        try:
            short = len(_chunks(queries, full)) > 1 and await self._are_unused(client)
            await self._search_all(client, queries, found, searched=self._numbers if short else full)
        except (HubSpotRefusal, Terminal) as error:
            absent = _said_to_be_absent(error.message, full)
            if absent:
                self._do_without(absent)
                return await self.find(queries, terms)
            if not (isinstance(error, HubSpotRefusal) and error.has_no_endpoint):
                raise
            said = readable(error.message)
            log.warning("HubSpot has no search for contacts; records are not adopted", reason=said)
            return await self._by_key_alone(client, queries)
        # A record with our key is the person's, also when search lags behind the write that made it.
        hits = attribute(queries, found.records.values())
        keys = [query.key for query, candidates in zip(queries, hits, strict=True) if candidates or short]
        if keys:
            known = await read_records(client, "contacts", keys, properties=_SHOWN, id_property=CONTACT_KEY)
            found.records |= {str(record["id"]): _candidate(record) for record in known.records}
            found.untold |= known.unsettled
            hits = attribute(queries, found.records.values())
        return [
            Later(reason=found.untold[query.key])
            if query.key in found.untold
            else ContactHits(candidates=candidates, complete=query.key not in found.incomplete)
            for query, candidates in zip(queries, hits, strict=True)
        ]

    async def fetch(
        self, record_ids: Sequence[str], terms: Terms = NOW
    ) -> list[CandidateContact | Later | None]:
        """These records, as a search would show them. None: it is not there. One that was merged is what it became."""
        client = self._client.under(terms)
        reading = await read_records(client, "contacts", record_ids, properties=_SHOWN)
        found = {str(record["id"]): _candidate(record) for record in reading.records}
        results: list[CandidateContact | Later | None] = []
        for record_id in record_ids:
            if record_id in found or record_id in reading.absent:
                results.append(found.get(record_id))
            elif record_id in reading.unsettled:
                results.append(Later(reason=reading.unsettled[record_id]))
            else:  # it came under another id, which a batch does not tell
                alone = await read_records(client, "contacts", [record_id], properties=_SHOWN)
                results.append(next(map(_candidate, alone.records), None))
        return results

    async def _are_unused(self, client: HubSpotClient) -> bool:
        """Whether no record without our key has a number in the WhatsApp properties; False when it is not known."""
        if time.monotonic() < self._ask_from:
            return False
        if not self._numbers:
            return False
        if not self._verbatim:
            return True
        path = client.path("objects", "contacts/search")
        try:
            _, answer = await client.call("POST", path, _unkeyed(self._verbatim), writes=False)
        except HubSpotRefusal as refusal:
            if refusal.has_no_endpoint or _said_to_be_absent(refusal.message, self._verbatim):
                raise
            answer = {}  # this way of asking is not taken; the searches themselves may be
        if answer.get("total") == 0 and not answer.get("results"):
            return True
        self._ask_from = time.monotonic() + _ASK_AGAIN
        return False

    def _do_without(self, absent: Collection[str]) -> None:
        """Nobody's number is in a property that this portal lacks, nor is any found by it."""
        instead = [_INSTEAD.get(name, "") if name in absent else name for name in self._numbers]
        self._numbers = tuple(filter(None, instead))
        self._verbatim = tuple(name for name in self._verbatim if name not in absent)
        log.warning("HubSpot cannot search contacts by a property", absent=sorted(absent))

    async def _by_key_alone(
        self, client: HubSpotClient, queries: Sequence[ContactQuery]
    ) -> list[ContactHits | Later]:
        """Records with our key: all that is known of people where their numbers cannot be searched for."""
        keys = [query.key for query in queries]
        known = await read_records(client, "contacts", keys, properties=_SHOWN, id_property=CONTACT_KEY)
        hits = attribute(queries, [_candidate(record) for record in known.records])
        return [
            Later(reason=known.unsettled[query.key])
            if query.key in known.unsettled
            else ContactHits(candidates=candidates, complete=False)
            for query, candidates in zip(queries, hits, strict=True)
        ]

    async def _search_all(
        self,
        client: HubSpotClient,
        queries: Sequence[ContactQuery],
        found: _Found,
        *,
        searched: Sequence[str],
    ) -> None:
        """Search for everybody, a few searches at once; the first failure counts, when none is under way any more."""
        turns = asyncio.Semaphore(_AT_ONCE)
        failed = asyncio.Event()

        async def search(chunk: Sequence[ContactQuery]) -> None:
            async with turns:
                if failed.is_set():
                    return
                try:
                    await self._search(client, chunk, found, searched=searched)
                except BaseException:
                    failed.set()
                    raise

        results = await asyncio.gather(
            *(search(chunk) for chunk in _chunks(queries, searched)), return_exceptions=True
        )
        for result in results:
            if result is not None:
                raise result

    async def _search(
        self,
        client: HubSpotClient,
        queries: Sequence[ContactQuery],
        found: _Found,
        *,
        searched: Sequence[str],
    ) -> None:
        """One search, taken apart when it brings up too much or HubSpot refuses it for one of the people."""
        body = _body(queries, searched)
        try:
            records, total = await _pages(client, body)
        except HubSpotRefusal as refusal:
            if _said_to_be_absent(refusal.message, searched) or not refusal.is_about_content:
                raise
            if len(queries) == 1:
                found.untold[queries[0].key] = refusal.message
                return
        else:
            if total <= _MOST_HITS or len(queries) == 1:
                found.records |= {str(record["id"]): _candidate(record) for record in records}
                if total > _MOST_HITS:
                    found.incomplete.add(queries[0].key)
                elif len(records) < total:
                    said = f"HubSpot counts {total} hits and shows {len(records)}."
                    found.untold |= {query.key: said for query in queries}
                return
        middle = len(queries) // 2
        await self._search(client, queries[:middle], found, searched=searched)
        await self._search(client, queries[middle:], found, searched=searched)


async def _pages(client: HubSpotClient, body: Mapping[str, Any]) -> tuple[Sequence[Mapping[str, Any]], int]:
    """The hits and how many there are; of more than a search shows, the first page."""
    path = client.path("objects", "contacts/search")
    records: list[Mapping[str, Any]] = []
    after: str | None = None
    while True:
        page = dict(body) if after is None else {**body, "after": after}
        _, answer = await client.call("POST", path, page, writes=False)
        records += answer.get("results") or ()
        total = int(answer.get("total") or 0)
        asked, after = after, ((answer.get("paging") or {}).get("next") or {}).get("after")
        if after in (None, asked) or total > _MOST_HITS:
            return records, total


def search_bodies(
    queries: Sequence[ContactQuery], *, verbatim: Sequence[str] = _VERBATIM
) -> list[dict[str, Any]]:
    """As few searches for these people as fit into HubSpot's body limit. `verbatim`: properties that hold E.164."""
    searched = (*_CALCULATED, *verbatim)
    return [_body(chunk, searched) for chunk in _chunks(queries, searched)]


def _chunks(queries: Sequence[ContactQuery], searched: Sequence[str]) -> list[list[ContactQuery]]:
    chunks: list[list[ContactQuery]] = []
    for query in queries:
        if chunks and _length(_body([*chunks[-1], query], searched)) <= _BODY_LIMIT:
            chunks[-1].append(query)
        else:
            chunks.append([query])
    return chunks


@lru_cache(maxsize=4096)
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


def _body(queries: Iterable[ContactQuery], searched: Sequence[str]) -> dict[str, Any]:
    phones = {phone for query in queries for phone in query.phones}
    forms = sorted({form for phone in phones for form in searched_forms(phone)})
    full = sorted(f"+{phone}" for phone in phones)
    values = {**dict.fromkeys(_CALCULATED, forms), **dict.fromkeys(_VERBATIM, full)}
    return {
        "filterGroups": [
            {
                "filters": [
                    {"propertyName": name, "operator": "IN", "values": values.get(name, [*full, *forms])}
                ]
            }
            for name in searched
        ],
        "properties": list(_SHOWN),
        "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
        "limit": _PAGE,
    }


def _unkeyed(names: Sequence[str]) -> dict[str, Any]:
    """A search for any record that has a number in one of these properties, and not our key."""
    no_key = {"propertyName": CONTACT_KEY, "operator": "NOT_HAS_PROPERTY"}
    return {
        "filterGroups": [
            {"filters": [{"propertyName": name, "operator": "HAS_PROPERTY"}, no_key]} for name in names
        ],
        "properties": [CONTACT_KEY],
        "limit": 1,
    }


def _said_to_be_absent(message: str, names: Iterable[str]) -> set[str]:
    """Properties that this portal lacks, by the error of a search; any other error may be about a value."""
    return set(names) & set(_NAME.findall(message)) if _ABSENT.search(message) else set()


def _length(body: Mapping[str, Any]) -> int:
    """As it goes out, with the place of the next page."""
    return len(orjson.dumps({**body, "after": "10000"}))


def _candidate(record: Mapping[str, Any]) -> CandidateContact:
    values = record.get("properties") or {}
    return CandidateContact(
        record_id=str(record["id"]),
        key=values.get(CONTACT_KEY) or "",
        name=" ".join(filter(None, (values.get("firstname"), values.get("lastname")))),
        phones=tuple(values[name] for name in _TYPED if values.get(name)),
        created_at=read_time(record.get("createdAt")),
        updated_at=read_time(record.get("updatedAt")),
    )
