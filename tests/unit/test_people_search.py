"""Looking people up in accounts that lack something: a property, a way to ask, or search altogether."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Self, cast
from uuid import UUID

import pytest

from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.contact_search import ContactSearch as HubSpotSearch
from connector.crm.hubspot.failures import call_failure as hubspot_failure
from connector.crm.hubspot.schema import CONTACT_KEY
from connector.crm.port import ContactHits, ContactQuery, Terms
from connector.crm.salesforce.client import SalesforceClient
from connector.crm.salesforce.contact_search import ContactSearch as SalesforceSearch
from connector.crm.salesforce.failures import call_failure as salesforce_failure
from connector.crm.times import read_time
from connector.errors import Terminal

ANA = ContactQuery(key=str(UUID(int=1)), phones=("5511988880000",))
BEA = ContactQuery(key=str(UUID(int=2)), phones=("5511988881111",))
CALCULATED = "hs_searchable_calculated_phone_number"


class Portal:
    """HubSpot as far as search goes: `lacks` names properties, `refuses` is said to every search."""

    def __init__(
        self, *contacts: Mapping[str, Any], lacks: Callable[[str], str] = lambda _: "", refuses: int = 0
    ) -> None:
        self._contacts = contacts
        self._lacks = lacks
        self._refuses = refuses
        self.searches: list[list[str]] = []

    def under(self, _: Terms) -> Self:
        return self

    def path(self, _: str, rest: str) -> str:
        return rest

    async def call(self, _: str, path: str, body: Mapping[str, Any], *, writes: bool) -> Any:
        if path.endswith("batch/read"):
            keys = {item["id"] for item in body["inputs"]}
            found = [item for item in self._contacts if item["properties"].get(CONTACT_KEY) in keys]
            absent = {"category": "OBJECT_NOT_FOUND", "context": {"ids": sorted(keys)}}
            return 207, {"results": found, "errors": [absent]}
        if self._refuses:
            raise hubspot_failure(self._refuses, {"message": "no such resource"}, {}, writes=writes)
        filters = [item for group in body["filterGroups"] for item in group["filters"]]
        self.searches.append([item["propertyName"] for item in filters])
        for item in filters:
            if said := self._lacks(item["propertyName"]):
                raise hubspot_failure(400, {"message": said}, {}, writes=writes)
        found = [
            contact
            for contact in self._contacts
            if any(contact["properties"].get(item["propertyName"]) in item["values"] for item in filters)
        ]
        return 200, {"total": len(found), "results": found}

    async def find(self, *queries: ContactQuery) -> list[ContactHits]:
        hits = await HubSpotSearch(cast("HubSpotClient", self)).find(queries)
        assert all(isinstance(item, ContactHits) for item in hits)
        return cast("list[ContactHits]", hits)


def contact(record_id: str, **properties: str) -> dict[str, Any]:
    return {"id": record_id, "properties": properties}


def _ids(hits: ContactHits) -> list[str]:
    return [item.record_id for item in hits.candidates]


@pytest.mark.parametrize(
    "said",
    [
        "There was a problem with the request: property {} does not exist.",
        'Property "{}" does not exist',
        "Unknown property name '{}'",
    ],
)
async def test_a_calculated_property_that_is_not_there_is_replaced_by_the_typed_one(said: str) -> None:
    """Whoever was typed in as WhatsApp writes them is adopted; nobody waits for a property that never comes."""
    portal = Portal(
        contact("7", phone="+5511988880000"),
        lacks=lambda name: said.format(name) if "calculated" in name else "",
    )
    ana, bea = await portal.find(ANA, BEA)
    assert (_ids(ana), _ids(bea)) == (["7"], [])
    assert ana.complete
    assert portal.searches[-1] == ["phone", "mobilephone", "hs_whatsapp_phone_number", "whatsapp_phone"]


async def test_only_the_property_that_is_named_is_done_without() -> None:
    """One property's name ends like another's: only the absent one goes."""
    absent = "hs_whatsapp_phone_number"
    portal = Portal(lacks=lambda name: f"property {name} does not exist" if name == absent else "")
    await portal.find(ANA)
    assert absent not in portal.searches[-1]
    assert "whatsapp_phone" in portal.searches[-1]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_without_a_search_people_are_known_by_our_key_and_nobody_waits(status: int) -> None:
    """An account without search: who has our key is found, and it is said that others may have the number."""
    portal = Portal(
        contact("7", **{CONTACT_KEY: ANA.key}), contact("8", phone="+5511988881111"), refuses=status
    )
    ana, bea = await portal.find(ANA, BEA)
    assert (_ids(ana), _ids(bea)) == (["7"], [])
    assert (ana.complete, bea.complete) == (False, False)


async def test_without_any_property_to_search_by_people_are_known_by_our_key() -> None:
    """When each property is refused by its name the search ends too."""
    portal = Portal(lacks=lambda name: f"property {name} does not exist")
    [ana] = await portal.find(ANA)
    assert (_ids(ana), ana.complete) == ([], False)


async def test_a_search_for_which_the_scope_is_missing_stops_the_line() -> None:
    """A person can give the scope, so it is asked for instead of doing without."""
    with pytest.raises(Terminal):
        await Portal(refuses=403).find(ANA)


class Org:
    """Salesforce as far as queries go: `refuses(soql)` is the code of an error, "" for none."""

    def __init__(self, refuses: Callable[[str], str], said: str = "unexpected token") -> None:
        self._refuses = refuses
        self._said = said
        self.queries: list[str] = []

    def under(self, _: Terms) -> Self:
        return self

    async def call(
        self, _: str, path: str, *, params: Mapping[str, str] | None = None, writes: bool
    ) -> dict[str, Any]:
        if path.endswith("/describe"):
            names = ("Phone", "MobilePhone")
            return {"fields": [{"name": name, "type": "phone"} for name in names]}
        soql = (params or {})["q"]
        self.queries.append(soql)
        if code := self._refuses(soql):
            raise salesforce_failure(400, [{"errorCode": code, "message": self._said}], {}, writes=writes)
        record = {"Id": "003A", "Phone": "+5511988880000", "CreatedDate": "2026-03-01T23:30:00.000+0000"}
        return {"records": [record] if "5511988880000" in soql else [], "done": True}

    async def find(self, *queries: ContactQuery) -> list[ContactHits]:
        return await SalesforceSearch(cast("SalesforceClient", self), "Contact").find(queries)


async def test_an_org_that_refuses_the_pattern_is_asked_for_numbers_as_they_are_written() -> None:
    """Numbers in the usual forms are found by equality, and the way that passes is remembered."""
    org = Org(lambda soql: "MALFORMED_QUERY" if "LIKE" in soql else "")
    search = SalesforceSearch(cast("SalesforceClient", org), "Contact")
    [ana] = await search.find([ANA])
    assert (_ids(ana), ana.complete) == (["003A"], True)
    await search.find([ANA, BEA])
    assert len(org.queries) == 3


async def test_an_org_that_refuses_every_search_by_phone_is_asked_by_our_key() -> None:
    """Nobody waits for it for ever, and it is said that others may have the number."""
    org = Org(lambda soql: "MALFORMED_QUERY" if "Phone LIKE" in soql or "Phone IN" in soql else "")
    ana, bea = await org.find(ANA, BEA)
    assert (ana.complete, bea.complete) == (False, False)


async def test_a_field_that_cannot_be_asked_about_is_left_out() -> None:
    """A describe may list as usable what a query refuses; the others still tell."""
    said = "field 'MobilePhone' can not be filtered in a query call"
    org = Org(lambda soql: "INVALID_FIELD" if "MobilePhone LIKE" in soql else "", said)
    [ana] = await org.find(ANA)
    assert ana.complete
    assert "Phone LIKE" in org.queries[-1]
    assert "MobilePhone" not in org.queries[-1]


@pytest.mark.parametrize(
    ("value", "time"),
    [
        pytest.param("2026-03-01T23:30:00.000Z", datetime(2026, 3, 1, 23, 30, tzinfo=UTC), id="iso"),
        pytest.param("2026-03-01T23:30:00.000+0000", datetime(2026, 3, 1, 23, 30, tzinfo=UTC), id="offset"),
        pytest.param("2026-03-01T23:30:00", datetime(2026, 3, 1, 23, 30, tzinfo=UTC), id="no zone"),
        pytest.param("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC), id="date"),
        pytest.param("1772407800000", datetime(2026, 3, 1, 23, 30, tzinfo=UTC), id="milliseconds"),
        pytest.param(1772407800000, datetime(2026, 3, 1, 23, 30, tzinfo=UTC), id="number"),
        pytest.param("yesterday", None, id="words"),
        pytest.param("inf", None, id="no number"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="nothing"),
        pytest.param(True, None, id="boolean"),
    ],
)
def test_a_time_is_read_in_any_form_and_always_has_a_zone(value: Any, time: datetime | None) -> None:
    """Any two can be compared, and one that is unreadable is only not known."""
    assert read_time(value) == time
