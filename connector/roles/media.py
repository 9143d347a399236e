"""The role `media`: the stage that notes files, the fetcher that gets them, the health port, until told to stop.

A role of its own, because a slow download must delay neither routing nor a CRM.
"""

from __future__ import annotations

import asyncio

from connector.media.fetcher import Fetcher
from connector.media.graph import GraphFiles
from connector.media.stage import MediaStage
from connector.media.store import BlobStore
from connector.roles.parts import run_parts
from connector.roles.tables import MEDIA
from connector.settings import Settings
from connector.state.database import close_pool, open_pool
from connector.state.pruning import tend_pruning
from connector.streams.completeness import Completeness
from connector.streams.harness import run_stage
from connector.streams.pauses import Pauses
from connector.telemetry.health import StageHealth, serve_health


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run until `stop`. Kafka, PostgreSQL, WhatsApp and the store may be away, also at start.

    Raises `SettingsError` when the store cannot be used at all, `Terminal` when only a new process can help, and
    `OSError` when the health port is taken.
    """
    store = BlobStore(settings.media.store)
    wake = asyncio.Event()
    size = max(settings.database.pool_size, settings.media.downloads_in_flight + 2)
    pool = await open_pool(settings.database.url.get_secret_value(), size=size, application="media")
    graph = GraphFiles(settings.whatsapp, settings.media)
    stage = MediaStage(pool, wake=wake, keep_deleted=settings.sync.keep_deleted_text)
    health, fetching, tables = (
        StageHealth(stage.name),
        StageHealth("media-fetcher"),
        StageHealth("media-tables"),
    )
    whole = Completeness(MEDIA, settings=settings.kafka, pool=pool, health=tables)
    pauses = Pauses(pool)
    fetcher = Fetcher(
        pool=pool,
        graph=graph,
        store=store,
        settings=settings.media,
        health=fetching,
        stop=stop,
        wake=wake,
    )
    try:
        await store.clear_leftovers()
        await run_parts(
            whole.watch(stop=stop),
            pauses.watch(stop=stop),
            run_stage(stage, settings, stop=stop, health=health, completeness=whole, pauses=pauses),
            fetcher.run(),
            tend_pruning(pool, schema=MEDIA.schema, days=settings.database.keep_days, stop=stop),
            serve_health(settings.health, [health, fetching, tables], stop=stop),
        )
    finally:
        await graph.close()
        await store.close()
        await close_pool(pool)
