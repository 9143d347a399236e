"""POST /triggers/templates, POST /triggers/consent, GET /triggers/{id}: over ASGI, with a clock that stands still."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fake_publisher import FakePublisher, ingress_client

from connector.errors import SettingsError, Transient
from connector.events import ConsentGiven, SendRequested
from connector.ingress.trigger_clients import signature_of
from connector.settings import load_settings

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SECRET, FORMER = "the-shop's-secret-of-today", "the-shop's-secret-of-before"
CLIENTS: list[dict[str, Any]] = [
    {"name": "shop", "secret": SECRET, "former_secrets": [FORMER], "scopes": ["send", "consent"]},
    {"name": "forms", "secret": "the-secret-of-the-forms", "scopes": ["consent"]},
    {"name": "mailer", "secret": "the-secret-of-the-mailer"},
]
URL, CONSENT_URL = "/triggers/templates", "/triggers/consent"
BODY: dict[str, Any] = {
    "template": {"name": "order_update", "language": "pt_BR"},
    "recipients": [{"to": {"phone": "+55 (11) 98765-0001"}, "parameters": {"1": "Ana", "2": 7}}],
}
ACT: dict[str, Any] = {
    "to": {"phone": "+5511987650001"},
    "purpose": "marketing",
    "state": "granted",
    "at": "2026-02-28T18:00:00-03:00",
    "by_person": True,
    "evidence": "checkout form of 28 February, box 'news on WhatsApp' ticked",
}


class Fates:
    """Knows one trigger of one client, or is away."""

    def __init__(self) -> None:
        self.away = False

    async def fate_of(self, trigger_id: str, *, client: str) -> Mapping[str, Any] | None:
        if self.away:
            raise Transient("PostgreSQL is away.")
        known = (trigger_id, client) == ("trg_known", "shop")
        return {"trigger_id": trigger_id, "recipients": []} if known else None


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def fates() -> Fates:
    return Fates()


@pytest.fixture
async def client(publisher: FakePublisher, fates: Fates) -> AsyncIterator[httpx.AsyncClient]:
    configured = {"triggers": {"clients": CLIENTS}, "ingress": {"max_body_bytes": 2_000_000}}
    async with ingress_client(publisher, configured, now=lambda: NOW, fates=fates) as client:
        yield client


def bearer(secret: str = SECRET, *, key: str = "order-7") -> dict[str, str]:
    return {
        "Authorization": f"Bearer {secret}",
        "Idempotency-Key": key,
        "Content-Type": "application/json",
    }


def signed(body: bytes, *, at: float, secret: str = SECRET, key: str = "order-7") -> dict[str, str]:
    timestamp = str(int(at))
    return {
        "X-Connector-Timestamp": timestamp,
        "X-Connector-Signature": signature_of(body, timestamp=timestamp, secret=secret),
        "Idempotency-Key": key,
        "Content-Type": "application/json",
    }


def with_changes(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BODY, **changes}.items() if value is not ...}


def to_each(*recipients: dict[str, Any]) -> dict[str, Any]:
    return with_changes(recipients=list(recipients))


async def test_a_request_is_one_record_a_recipient_and_202(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """The answer names every send before anything is decided; each record says what was asked."""
    body = with_changes(
        **{"from": "+1 555 0100", "purpose": "utility", "expires_at": "2026-03-02T00:00:00+02:00"},
        recipients=[
            BODY["recipients"][0],
            {"to": {"bsuid": "US.123", "phone": "+15550001111"}, "reference": "order 7"},
            {"to": {"hubspot_id": "4711"}},
            {
                "to": {"salesforce_id": "0035g00000AbCdE"},
                "parameters": {"header": {"link": "https://x/y.pdf"}},
            },
        ],
    )

    answer = await client.post(URL, json=body, headers=bearer())

    assert answer.status_code == 202
    said = answer.json()
    assert answer.headers["Location"] == f"/triggers/{said['trigger_id']}"
    assert [item["status"] for item in said["recipients"]] == ["queued"] * 4
    sends: list[SendRequested] = publisher.kept
    assert [send.send_id for send in sends] == [item["send_id"] for item in said["recipients"]]
    assert {send.trigger_id for send in sends} == {said["trigger_id"]}
    assert {(send.source, send.client, send.recipients) for send in sends} == {("api", "shop", 4)}
    assert publisher.keys == ["5511987650001", "US.123", "4711", "0035g00000AbCdEAAV"]
    assert sends[0].to.phone == "+5511987650001"
    assert sends[0].parameters == {"1": "Ana", "2": 7}
    assert (sends[0].template.name, sends[0].template.language) == ("order_update", "pt_BR")
    assert (sends[0].from_number, sends[0].purpose) == ("+1 555 0100", "utility")
    assert sends[0].expires_at == datetime(2026, 3, 1, 22, tzinfo=UTC)
    assert sends[1].reference == "order 7"
    assert sends[3].parameters == {"header": {"link": "https://x/y.pdf"}}
    assert all(send.problem == "" and send.received_at == NOW for send in sends)


async def test_a_repeated_request_makes_the_same_ids(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Whatever the order of names, the spaces and the way it authenticates: the log has one send, twice."""
    reordered = json.dumps(dict(reversed(BODY.items())), indent=2).encode()

    first = await client.post(URL, json=BODY, headers=bearer())
    second = await client.post(URL, content=reordered, headers=signed(reordered, at=NOW.timestamp()))

    assert first.json() == second.json()
    one, two = publisher.kept
    assert one == two


async def test_the_same_key_with_another_body_can_be_told_from_a_repetition(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """The sends are the same two, the hashes differ, and so do the event ids: admission records the second's rejection."""
    await client.post(URL, json=BODY, headers=bearer())
    await client.post(URL, json=with_changes(template={"name": "another"}), headers=bearer())

    one, two = publisher.kept
    assert (one.send_id, one.trigger_id) == (two.send_id, two.trigger_id)
    assert one.request_hash != two.request_hash
    assert one.event_id != two.event_id


async def test_keys_are_each_clients_own(client: httpx.AsyncClient) -> None:
    """The same key of two clients names two requests; so do two keys of one."""
    answers = [
        await client.post(URL, json=BODY, headers=headers)
        for headers in (bearer(), bearer("the-secret-of-the-mailer"), bearer(key="order-8"))
    ]

    assert len({answer.json()["trigger_id"] for answer in answers}) == 3


async def test_a_former_secret_still_names_the_client(client: httpx.AsyncClient) -> None:
    """While a secret is rotated both count, and a request repeated with the other makes the same ids."""
    first = await client.post(URL, json=BODY, headers=bearer(FORMER))
    second = await client.post(URL, json=BODY, headers=bearer(SECRET))

    assert first.status_code == 202
    assert first.json() == second.json()


async def test_a_thousand_recipients_are_taken_and_one_more_is_not(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """All or nothing: of the larger request nothing is kept."""
    people = [{"to": {"hubspot_id": str(number)}} for number in range(1, 1002)]

    taken = await client.post(URL, json=to_each(*people[:1000]), headers=bearer())
    refused = await client.post(URL, json=to_each(*people), headers=bearer(key="more"))

    assert taken.status_code == 202
    assert len({send.send_id for send in publisher.kept}) == 1000
    assert refused.status_code == 422
    assert refused.json()["problems"] == [{"path": "recipients", "problem": "must have at most 1000 entries"}]


@pytest.mark.parametrize(
    ("body", "path", "says"),
    [
        pytest.param([], "the whole body", "must be an object", id="a list"),
        pytest.param(with_changes(template=...), "template", "is required", id="no template"),
        pytest.param(with_changes(templte={}), "templte", "not a field", id="an unknown field"),
        pytest.param(
            with_changes(template={"name": "Order Update"}),
            "template.name",
            "lower-case",
            id="a name of no template",
        ),
        pytest.param(
            with_changes(template={"name": "x", "language": "Portuguese"}),
            "template.language",
            "pt_BR",
            id="a language",
        ),
        pytest.param(with_changes(purpose="spam"), "purpose", "'marketing'", id="a purpose"),
        pytest.param(with_changes(expires_at="2026-03-02T00:00:00"), "expires_at", "offset", id="no offset"),
        pytest.param(
            with_changes(expires_at=1772500000), "expires_at", "2026-03-01T09", id="a number for a time"
        ),
        pytest.param(with_changes(expires_at="2026-02-30T00:00:00Z"), "expires_at", "time", id="30 February"),
        pytest.param(with_changes(**{"from": "our shop"}), "from", "country code", id="a sender"),
        pytest.param(to_each(), "recipients", "at least 1", id="nobody"),
        pytest.param(to_each({}), "recipients[0].to", "is required", id="no to"),
        pytest.param(to_each({"to": {}}), "recipients[0].to", "at least one of", id="an empty to"),
        pytest.param(
            to_each(BODY["recipients"][0], {"to": {"phone": "0151 234567"}}),
            "recipients[1].to.phone",
            "country code",
            id="a phone without its country",
        ),
        pytest.param(
            to_each({"to": {"phone": 5511987650001}}), "recipients[0].to.phone", "string", id="a number"
        ),
        pytest.param(to_each({"to": {"bsuid": "me"}}), "recipients[0].to.bsuid", "US.", id="a BSUID"),
        pytest.param(
            to_each({"to": {"hubspot_id": "x"}}), "recipients[0].to.hubspot_id", "digits", id="a HubSpot id"
        ),
        pytest.param(
            to_each({"to": {"salesforce_id": "0035g00000AbCdEAAA"}}),
            "recipients[0].to.salesforce_id",
            "upper case",
            id="a Salesforce id of the wrong case",
        ),
        pytest.param(
            to_each({"to": {"mail": "a@b"}}), "recipients[0].to.mail", "not a field", id="an e-mail"
        ),
        pytest.param(
            to_each({"to": {"bsuid": "US.1"}, "parameters": ["Ana"]}),
            "recipients[0].parameters",
            "object",
            id="a list of parameters",
        ),
        pytest.param(
            to_each({"to": {"bsuid": "US.1"}, "parameters": {"name": None}}),
            "recipients[0].parameters",
            "name must be a text",
            id="a null",
        ),
        pytest.param(
            to_each({"to": {"bsuid": "US.1"}, "parameters": {"a b": "x"}}),
            "recipients[0].parameters",
            "'a b' is no parameter's name",
            id="a parameter's name",
        ),
        pytest.param(
            to_each({"to": {"bsuid": "US.1"}, "parameters": {"1": "x" * 33_000}}),
            "recipients[0].parameters",
            "characters in all",
            id="a novel",
        ),
        pytest.param(
            to_each({"to": {"bsuid": "US.1"}, "reference": "x" * 257}),
            "recipients[0].reference",
            "256",
            id="a reference",
        ),
        pytest.param(
            with_changes(idempotency_key="other"), "idempotency_key", "Idempotency-Key", id="another key"
        ),
    ],
)
async def test_a_wrong_field_is_422_with_its_place(
    client: httpx.AsyncClient, publisher: FakePublisher, body: Any, path: str, says: str
) -> None:
    """What is wrong, where, and what would be right; nothing of the request is kept."""
    answer = await client.post(URL, json=body, headers=bearer())

    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert problem["path"] == path
    assert says in problem["problem"]
    assert path in answer.json()["error"]
    assert publisher.kept == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="not JSON"),
        pytest.param(b'{"template": NaN}', id="NaN"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"template": {"name": "a"}, "template": {"name": "b"}}', id="a name twice"),
    ],
)
async def test_what_is_not_json_is_400(
    client: httpx.AsyncClient, publisher: FakePublisher, body: bytes
) -> None:
    """With the place where it stops being JSON."""
    answer = await client.post(URL, content=body, headers=bearer())

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("The body is not JSON that can be kept: ")
    assert publisher.kept == []


@pytest.mark.parametrize(
    ("changes", "status", "outcome"),
    [
        pytest.param({"Authorization": None}, 401, "neither a bearer secret nor", id="no secret"),
        pytest.param({"Authorization": "Bearer guess"}, 401, "is no client's", id="another secret"),
        pytest.param(
            {"Authorization": f"Basic {SECRET}"}, 401, "neither a bearer secret nor", id="another scheme"
        ),
        pytest.param(
            {"Authorization": "Bearer the-secret-of-the-forms"}, 403, "scope send", id="another scope"
        ),
        pytest.param({"Idempotency-Key": None}, 400, "Idempotency-Key", id="no key"),
        pytest.param({"Idempotency-Key": "x" * 256}, 400, "Idempotency-Key", id="a long key"),
        pytest.param({"Idempotency-Key": "two words"}, 400, "Idempotency-Key", id="a key with a space"),
        pytest.param({"Content-Type": "text/plain"}, 415, "text/plain", id="another type"),
        pytest.param({"Content-Encoding": "gzip"}, 415, "compressed", id="compressed"),
    ],
)
async def test_what_the_headers_lack_is_told(
    client: httpx.AsyncClient,
    publisher: FakePublisher,
    changes: dict[str, str | None],
    status: int,
    outcome: str,
) -> None:
    """Each has a status of its own and a sentence; nothing is kept, no secret shown."""
    headers = {name: value for name, value in {**bearer(), **changes}.items() if value is not None}

    answer = await client.post(URL, content=json.dumps(BODY), headers=headers)

    assert answer.status_code == status
    assert outcome in answer.json()["error"]
    assert answer.json()["advice"]
    assert SECRET not in answer.text
    assert ("WWW-Authenticate" in answer.headers) == (status == 401)
    assert publisher.kept == []


@pytest.mark.parametrize(
    ("seconds", "status"),
    [
        pytest.param(-300, 202, id="5 minutes old"),
        pytest.param(-301, 401, id="older"),
        pytest.param(60, 202, id="a minute ahead"),
        pytest.param(61, 401, id="further ahead"),
        pytest.param(NOW.timestamp() * 999, 401, id="milliseconds"),
    ],
)
async def test_a_signature_is_good_for_five_minutes(
    client: httpx.AsyncClient, seconds: float, status: int
) -> None:
    """And for a caller whose clock is a minute ahead."""
    body = json.dumps(BODY).encode()

    answer = await client.post(URL, content=body, headers=signed(body, at=NOW.timestamp() + seconds))

    assert answer.status_code == status


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"X-Connector-Signature": "sha256=" + "0" * 64}, id="another signature"),
        pytest.param({"X-Connector-Signature": "sha256=0"}, id="no signature at all"),
        pytest.param({"X-Connector-Timestamp": str(int(NOW.timestamp()) - 1)}, id="another timestamp"),
        pytest.param({"X-Connector-Timestamp": ""}, id="no timestamp"),
        pytest.param({"X-Connector-Timestamp": "١٧٧٢٣٥٥٦٠٠".encode()}, id="digits that are not ASCII"),
        pytest.param(
            {"Authorization": f"Bearer {SECRET}", "X-Connector-Signature": "sha256=" + "0" * 64}, id="both"
        ),
    ],
)
async def test_a_wrong_signature_is_401(
    client: httpx.AsyncClient, publisher: FakePublisher, spoil: dict[str, Any]
) -> None:
    """Also beside a good bearer secret: a signature that is given must fit."""
    body = json.dumps(BODY).encode()
    headers: dict[str, Any] = {**signed(body, at=NOW.timestamp()), **spoil}

    answer = await client.post(URL, content=body, headers=headers)

    assert answer.status_code == 401
    assert publisher.kept == []


async def test_a_changed_body_does_not_fit_its_signature(client: httpx.AsyncClient) -> None:
    """Not even by a space."""
    body = json.dumps(BODY).encode()

    answer = await client.post(URL, content=body + b" ", headers=signed(body, at=NOW.timestamp()))

    assert answer.status_code == 401


async def test_a_signed_request_with_its_key_inside_cannot_be_replayed_under_another(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Replayed as it was it makes the same ids; under another key it is refused, as the signed body names its own."""
    body = json.dumps(with_changes(idempotency_key="order-7")).encode()
    headers = signed(body, at=NOW.timestamp())

    first = await client.post(URL, content=body, headers=headers)
    replayed = await client.post(URL, content=body, headers=headers)
    moved = await client.post(URL, content=body, headers={**headers, "Idempotency-Key": "order-8"})

    assert first.json() == replayed.json()
    assert moved.status_code == 422
    assert len({send.event_id for send in publisher.kept}) == 1


def test_the_signature_is_the_documented_one() -> None:
    """openssl dgst -sha256 -hmac … over timestamp, a dot and the body."""
    signature = signature_of(b'{"a":1}', timestamp="1772355600", secret="0123456789abcdef")

    assert signature == "sha256=662274e67214bc177aa954955eb439d2c49bafd855792ac7336343f6ecf5b781"


async def test_an_oversized_request_is_413(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """By its Content-Length, before it is read."""
    answer = await client.post(URL, content=b" " * 2_000_001, headers=bearer())

    assert answer.status_code == 413
    assert publisher.kept == []


async def test_a_broker_that_is_away_is_503(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """The caller repeats it under the same key."""
    publisher.failure = Transient("Kafka is away.", advice="look", retry_after=3)

    answer = await client.post(URL, json=BODY, headers=bearer())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "3"


async def test_a_campaign_whose_answer_is_lost_makes_the_same_ids_again(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """The broker had all of it, or a part; the repetition is answered as the first would have been."""
    publisher.failure, publisher.failures_left = Transient("The answer is lost.", retry_after=1), 1
    publisher.keeps_what_it_refuses = True
    body = to_each(*({"to": {"hubspot_id": str(number)}} for number in range(1, 4)))

    lost = await client.post(URL, json=body, headers=bearer())
    again = await client.post(URL, json=body, headers=bearer())

    assert (lost.status_code, again.status_code) == (503, 202)
    first, second = publisher.kept[:3], publisher.kept[3:]
    assert [send.event_id for send in first] == [send.event_id for send in second]
    assert [send.send_id for send in first] == [item["send_id"] for item in again.json()["recipients"]]


async def test_without_clients_every_request_is_503(publisher: FakePublisher) -> None:
    """And says which setting is missing."""
    async with ingress_client(publisher, {}, now=lambda: NOW) as client:
        answer = await client.post(URL, json=BODY, headers=bearer())

    assert answer.status_code == 503
    assert "CONNECTOR_TRIGGERS__CLIENTS" in answer.json()["advice"]


async def test_acts_of_consent_are_one_record_each(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """With who, what, when, and the evidence; keyed like the sends that wait for them."""
    denied = {"to": {"bsuid": "US.9"}, "purpose": "utility", "state": "denied", "at": "2026-03-01T08:59:00Z"}

    answer = await client.post(CONSENT_URL, json={"acts": [ACT, denied]}, headers=bearer())
    again = await client.post(CONSENT_URL, json={"acts": [ACT, denied]}, headers=bearer())

    assert answer.status_code == 202
    assert answer.json() == again.json()
    first, second = publisher.kept[:2]
    assert isinstance(first, ConsentGiven)
    assert first.event_id == answer.json()["acts"][0]["event_id"]
    assert (first.to.phone, first.purpose, first.state, first.by_person) == (
        "+5511987650001",
        "marketing",
        "granted",
        True,
    )
    assert first.at == datetime(2026, 2, 28, 21, tzinfo=UTC)
    assert first.evidence == ACT["evidence"]
    assert (second.state, second.by_person, second.evidence) == ("denied", False, "")
    assert publisher.keys[:2] == ["5511987650001", "US.9"]
    assert len({act.event_id for act in publisher.kept}) == 2


@pytest.mark.parametrize(
    ("changes", "path", "says"),
    [
        pytest.param({"evidence": ""}, "acts[0]", "must have evidence", id="granted without evidence"),
        pytest.param({"state": "unknown"}, "acts[0].state", "'granted' or 'denied'", id="unknown"),
        pytest.param({"purpose": "authentication"}, "acts[0].purpose", "'marketing'", id="authentication"),
        pytest.param({"at": "2026-03-01T09:02:00Z"}, "acts[0].at", "in the future", id="in the future"),
        pytest.param({"at": ...}, "acts[0].at", "is required", id="no time"),
        pytest.param({"evidence": "x" * 2001}, "acts[0].evidence", "2000", id="a long story"),
    ],
)
async def test_an_act_of_consent_that_proves_nothing_is_422(
    client: httpx.AsyncClient, publisher: FakePublisher, changes: dict[str, Any], path: str, says: str
) -> None:
    """Consent without evidence is none."""
    act = {name: value for name, value in {**ACT, **changes}.items() if value is not ...}

    answer = await client.post(CONSENT_URL, json={"acts": [act]}, headers=bearer())

    assert answer.status_code == 422
    (problem,) = answer.json()["problems"]
    assert problem["path"] == path
    assert says in problem["problem"]
    assert publisher.kept == []


async def test_consent_needs_its_scope(client: httpx.AsyncClient) -> None:
    """Who may send may not therefore say what people allowed."""
    refused = await client.post(CONSENT_URL, json={"acts": [ACT]}, headers=bearer("the-secret-of-the-mailer"))
    taken = await client.post(CONSENT_URL, json={"acts": [ACT]}, headers=bearer("the-secret-of-the-forms"))

    assert (refused.status_code, taken.status_code) == (403, 202)


async def test_what_became_of_a_trigger_is_told_to_its_own_client(client: httpx.AsyncClient) -> None:
    """A trigger of another client is as unknown as one that never was."""
    own = await client.get("/triggers/trg_known", headers=bearer())
    signed_for = await client.get("/triggers/trg_known", headers=signed(b"", at=NOW.timestamp()))
    others = await client.get("/triggers/trg_known", headers=bearer("the-secret-of-the-mailer"))
    unknown = await client.get("/triggers/trg_other", headers=bearer())
    nobody = await client.get("/triggers/trg_known")

    assert own.json() == {"trigger_id": "trg_known", "recipients": []}
    assert signed_for.status_code == 200
    assert (others.status_code, unknown.status_code, nobody.status_code) == (404, 404, 401)
    assert "ask again" in unknown.json()["advice"]


async def test_a_state_that_cannot_be_read_is_503(client: httpx.AsyncClient, fates: Fates) -> None:
    """That is no 404: the trigger may well be there."""
    fates.away = True

    answer = await client.get("/triggers/trg_known", headers=bearer())

    assert answer.status_code == 503
    assert answer.headers["Retry-After"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_another_method_is_405(client: httpx.AsyncClient, method: str) -> None:
    """Templates are triggered by POST alone."""
    answer = await client.request(method, URL, headers=bearer())

    assert answer.status_code == 405


@pytest.mark.parametrize(
    ("clients", "says"),
    [
        pytest.param([CLIENTS[2], CLIENTS[2]], "same name", id="one name twice"),
        pytest.param(
            [CLIENTS[2], {**CLIENTS[2], "name": "b"}], "secret is there twice", id="one secret twice"
        ),
        pytest.param([{"name": "a", "secret": "short"}], "CLIENTS__0__SECRET", id="a short secret"),
        pytest.param([{**CLIENTS[2], "former_secrets": ["short"]}], "16", id="a short former secret"),
        pytest.param([{**CLIENTS[2], "scopes": ["all"]}], "CLIENTS__0__SCOPES__0", id="an unknown scope"),
        pytest.param([{**CLIENTS[2], "name": "a b"}], "CLIENTS__0__NAME", id="a name with a space"),
    ],
)
def test_clients_that_cannot_be_told_apart_are_refused_at_start(
    clients: list[dict[str, Any]], says: str
) -> None:
    """The variable is named, the secret is not shown."""
    with pytest.raises(SettingsError) as refused:
        load_settings(triggers={"clients": clients})

    assert says in str(refused.value)
    assert "short" not in str(refused.value).replace("shorter", "")
