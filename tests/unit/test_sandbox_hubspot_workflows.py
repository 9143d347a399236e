"""The simulated HubSpot runs the connector's workflow action, and sends its webhooks."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from connector_door import PERSON, Clock, client_of, courier_to
from fake_publisher import FakePublisher

from connector.errors import Transient
from connector.events import CrmContactChanged, SendRequested
from connector.sandbox.hubspot import API_VERSION, AppToken, HubSpotConfig, HubSpotSandbox
from connector.sandbox.hubspot.records import PERSON as BY_HAND, Caller, Record

CALLBACKS = f"/automation/actions/callbacks/{API_VERSION}"
CONTACTS = f"/crm/objects/{API_VERSION}/contacts"
INPUTS = {"template": "order_update", "language": "en_US", "parameters": "1=Ana"}
SENT = {
    "outputFields": {
        "hs_execution_state": "SUCCESS",
        "outcome": "sent",
        "reason": "",
        "message_id": "wamid.1",
    },
    "typedOutputs": {},
}
TOKENS = (
    AppToken(token="pat-na1-sandbox", app_id="31415926"),
    AppToken(token="without-automation", app_id="2", scopes=frozenset({"crm.objects.contacts.write"})),
)


class World:
    """A portal with one contact, and the ingress it calls."""

    def __init__(self, hubspot: HubSpotSandbox, http: httpx.AsyncClient, publisher: FakePublisher) -> None:
        self.hubspot = hubspot
        self.http = http
        self.publisher = publisher
        self.clock = Clock()
        self.contact: Record

    async def settled(self) -> None:
        assert self.hubspot.workflows is not None
        await self.hubspot.workflows.settled()

    async def execution(self, callback_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/_sandbox/hubspot/workflows/{callback_id}")).json()
        return found

    async def run(self, **inputs: str) -> str:
        """Let the contact reach the action, and its request be answered; the callback id."""
        wanted = {"contacts": [self.contact.id], "inputs": {**INPUTS, **inputs}}
        answer = await self.http.post("/_sandbox/hubspot/workflows", json=wanted)
        assert answer.status_code == 202
        await self.settled()
        (callback_id,) = answer.json()["callback_ids"]
        return str(callback_id)

    async def complete(self, path: str, document: Any, *, token: str = "pat-na1-sandbox") -> httpx.Response:
        return await self.http.post(
            CALLBACKS + path, json=document, headers={"Authorization": f"Bearer {token}"}
        )


@asynccontextmanager
async def _world(**switches: Any) -> AsyncIterator[World]:
    publisher, clock = FakePublisher(), Clock()
    async with courier_to(publisher, clock) as courier:
        hubspot = HubSpotSandbox(HubSpotConfig(tokens=TOKENS, **switches), courier=courier, clock=clock)
        async with client_of(hubspot.app) as http:
            world = World(hubspot, http, publisher)
            world.clock = clock
            group = {"groupName": "contactinformation", "fieldType": "text", "type": "string"}
            for name in ("whatsapp_phone", "whatsapp_marketing_consent", "whatsapp_contact_key"):
                made = await http.post(
                    f"/crm/properties/{API_VERSION}/contacts",
                    json={"name": name, "label": name, **group},
                    headers=PERSON,
                )
                assert made.status_code == 201, made.text
            world.contact = hubspot.portal.contacts.create({"whatsapp_phone": "+5511987650001"}, BY_HAND)
            yield world


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with _world() as world:
        yield world


@pytest.mark.parametrize("version", ["v2", "v3"])
async def test_an_action_is_signed_taken_and_waits_for_its_outcome(version: str) -> None:
    """By either signature; the completion ends the wait and decides the branch."""
    async with _world(action_signature=version) as world:
        callback_id = await world.run()
        waiting = await world.execution(callback_id)

        completed = await world.complete(f"/{callback_id}/complete", SENT)

        assert (waiting["state"], waiting["branch"], waiting["answers"]) == ("waiting", "", [200])
        (send,) = world.publisher.kept
        assert isinstance(send, SendRequested)
        assert (send.to.hubspot_id, send.to.phone) == (world.contact.id, "+5511987650001")
        assert completed.status_code == 204
        done = await world.execution(callback_id)
        assert (done["state"], done["branch"], done["finished_by"]) == ("succeeded", "sent", "callback")
        assert done["outputs"]["message_id"] == "wamid.1"


async def test_an_action_is_repeated_until_the_broker_is_back(world: World) -> None:
    """The same request, signed anew, for as long as it is answered 503; one send comes of it."""
    world.publisher.failure, world.publisher.failures_left = Transient("Kafka is away.", retry_after=1), 3

    callback_id = await world.run()

    execution = await world.execution(callback_id)
    assert execution["answers"] == [503, 503, 503, 200]
    assert execution["retry_after"] == [
        "1000",
        "1000",
        "1000",
        None,
    ]  # milliseconds, which are HubSpot's unit
    assert execution["state"] == "waiting"
    assert len(world.publisher.kept) == 1


async def test_a_lost_answer_brings_the_same_send_again(world: World) -> None:
    """The broker had it, HubSpot was not told so: the log has one send, twice, and one workflow waits."""
    world.publisher.failure, world.publisher.failures_left = Transient("The answer is lost."), 1
    world.publisher.keeps_what_it_refuses = True

    callback_id = await world.run()

    one, two = world.publisher.kept
    assert one.event_id == two.event_id
    assert (await world.execution(callback_id))["state"] == "waiting"


async def test_a_wrong_field_takes_the_branch_of_blocked_at_once(world: World) -> None:
    """No completion is awaited, and none is taken."""
    callback_id = await world.run(template="Order Update")

    execution = await world.execution(callback_id)
    assert (execution["state"], execution["branch"]) == ("failed_continue", "blocked")
    assert "lower-case" in execution["outputs"]["reason"]
    assert (await world.complete(f"/{callback_id}/complete", SENT)).status_code == 404


async def test_a_wait_ends_by_itself(world: World) -> None:
    """After the hours that the answer named the workflow goes on without an outcome, and completing is too late."""
    callback_id = await world.run()
    world.clock.now += 25 * 3600 - 1
    assert (await world.execution(callback_id))["state"] == "waiting"

    world.clock.now += 1

    assert (await world.execution(callback_id))["state"] == "expired"
    assert (await world.complete(f"/{callback_id}/complete", SENT)).status_code == 404


@pytest.mark.parametrize(
    ("document", "status"),
    [
        pytest.param({"outputFields": {}, "typedOutputs": {}}, 400, id="no state"),
        pytest.param({"outputFields": SENT["outputFields"]}, 400, id="no typedOutputs"),
        pytest.param({**SENT, "outputFields": {"hs_execution_state": "BLOCK"}}, 400, id="to wait on"),
        pytest.param(
            {**SENT, "outputFields": {**SENT["outputFields"], "outcome": "read"}}, 400, id="no outcome of it"
        ),
        pytest.param(
            {**SENT, "outputFields": {**SENT["outputFields"], "wamid": "1"}}, 400, id="no field of it"
        ),
        pytest.param({**SENT, "outputFields": {**SENT["outputFields"], "message_id": 1}}, 400, id="a number"),
    ],
)
async def test_a_completion_that_is_not_the_actions_is_refused(
    world: World, document: Any, status: int
) -> None:
    """And the workflow waits on."""
    callback_id = await world.run()

    assert (await world.complete(f"/{callback_id}/complete", document)).status_code == status
    assert (await world.execution(callback_id))["state"] == "waiting"


async def test_a_batch_of_completions_is_all_or_nothing(world: World) -> None:
    """One that nobody waits for refuses the others, which stay."""
    first, second = await world.run(), await world.run()
    known = [{"callbackId": callback_id, **SENT} for callback_id in (first, second)]

    refused = await world.complete("/complete", {"inputs": [*known, {"callbackId": "ap-0", **SENT}]})
    taken = await world.complete("/complete", {"inputs": known})
    again = await world.complete("/complete", {"inputs": known})

    assert (refused.status_code, taken.status_code, again.status_code) == (404, 204, 404)
    assert (await world.execution(second))["completions"] == 1


async def test_completing_takes_the_scope_automation(world: World) -> None:
    """A token for contacts alone is not enough."""
    callback_id = await world.run()

    answer = await world.complete(f"/{callback_id}/complete", SENT, token="without-automation")

    assert answer.status_code == 403
    assert "automation" in answer.text


async def patch(world: World, headers: dict[str, str], **properties: str) -> None:
    answer = await world.http.patch(
        f"{CONTACTS}/{world.contact.id}", json={"properties": properties}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    await world.settled()


async def test_what_a_person_changes_is_told_with_who_did(world: World) -> None:
    """Consent is subscribed to, other properties are not; our own write can be told from a person's."""
    ours = {"Authorization": "Bearer pat-na1-sandbox"}
    await patch(world, PERSON, whatsapp_marketing_consent="denied", whatsapp_phone="+5511987650002")
    await patch(world, ours, whatsapp_marketing_consent="granted")

    by_hand, by_us = world.publisher.kept
    assert isinstance(by_hand, CrmContactChanged)
    assert (by_hand.value, by_hand.record_id) == ("denied", world.contact.id)
    assert by_hand.change_source.startswith("CRM_UI userId:")
    assert (by_us.value, by_us.change_source) == ("granted", "INTEGRATION 31415926")


async def test_merges_deletions_and_erasures_are_told(world: World) -> None:
    """A merge with the id of the record that both became."""
    portal = world.hubspot.portal
    other, third = (portal.contacts.create({"whatsapp_contact_key": key}, Caller()) for key in ("b", "c"))
    merged = await world.http.post(
        f"{CONTACTS}/merge",
        json={"primaryObjectId": world.contact.id, "objectIdToMerge": other.id},
        headers=PERSON,
    )
    await world.http.delete(f"{CONTACTS}/{third.id}", headers=PERSON)
    await world.http.post(f"{CONTACTS}/gdpr-delete", json={"objectId": merged.json()["id"]}, headers=PERSON)
    await world.settled()

    told = {change.change: change for change in world.publisher.kept}
    assert (told["merged"].record_id, told["merged"].merged_ids) == (
        merged.json()["id"],
        [world.contact.id, other.id],
    )
    assert told["deleted"].record_id == third.id
    assert told["erased"].record_id == merged.json()["id"]


async def test_a_webhook_comes_again_with_the_same_ids() -> None:
    """Also one that was answered 200."""
    async with _world(webhook_duplicate=1.0) as world:
        await patch(world, PERSON, whatsapp_marketing_consent="denied")

        first, second = world.publisher.kept
        assert first.event_id == second.event_id


async def test_a_webhook_is_repeated_ten_times(world: World) -> None:
    """Then it is lost: what the connector must not let happen."""
    world.publisher.failure = Transient("Kafka is away.", retry_after=1)

    await patch(world, PERSON, whatsapp_marketing_consent="denied")

    shown = (await world.http.get("/_sandbox/hubspot/webhooks")).json()
    assert (shown["delivered"], shown["lost"], shown["under_way"]) == ([], 1, 0)


async def test_without_a_connector_there_is_nobody_to_call() -> None:
    """A portal of its own runs no workflow."""
    async with client_of(HubSpotSandbox().app) as http:
        wanted = {"contacts": ["1"], "inputs": {}}
        assert (await http.post("/_sandbox/hubspot/workflows", json=wanted)).status_code == 409
