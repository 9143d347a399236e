"""POST /hubspot/webhooks: which events become records, and which ids they get."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fake_publisher import FakePublisher, ingress_client

from connector.errors import Transient
from connector.events import CrmContactChanged, DeadLetter
from connector.ingress.hubspot_signatures import v2_signature, v3_signature

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SECRET, PUBLIC_URL, URL = "hubspot-app-secret", "https://connector.example.com", "/hubspot/webhooks"
CONFIGURED = {"hubspot": {"client_secret": SECRET}, "ingress": {"public_url": PUBLIC_URL}}
CHANGED: dict[str, Any] = {
    "eventId": 3181526809,
    "subscriptionId": 2084013,
    "portalId": 62515,
    "appId": 11348,
    "occurredAt": 1772355500123,
    "subscriptionType": "contact.propertyChange",
    "attemptNumber": 0,
    "objectId": 904,
    "propertyName": "whatsapp_marketing_consent",
    "propertyValue": "denied",
    "changeSource": "CRM_UI",
    "sourceId": "userId:42",
}
MERGED = {
    **{name: CHANGED[name] for name in ("eventId", "portalId", "occurredAt", "objectId")},
    "subscriptionType": "contact.merge",
    "primaryObjectId": 904,
    "mergedObjectIds": [905, 906],
    "newObjectId": 907,
}


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def client(publisher: FakePublisher) -> AsyncIterator[httpx.AsyncClient]:
    async with ingress_client(publisher, CONFIGURED, now=lambda: NOW) as client:
        yield client


def signed(body: bytes, *, at: datetime = NOW) -> dict[str, str]:
    timestamp = str(int(at.timestamp() * 1000))
    signature = v3_signature(
        method="POST", uri=PUBLIC_URL + URL, body=body, timestamp=timestamp, secret=SECRET
    )
    return {
        "Content-Type": "application/json",
        "X-HubSpot-Request-Timestamp": timestamp,
        "X-HubSpot-Signature-v3": signature,
    }


async def post(client: httpx.AsyncClient, batch: Any) -> httpx.Response:
    body = batch if isinstance(batch, bytes) else json.dumps(batch).encode()
    return await client.post(URL, content=body, headers=signed(body))


async def test_a_changed_consent_is_a_record(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """With the value, its time, and who wrote it, so that our own writes can be ignored."""
    answer = await post(client, [CHANGED])

    assert (answer.status_code, answer.json()) == (200, {"kept": 1, "ignored": 0})
    (change,) = publisher.kept
    assert isinstance(change, CrmContactChanged)
    assert (change.crm, change.record_id, change.change) == ("hubspot", "904", "property")
    assert (change.property_name, change.value) == ("whatsapp_marketing_consent", "denied")
    assert change.change_source == "CRM_UI userId:42"
    assert change.at == datetime(2026, 3, 1, 8, 58, 20, 123_000, tzinfo=UTC)
    assert publisher.keys == ["904"]


@pytest.mark.parametrize(
    ("event", "record_id", "change", "merged"),
    [
        pytest.param(MERGED, "907", "merged", ["904", "905", "906"], id="a merge makes a new record"),
        pytest.param(
            {**MERGED, "newObjectId": None}, "904", "merged", ["905", "906"], id="a merge of before 2025"
        ),
        pytest.param(
            {**CHANGED, "subscriptionType": "contact.privacyDeletion"}, "904", "erased", [], id="erased"
        ),
        pytest.param({**CHANGED, "subscriptionType": "contact.deletion"}, "904", "deleted", [], id="deleted"),
        pytest.param(
            {**CHANGED, "subscriptionType": "object.deletion", "objectTypeId": "0-1"},
            "904",
            "deleted",
            [],
            id="object.*",
        ),
    ],
)
async def test_merges_and_deletions_are_records(
    client: httpx.AsyncClient,
    publisher: FakePublisher,
    event: Any,
    record_id: str,
    change: str,
    merged: list[str],
) -> None:
    """The record that lives on, and those that became it."""
    await post(client, [event])

    (kept,) = publisher.kept
    assert (kept.record_id, kept.change, kept.merged_ids) == (record_id, change, merged)


async def test_a_redelivered_event_has_the_same_id_and_another_has_not(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """eventId alone is not unique: two records changed by one act may share it."""
    again = {**CHANGED, "attemptNumber": 3, "subscriptionId": 1}
    others = [
        {**CHANGED, "objectId": 905},
        {**CHANGED, "occurredAt": CHANGED["occurredAt"] + 1},
        {**CHANGED, "propertyName": "whatsapp_utility_consent"},
        {**CHANGED, "subscriptionType": "contact.deletion"},
        {**CHANGED, "portalId": 2},
    ]

    await post(client, [CHANGED, again, *others])

    first, repeated, *rest = [change.event_id for change in publisher.kept]
    assert first == repeated
    assert len({first, *rest}) == 6


async def test_what_is_nothing_to_us_is_left_out(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """An app has one URL for all it subscribes to; a batch of nothing else needs no broker."""
    publisher.failure = Transient("Kafka is away.")
    batch = [
        {**CHANGED, "propertyName": "lastname"},
        {**CHANGED, "subscriptionType": "contact.creation"},
        {**CHANGED, "subscriptionType": "deal.deletion"},
        {**CHANGED, "subscriptionType": "object.deletion", "objectTypeId": "0-3"},
        {**CHANGED, "subscriptionType": "conversation.newMessage"},
    ]

    answer = await post(client, batch)

    assert (answer.status_code, answer.json()) == (200, {"kept": 0, "ignored": 5})


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param("x", id="no object"),
        pytest.param({**CHANGED, "occurredAt": "yesterday"}, id="no time"),
        pytest.param({**CHANGED, "objectId": None}, id="no record"),
        pytest.param({**CHANGED, "propertyValue": "a\0b"}, id="a character that cannot be kept"),
        pytest.param({**MERGED, "mergedObjectIds": None, "newObjectId": None}, id="a merge of one"),
    ],
)
async def test_a_bad_event_is_a_dead_letter_and_the_others_are_kept(
    client: httpx.AsyncClient, publisher: FakePublisher, bad: Any
) -> None:
    """It does not make HubSpot repeat the batch for a day."""
    answer = await post(client, [CHANGED, bad, {**CHANGED, "objectId": 905}])

    assert answer.status_code == 200
    first, letter, last = publisher.kept
    assert (first.record_id, last.record_id) == ("904", "905")
    assert isinstance(letter, DeadLetter)
    assert (letter.cause, json.loads(letter.original)) == ("not_a_hubspot_event", bad)


@pytest.mark.parametrize("body", [b"{}", b"[", b'[{"a": NaN}]'], ids=["no list", "not JSON", "NaN"])
async def test_a_signed_batch_that_cannot_be_read_is_a_dead_letter(
    client: httpx.AsyncClient, publisher: FakePublisher, body: bytes
) -> None:
    """As a whole, byte for byte."""
    assert (await post(client, body)).status_code == 200

    (letter,) = publisher.kept
    assert (letter.cause, letter.original) == ("not_a_hubspot_event", body)


async def test_a_batch_is_answered_when_the_broker_has_it(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Else 503, and HubSpot brings all of it again."""
    publisher.failure = Transient("Kafka is away.")

    assert (await post(client, [CHANGED])).status_code == 503


@pytest.mark.parametrize("seconds", [301, -61], ids=["replayed", "from the future"])
async def test_a_replayed_batch_is_403(
    client: httpx.AsyncClient, publisher: FakePublisher, seconds: int
) -> None:
    """Five minutes after it was signed it is nobody's word any more."""
    body = json.dumps([CHANGED]).encode()

    answer = await client.post(URL, content=body, headers=signed(body, at=NOW - timedelta(seconds=seconds)))

    assert answer.status_code == 403
    assert publisher.kept == []


async def test_v2_is_not_enough(client: httpx.AsyncClient) -> None:
    """It has no time, so a replay could not be told: HubSpot signs webhooks by v3 too."""
    body = json.dumps([CHANGED]).encode()
    signature = v2_signature(method="POST", uri=PUBLIC_URL + URL, body=body, secret=SECRET)
    headers = {"Content-Type": "application/json", "X-HubSpot-Signature": signature}

    assert (await client.post(URL, content=body, headers=headers)).status_code == 403
