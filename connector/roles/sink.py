"""What every `sync-*` role is made of: the agent that folds, the writer that drains, the relay, the health port."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime

import asyncpg
import structlog

from connector.crm.port import Crm
from connector.errors import ConnectorError, Terminal
from connector.media.links import media_links
from connector.recovery.reconcile.gauges import watch_reconciliations
from connector.roles.parts import run_parts
from connector.roles.tables import sink_tables
from connector.settings import Settings
from connector.state.database import close_pool, open_pool
from connector.state.pruning import tend_pruning
from connector.streams.completeness import Completeness
from connector.streams.harness import run_stage
from connector.streams.pauses import Pauses, UnlessPaused
from connector.streams.producer import DurableProducer
from connector.streams.relay import run_relay
from connector.sync.agent import SyncStage
from connector.sync.core.mapping import SyncMapping
from connector.sync.doubt import doubt_everything
from connector.sync.leases import lease_seconds
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth, serve_health

log = structlog.get_logger(__name__)

_SETUP_RETRY = 5.0  # seconds between looks at a CRM that is not set up


async def run_sink(
    crm: Crm,
    settings: Settings,
    *,
    mapping: SyncMapping,
    calls_in_flight: int,
    auto_setup: bool,
    stop: asyncio.Event,
) -> None:
    """Sync one CRM until `stop`. Kafka, PostgreSQL and the CRM may be away, also at start.

    Folding begins at once; writing begins when the CRM has our properties (made here with `auto_setup`).
    Raises `Terminal` when only a new process can help, and `OSError` when the health port is taken.
    """
    name = f"sync-{crm.name}"
    wake, queued = Wake(), asyncio.Event()
    # Each drain holds a connection while it commits, and so do the fold, the relay and the lease renewals.
    size = max(settings.database.pool_size, calls_in_flight + 4)
    url = settings.database.url.get_secret_value()
    pool = await open_pool(url, size=size, application=name)
    producer = DurableProducer(settings.kafka, client=f"connector-{name}-relay")
    health, writing, relaying = StageHealth(name), StageHealth(f"{name}-writer"), StageHealth(f"{name}-relay")
    writing.about = {"mapping": {"source": mapping.source, "version": mapping.version}}
    log.info("mapping", sink=crm.name, source=mapping.source, version=mapping.version)
    tables = StageHealth(f"{name}-tables")

    async def doubt(pool: asyncpg.Pool, since: datetime) -> None:
        doubted = await doubt_everything(pool, crm.name, since=since)
        log.info("messages are looked up before they are created", sink=crm.name, messages=doubted)

    whole = Completeness(
        sink_tables(crm.name),
        settings=settings.kafka,
        pool=pool,
        health=tables,
        settle=lease_seconds(crm.request_timeout),
        caught_up=doubt,
    )
    pauses = Pauses(pool)
    writer = Writer(
        crm=crm,
        pool=pool,
        settings=settings.sync,
        limits=settings.streams,
        calls_in_flight=calls_in_flight,
        health=writing,
        stop=stop,
        wake=wake,
        mapping=mapping,
        default_region=settings.default_region,
        links=media_links(settings),
        outgoing_queued=queued.set,
        tables=UnlessPaused(whole, pauses, sink=crm.name),
    )

    def waiting() -> int:
        """Nothing is written while the tables catch up, so the fold must not wait for that."""
        return 0 if whole.behind else writer.items_waiting

    stage = SyncStage(crm.name, pool=pool, settings=settings.sync, wake=wake, waiting=waiting)

    async def write() -> None:
        await _wait_for_setup(crm, writing, auto_setup=auto_setup, stop=stop)
        if not stop.is_set():
            await writer.run()

    try:
        await run_parts(
            whole.watch(stop=stop),
            pauses.watch(stop=stop),
            run_stage(stage, settings, stop=stop, health=health, completeness=whole, pauses=pauses),
            write(),
            wake.listen(url, crm.name, stop=stop),
            run_relay(pool, stage=name, sender=producer, wake=queued, stop=stop, health=relaying),
            watch_reconciliations(pool, crm.name, stop=stop),
            tend_pruning(pool, schema=crm.name, days=settings.database.keep_days, stop=stop),
            serve_health(settings.health, [health, writing, relaying, tables], stop=stop),
        )
    finally:
        await producer.stop()
        await crm.close()
        await close_pool(pool)


async def _wait_for_setup(crm: Crm, health: StageHealth, *, auto_setup: bool, stop: asyncio.Event) -> None:
    """Return once the CRM has our properties; until then say what is missing and what to run."""
    while not stop.is_set():
        try:
            report = await crm.check_setup(create=auto_setup)
        except Terminal as error:
            health.line_stopped(reason=error.message, advice=error.advice)
        except ConnectorError as error:
            health.waiting(crm.name, reason=error.message, advice=error.advice)
        except Exception as error:
            log.exception("the CRM's answer about our properties is not understood", sink=crm.name)
            reason = f"The CRM's answer about our properties is not understood ({type(error).__name__})."
            health.waiting(crm.name, reason=reason, advice="look at the log for the place, and report it")
        else:
            if report.unchecked:
                unchecked = ", ".join(report.unchecked)
                log.warning("the CRM does not let us look at our properties", sink=crm.name, names=unchecked)
            if report.ready:
                health.recovered(crm.name)
                health.line_resumed()
                return
            missing = ", ".join(report.missing)
            health.waiting(crm.name, reason=f"The CRM lacks our properties: {missing}.", advice=report.advice)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _SETUP_RETRY)
