"""The endpoints over ASGI, with a publisher that keeps records in a list."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fake_publisher import FakePublisher
from prometheus_client import REGISTRY

from connector.errors import Transient
from connector.events import DeadLetter, WhatsAppUpdate
from connector.ingress.app import create_app
from connector.ingress.inflight import InflightBytes
from connector.ingress.signatures import signature_of
from connector.settings import Settings
from connector.telemetry.health import StageHealth

SECRET = "the-app-secret"
URL = "/webhooks/whatsapp"


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


def settings(**whatsapp: Any) -> Settings:
    whatsapp = {"app_secrets": [SECRET], "verify_token": "our-token", **whatsapp}
    return Settings.model_validate({"whatsapp": whatsapp, "ingress": {"max_body_bytes": 600_000}})


def client_of(publisher: FakePublisher, configured: Settings | None = None) -> httpx.AsyncClient:
    app = create_app(configured or settings(), publisher, StageHealth("ingress"), read_timeout=0.2)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ingress")


@pytest.fixture
async def client(publisher: FakePublisher) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(publisher) as client:
        yield client


def body_of(*messages: dict[str, Any]) -> bytes:
    value = {"metadata": {"phone_number_id": "1065"}, "messages": list(messages)}
    entry = {"id": "WABA", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


BODY = body_of({"id": "wamid.1", "from": "49", "text": {"body": "مرحبا 😀 https://x/"}})


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": signature_of(body, secret=secret.encode())}


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("connector_ingress_posts_total", {"outcome": outcome}) or 0.0


def is_explained(response: httpx.Response) -> bool:
    """An answer that is not a success says what and what next, and no secret."""
    said = response.json()
    return (
        bool(said["error"] and said["advice"])
        and SECRET not in response.text
        and "our-token" not in response.text
    )


async def test_a_signed_post_is_kept_and_answered_200(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Every update is with the broker when the 200 is sent."""
    before = counted("kept")

    response = await client.post(URL, content=BODY, headers=signed(BODY))

    assert response.status_code == 200
    (update,) = publisher.kept
    assert isinstance(update, WhatsAppUpdate)
    assert update.update["text"] == {"body": "مرحبا 😀 https://x/"}
    assert counted("kept") == before + 1


async def test_the_answer_waits_for_the_broker(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """No 200 before the publisher has returned."""
    publisher.gate.clear()
    post = asyncio.create_task(client.post(URL, content=BODY, headers=signed(BODY)))
    async with asyncio.timeout(5):
        await publisher.asked.wait()

    assert not post.done()
    assert publisher.inflight.used > len(BODY)
    publisher.gate.set()

    assert (await post).status_code == 200
    assert publisher.inflight.used == 0


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        pytest.param({}, "missing", id="missing"),
        pytest.param({"X-Hub-Signature-256": "sha256=abc"}, "malformed", id="malformed"),
        pytest.param(signed(BODY, "another"), "wrong", id="another secret"),
        pytest.param(signed(BODY + b" "), "wrong", id="another body"),
    ],
)
async def test_a_post_that_is_not_signed_is_403(
    client: httpx.AsyncClient, publisher: FakePublisher, headers: dict[str, str], reason: str
) -> None:
    """It is counted by reason and nothing is kept."""
    labels = {"reason": reason}
    before = REGISTRY.get_sample_value("connector_ingress_bad_signatures_total", labels) or 0.0

    response = await client.post(URL, content=BODY, headers=headers)

    assert response.status_code == 403
    assert is_explained(response)
    assert publisher.kept == []
    assert REGISTRY.get_sample_value("connector_ingress_bad_signatures_total", labels) == before + 1


async def test_any_configured_secret_is_accepted(publisher: FakePublisher) -> None:
    """During a rotation Meta may sign with either."""
    async with client_of(publisher, settings(app_secrets=["new", "old"])) as client:
        answers = [
            (await client.post(URL, content=BODY, headers=signed(BODY, name))).status_code
            for name in ("new", "old")
        ]

    assert answers == [200, 200]


@pytest.mark.parametrize("secrets", [[], [""]])
async def test_without_a_secret_every_post_is_503(publisher: FakePublisher, secrets: list[str]) -> None:
    """Nothing unsigned is ever accepted, and readiness says what is missing."""
    async with client_of(publisher, settings(app_secrets=secrets)) as client:
        response = await client.post(URL, content=BODY, headers=signed(BODY, ""))
        ready = await client.get("/readyz")

    assert response.status_code == 503
    assert is_explained(response)
    assert publisher.kept == []
    assert ready.status_code == 503
    assert "CONNECTOR_WHATSAPP__APP_SECRETS" in ready.text


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not json \xff", id="no JSON"),
        pytest.param(b"[NaN]", id="NaN"),
    ],
)
async def test_a_signed_post_that_is_not_json_is_kept_and_answered_200(
    client: httpx.AsyncClient, publisher: FakePublisher, body: bytes
) -> None:
    """It is a dead letter with the original bytes; any other answer would bring it back for 7 days."""
    response = await client.post(URL, content=body, headers=signed(body))

    assert response.status_code == 200
    (letter,) = publisher.kept
    assert isinstance(letter, DeadLetter)
    assert (letter.stage, letter.cause, letter.original) == ("ingress", "not_json", body)


@pytest.mark.parametrize("body", [BODY, b"not json"], ids=["updates", "dead letter"])
async def test_a_broker_that_does_not_take_it_is_503(
    client: httpx.AsyncClient, publisher: FakePublisher, body: bytes
) -> None:
    """Meta is asked to come again, for dead letters as well."""
    publisher.failure = Transient("Kafka is away.", advice="look", retry_after=3)

    response = await client.post(URL, content=body, headers=signed(body))

    assert response.status_code == 503
    assert response.headers["Retry-After"] == "3"
    assert is_explained(response)
    assert publisher.inflight.used == 0


async def test_an_unforeseen_failure_is_500_and_says_nothing_of_it(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """A bug is not a 200; its text stays in the log."""
    publisher.failure = RuntimeError(SECRET)

    response = await client.post(URL, content=BODY, headers=signed(BODY))

    assert response.status_code == 500
    assert is_explained(response)
    assert publisher.inflight.used == 0


class Chunks:
    """A body that counts how much of it is asked for."""

    def __init__(self, count: int, *, size: int = 100_000, then_hang: bool = False) -> None:
        self.count = count
        self.size = size
        self.then_hang = then_hang
        self.taken = 0
        self.hangs = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self.count):
            self.taken += 1
            yield b"x" * self.size
        if self.then_hang:
            self.hangs.set()
            await asyncio.Event().wait()


async def test_an_announced_large_body_is_413_unread(client: httpx.AsyncClient) -> None:
    """Content-Length is enough to refuse it."""
    chunks = Chunks(100)

    response = await client.post(URL, content=chunks, headers={**signed(BODY), "Content-Length": "10000000"})

    assert response.status_code == 413
    assert is_explained(response)
    assert chunks.taken == 0


async def test_a_streamed_large_body_is_413_when_it_passes_the_bound(client: httpx.AsyncClient) -> None:
    """Without Content-Length it is read up to the bound and no further."""
    chunks = Chunks(100)

    response = await client.post(URL, content=chunks, headers=signed(BODY))

    assert response.status_code == 413
    assert chunks.taken <= 8


async def test_a_body_of_exactly_the_bound_is_read(client: httpx.AsyncClient) -> None:
    """600,000 bytes are allowed; large bodies are judged in a thread and by the same rules."""
    body = b'"' + b"x" * (600_000 - 2) + b'"'

    assert (await client.post(URL, content=body, headers=signed(body))).status_code == 200
    assert (await client.post(URL, content=body, headers=signed(b"other"))).status_code == 403


async def test_overload_is_503_before_the_body_is_read(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """When the bound is reached nothing more is taken into memory."""
    hold = publisher.inflight.hold(900_000)
    assert hold is not None
    chunks = Chunks(100)

    response = await client.post(URL, content=chunks, headers={**signed(BODY), "Content-Length": "200000"})

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert is_explained(response)
    assert chunks.taken == 0
    hold.release()
    assert (await client.post(URL, content=BODY, headers=signed(BODY))).status_code == 200


async def test_overload_is_503_while_a_body_of_unknown_size_arrives(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """Chunks count as they come, and are given back."""
    hold = publisher.inflight.hold(700_000)
    assert hold is not None

    response = await client.post(URL, content=Chunks(100), headers=signed(BODY))

    assert response.status_code == 503
    assert publisher.inflight.used == 700_000


async def test_a_body_that_does_not_come_is_408(client: httpx.AsyncClient, publisher: FakePublisher) -> None:
    """A slow sender holds no place for longer than the read timeout."""
    response = await client.post(URL, content=Chunks(1, then_hang=True), headers=signed(BODY))

    assert response.status_code == 408
    assert is_explained(response)
    assert publisher.inflight.used == 0


async def test_announcing_much_holds_nothing_until_it_comes(
    client: httpx.AsyncClient, publisher: FakePublisher
) -> None:
    """A sender that announces 500 KB and sends one byte does not lock others out."""
    bodies = [Chunks(1, size=1, then_hang=True) for _ in range(10)]
    headers = {**signed(BODY), "Content-Length": "500000"}
    slow = [asyncio.create_task(client.post(URL, content=body, headers=headers)) for body in bodies]
    async with asyncio.timeout(5):
        await asyncio.gather(*(body.hangs.wait() for body in bodies))

    response = await client.post(URL, content=BODY, headers=signed(BODY))

    assert response.status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*slow)} == {408}


@pytest.mark.parametrize("encoding", ["gzip", "br"])
async def test_a_compressed_body_is_415(client: httpx.AsyncClient, encoding: str) -> None:
    """The signature is over plain bytes; nothing is unpacked."""
    response = await client.post(URL, content=BODY, headers={**signed(BODY), "Content-Encoding": encoding})

    assert response.status_code == 415
    assert is_explained(response)


async def test_the_challenge_is_answered_as_plain_text(client: httpx.AsyncClient) -> None:
    """Meta's verification with our token."""
    query = {"hub.mode": "subscribe", "hub.verify_token": "our-token", "hub.challenge": "<b>115820</b>"}

    response = await client.get(URL, params=query)

    assert response.status_code == 200
    assert response.text == "<b>115820</b>"
    assert response.headers["content-type"].startswith("text/plain")


def query_without(name: str) -> dict[str, str]:
    query = {"hub.mode": "subscribe", "hub.verify_token": "our-token", "hub.challenge": "1"}
    return {key: value for key, value in query.items() if key != name}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param({**query_without(""), "hub.verify_token": "x"}, 403, id="wrong token"),
        pytest.param({**query_without(""), "hub.verify_token": ""}, 403, id="empty token"),
        pytest.param({**query_without(""), "hub.verify_token": "токен"}, 403, id="a token beyond ASCII"),
        pytest.param({**query_without(""), "hub.mode": "unsubscribe"}, 400, id="another mode"),
        pytest.param(query_without("hub.mode"), 400, id="no mode"),
        pytest.param(query_without("hub.verify_token"), 400, id="no token"),
        pytest.param(query_without("hub.challenge"), 400, id="no challenge"),
        pytest.param({}, 400, id="nothing"),
    ],
)
async def test_a_wrong_verification_is_refused(
    client: httpx.AsyncClient, query: dict[str, str], status: int
) -> None:
    """The challenge is not answered."""
    response = await client.get(URL, params=query)

    assert response.status_code == status
    assert is_explained(response)


async def test_an_unset_verify_token_fits_nothing(publisher: FakePublisher) -> None:
    """An empty setting is not a token."""
    async with client_of(publisher, settings(verify_token="")) as client:
        response = await client.get(URL, params={**query_without(""), "hub.verify_token": ""})

    assert response.status_code == 503


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_405(client: httpx.AsyncClient, method: str) -> None:
    """Only GET and POST are answered."""
    response = await client.request(method, URL, params=query_without(""))

    assert response.status_code == 405
    assert set(response.headers["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize("path", ["/", "/webhooks/whatsapp/", "/webhooks"])
async def test_another_path_is_404(client: httpx.AsyncClient, path: str) -> None:
    """Also with a trailing slash: Meta follows no redirect."""
    response = await client.post(path, content=BODY, headers=signed(BODY))

    assert response.status_code == 404
    assert is_explained(response)


async def test_health_and_metrics_are_served(client: httpx.AsyncClient) -> None:
    """The ingress has the same three endpoints as every role; it is not ready before Kafka is connected."""
    await client.post(URL, content=BODY, headers=signed(BODY))

    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 503
    assert 'connector_ingress_posts_total{outcome="kept"}' in (await client.get("/metrics")).text


@pytest.mark.parametrize("act", [lambda hold: hold.release(), lambda hold: (hold.release(), hold.release())])
def test_bytes_are_given_back_once(act: Callable[[Any], object]) -> None:
    """A second release does not make room that is not there."""
    inflight = InflightBytes(100)
    first, second = inflight.hold(40), inflight.hold(40)
    assert first is not None
    assert second is not None

    assert not first.grow(30)
    act(first)

    assert inflight.used == 40
    assert inflight.hold(61) is None
