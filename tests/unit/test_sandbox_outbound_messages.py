"""The simulated Salesforce sends outbound messages until the connector acknowledges them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from connector_door import PERSON, Clock, client_of, courier_to
from fake_publisher import FakePublisher

from connector.errors import Transient
from connector.ingress.salesforce_soap import ACKNOWLEDGED
from connector.sandbox.courier import Courier, Reply
from connector.sandbox.salesforce import API_VERSION, SalesforceConfig, SalesforceSandbox
from connector.sandbox.salesforce.outbound import is_acknowledged

DATA = f"/services/data/v{API_VERSION}"
REQUEST = {
    "WA_Template__c": "order_update",
    "WA_Language__c": "en_US",
    "WA_Parameters__c": "1=Ana & Zé\n2=<7>",
    "WA_Send_Requested_At__c": "2026-09-21T14:13:20.000+0000",
}


class World:
    """An org whose flow is active, and the ingress it calls."""

    def __init__(
        self, org: SalesforceSandbox, http: httpx.AsyncClient, publisher: FakePublisher, courier: Courier
    ) -> None:
        self.org = org
        self.http = http
        self.publisher = publisher
        self.courier = courier

    async def create(self, **values: Any) -> str:
        answer = await self.http.post(
            f"{DATA}/sobjects/Contact", json={"LastName": "Souza", **values}, headers=PERSON
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def change(self, record_id: str, **values: Any) -> None:
        answer = await self.http.patch(f"{DATA}/sobjects/Contact/{record_id}", json=values, headers=PERSON)
        assert answer.status_code == 204, answer.text

    async def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get("/_sandbox/salesforce/outbound-messages")).json()[
            "messages"
        ]
        return found


@asynccontextmanager
async def _world(**switches: Any) -> AsyncIterator[World]:
    publisher, clock = FakePublisher(), Clock()
    async with courier_to(publisher, clock) as courier:
        org = SalesforceSandbox(SalesforceConfig(**switches), courier=courier, clock=clock)
        async with client_of(org.app) as http:
            yield World(org, http, publisher, courier)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with _world() as world:
        yield world


async def test_a_record_whose_request_is_set_sends_its_template(world: World) -> None:
    """With the fields of the package's outbound message, and is acknowledged."""
    record_id = await world.create(MobilePhone="+55 11 98765-0001", **REQUEST)
    await world.courier.settled()

    (send,) = world.publisher.kept
    assert (send.to.salesforce_id, send.to.phone) == (record_id, "+5511987650001")
    assert (send.template.name, send.template.language) == ("order_update", "en_US")
    assert send.parameters == {"1": "Ana & Zé", "2": "<7>"}
    assert send.problem == ""
    (message,) = await world.messages()
    assert (message["state"], message["answers"]) == ("acknowledged", [200])


async def test_only_a_new_request_sends(world: World) -> None:
    """Not every save of the record; the same template again by a new time."""
    record_id = await world.create(**REQUEST)
    await world.change(record_id, Title="Dr")
    await world.change(record_id, WA_Send_Requested_At__c=None)
    await world.change(record_id, WA_Send_Requested_At__c="2026-09-21T15:00:00.000+0000")
    await world.courier.settled()

    one, two = world.publisher.kept
    assert one.send_id != two.send_id
    assert one.request_hash == two.request_hash


async def test_what_is_not_acknowledged_comes_again_under_its_id(world: World) -> None:
    """The whole envelope, until the broker has it."""
    world.publisher.failure, world.publisher.failures_left = Transient("Kafka is away.", retry_after=1), 2

    await world.create(**REQUEST)
    await world.courier.settled()

    (message,) = await world.messages()
    assert (message["state"], message["answers"]) == ("acknowledged", [503, 503, 200])
    assert len({send.send_id for send in world.publisher.kept}) == 1


async def test_a_lost_answer_brings_the_same_send_again(world: World) -> None:
    """The broker had it, Salesforce was not told so: the log has one send, twice."""
    world.publisher.failure, world.publisher.failures_left = Transient("The answer is lost."), 1
    world.publisher.keeps_what_it_refuses = True

    await world.create(**REQUEST)
    await world.courier.settled()

    one, two = world.publisher.kept
    assert one.event_id == two.event_id
    assert (await world.messages())[0]["state"] == "acknowledged"


async def test_a_message_that_is_never_acknowledged_is_dropped_after_a_day(world: World) -> None:
    """As Salesforce does; what was refused is not on the log."""
    world.publisher.failure = Transient("Kafka is away.", retry_after=1)

    await world.create(**REQUEST)
    await world.courier.settled()

    (message,) = await world.messages()
    assert message["state"] == "dropped"
    assert len(message["answers"]) > 10


async def test_a_hundred_and_fifty_messages_are_two_envelopes() -> None:
    """Of a hundred at most, and each may come twice with the same ids."""
    async with _world(outbound_duplicates=True) as world:
        records = [
            {"attributes": {"type": "Contact"}, "LastName": f"L{number}", **REQUEST} for number in range(150)
        ]
        answer = await world.http.post(
            f"{DATA}/composite/sobjects",
            json={"allOrNone": False, "records": records},
            headers=PERSON,
        )
        assert answer.status_code == 200
        await world.courier.settled()

        assert len(world.publisher.kept) == 300
        assert len({send.event_id for send in world.publisher.kept}) == 150


async def test_a_request_without_a_template_blocks_nobody(world: World) -> None:
    """It is acknowledged and on the log with its problem."""
    await world.create(WA_Send_Requested_At__c=REQUEST["WA_Send_Requested_At__c"])
    await world.courier.settled()

    (send,) = world.publisher.kept
    assert "WA_Template__c" in send.problem
    assert (await world.messages())[0]["state"] == "acknowledged"


@pytest.mark.parametrize(
    ("reply", "taken"),
    [
        pytest.param(
            Reply(status=200, body=ACKNOWLEDGED, content_type="text/xml; charset=utf-8"), True, id="ours"
        ),
        pytest.param(
            Reply(status=200, body=ACKNOWLEDGED, content_type="application/json"), False, id="as JSON"
        ),
        pytest.param(Reply(status=503, body=ACKNOWLEDGED, content_type="text/xml"), False, id="503"),
        pytest.param(
            Reply(status=200, body=ACKNOWLEDGED.replace(b"true", b"false"), content_type="text/xml"),
            False,
            id="false",
        ),
        pytest.param(Reply(status=200, content_type="text/xml"), False, id="an empty 200"),
        pytest.param(
            Reply(status=200, body=b"<Ack>true</Ack>", content_type="text/xml"), False, id="no envelope"
        ),
        pytest.param(Reply(status=None), False, id="no answer"),
    ],
)
def test_only_a_soap_answer_is_an_acknowledgement(reply: Reply, *, taken: bool) -> None:
    """HTTP 200 alone is none."""
    assert is_acknowledged(reply) is taken
