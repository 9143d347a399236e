import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from sandbox_portal import OBJECTS, PROPERTIES, TOKEN, contact, message, portal

from connector.sandbox import Fault, FaultPlan, HubSpotConfig, SandboxServer
from connector.sandbox.hubspot import PERSON_TOKEN

UPSERT = f"{OBJECTS}/contacts/batch/upsert"


@pytest.fixture
async def server() -> AsyncIterator[SandboxServer]:
    """Serve the simulator on a port of its own."""
    async with SandboxServer(hubspot=HubSpotConfig()) as running:
        yield running


@pytest.fixture
async def http(server: SandboxServer) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client with a token and a short read timeout, and our key property."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(base_url=server.hubspot_url, headers=headers, timeout=5) as client:
        definition = {
            "name": "whatsapp_contact_key",
            "label": "Key",
            "type": "string",
            "fieldType": "text",
            "groupName": "contactinformation",
            "hasUniqueValue": True,
        }
        await client.post(f"{PROPERTIES}/contacts", json=definition)
        yield client


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
async def test_a_reset_leaves_the_write_or_not(
    server: SandboxServer, http: httpx.AsyncClient, when: str, written: int
) -> None:
    """A reset before handling wrote nothing; one after it lost only the answer, and the journal knows."""
    server.hubspot.faults.add(Fault.model_validate({"kind": "reset", "when": when, "times": 1}))
    with pytest.raises(httpx.TransportError):
        await http.post(UPSERT, json={"inputs": [contact("k")]})
    call = next(server.hubspot.journal.calls(path="*/upsert"))
    assert call.status is None
    assert [effect.action for effect in call.effects] == ["created"] * written
    assert len(server.hubspot.portal.contacts) == written


@pytest.mark.parametrize(("when", "written"), [("before", 0), ("after", 1)])
async def test_a_stall_never_answers(
    server: SandboxServer, http: httpx.AsyncClient, when: str, written: int
) -> None:
    """A stalled request runs into the client's timeout; only one stalled after handling wrote."""
    server.hubspot.faults.add(Fault.model_validate({"kind": "stall", "when": when, "times": 1}))
    with pytest.raises(httpx.ReadTimeout):
        await http.post(UPSERT, json={"inputs": [contact("k")]}, timeout=0.2)
    assert len(server.hubspot.portal.contacts) == written


async def test_a_late_request_is_written_after_its_client_left(
    server: SandboxServer, http: httpx.AsyncClient
) -> None:
    """Latency beyond the client's timeout delays the write, it does not prevent it."""
    server.hubspot.faults.add(Fault.model_validate({"kind": "latency", "seconds": 0.4, "times": 1}))
    with pytest.raises(httpx.ReadTimeout):
        await http.post(UPSERT, json={"inputs": [contact("k")]}, timeout=0.1)
    assert len(server.hubspot.portal.contacts) == 0
    async with asyncio.timeout(5):
        while not len(server.hubspot.portal.contacts):
            await asyncio.sleep(0.01)


async def test_repeating_a_write_that_is_still_under_way_is_a_violation(
    server: SandboxServer, http: httpx.AsyncClient
) -> None:
    """Giving a request up does not end it: who writes its contact again before it was handled writes it twice at once."""
    server.hubspot.faults.add(Fault.model_validate({"kind": "latency", "seconds": 5, "times": 1}))
    journal = server.hubspot.journal
    with pytest.raises(httpx.ReadTimeout):
        await http.post(UPSERT, json={"inputs": [contact("k")]}, timeout=0.1)
    late = next(journal.calls(path="*/upsert"))
    async with asyncio.timeout(3):
        while not late.client_left:
            await asyncio.sleep(0.01)
    assert (late.finished_at, len(server.hubspot.portal.contacts)) == (None, 0)
    assert (await http.post(UPSERT, json={"inputs": [contact("k")]})).status_code == 200
    assert [item.kind for item in journal.violations] == ["overlapping_writes"]


@pytest.mark.parametrize("told", [{"kind": "reset"}, {"kind": "status", "status": 504}], ids=["reset", "504"])
async def test_a_write_lands_after_its_client_was_told_that_it_failed(
    server: SandboxServer, http: httpx.AsyncClient, told: dict[str, object]
) -> None:
    """A proxy gives up, the CRM does not: the contact appears later, and was being written all the while."""
    server.hubspot.faults.add(Fault.model_validate({**told, "lands_after": 0.4, "times": 1}))
    journal = server.hubspot.journal
    with suppress(httpx.TransportError):
        assert (await http.post(UPSERT, json={"inputs": [contact("k")]})).status_code == 504
    late = next(journal.calls(path="*/upsert"))
    assert late.client_left
    assert len(server.hubspot.portal.contacts) == 0
    assert (await http.post(UPSERT, json={"inputs": [contact("k")]})).status_code == 200
    async with asyncio.timeout(5):
        while late.finished_at is None:
            await asyncio.sleep(0.01)
    assert [effect.action for effect in late.effects] == ["updated"]
    assert journal.violations


@pytest.mark.parametrize("kind", ["truncated_body", "not_json", "incomplete_body"])
async def test_broken_bodies_break_after_the_write(
    server: SandboxServer, http: httpx.AsyncClient, kind: str
) -> None:
    """A body that cannot be read comes from a request that was handled."""
    server.hubspot.faults.add(Fault.model_validate({"kind": kind, "times": 1}))
    with pytest.raises((json.JSONDecodeError, httpx.RemoteProtocolError, httpx.ReadError)):
        (await http.post(UPSERT, json={"inputs": [contact("k")]})).json()
    assert len(server.hubspot.portal.contacts) == 1


@pytest.mark.parametrize(("kind", "left"), [("empty_results", 0), ("missing_results", 2)])
async def test_results_can_be_missing_without_an_error(kind: str, left: int) -> None:
    """A success may silently lack results of records that were written."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": kind, "times": 1}))
        answer = await hubspot.upsert(contact("a"), contact("b"), contact("c"))
        assert (answer.status_code, len(answer.json()["results"])) == (200, left)
        assert "errors" not in answer.json()
        assert len(hubspot.sandbox.portal.contacts) == 3


@pytest.mark.parametrize(
    ("kind", "order"),
    [("repeated_results", (0, 0, 1, 2)), ("shuffled_results", (2, 1, 0))],
)
async def test_results_can_come_twice_and_in_any_order(kind: str, order: tuple[int, ...]) -> None:
    """The same results as without the fault, but repeated or in another order."""
    async with portal() as hubspot:
        plain = (await hubspot.upsert(contact("a"), contact("b"), contact("c"))).json()["results"]
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": kind, "times": 1}))
        answer = await hubspot.upsert(contact("a"), contact("b"), contact("c"))
        found = [result["properties"]["whatsapp_contact_key"] for result in answer.json()["results"]]
        assert found == [plain[place]["properties"]["whatsapp_contact_key"] for place in order]


async def test_an_answer_can_be_empty_or_labelled_as_something_else() -> None:
    """The status says success; the body is not there, or is JSON by its bytes only."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "empty_body", "times": 1}))
        empty = await hubspot.upsert(contact("a"))
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "other_type", "times": 1}))
        labelled = await hubspot.upsert(contact("b"))
        assert (empty.status_code, empty.content) == (200, b"")
        assert labelled.headers["content-type"].startswith("text/plain")
        assert len(labelled.json()["results"]) == 1
        assert len(hubspot.sandbox.portal.contacts) == 2


async def test_a_slow_body_arrives_whole_in_pieces(server: SandboxServer, http: httpx.AsyncClient) -> None:
    """The headers come at once, the body bit by bit, and it is all there."""
    server.hubspot.faults.add(Fault.model_validate({"kind": "slow_body", "seconds": 0.2, "times": 1}))
    async with http.stream("POST", UPSERT, json={"inputs": [contact("k")]}) as answer:
        pieces = [piece async for piece in answer.aiter_raw()]
    assert len(pieces) > 1
    assert len(json.loads(b"".join(pieces))["results"]) == 1


@pytest.mark.parametrize("status", [401, 423, 429, 477, 500, 502, 503, 504])
async def test_error_statuses_write_nothing_unless_they_come_after(status: int) -> None:
    """An error status before handling wrote nothing, after handling it hides a write."""
    async with portal() as hubspot:
        fault = {"kind": "status", "status": status, "times": 1, "retry_after": "7"}
        hubspot.sandbox.faults.add(Fault.model_validate(fault))
        answer = await hubspot.upsert(contact("a"))
        assert (answer.status_code, answer.headers["Retry-After"]) == (status, "7")
        assert len(hubspot.sandbox.portal.contacts) == 0
        hubspot.sandbox.faults.add(Fault.model_validate({**fault, "when": "after"}))
        assert (await hubspot.upsert(contact("a"))).status_code == status
        assert len(hubspot.sandbox.portal.contacts) == 1


async def test_poison_refuses_one_record_of_a_batch() -> None:
    """A record with the poisoned text is refused, its neighbours with trace ids are written."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "poison", "text": "☠"}))
        answer = await hubspot.log(
            message("a", trace="1"), message("b", trace="2", hs_communication_body="so ☠ bad")
        )
        assert answer.json()["errors"][0]["context"]["objectWriteTraceId"] == ["2"]
        assert len(hubspot.sandbox.portal.communications) == 1


async def test_every_answer_carries_its_id_in_a_header() -> None:
    """Also one that failed in part, whose body does not tell it."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "poison", "text": "☠"}))
        answer = await hubspot.log(message("a", trace="1", hs_communication_body="☠"))
        assert answer.headers["X-HubSpot-Correlation-Id"]
        assert "correlationId" not in answer.json()


async def test_poison_can_refuse_the_whole_batch() -> None:
    """Trace ids do not help against a poison of that scope; without the bad record the others pass."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "poison", "text": "☠", "scope": "batch"}))
        good = message("a", trace="1")
        answer = await hubspot.log(good, message("b", trace="2", hs_communication_body="so ☠ bad"))
        assert answer.status_code == 400
        assert len(hubspot.sandbox.portal.communications) == 0
        assert (await hubspot.log(good)).status_code == 201


async def test_faults_pass_a_person_by() -> None:
    """What a person does on a screen meets no fault."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "status", "status": 500}))
        answer = await hubspot.post(UPSERT, {"inputs": [contact("a")]}, token=PERSON_TOKEN)
        assert answer.status_code == 200


def test_a_fault_meets_the_next_n_requests_of_its_path() -> None:
    """skip, times, method and path decide which requests a fault meets."""
    plan = FaultPlan()
    fault = {"kind": "status", "status": 500, "path": "*/upsert", "method": "POST", "skip": 1, "times": 2}
    plan.add(Fault.model_validate(fault))
    requests = [("GET", "/a/upsert"), ("POST", "/a/read"), *[("POST", "/a/upsert")] * 5]
    met = [bool(plan.draw(method=method, path=path)) for method, path in requests]
    assert met == [False, False, False, True, True, False, False]


def test_the_same_seed_draws_the_same_faults() -> None:
    """Probabilities are reproducible and neither always nor never."""
    draws = []
    for _ in range(2):
        plan = FaultPlan(seed=7)
        plan.add(Fault.model_validate({"kind": "reset", "probability": 0.3}))
        draws.append([bool(plan.draw(method="GET", path="/")) for _ in range(200)])
    assert draws[0] == draws[1]
    assert 30 < sum(draws[0]) < 90


async def test_two_writes_of_one_contact_at_once_are_a_violation() -> None:
    """Overlapping writes of one contact are recorded, of two contacts not, one after the other not."""
    async with portal() as hubspot:
        one, two = [await hubspot.contact(key) for key in "12"]
        journal = hubspot.sandbox.journal
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "latency", "seconds": 0.05}))
        await asyncio.gather(hubspot.upsert(contact("1")), hubspot.log(message("a", contact_id=two)))
        await hubspot.upsert(contact("1"))
        assert journal.violations == []
        await asyncio.gather(hubspot.upsert(contact("1")), hubspot.log(message("b", contact_id=one)))
        assert [(item.kind, item.subject) for item in journal.violations] == [("overlapping_writes", one)]


async def test_two_creations_of_one_contact_at_once_are_a_violation() -> None:
    """Two upserts of a key that has no record yet overlap by the key."""
    async with portal() as hubspot:
        hubspot.sandbox.faults.add(Fault.model_validate({"kind": "latency", "seconds": 0.05}))
        await asyncio.gather(hubspot.upsert(contact("k")), hubspot.upsert(contact("k")))
        subjects = {item.subject for item in hubspot.sandbox.journal.violations}
        assert "whatsapp_contact_key=k" in subjects


async def test_the_control_api_does_what_the_objects_do() -> None:
    """Faults, journal, state and reset work over HTTP, and a wrong fault is refused with its reason."""
    async with portal() as hubspot:
        wrong = await hubspot.http.post("/_sandbox/faults", json={"kind": "latency"})
        assert wrong.status_code == 400
        assert "needs `seconds`" in wrong.text
        fault = {"kind": "status", "status": 503, "path": "*/upsert"}
        number = (await hubspot.http.post("/_sandbox/faults", json=fault)).json()["numbers"][0]
        assert (await hubspot.upsert(contact("k"))).status_code == 503
        await hubspot.http.delete(f"/_sandbox/faults/{number}")
        contact_id = await hubspot.contact("k")
        journal = (await hubspot.http.get("/_sandbox/journal", params={"path": "*/upsert"})).json()
        assert [call["status"] for call in journal["calls"]] == [503, 200]
        assert journal["calls"][1]["effects"] == [
            {"action": "created", "object_type": "contacts", "record_id": contact_id}
        ]
        assert journal["counters"][f"POST {UPSERT} 503"] == 1
        state = (await hubspot.http.get("/_sandbox/hubspot/state")).json()
        assert state["contacts"][0]["id"] == contact_id
        assert state["contacts"][0]["writers"] == ["INTEGRATION:31415926"]
        await hubspot.http.post("/_sandbox/reset", json={"unique_communications": False})
        assert hubspot.sandbox.portal.config.unique_communications is False
        assert (await hubspot.http.get("/_sandbox/hubspot/state")).json()["counts"]["contacts"] == 0


async def test_the_journal_counts_calls_and_their_records() -> None:
    """Calls are counted by path and status, and each knows how many records it carried."""
    async with portal() as hubspot:
        await hubspot.upsert(contact("a"), contact("b"))
        journal = hubspot.sandbox.journal
        assert journal.count(path="*/contacts/batch/*", status=200) == 1
        assert [call.inputs for call in journal.calls(path="*/upsert")] == [2]
