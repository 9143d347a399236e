"""The role `route`: its three stages, the relay of what they queued, its upkeep and the health port, until told to stop.

One stage for what happens now, one for imports of old chats and one for people whom the business writes to first, each
with a consumer group of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from connector.identity.history_stage import HistoryStage
from connector.identity.introductions import IntroductionStage
from connector.identity.relearning import Relearning, what_was_told
from connector.identity.role import RouteStage
from connector.identity.tending import tend_parked
from connector.roles.parts import run_parts
from connector.roles.tables import IDENTITY
from connector.settings import Settings
from connector.state.database import Connection, close_pool, open_pool
from connector.state.offsets import Place
from connector.state.pruning import tend_pruning
from connector.state.standing import LogSpan
from connector.streams.completeness import Completeness
from connector.streams.harness import run_stage
from connector.streams.pauses import Pauses
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
    tables_health = StageHealth("route-tables")

    async def told(connection: Connection, places: Collection[Place]) -> Mapping[Place, LogSpan]:
        return await what_was_told(connection, settings.kafka, places)

    whole = Completeness(
        IDENTITY, settings=settings.kafka, pool=pool, health=tables_health, before_catching_up=told
    )
    pauses = Pauses(pool)
    relearning = Relearning(whole, pool=pool, settings=settings.kafka)
    stage = RouteStage(pool, on_queued=wake.set, guard=whole.must_have_been_told)
    history = HistoryStage(pool, on_queued=wake.set, guard=whole.must_have_been_told)
    introductions = IntroductionStage(pool, on_queued=wake.set, guard=whole.must_have_been_told)
    producer = DurableProducer(settings.kafka, client="connector-route-relay")
    health, history_health = StageHealth(stage.name), StageHealth(history.name)
    introductions_health = StageHealth(introductions.name)
    relay_health = StageHealth("route-relay")
    try:
        await run_parts(
            whole.watch(stop=stop),
            pauses.watch(stop=stop),
            relearning.run(stop=stop),
            run_stage(stage, settings, stop=stop, health=health, completeness=whole, pauses=pauses),
            run_stage(history, settings, stop=stop, health=history_health, completeness=whole, pauses=pauses),
            run_stage(
                introductions,
                settings,
                stop=stop,
                health=introductions_health,
                completeness=whole,
                pauses=pauses,
            ),
            run_relay(pool, stage=stage.name, sender=producer, wake=wake, stop=stop, health=relay_health),
            tend_parked(pool, days=settings.identity.parked_days, stop=stop),
            tend_pruning(pool, schema=IDENTITY.schema, days=settings.database.keep_days, stop=stop),
            serve_health(
                settings.health,
                [health, history_health, introductions_health, relay_health, tables_health],
                stop=stop,
            ),
        )
    finally:
        await producer.stop()
        await close_pool(pool)
