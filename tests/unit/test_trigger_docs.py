"""The examples of docs/triggers.md and of docs/crm do what they say, as they stand there."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fake_publisher import FakePublisher, ingress_client

from connector.sandbox.environment import TRIGGER_CLIENT

DOCS = Path(__file__).parents[2] / "docs"
TRIGGERS = (DOCS / "triggers.md").read_text(encoding="utf-8")
SECRET = str(TRIGGER_CLIENT["secret"])
CONFIGURED = {"triggers": {"clients": [TRIGGER_CLIENT]}}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def curls() -> list[tuple[str, str]]:
    """(path, body) of every documented POST by curl."""
    commands = [block for block in blocks(TRIGGERS, "console") if "-X POST" in block]
    return [
        (
            re.findall(r"https://connector\.example\.com(\S+)", command)[0],
            re.findall(r"-d '(.*)'", command, re.DOTALL)[0],
        )
        for command in commands
    ]


async def post(path: str, body: str | bytes, headers: dict[str, str]) -> tuple[int, Any, list[Any]]:
    publisher = FakePublisher()
    async with ingress_client(publisher, CONFIGURED, now=lambda: datetime.now(UTC)) as client:
        answer = await client.post(path, content=body, headers=headers)
    return answer.status_code, answer.json(), publisher.kept


@pytest.mark.parametrize(("path", "body"), curls(), ids=[path for path, _ in curls()])
async def test_a_documented_request_is_taken(path: str, body: str) -> None:
    """With the client's secret in the place of SECRET."""
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "Idempotency-Key": "k",
        "Content-Type": "application/json",
    }

    status, said, kept = await post(path, body, headers)

    assert (status, len(kept)) == (202, 1), said


async def test_the_documented_signature_is_taken() -> None:
    """The Python sample, up to the line that sends."""
    (sample,) = blocks(TRIGGERS, "python")
    prepared = sample.replace('"SECRET"', repr(SECRET)).partition("print(")[0]
    names: dict[str, Any] = {}
    exec(prepared, names)
    request = names["request"]

    status, said, kept = await post(request.selector, request.data, dict(request.header_items()))

    assert (status, len(kept)) == (202, 1), said


async def test_the_callout_of_a_salesforce_flow_is_taken() -> None:
    """And is answered with the names that its sample response has."""
    asked, answered = blocks((DOCS / "crm" / "salesforce" / "README.md").read_text(encoding="utf-8"), "json")
    headers = {
        "Authorization": f"Bearer {SECRET}",
        "Idempotency-Key": "k",
        "Content-Type": "application/json",
    }

    status, said, kept = await post("/triggers/templates", asked, headers)

    assert (status, len(kept)) == (202, 1), said
    documented = json.loads(answered)
    assert said.keys() == documented.keys()
    assert said["recipients"][0].keys() == documented["recipients"][0].keys()
    assert len(said["trigger_id"]) == len(documented["trigger_id"])


def test_every_documented_client_is_valid() -> None:
    """The JSON list of the page, but for its secrets, which are shorter than real ones."""
    (documented,) = [block for block in blocks(TRIGGERS, "json") if "scopes" in block]
    for client in json.loads(documented):
        assert set(client) <= {"name", "secret", "former_secrets", "scopes"}
