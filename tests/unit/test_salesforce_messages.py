"""POST /salesforce/outbound-messages/{token}: SOAP in, one Ack for all of an envelope, nothing that blocks it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

import httpx
import pytest
from fake_publisher import FakePublisher, ingress_client

from connector.errors import SettingsError, Transient
from connector.events import DeadLetter, SendRequested
from connector.settings import load_settings

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TOKEN, ORGANIZATION = "a-token-nobody-can-guess", "00D5g000004AbcdEAF"
URL = f"/salesforce/outbound-messages/{TOKEN}"
CONFIGURED: dict[str, Any] = {
    "salesforce": {"outbound_token": TOKEN, "organization_id": ORGANIZATION},
    "ingress": {"max_body_bytes": 500_000},
    "default_region": "BR",
}
HEADERS = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": '""'}
FIELDS = {
    "Id": "0035g00000AbCdEAAV",
    "WA_Template__c": "order_update",
    "WA_Language__c": "pt_BR",
    "WA_Parameters__c": '{"1": "Ana & Zé", "2": 7}',
    "WA_From__c": "106540352242922",
    "WA_Purpose__c": "utility",
    "MobilePhone": "(11) 98765-0001",
}


def notification(number: int = 1, *, kind: str = "sf:Contact", **changes: str | None) -> str:
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not None}
    inner = "".join(f"<sf:{name}>{escape(value)}</sf:{name}>" for name, value in fields.items())
    return (
        f"<Notification><Id>04l5g0000000{number:03}AAA</Id>"
        f'<sObject xsi:type="{kind}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{inner}</sObject></Notification>'
    )


def envelope(*notifications: str, organization: str = ORGANIZATION, head: str = "") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>{head}'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
        'xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        '<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{organization}</OrganizationId><ActionId>04k5g0000008OIEAA2</ActionId>"
        '<SessionId xsi:nil="true"/><EnterpriseUrl>https://acme.my.salesforce.com/services/Soap/c/67.0</EnterpriseUrl>'
        f"<PartnerUrl>https://acme.my.salesforce.com/services/Soap/u/67.0</PartnerUrl>{''.join(notifications)}"
        "</notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
async def client(publisher: FakePublisher) -> AsyncIterator[httpx.AsyncClient]:
    async with ingress_client(publisher, CONFIGURED, now=lambda: NOW) as client:
        yield client


def is_acknowledged(answer: httpx.Response) -> bool:
    return "<Ack>true</Ack>" in answer.text


async def test_a_message_is_a_send_and_acknowledged(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """By the SOAP answer that Salesforce wants, as text/xml."""
    answer = await client.post(URL, content=envelope(notification()), headers=HEADERS)

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/xml")
    assert is_acknowledged(answer)
    (send,) = publisher.kept
    assert isinstance(send, SendRequested)
    assert (send.source, send.client) == ("salesforce_outbound", "00D5g000004Abcd")
    assert (send.template.name, send.template.language, send.purpose) == ("order_update", "pt_BR", "utility")
    assert send.parameters == {"1": "Ana & Zé", "2": 7}
    assert send.from_number == "106540352242922"
    assert (send.to.salesforce_id, send.to.phone) == ("0035g00000AbCdEAAV", "+5511987650001")
    assert (send.problem, send.callback) == ("", None)


async def test_a_hundred_messages_are_each_a_send(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """The most that an envelope has; one more is none of Salesforce's."""
    hundred = [notification(number) for number in range(100)]

    taken = await client.post(URL, content=envelope(*hundred), headers=HEADERS)
    refused = await client.post(URL, content=envelope(*hundred, notification(100)), headers=HEADERS)

    assert is_acknowledged(taken)
    assert len({send.send_id for send in publisher.kept}) == 100
    assert refused.status_code == 400


async def test_a_repeated_message_is_the_same_send(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """By the notification's Id; a repetition that carries newer values than the first can be told."""
    await client.post(URL, content=envelope(notification()), headers=HEADERS)
    await client.post(URL, content=envelope(notification(2), notification()), headers=HEADERS)
    await client.post(URL, content=envelope(notification(WA_Template__c="newer")), headers=HEADERS)

    one, other, again, newer = publisher.kept
    assert one.event_id == again.event_id
    assert one.send_id == newer.send_id != other.send_id
    assert one.request_hash != newer.request_hash


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param(
            notification(2, WA_Template__c=None),
            "WA_Template__c: must be a template's name",
            id="no template",
        ),
        pytest.param(notification(2, WA_Parameters__c="{'1': 2}"), "WA_Parameters__c: ", id="parameters"),
        pytest.param(notification(2, WA_Purpose__c="News"), "WA_Purpose__c: 'News'", id="a purpose"),
    ],
)
async def test_a_wrong_message_is_a_recorded_rejection_and_blocks_nobody(
    client: httpx.AsyncClient, publisher: FakePublisher, bad: str, says: str
) -> None:
    """The envelope is acknowledged as a whole; the wrong one has expired, whatever its reader makes of the reason."""
    answer = await client.post(
        URL, content=envelope(notification(), bad, notification(3, kind="sf:Lead")), headers=HEADERS
    )

    assert is_acknowledged(answer)
    first, wrong, last = publisher.kept
    assert (first.problem, last.problem) == ("", "")
    assert says in wrong.problem
    assert wrong.expires_at == NOW
    assert wrong.to.salesforce_id == FIELDS["Id"]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        pytest.param(notification(2, kind="sf:Account"), "Account", id="an account"),
        pytest.param(notification(2, Id=None), "Id", id="no record"),
        pytest.param(notification(2, Id="0035g00000AbCdEAAA"), "upper case", id="an id of the wrong case"),
        pytest.param("<Notification><Id>04l2</Id></Notification>", "no records", id="no sObject"),
        pytest.param(
            notification(2).replace("<Id>04l5g0000000002AAA</Id>", ""), "no Id", id="no notification id"
        ),
    ],
)
async def test_a_message_that_names_nobody_is_a_dead_letter(
    client: httpx.AsyncClient, publisher: FakePublisher, bad: str, says: str
) -> None:
    """With what it had; its envelope is acknowledged."""
    answer = await client.post(URL, content=envelope(notification(), bad), headers=HEADERS)

    assert is_acknowledged(answer)
    send, letter = publisher.kept
    assert isinstance(send, SendRequested)
    assert isinstance(letter, DeadLetter)
    assert letter.cause == "not_a_send"
    assert says in letter.reason
    assert "fields" in json.loads(letter.original)


_BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(envelope(notification(WA_Language__c="&b;"), head=_BOMB), id="entities that multiply"),
        pytest.param(
            envelope(notification(), head='<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd">'),
            id="an external document type",
        ),
        pytest.param(
            envelope(notification(), head='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'),
            id="a file of ours",
        ),
        pytest.param(envelope(notification(), head="<!DOCTYPE x>"), id="any document type"),
        pytest.param(envelope(notification())[:-20], id="cut short"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00\x01", id="no XML"),
        pytest.param(b"<a/>", id="another document"),
        pytest.param(b'<?xml version="1.0" encoding="utf-7"?><a/>', id="another encoding"),
        pytest.param(b"<a>" * 60_000 + b"</a>" * 60_000, id="deep"),
        pytest.param(envelope(), id="no notification"),
    ],
)
async def test_what_is_no_envelope_is_400(
    client: httpx.AsyncClient, publisher: FakePublisher, body: bytes
) -> None:
    """Entities are never expanded, nothing is fetched, nothing acknowledged, nothing kept."""
    answer = await client.post(URL, content=body, headers=HEADERS)

    assert answer.status_code == 400
    assert not is_acknowledged(answer)
    assert "root:" not in answer.text
    assert publisher.kept == []


@pytest.mark.parametrize(
    ("url", "organization", "status"),
    [
        pytest.param(URL + "x", ORGANIZATION, 403, id="another token"),
        pytest.param(URL[:-1], ORGANIZATION, 403, id="a part of the token"),
        pytest.param(
            "/salesforce/outbound-messages/%C3%A9", ORGANIZATION, 403, id="a token that is not ASCII"
        ),
        pytest.param("/salesforce/outbound-messages/", ORGANIZATION, 404, id="no token"),
        pytest.param(URL, "00D5g000004AbcfEAF", 403, id="another organisation"),
        pytest.param(URL, "00d5g000004abcdEAF", 403, id="an organisation that differs in case"),
        pytest.param(URL, "", 403, id="no organisation"),
        pytest.param(URL, "00D5g000004Abcd", 200, id="the 15 characters of ours"),
    ],
)
async def test_only_our_organisation_with_our_token_is_taken(
    client: httpx.AsyncClient, publisher: FakePublisher, url: str, organization: str, status: int
) -> None:
    """And the refusal shows neither."""
    body = envelope(notification(), organization=organization)

    answer = await client.post(url, content=body, headers=HEADERS)

    assert answer.status_code == status
    assert TOKEN not in answer.text
    assert len(publisher.kept) == (1 if status == 200 else 0)


async def test_a_broker_that_is_away_is_not_acknowledged(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Salesforce repeats the envelope, for 24 hours."""
    publisher.failure = Transient("Kafka is away.", retry_after=1)

    answer = await client.post(URL, content=envelope(notification()), headers=HEADERS)

    assert answer.status_code == 503
    assert not is_acknowledged(answer)


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        pytest.param({"Content-Type": "application/json"}, envelope(notification()), 415, id="another type"),
        pytest.param({**HEADERS, "Content-Encoding": "gzip"}, envelope(notification()), 415, id="compressed"),
        pytest.param(HEADERS, b" " * 500_001, 413, id="oversized"),
    ],
)
async def test_a_request_of_another_form_is_refused(
    client: httpx.AsyncClient, publisher: FakePublisher, headers: dict[str, str], body: bytes, status: int
) -> None:
    """Before it is parsed."""
    answer = await client.post(URL, content=body, headers=headers)

    assert answer.status_code == status
    assert publisher.kept == []


@pytest.mark.parametrize("missing", ["outbound_token", "organization_id"])
async def test_without_token_and_organisation_nothing_is_taken(
    publisher: FakePublisher, missing: str
) -> None:
    """503: the messages wait at Salesforce until the setting is there."""
    configured = {"salesforce": {**CONFIGURED["salesforce"], missing: ""}}
    async with ingress_client(publisher, configured, now=lambda: NOW) as client:
        answer = await client.post(URL, content=envelope(notification()), headers=HEADERS)

    assert answer.status_code == 503
    assert publisher.kept == []


@pytest.mark.parametrize(
    "wrong",
    [{"outbound_token": "short"}, {"outbound_token": "with/slash-and-16-more"}, {"organization_id": "acme"}],
)
def test_a_token_or_organisation_of_no_form_is_refused_at_start(wrong: dict[str, str]) -> None:
    """A token that can be guessed is none."""
    with pytest.raises(SettingsError, match=f"CONNECTOR_SALESFORCE__{next(iter(wrong)).upper()}"):
        load_settings(salesforce=wrong)
