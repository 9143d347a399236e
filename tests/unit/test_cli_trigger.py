"""`connector trigger`: what it makes, what it posts, and what it says when it is not taken."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from connector.cli import app
from connector.cli.trigger_crm import CRM_KINDS
from connector.sandbox.courier import Courier
from connector.sandbox.server import HttpListener, SandboxServer
from connector.sandbox.whatsapp.kinds import KINDS
from connector.sandbox.whatsapp.payloads import signature

run = CliRunner()


class Webhook:
    """An ingress that keeps what it gets, and refuses what `SECRET` did not sign."""

    SECRET = "s3cret"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.app = Starlette(routes=[Route("/webhooks/whatsapp", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        body = await request.body()
        if request.headers["X-Hub-Signature-256"] != signature(body, self.SECRET):
            return Response(status_code=403)
        self.bodies.append(body)
        return Response()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A running loop of its own: the command runs one itself."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def webhook(loop: asyncio.AbstractEventLoop) -> Iterator[tuple[Webhook, str]]:
    """A listening webhook, and nothing else there."""
    taken = Webhook()
    listener = HttpListener(taken.app, host="127.0.0.1", port=0)
    asyncio.run_coroutine_threadsafe(listener.start(), loop).result(timeout=10)
    yield taken, f"{listener.url}/webhooks/whatsapp"
    asyncio.run_coroutine_threadsafe(listener.stop(), loop).result(timeout=10)


@pytest.fixture
def crms(loop: asyncio.AbstractEventLoop, webhook: tuple[Webhook, str]) -> Iterator[Mapping[str, str]]:
    """The settings of simulators that call a host which has none of the connector's endpoints for CRMs."""
    _, url = webhook

    async def start() -> SandboxServer:
        courier = Courier(url=url.removesuffix("/webhooks/whatsapp"))
        return await SandboxServer(courier=courier).__aenter__()

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(timeout=10)
    yield {
        "CONNECTOR_HUBSPOT__BASE_URL": server.hubspot_url,
        "CONNECTOR_SALESFORCE__BASE_URL": server.salesforce_url,
    }
    asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(timeout=10)


def test_every_kind_is_listed() -> None:
    """--list names each kind with what happens."""
    result = run.invoke(app, ["trigger", "--list", "--json"])
    assert result.exit_code == 0
    assert [row["kind"] for row in json.loads(result.stdout)] == [*KINDS, *CRM_KINDS]


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_prints_the_payload_and_a_seed_repeats_it(kind: str) -> None:
    """The same seed and time give the same webhook; another seed another message."""
    words = ["trigger", kind, "--dry-run", "--json", "--at", "1790000000"]
    one, same = (run.invoke(app, [*words, "--seed", "1"]) for _ in range(2))
    assert one.exit_code == 0, one.output
    assert one.stdout == same.stdout
    (document,) = json.loads(one.stdout)
    assert document["object"] == "whatsapp_business_account"


def test_events_are_signed_posted_and_counted(webhook: tuple[Webhook, str]) -> None:
    """Three messages of a phone are three webhooks, signed, with the text, and a way to follow them."""
    taken, url = webhook
    result = run.invoke(
        app,
        [
            *("trigger", "inbound.text", "--from", "+1 (555) 123-0001", "--text", "Hi", "--count", "3"),
            *("--url", url, "--secret", Webhook.SECRET),
        ],
    )
    assert result.exit_code == 0, result.output
    values = [json.loads(body)["entry"][0]["changes"][0]["value"] for body in taken.bodies]
    messages = [value["messages"][0] for value in values]
    assert [(item["from"], item["text"]["body"]) for item in messages] == [("15551230001", "Hi")] * 3
    assert len({item["id"] for item in messages}) == 3
    assert len({item["from_user_id"] for item in messages}) == 1
    assert f"next: connector trace {messages[0]['id']}" in result.stdout


def test_a_person_may_be_a_user_id_and_a_status_is_about_a_message(webhook: tuple[Webhook, str]) -> None:
    """A BSUID has no phone; a status is the one of --about; the answer is JSON when asked for."""
    taken, url = webhook
    result = run.invoke(
        app,
        [
            *("trigger", "status.read", "--from", "US.1349", "--about", "wamid.X", "--json"),
            *("--url", url, "--secret", Webhook.SECRET),
        ],
    )
    assert json.loads(result.stdout)["posted"] == [{"id": "wamid.X", "answer": 200}]
    (status,) = json.loads(taken.bodies[0])["entry"][0]["changes"][0]["value"]["statuses"]
    assert (status["id"], status["status"], status["recipient_user_id"]) == ("wamid.X", "read", "US.1349")
    assert "recipient_id" not in status


def test_a_refused_signature_says_what_to_compare(webhook: tuple[Webhook, str]) -> None:
    """A wrong secret: exit code 1, nothing kept, and the variable to look at."""
    taken, url = webhook
    result = run.invoke(app, ["trigger", "inbound.text", "--url", url, "--secret", "wrong"])
    assert result.exit_code == 1
    assert "CONNECTOR_WHATSAPP__APP_SECRETS" in result.stderr
    assert taken.bodies == []


def test_the_host_alone_names_the_webhook(webhook: tuple[Webhook, str]) -> None:
    """A URL without a path is an ingress, whose webhook has one name."""
    taken, url = webhook
    host = url.removesuffix("/webhooks/whatsapp")
    result = run.invoke(app, ["trigger", "inbound.text", "--url", host, "--secret", Webhook.SECRET, "--json"])
    assert json.loads(result.stdout)["url"] == url
    assert len(taken.bodies) == 1


def test_nobody_listening_is_an_error_that_says_so() -> None:
    """Without an answer the failure's name and a question stand there."""
    result = run.invoke(app, ["trigger", "inbound.text", "--url", "http://127.0.0.1:9/x", "--secret", "s"])
    assert result.exit_code == 1
    assert "answered Connect" in result.stderr
    assert "listening" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--list"),
        (["inbound.telepathy"], "--list"),
        (["inbound.text", "--from", "somebody"], "country code"),
    ],
    ids=["no-kind", "unknown-kind", "no-person"],
)
def test_a_wrong_word_is_a_usage_error(words: list[str], message: str) -> None:
    """What is not understood is exit code 2 and says what is valid."""
    result = run.invoke(app, ["trigger", *words])
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_any_secret_nothing_is_posted() -> None:
    """No --secret and none in the settings: the error names both."""
    result = run.invoke(app, ["trigger", "inbound.text"], env={"CONNECTOR_WHATSAPP__APP_SECRETS": None})
    assert "CONNECTOR_WHATSAPP__APP_SECRETS" in getattr(result.exception, "advice", "")


@pytest.mark.parametrize("kind", CRM_KINDS)
def test_a_crm_that_is_no_simulator_is_told_from_one(kind: str, webhook: tuple[Webhook, str]) -> None:
    """Nothing is triggered in a portal or org of people, and the command says what to start."""
    _, url = webhook
    origin = url.removesuffix("/webhooks/whatsapp")
    environment = {"CONNECTOR_HUBSPOT__BASE_URL": origin, "CONNECTOR_SALESFORCE__BASE_URL": origin}

    result = run.invoke(app, ["trigger", kind], env=environment)

    assert result.exit_code == 1
    assert "no simulator" in str(result.exception)
    assert "connector up --sandbox" in str(result.exception)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("hubspot.workflow", {"state": "failed", "branch": "none"}, id="HubSpot"),
        pytest.param("salesforce.outbound", {"state": "queued"}, id="Salesforce"),
    ],
)
def test_a_simulated_crm_asks_for_a_send(kind: str, says: dict[str, str], crms: Mapping[str, str]) -> None:
    """The person's record is made when there is none, and found the second time."""
    words = ["trigger", kind, "--json", "--from", "+15551230001", "--parameter", "1=Ana"]

    first, second = (run.invoke(app, words, env=crms) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0), second.exception
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert one.items() >= says.items()
    assert one["answers"] == [404]
    name = f"CONNECTOR_{kind.partition('.')[0].upper()}__BASE_URL"
    record = "contact_id" if "contact_id" in one else "record_id"
    assert one[record] == two[record]
    assert one["see"].startswith(f"{crms[name]}/_sandbox/")
