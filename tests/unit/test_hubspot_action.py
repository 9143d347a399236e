"""POST /hubspot/workflow-actions/send-template: what the workflow is told, and what is on the log by then."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fake_publisher import FakePublisher, ingress_client

from connector.errors import Transient
from connector.events import DeadLetter, SendRequested
from connector.ingress.hubspot_signatures import v2_signature, v3_signature

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SECRET, PUBLIC_URL = "hubspot-app-secret", "https://connector.example.com"
URL = "/hubspot/workflow-actions/send-template"
CONFIGURED: dict[str, Any] = {
    "hubspot": {"client_secret": SECRET},
    "ingress": {"public_url": PUBLIC_URL, "max_body_bytes": 500_000},
    "default_region": "BR",
}
EXECUTION: dict[str, Any] = {
    "callbackId": "ap-102670506-56776413549-7-0",
    "origin": {"portalId": 102670506, "actionDefinitionId": 10860211, "actionDefinitionVersion": 1},
    "context": {"source": "WORKFLOWS", "workflowId": 192814114},
    "object": {"objectId": 904, "objectType": "CONTACT", "properties": {"whatsapp_phone": "+5511987650001"}},
    "inputFields": {
        "template": "order_update",
        "language": "pt_BR",
        "from": "106540352242922",
        "parameters": "1=Ana\n2 = 17:00 = five\n",
        "purpose": "utility",
    },
}


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def client(publisher: FakePublisher) -> AsyncIterator[httpx.AsyncClient]:
    async with ingress_client(publisher, CONFIGURED, now=lambda: NOW) as client:
        yield client


def signed(body: bytes, *, at: datetime = NOW, url: str = PUBLIC_URL + URL) -> dict[str, str]:
    timestamp = str(int(at.timestamp() * 1000))
    return {
        "Content-Type": "application/json",
        "X-HubSpot-Request-Timestamp": timestamp,
        "X-HubSpot-Signature-v3": v3_signature(
            method="POST", uri=url, body=body, timestamp=timestamp, secret=SECRET
        ),
    }


async def execute(client: httpx.AsyncClient, execution: Any) -> dict[str, Any]:
    """What the workflow is told: always a 200, or HubSpot would repeat it or drop the contact from the branch."""
    body = execution if isinstance(execution, bytes) else json.dumps(execution).encode()
    answer = await client.post(URL, content=body, headers=signed(body))
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()["outputFields"]
    return told


def with_fields(**fields: Any) -> dict[str, Any]:
    return {**EXECUTION, "inputFields": {**EXECUTION["inputFields"], **fields}}


async def test_an_execution_is_a_send_that_the_workflow_waits_for(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """BLOCK until the outcome, for an hour longer than a send may wait."""
    told = await execute(client, EXECUTION)

    assert told == {"hs_execution_state": "BLOCK", "hs_expiration_duration": "PT25H"}
    (send,) = publisher.kept
    assert isinstance(send, SendRequested)
    assert (send.source, send.client) == ("hubspot_workflow", "102670506")
    assert (send.template.name, send.template.language, send.purpose) == ("order_update", "pt_BR", "utility")
    assert send.from_number == "106540352242922"
    assert send.parameters == {"1": "Ana", "2": "17:00 = five"}
    assert (send.to.hubspot_id, send.to.phone, send.problem) == ("904", "+5511987650001", "")
    assert send.callback is not None
    assert send.callback.callback_id == EXECUTION["callbackId"]
    assert send.callback.expires_at == NOW + timedelta(hours=25)
    assert publisher.keys == ["5511987650001"]


async def test_a_repeated_execution_is_the_same_send(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """callbackId is the idempotency key; what else HubSpot writes into the request does not matter."""
    await execute(client, EXECUTION)
    await execute(client, {**EXECUTION, "context": {}, "object": {**EXECUTION["object"], "properties": {}}})
    await execute(client, {**EXECUTION, "callbackId": "ap-1"})

    one, two, other = publisher.kept
    assert one.event_id == two.event_id
    assert one.send_id != other.send_id


async def test_the_same_callback_with_other_fields_can_be_told(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """The send is the same, its hash is not."""
    await execute(client, EXECUTION)
    await execute(client, with_fields(template="another"))

    one, two = publisher.kept
    assert one.send_id == two.send_id
    assert one.request_hash != two.request_hash


async def test_v2_is_taken_too(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """HubSpot's guide on custom actions promises v2 only."""
    body = json.dumps(EXECUTION).encode()
    signature = v2_signature(method="POST", uri=PUBLIC_URL + URL, body=body, secret=SECRET)
    headers = {"Content-Type": "application/json", "X-HubSpot-Signature": signature}

    taken = await client.post(URL, content=body, headers={**headers, "X-HubSpot-Signature-Version": "v2"})
    refused = await client.post(URL, content=body + b" ", headers=headers)

    assert (taken.status_code, refused.status_code) == (200, 403)
    assert len(publisher.kept) == 1


@pytest.mark.parametrize(
    ("properties", "bsuid", "phone"),
    [
        pytest.param({"whatsapp_bsuid": "US.1", "phone": "+15550001111"}, "US.1", "", id="by the user id"),
        pytest.param(
            {"whatsapp_phone": "+5511987650001", "phone": "+1555"}, "", "+5511987650001", id="our phone"
        ),
        pytest.param(
            {"mobilephone": "(11) 98765-0002", "phone": "+15550001111"}, "", "+5511987650002", id="mobile"
        ),
        pytest.param({"phone": "+49 151 23456789"}, "", "+4915123456789", id="typed, of another country"),
        pytest.param({"phone": "call my office", "mobilephone": None}, "", "", id="no number"),
        pytest.param(None, "", "", id="no properties"),
    ],
)
async def test_the_recipient_is_who_the_record_shows(
    client: httpx.AsyncClient, publisher: FakePublisher, properties: Any, bsuid: str, phone: str
) -> None:
    """Our own properties before what people typed, and the record id always."""
    await execute(
        client, {**EXECUTION, "object": {"objectId": "904", "objectType": "0-1", "properties": properties}}
    )

    (send,) = publisher.kept
    assert (send.to.bsuid, send.to.phone, send.to.hubspot_id) == (bsuid, phone, "904")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"template": None}, "template: must be a template's name", id="no template"),
        pytest.param(
            {"template": "Order Update"}, "template: 'Order Update' must be", id="a label for a name"
        ),
        pytest.param({"language": "portuguese"}, "language: 'portuguese' must be", id="a language"),
        pytest.param({"from": "shop"}, "from: 'shop' must be", id="a sender"),
        pytest.param({"purpose": "news"}, "purpose: 'news' must be one of marketing", id="a purpose"),
        pytest.param({"parameters": "Ana"}, "line 1 has no =", id="a line without ="),
        pytest.param({"parameters": "a=1\na=2"}, "line 2: a is there twice", id="a name twice"),
        pytest.param({"parameters": '{"1": "Ana"'}, "is not valid JSON", id="JSON cut short"),
        pytest.param({"parameters": '["Ana"]'}, "must be an object", id="a list"),
        pytest.param({"parameters": '{"1": null}'}, "1 must be a text", id="a null"),
        pytest.param({"template": "x y", "purpose": "news"}, "; purpose: 'news'", id="two at once"),
    ],
)
async def test_a_wrong_field_lets_the_workflow_branch_and_is_recorded(
    client: httpx.AsyncClient, publisher: FakePublisher, fields: dict[str, Any], says: str
) -> None:
    """The outcome is blocked at once, with the reason; the record cannot be sent by any reader."""
    told = await execute(client, with_fields(**fields))

    assert (told["hs_execution_state"], told["outcome"], told["message_id"]) == (
        "FAIL_CONTINUE",
        "blocked",
        "",
    )
    assert says in told["reason"]
    (send,) = publisher.kept
    assert isinstance(send, SendRequested)
    assert send.problem == told["reason"]
    assert send.callback is None
    assert send.expires_at == NOW


@pytest.mark.parametrize(
    ("execution", "says"),
    [
        pytest.param(b"{", "not JSON", id="not JSON"),
        pytest.param([], "not a JSON object", id="a list"),
        pytest.param({**EXECUTION, "callbackId": None}, "no callbackId", id="no callbackId"),
        pytest.param({**EXECUTION, "inputFields": []}, "no object inputFields", id="a list of fields"),
        pytest.param(
            {**EXECUTION, "object": {"objectId": 1, "objectType": "DEAL"}}, "'DEAL' records", id="a deal"
        ),
        pytest.param({**EXECUTION, "object": {"objectType": "CONTACT"}}, "names no contact", id="no record"),
    ],
)
async def test_what_cannot_be_named_is_a_dead_letter_and_the_workflow_goes_on(
    client: httpx.AsyncClient, publisher: FakePublisher, execution: Any, says: str
) -> None:
    """With the exact bytes; a 4xx or 5xx would tell the admin nothing, or repeat it for days."""
    told = await execute(client, execution)

    assert (told["hs_execution_state"], told["outcome"]) == ("FAIL_CONTINUE", "blocked")
    assert says in told["reason"]
    (letter,) = publisher.kept
    assert isinstance(letter, DeadLetter)
    assert (letter.stage, letter.cause) == ("ingress", "not_a_workflow_action")
    assert letter.original == (execution if isinstance(execution, bytes) else json.dumps(execution).encode())


async def test_a_broker_that_is_away_is_503(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """HubSpot repeats it for three days; no BLOCK before the broker has it."""
    publisher.failure = Transient("Kafka is away.", retry_after=1)
    body = json.dumps(EXECUTION).encode()

    answer = await client.post(URL, content=body, headers=signed(body))

    assert answer.status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Type": "application/json"}, id="unsigned"),
        pytest.param(signed(json.dumps(EXECUTION).encode(), at=NOW - timedelta(seconds=301)), id="old"),
        pytest.param(
            signed(json.dumps(EXECUTION).encode(), url="http://ingress" + URL),
            id="signed for the URL behind a proxy",
        ),
        pytest.param(signed(b"{}"), id="another body"),
    ],
)
async def test_what_hubspot_did_not_sign_for_us_is_403(
    client: httpx.AsyncClient, publisher: FakePublisher, headers: dict[str, str]
) -> None:
    """A 4xx fails the action and is not repeated; nothing is kept."""
    answer = await client.post(URL, content=json.dumps(EXECUTION).encode(), headers=headers)

    assert answer.status_code == 403
    assert answer.json()["advice"]
    assert SECRET not in answer.text
    assert publisher.kept == []


async def test_an_oversized_execution_is_413(client: httpx.AsyncClient) -> None:
    """Whoever signed it."""
    body = b" " * 500_001

    assert (await client.post(URL, content=body, headers=signed(body))).status_code == 413


@pytest.mark.parametrize(
    ("configured", "variable"),
    [
        pytest.param(
            {"ingress": {"public_url": PUBLIC_URL}}, "CONNECTOR_HUBSPOT__CLIENT_SECRET", id="no secret"
        ),
        pytest.param(
            {"hubspot": {"client_secret": SECRET}}, "CONNECTOR_INGRESS__PUBLIC_URL", id="no public URL"
        ),
    ],
)
async def test_without_what_signatures_need_nothing_is_taken(
    publisher: FakePublisher, configured: dict[str, Any], variable: str
) -> None:
    """503, so that HubSpot's repetition comes after the setting is there."""
    body = json.dumps(EXECUTION).encode()
    async with ingress_client(publisher, configured, now=lambda: NOW) as client:
        answer = await client.post(URL, content=body, headers=signed(body))

    assert answer.status_code == 503
    assert variable in answer.json()["advice"]
    assert publisher.kept == []
