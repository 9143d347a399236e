"""Following a link: the file as a download, or why not; on a real PostgreSQL and a real store."""

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from media_world import MediaWorld, deletion, media_world, received

from connector.events import Message
from connector.ingress.app import create_app
from connector.ingress.inflight import InflightBytes
from connector.ingress.media import MediaDownloads, open_downloads
from connector.media import removal
from connector.media.links import MediaLinks
from connector.settings import Settings
from connector.streams.codec import EncodedRecord
from connector.telemetry.health import StageHealth

LINKS = MediaLinks(base_url="http://ingress", secret="the secret", lifetime=86_400)


class NoPublisher:
    """These tests post nothing."""

    inflight = InflightBytes(1)

    async def publish(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        raise AssertionError(records, timeout)


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[MediaWorld]:
    async with media_world(database_url, tmp_path / "store") as world:
        yield world


@pytest.fixture
async def browser(world: MediaWorld, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who follows links of an ingress."""
    settings = Settings.model_validate(
        {
            "database": {"url": database_url},
            "media": {"store": str(world.folder), "signing_secret": "the secret"},
            "whatsapp": {"app_secrets": ["s"]},
        }
    )
    media = await open_downloads(settings)
    assert media is not None
    async with browsing(media) as client:
        yield client
    await media.close()


def browsing(media: MediaDownloads | None) -> httpx.AsyncClient:
    settings = Settings.model_validate({"whatsapp": {"app_secrets": ["s"]}})
    app = create_app(settings, NoPublisher(), StageHealth("ingress"), media=media)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingress")


def link(event: Message) -> str:
    """As the CRM shows it."""
    assert event.media is not None
    at = int(event.at.timestamp() * 1000)
    return LINKS.link(wamid=event.wamid, media_id=event.media.id, at=at)


async def test_a_link_gives_the_file_as_a_download(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """Content, type, length and name are right, and no browser shows it as a page."""
    event, file = world.sent(
        "m", b"content" * 200_000, filename="Vertrag März.pdf", mime_type="application/pdf"
    )
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")
    answer = await browser.get(link(event))
    assert (answer.status_code, answer.content) == (200, file.content)
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(len(file.content))
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"Vertrag_M_rz.pdf\"; filename*=UTF-8''Vertrag_M%C3%A4rz.pdf"
    )
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    head = await browser.head(link(event))
    assert (head.status_code, head.content, head.headers["content-length"]) == (
        200,
        b"",
        str(len(file.content)),
    )


async def test_a_page_is_handed_out_as_bytes(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """What a stranger calls text/html is octets with a download's name."""
    event, _ = world.sent("m", b"<script>alert(1)</script>", filename="x.html", mime_type="text/html")
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")
    answer = await browser.get(link(event))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")


async def test_a_link_works_before_its_file_came(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """The CRM shows the link at once: until the file is there it says so, with the last attempt's failure."""
    event, file = world.sent("m", b"content")
    unseen = await browser.get(link(event))
    assert (unseen.status_code, unseen.json()["error"]) == (202, "The file is not here yet.")
    assert int(unseen.headers["retry-after"]) > 0
    del world.whatsapp.media.files[file.id]
    await world.note(event)
    async with world.fetching():
        await world.until_tried(event, reason="does not know the file")
    waiting = await browser.get(link(event))
    assert waiting.status_code == 202
    assert "does not know the file" in waiting.json()["advice"]


async def test_a_file_that_never_came_says_why(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """Too large, refused, forgotten: 404 with the reason."""
    event, _ = world.sent("m", b"x" * 100)
    await world.note(event)
    async with world.fetching(max_bytes=99):
        await world.until(event, "unavailable")
    answer = await browser.get(link(event))
    assert answer.status_code == 404
    assert "Not available: The file is too large" in answer.json()["error"]


@pytest.mark.parametrize("why", ["deleted", "purged"])
async def test_a_file_that_was_removed_is_gone(
    world: MediaWorld, browser: httpx.AsyncClient, why: str
) -> None:
    """Deleted by its author or purged by age: 410 with the reason, from the moment that is known."""
    event, _ = world.sent("m", b"content")
    await world.note(event)
    async with world.fetching():
        await world.until(event, "stored")
    if why == "deleted":
        await world.note(deletion(event))
    else:
        soon = datetime.now(UTC) + timedelta(seconds=1)
        await removal.purge(world.pool, world.store, before=soon, reason="removed after 90 days")
    answer = await browser.get(link(event))
    reason = "the author deleted the message" if why == "deleted" else "removed after 90 days"
    assert (answer.status_code, answer.json()["error"]) == (410, f"Not available any more: {reason}.")


async def test_a_link_ends(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """After its lifetime a link is 410, and says when it ended and how to get another."""
    event, _ = world.sent("m", b"content")
    answer = await browser.get(link(received(event, ago=86_401)))
    assert answer.status_code == 410
    assert "ended on" in answer.json()["error"]
    assert "connector media show" in answer.json()["advice"]


@pytest.mark.parametrize(
    "change",
    [
        {"signature": "A" * 43},
        {"expires": str(int(time.time()) + 10**7)},
        {"signature": ""},
        {"expires": "x"},
    ],
    ids=["signature", "later end", "none", "odd end"],
)
async def test_a_link_that_was_changed_is_refused(
    world: MediaWorld, browser: httpx.AsyncClient, change: dict[str, str]
) -> None:
    """403, whether or not there is such a file."""
    event, _ = world.sent("m", b"content")
    url = httpx.URL(link(event)).copy_merge_params(change)
    answer = await browser.get(url)
    assert answer.status_code == 403
    assert set(answer.json()) == {"error", "advice"}


async def test_a_file_that_left_the_store_is_said_to(world: MediaWorld, browser: httpx.AsyncClient) -> None:
    """Somebody emptied the folder: 404, not an error of ours."""
    event, _ = world.sent("m", b"content")
    await world.note(event)
    async with world.fetching():
        row = await world.until(event, "stored")
    assert row.blob is not None
    (world.folder / row.blob).unlink()
    assert (await browser.get(link(event))).status_code == 404


async def test_without_the_database_a_link_asks_to_come_back(world: MediaWorld) -> None:
    """A database that is away is 503 with Retry-After, and touches no webhook."""
    event, _ = world.sent("m", b"content")
    nowhere: dict[str, Any] = {
        "database": {"url": "postgresql://nobody@127.0.0.1:1/nothing"},
        "media": {"store": str(world.folder), "signing_secret": "the secret"},
    }
    media = await open_downloads(Settings.model_validate(nowhere))
    assert media is not None
    async with browsing(media) as client:
        answer = await client.get(link(event))
    await media.close()
    assert (answer.status_code, int(answer.headers["retry-after"]) > 0) == (503, True)


async def test_without_a_secret_there_is_no_such_endpoint() -> None:
    """No secret: no files are handed out at all."""
    assert await open_downloads(Settings()) is None
    async with browsing(None) as client:
        answer = await client.get(urlsplit(LINKS.link(wamid="m", media_id="1", at=0)).path)
    assert answer.status_code == 404
