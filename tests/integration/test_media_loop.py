"""A file on its whole way: WhatsApp's webhook → log → store, and the link on the CRM's timeline that leads to it."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connector.embedded.deployment import LocalDeployment, SandboxOptions


@pytest.fixture(scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalDeployment]:
    """Ingress, route, media and sync-hubspot, beside the simulators."""
    started = LocalDeployment(
        tmp_path_factory.mktemp("media loop"),
        roles=["ingress", "route", "media", "sync-hubspot"],
        sandbox=SandboxOptions(),
        env={"CONNECTOR_MEDIA__LINK_DAYS": "3650"},  # the conversations are of a fixed day of the past
    )
    async with started:
        yield started


async def test_every_image_can_be_opened_from_the_timeline(deployment: LocalDeployment) -> None:
    """Each image of a conversation has an activity whose link gives the very file that WhatsApp has."""
    async with httpx.AsyncClient(timeout=10) as client, asyncio.timeout(60):
        asked = {"seed": 3, "people": 3, "messages": 40}
        stream = f"{deployment.whatsapp_url}/_sandbox/whatsapp/conversations"
        expected = (await client.post(stream, json=asked)).json()["expected"]
        images = [one for person in expected for one in person["messages"] if one["type"] == "image"]
        assert images
        links: dict[str, str] = {}
        while len(links) < len(images):
            links = _links(await _state(client, deployment.hubspot_url, "hubspot"))
            await asyncio.sleep(0.05)
        assert set(links) == {image["wamid"] for image in images}
        for link in links.values():
            while (answer := await client.get(link)).status_code == 202:
                await asyncio.sleep(0.1)
            assert (answer.status_code, answer.content[:3]) == (200, b"\xff\xd8\xff")
            assert answer.headers["content-disposition"].startswith("attachment;")
        files = (await _state(client, deployment.whatsapp_url, "whatsapp"))["files"]
        assert [file["downloads"] for file in files] == [1] * len(images)


async def _state(client: httpx.AsyncClient, url: str, name: str) -> dict[str, Any]:
    state: dict[str, Any] = (await client.get(f"{url}/_sandbox/{name}/state")).json()
    return state


def _links(state: dict[str, Any]) -> dict[str, str]:
    """Wamid → the link that its activity shows."""
    found = {}
    for record in state["communications"]:
        body = html.unescape(record["properties"]["hs_communication_body"])
        if match := re.search(r"http://127\.0\.0\.1:\d+/media/[^<\s]+", body):
            found[record["properties"]["whatsapp_message_id"]] = match[0]
    return found
