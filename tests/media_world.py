"""What the media tests share: a WhatsApp with files, a store in a folder, the stage and the fetcher on one database."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
from conversation_events import message
from pydantic import SecretStr

from connector.events import ConversationEvent, Media, Message, MessageRevoked
from connector.media import tables
from connector.media.fetcher import Fetcher
from connector.media.graph import GraphFiles
from connector.media.links import media_key
from connector.media.stage import MediaStage
from connector.media.store import BlobStore
from connector.media.tables import FileRow
from connector.sandbox.server import HttpListener
from connector.sandbox.whatsapp import WhatsAppSandbox
from connector.sandbox.whatsapp.config import ACCESS_TOKEN
from connector.sandbox.whatsapp.media import StoredFile
from connector.settings import MediaSettings, WhatsAppSettings
from connector.state.database import close_pool, open_pool, transaction
from connector.streams.codec import encode
from connector.streams.outcomes import Record
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS

QUICK: dict[str, Any] = {
    "request_timeout": 1.0,
    "download_timeout": 3.0,
    "first_retry": 0.05,
    "longest_retry": 0.2,
}


class MediaWorld:
    """`skew`: seconds that WhatsApp's clock is ahead of ours."""

    def __init__(self, pool: asyncpg.Pool, folder: Path) -> None:
        self.skew = 0.0
        self.pool = pool
        self.folder = folder
        self.store = BlobStore(str(folder))
        self.whatsapp = WhatsAppSandbox(clock=lambda: time.time() + self.skew)
        self.listener = HttpListener(self.whatsapp.app, host="127.0.0.1", port=0)
        self.stage = MediaStage(pool, wake=asyncio.Event(), keep_deleted=False)
        self.health = StageHealth("media-fetcher")
        self._offset = 0

    def sent(self, wamid: str, content: bytes, **fields: Any) -> tuple[Message, StoredFile]:
        """A message with a file that WhatsApp has; `fields` are of its `Media`. It came just now, with a URL."""
        file = self.whatsapp.media.add(content, phone_number_id="1000")
        url = self.whatsapp.media.url_of(file, base_url=self.listener.url)
        said = {
            "id": file.id,
            "mime_type": "image/jpeg",
            "sha256": base64.b64encode(bytes.fromhex(file.sha256)).decode(),
        }
        event = message(
            wamid,
            "ana",
            message_type="image",
            media=Media.model_validate(said | fields),
            content={"image": {"id": file.id, "url": url}},
        )
        return received(event, ago=0), file

    async def note(self, *events: ConversationEvent, stage: MediaStage | None = None) -> None:
        records = []
        for event in events:
            value = encode(CONVERSATION_EVENTS, key="k", value=event, origin="test").value
            records.append(
                Record(topic="conversation.events", partition=0, offset=self._offset, key=b"k", value=value)
            )
            self._offset += 1
        await (stage or self.stage).handle(records)

    @asynccontextmanager
    async def fetching(
        self, *, token: str = ACCESS_TOKEN, now: Callable[[], datetime] | None = None, **settings: Any
    ) -> AsyncIterator[Fetcher]:
        """A fetcher at work; stopped when left."""
        configured = MediaSettings.model_validate(QUICK | settings)
        whatsapp = WhatsAppSettings(access_token=SecretStr(token), base_url=self.listener.url)
        graph, stop = GraphFiles(whatsapp, configured), asyncio.Event()
        fetcher = Fetcher(
            pool=self.pool,
            graph=graph,
            store=self.store,
            settings=configured,
            health=self.health,
            stop=stop,
            wake=asyncio.Event(),
            now=now or (lambda: datetime.now(UTC)),
            lease_margin=0.5,
        )
        running = asyncio.create_task(fetcher.run())
        try:
            yield fetcher
        finally:
            stop.set()
            await running
            await graph.close()

    async def row(self, event: Message) -> FileRow:
        assert event.media is not None
        async with transaction(self.pool) as connection:
            row = await tables.find(connection, media_key(event.wamid, event.media.id))
        assert row is not None
        return row

    async def until(self, event: Message, state: str, *, within: float = 15) -> FileRow:
        """The row once it is in this state."""
        async with asyncio.timeout(within):
            while (row := await self.row(event)).state != state:
                await asyncio.sleep(0.02)
        return row

    async def until_tried(self, event: Message, *, reason: str, within: float = 15) -> FileRow:
        """The row once an attempt failed for this reason."""
        async with asyncio.timeout(within):
            while reason not in (row := await self.row(event)).reason:
                await asyncio.sleep(0.02)
        return row

    def stored(self) -> dict[str, bytes]:
        """Name → content of all that the store has."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and ".incoming" not in path.parts)
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found}


def received(event: Message, *, ago: float) -> Message:
    """The same message, its webhook `ago` seconds old."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    return event.model_copy(update={"at": at, "origin": event.origin.model_copy(update={"received_at": at})})


def deletion(event: Message) -> MessageRevoked:
    """Its author deleted it."""
    base = event.model_dump(include=set(MessageRevoked.model_fields) - {"type", "wamid"})
    return MessageRevoked.model_validate(base | {"wamid": f"{event.wamid}.gone", "target": event.wamid})


@asynccontextmanager
async def media_world(database_url: str, folder: Path) -> AsyncIterator[MediaWorld]:
    pool = await open_pool(database_url, size=8, application="test")
    world = MediaWorld(pool, folder)
    await world.listener.start()
    try:
        yield world
    finally:
        await world.whatsapp.aclose()
        await world.listener.stop()
        await world.store.close()
        await close_pool(pool)
