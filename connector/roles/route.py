"""The role `route`: its two stages, the relay of what they queued, and the health port, until told to stop.

One stage for what happens now and one for imports of old chats, each with a consumer group of its own.
"""

from __future__ import annotations

import asyncio

from connector.identity.history_stage import HistoryStage
from connector.identity.role import RouteStage
from connector.roles.parts import run_parts
from connector.settings import Settings
from connector.state.database import close_pool, open_pool
from connector.streams.harness import run_stage
from connector.streams.producer import DurableProducer
from connector.streams.relay import run_relay
from connector.telemetry.health import StageHealth, serve_health


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run until `stop`. Kafka and PostgreSQL may be away, also at start: the role waits and says so.

    Raises `Terminal` when only a new process can help, and `OSError` when the health port is taken.
    """
    wake = asyncio.Event()
    pool = await open_pool(
        settings.database.url.get_secret_value(), size=settings.database.pool_size, application="route"
    )
    stage = RouteStage(pool, on_queued=wake.set)
    history = HistoryStage(pool, on_queued=wake.set)
    producer = DurableProducer(settings.kafka, client="connector-route-relay")
    health, history_health = StageHealth(stage.name), StageHealth(history.name)
    relay_health = StageHealth("route-relay")
    try:
        await run_parts(
            run_stage(stage, settings, stop=stop, health=health),
            run_stage(history, settings, stop=stop, health=history_health),
            run_relay(pool, stage=stage.name, sender=producer, wake=wake, stop=stop, health=relay_health),
            serve_health(settings.health, [health, history_health, relay_health], stop=stop),
        )
    finally:
        await producer.stop()
        await close_pool(pool)
