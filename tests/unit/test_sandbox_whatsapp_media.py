"""The simulator of Graph's media side: lives, tokens, numbers, and faults."""

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.whatsapp import (
    BusinessNumber,
    Person,
    WebhookSender,
    WhatsAppConfig,
    WhatsAppSandbox,
    payloads,
)
from connector.sandbox.whatsapp.media import ID_LIFE, URL_LIFE

TOKEN = {"Authorization": "Bearer token"}
NUMBER = BusinessNumber()


class World:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        sender = WebhookSender(url="http://nowhere.invalid/", app_secret="s")
        config = WhatsAppConfig(access_tokens=("token",))
        self.sandbox = WhatsAppSandbox(sender, config=config, clock=lambda: self.now)
        transport = httpx.ASGITransport(app=self.sandbox.app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://graph.test")

    async def get(self, url: str, *, token: bool = True, **query: str) -> httpx.Response:
        params: Any = query or None
        return await self.client.get(url, headers=TOKEN if token else {}, params=params)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.client.aclose()
    await world.sandbox.aclose()


async def test_an_id_leads_to_a_url_and_the_url_to_the_file(world: World) -> None:
    """The id's answer names url, type, hex sha256 and size; the URL hands the file out."""
    file = world.sandbox.media.add(b"content", mime_type="image/png")
    told = (await world.get(f"/v24.0/{file.id}", phone_number_id=NUMBER.phone_number_id)).json()
    assert (told["mime_type"], told["file_size"], told["id"]) == ("image/png", 7, file.id)
    assert told["sha256"] == hashlib.sha256(b"content").hexdigest()
    answer = await world.get(told["url"])
    assert (answer.content, answer.headers["content-type"]) == (b"content", "image/png")


async def test_a_url_lives_five_minutes_and_an_id_seven_days(world: World) -> None:
    """A URL that ran out is 404 while the id still gives a new one; after its life the id is unknown."""
    file = world.sandbox.media.add(b"content")
    old = (await world.get(f"/v24.0/{file.id}")).json()["url"]
    world.now += URL_LIFE + 1
    assert (await world.get(old)).status_code == 404
    new = (await world.get(f"/v24.0/{file.id}")).json()["url"]
    assert (await world.get(new)).status_code == 200
    world.now += ID_LIFE
    answer = await world.get(f"/v24.0/{file.id}")
    assert (answer.status_code, answer.json()["error"]["error_subcode"]) == (400, 33)


async def test_both_steps_need_the_token(world: World) -> None:
    """Without the bearer token neither the id nor the URL answers with what was asked."""
    file = world.sandbox.media.add(b"content")
    url = (await world.get(f"/v24.0/{file.id}")).json()["url"]
    refused = await world.get(f"/v24.0/{file.id}", token=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, 190)
    assert (await world.get(url, token=False)).status_code == 401


@pytest.mark.parametrize("change", ["hash=0", "ext=9999999999"], ids=["other hash", "later end"])
async def test_a_url_cannot_be_made_up(world: World, change: str) -> None:
    """A URL whose end or hash was changed is 404."""
    file = world.sandbox.media.add(b"content")
    url = (await world.get(f"/v24.0/{file.id}")).json()["url"]
    name, value = change.split("=")
    assert (await world.get(str(httpx.URL(url).copy_set_param(name, value)))).status_code == 404


async def test_another_number_does_not_get_the_file(world: World) -> None:
    """With a phone_number_id that the file was not sent to, the id is unknown."""
    file = world.sandbox.media.add(b"content")
    assert (await world.get(f"/v24.0/{file.id}", phone_number_id="7")).status_code == 400


async def test_a_file_above_the_limit_is_refused(world: World) -> None:
    """Above 100 MB Graph answers 131052."""
    file = world.sandbox.media.add(b"content")
    file.size = 101 * 1024 * 1024
    assert (await world.get(f"/v24.0/{file.id}")).json()["error"]["code"] == 131052


async def test_a_published_message_has_a_file_behind_it(world: World) -> None:
    """The webhook of a published image carries a working URL and the file's base64 sha256."""
    update = payloads.media(Person(name="Ana", wa_id="1"), NUMBER, message_id="m", at=1)
    part = world.sandbox.media.published(update, base_url="http://graph.test").content["image"]
    answer = await world.get(part["url"])
    assert base64.b64decode(part["sha256"]) == hashlib.sha256(answer.content).digest()
    assert (await world.get(f"/v24.0/{part['id']}")).status_code == 200


async def test_faults_meet_downloads(world: World) -> None:
    """A fault on the download path spoils downloads and leaves the id alone."""
    file = world.sandbox.media.add(b"content")
    world.sandbox.faults.add(
        Fault(kind=FaultKind.STATUS, status=503, path="/whatsapp_business/*", retry_after="3")
    )
    url = (await world.get(f"/v24.0/{file.id}")).json()["url"]
    answer = await world.get(url)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
