from typing import Any

import pytest
from sandbox_portal import OBJECTS, Client, portal

from connector.sandbox.hubspot import PERSON_TOKEN
from connector.sandbox.hubspot.config import AppToken

READ = {"inputs": [{"id": "1"}]}


def phone_filter(*numbers: str, operator: str = "IN") -> dict[str, Any]:
    """Return a search for contacts by the calculated phone property."""
    condition = {"propertyName": "hs_searchable_calculated_phone_number", "operator": operator}
    value = {"values": list(numbers)} if operator == "IN" else {"value": numbers[0]}
    return {"filterGroups": [{"filters": [{**condition, **value}]}]}


async def search(hubspot: Client, document: Any) -> Any:
    """Search contacts a second after the last call, so that no limit is met."""
    hubspot.clock.now += 1
    return await hubspot.post(f"{OBJECTS}/contacts/search", document)


async def test_the_burst_limit_refuses_and_recovers() -> None:
    """The call beyond the burst is a 429 with policy and headers; ten seconds later it passes."""
    async with portal(burst_limit=5) as hubspot:
        hubspot.clock.now += 10
        answers = [await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert [answer.headers["X-HubSpot-RateLimit-Remaining"] for answer in answers[:5]] == list("43210")
        assert answers[5].json()["policyName"] == "TEN_SECONDLY_ROLLING"
        assert answers[5].json()["message"] == "You have reached your ten_secondly_rolling limit."
        assert "Retry-After" not in answers[5].headers
        hubspot.clock.now += 10
        assert (await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)).status_code == 200


@pytest.mark.parametrize(("form", "value"), [("seconds", "10"), ("milliseconds", "10000")])
async def test_retry_after_comes_in_either_unit(form: str, value: str) -> None:
    """Retry-After, where a portal sends it, may mean seconds or milliseconds."""
    async with portal(burst_limit=1, retry_after=form) as hubspot:
        answer = await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, value)


async def test_the_daily_limit_lasts_until_midnight_of_the_portal() -> None:
    """The daily limit refuses with policy DAILY until the portal's day turns."""
    async with portal(daily_limit=3, time_zone="Asia/Dubai") as hubspot:
        await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)
        refused = await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)
        assert (refused.status_code, refused.json()["policyName"]) == (429, "DAILY")
        hubspot.clock.now += 6 * 3600  # 18:13 in Dubai at the start
        assert (await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)).status_code == 200


async def test_search_has_its_own_limit_and_no_headers() -> None:
    """The sixth search within a second is refused; search answers carry no rate headers."""
    async with portal() as hubspot:
        answers = [await hubspot.post(f"{OBJECTS}/contacts/search", {}) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[5].json()["policyName"] == "SECONDLY"
        assert not any("RateLimit" in name for answer in answers for name in answer.headers)


async def test_a_person_meets_no_limit() -> None:
    """What a person does on a screen is not counted."""
    async with portal(burst_limit=2) as hubspot:
        answers = [
            await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ, token=PERSON_TOKEN) for _ in range(5)
        ]
        assert {answer.status_code for answer in answers} == {200}


async def test_search_finds_writes_only_after_the_lag() -> None:
    """A new contact is not found until the lag is over, then it is; so is its archiving."""
    async with portal(search_lag=5) as hubspot:
        contact_id = await hubspot.contact("k", phone="+16505551234")
        wanted = phone_filter("6505551234")
        assert (await search(hubspot, wanted)).json()["total"] == 0
        hubspot.clock.now += 5
        assert (await search(hubspot, wanted)).json()["results"][0]["id"] == contact_id
        await hubspot.post(f"{OBJECTS}/contacts/batch/archive", {"inputs": [{"id": contact_id}]})
        assert (await search(hubspot, wanted)).json()["total"] == 1
        hubspot.clock.now += 5
        assert (await search(hubspot, wanted)).json()["total"] == 0


async def test_phone_search_knows_no_country_code() -> None:
    """Numbers of two countries with the same national part are both found, one with code is not."""
    async with portal(search_lag=0) as hubspot:
        await hubspot.contact("us", phone="+1 (650) 555-1234")
        await hubspot.contact("mx", phone="+526505551234")
        assert (await search(hubspot, phone_filter("6505551234"))).json()["total"] == 2
        assert (await search(hubspot, phone_filter("16505551234"))).json()["total"] == 0
        assert (await search(hubspot, {"query": "+16505551234"})).json()["total"] == 2


@pytest.mark.parametrize(
    "document",
    [
        {"limit": 201},
        {"limit": 100, "after": "9901"},
        {"query": "x" * 3_000},
        {"filterGroups": [{"filters": [{"propertyName": "nope", "operator": "EQ", "value": "x"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "LIKE", "value": "x"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "IN", "values": ["X@y.z"]}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "IN", "value": "x@y.z"}]}]},
        {"filterGroups": [{"filters": []}] * 6},
        {
            "filterGroups": [
                {"filters": [{"propertyName": "email", "operator": "HAS_PROPERTY"}] * 7},
            ]
        },
        {"filterGroups": [{"filters": [{"propertyName": "email", "operator": "HAS_PROPERTY", "value": ""}]}]},
    ],
    ids=[
        "page-201",
        "past-10000",
        "body-3000",
        "unknown-property",
        "unknown-operator",
        "upper-case-in",
        "in-without-values",
        "six-groups",
        "seven-filters",
        "value-where-none-belongs",
    ],
)
async def test_search_refuses_what_its_documentation_forbids(document: dict[str, Any]) -> None:
    """Each documented limit of search is a 400."""
    async with portal() as hubspot:
        assert (await search(hubspot, document)).status_code == 400


async def test_search_pages_through_its_results() -> None:
    """Pages follow each other through `after` and the last has no paging."""
    async with portal(search_lag=0) as hubspot:
        for key in "abc":
            await hubspot.contact(key, firstname="Ana")
        wanted = {
            "filterGroups": [{"filters": [{"propertyName": "firstname", "operator": "EQ", "value": "ana"}]}],
            "properties": ["whatsapp_contact_key"],
            "limit": 2,
        }
        first = (await search(hubspot, wanted)).json()
        last = (await search(hubspot, {**wanted, "after": first["paging"]["next"]["after"]})).json()
        keys = [item["properties"]["whatsapp_contact_key"] for item in first["results"] + last["results"]]
        assert (first["total"], keys, "paging" in last) == (3, ["a", "b", "c"], False)


async def test_an_account_that_buys_calls_goes_on_at_once() -> None:
    """Limits change while the portal runs; its records stay, and what is no limit is refused."""
    async with portal(daily_limit=3) as hubspot:
        await hubspot.contact("a")
        answers = [await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ) for _ in range(2)]
        assert answers[-1].json()["policyName"] == "DAILY"
        changed = await hubspot.http.post("/_sandbox/limits", json={"daily_limit": 1_000})
        assert changed.status_code == 204
        answer = await hubspot.post(f"{OBJECTS}/contacts/batch/read", READ)
        assert answer.headers["X-HubSpot-RateLimit-Daily"] == "1000"
        assert len(hubspot.sandbox.portal.contacts) == 1
        refused = await hubspot.http.post("/_sandbox/limits", json={"portal_id": 5})
        assert (refused.status_code, "portal_id: no limit" in refused.text) == (400, True)


async def test_a_token_is_told_with_its_scopes() -> None:
    """What the private apps page calls access-token-info: the portal, the app, and what the token may do."""
    path = "/oauth/v2/private-apps/get/access-token-info"
    async with portal(tokens=[AppToken(token="t", app_id="7", scopes=frozenset({"a", "b"}))]) as hubspot:
        told = (await hubspot.post(path, {"tokenKey": "t"}, token="t")).json()
        assert (told["hubId"], told["appId"], told["scopes"]) == (24_680_135, 7, ["a", "b"])
        assert (await hubspot.post(path, {"tokenKey": "u"}, token="t")).status_code == 400
