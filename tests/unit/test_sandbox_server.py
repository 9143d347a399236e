import asyncio
import json
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typer.testing import CliRunner

from connector.cli import app
from connector.errors import Terminal
from connector.sandbox import SandboxServer
from connector.sandbox.server import HttpListener
from connector.sandbox.whatsapp import RetrySchedule, Weather, WebhookSender


class Webhook:
    """A webhook endpoint on a port, refusing its first POST."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.posts = 0
        app = Starlette(routes=[Route("/webhook", self._receive, methods=["POST"])])
        self.listener = HttpListener(app, host="127.0.0.1", port=0)

    async def _receive(self, request: Request) -> Response:
        self.posts += 1
        if self.posts == 1:
            return Response(status_code=503)
        for change in (await request.json())["entry"][0]["changes"]:
            self.ids += [item["id"] for item in change["value"].get("messages", [])]
        return Response(status_code=200)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """Serve a webhook."""
    endpoint = Webhook()
    await endpoint.listener.start()
    yield endpoint
    await endpoint.listener.stop()


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Return the condition's first true value within ten seconds."""
    async with asyncio.timeout(10):
        while not (value := await condition()):
            await asyncio.sleep(0.01)
        return value


async def test_a_message_and_a_stream_are_delivered_on_request(webhook: Webhook) -> None:
    """What is asked for over HTTP reaches the webhook, repeated until it was answered 200."""
    sender = WebhookSender(
        url=f"{webhook.listener.url}/webhook",
        app_secret="s",
        weather=Weather(batch=10),
        retries=RetrySchedule(speed=1_000),
    )
    async with (
        SandboxServer(sender=sender) as sandbox,
        httpx.AsyncClient(base_url=sandbox.whatsapp_url) as http,
    ):
        person = {"name": "Ana", "wa_id": "16505550001"}
        one = await http.post("/_sandbox/whatsapp/events", json={"from": person, "text": "hello"})
        many = await http.post(
            "/_sandbox/whatsapp/conversations", json={"seed": 1, "people": 5, "messages": 30}
        )
        wrong = await http.post("/_sandbox/whatsapp/conversations", json={"people": 0, "messages": 1})

        async def deliveries() -> dict[str, Any] | None:
            journal = (await http.get("/_sandbox/whatsapp/deliveries")).json()
            return None if journal["under_way"] else journal

        journal = await until(deliveries)
    expected = {item["wamid"] for person in many.json()["expected"] for item in person["messages"]}
    assert wrong.status_code == 400
    assert {one.json()["wamid"], *expected} <= set(webhook.ids)
    assert journal["acknowledged"] == journal["updates"]
    assert journal["posts"] > journal["acknowledged"]


async def test_a_taken_port_is_an_error_at_once_and_leaves_no_other_port_open() -> None:
    """A port that is in use is refused when the server is made."""
    async with SandboxServer() as sandbox:
        port = int(sandbox.hubspot_url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            SandboxServer(hubspot_port=port)
        with pytest.raises(OSError, match="in use"):
            SandboxServer(salesforce_port=port)
        sender = WebhookSender(url="http://127.0.0.1:9/", app_secret="s")
        with pytest.raises(OSError, match="in use"):
            SandboxServer(sender=sender, whatsapp_port=port)
        await sender.aclose()


async def test_the_process_prints_its_urls_and_stops_on_sigterm(tmp_path: Path) -> None:
    """`connector sandbox --json` prints one line when it answers, and ends with 0 when told to.

    The variables that it writes are settings of a deployment that uses it.
    """
    env_file = tmp_path / "sandbox.env"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "connector",
        "sandbox",
        "--json",
        "--webhook-url",
        "http://127.0.0.1:9/webhook",
        *("--hubspot-port", "0", "--salesforce-port", "0", "--whatsapp-port", "0"),
        *("--hubspot-config", '{"search_lag": 0}', "--env-file", str(env_file)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            urls = json.loads(await process.stdout.readline())
            async with httpx.AsyncClient() as http:
                state = await http.get(f"{urls['hubspot_url']}/_sandbox/hubspot/state")
                org = await http.get(f"{urls['salesforce_url']}/_sandbox/salesforce/state")
                deliveries = await http.get(f"{urls['whatsapp_url']}/_sandbox/whatsapp/deliveries")
            assert (state.status_code, deliveries.json()["updates"]) == (200, 0)
            assert org.json()["counts"] == {"contacts": 0, "leads": 0, "tasks": 0}
            written = dict(shlex.split(line)[0].split("=", 1) for line in env_file.read_text().splitlines())
            assert written == urls["environment"]
            assert written["CONNECTOR_SALESFORCE__BASE_URL"] == urls["salesforce_url"]
            assert json.loads(written["CONNECTOR_WHATSAPP__APP_SECRETS"]) == ["sandbox-app-secret"]
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hubspot-config", '{"mood": 1}'], "mood"),
        (["--whatsapp-config", '{"api_version": "25"}'], "api_version"),
        (["--salesforce-config", "not json"], "--salesforce-config"),
    ],
    ids=["unknown-switch", "wrong-value", "not-json"],
)
def test_a_wrong_switch_is_a_usage_error(words: list[str], message: str) -> None:
    """What is no configuration ends the command with 2 and names the option and the field."""
    result = CliRunner().invoke(app, ["sandbox", *words])
    assert result.exit_code == 2
    assert message in result.stderr


async def test_a_taken_port_says_how_to_choose_another() -> None:
    """The command ends with an error that names the options."""
    async with SandboxServer() as sandbox:
        port = sandbox.hubspot_url.rsplit(":", 1)[1]
        words = ["sandbox", "--webhook-url", "", "--hubspot-port", port]
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert isinstance(result.exception, Terminal)
    assert "in use" in result.exception.message
    assert "--hubspot-port" in result.exception.advice
