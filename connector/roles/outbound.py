"""The role `outbound`: three stages that fold, what looks for people and templates, the dispatcher, relay, health port.

Several replicas share the stages' partitions; everything else is safe beside another replica by the locks it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.hubspot.client import HubSpotClient
from connector.crm.hubspot.quota import account_limits as hubspot_limits
from connector.crm.port import ContactReads
from connector.crm.quota import governed
from connector.crm.salesforce.adapter import Salesforce
from connector.crm.salesforce.quota import account_limits as salesforce_limits
from connector.outbound.account import AccountStage
from connector.outbound.account_graph import AccountGraph
from connector.outbound.account_sync import AccountSync
from connector.outbound.admission import AdmissionStage
from connector.outbound.announcements import STAGE
from connector.outbound.consent.keywords import tables_with_own
from connector.outbound.conversation import ConversationStage
from connector.outbound.dispatch.log_watch import LogWatch
from connector.outbound.dispatcher import run_dispatchers
from connector.outbound.recipients import CrmName
from connector.outbound.resolver import Resolver
from connector.roles.parts import run_parts
from connector.roles.tables import OUTBOUND
from connector.settings import Settings
from connector.state.database import close_pool, open_pool
from connector.streams.completeness import Completeness
from connector.streams.harness import run_stage
from connector.streams.producer import DurableProducer
from connector.streams.relay import run_relay
from connector.telemetry.health import StageHealth, serve_health


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run until `stop`. Kafka, PostgreSQL, WhatsApp and the CRMs may be away, also at start.

    Raises `SettingsError` for keywords that contradict each other, `Terminal` when only a new process can help, and
    `OSError` when the health port is taken.
    """
    keywords = tables_with_own(settings.outbound)
    queued, due, unknown, wanted = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    told = asyncio.Event()
    # Three folds, the relay and the teller of outcomes hold one for long; the others come and go.
    size = max(settings.database.pool_size, 12)
    pool = await open_pool(settings.database.url.get_secret_value(), size=size, application="outbound")
    tables = StageHealth("outbound-tables")
    whole = Completeness(OUTBOUND, settings=settings.kafka, pool=pool, health=tables)
    admission = AdmissionStage(
        pool,
        default_number=settings.whatsapp.default_phone_number_id,
        on_due=due.set,
        on_unknown=unknown.set,
        on_queued=queued.set,
    )
    conversation = ConversationStage(pool, tables=keywords, on_queued=queued.set, on_told=told.set)
    account = AccountStage(pool, on_queued=queued.set, on_unknown=unknown.set, on_wanted=wanted.set)
    producer = DurableProducer(settings.kafka, client="connector-outbound-relay")
    stages = [(stage, StageHealth(stage.name)) for stage in (conversation, admission, account)]
    announcing = DurableProducer(settings.kafka, client="connector-outbound-dispatcher")
    dispatching, telling = StageHealth("outbound-dispatcher"), StageHealth("outbound-outcomes")
    watching = StageHealth("outbound-log")
    watch = LogWatch(
        settings.kafka, list(OUTBOUND.sources.values()), schema=OUTBOUND.schema, pool=pool, health=watching
    )
    relaying = StageHealth("outbound-relay")
    resolving, reading = StageHealth("outbound-resolver"), StageHealth("outbound-templates")
    accounts = settings.whatsapp.business_account_ids
    graph = AccountGraph(settings.whatsapp)
    sync = AccountSync(
        pool,
        graph,
        accounts=accounts,
        every=settings.outbound.templates_every,
        health=reading,
        on_read=due.set,
    )
    try:
        async with _crms(settings, stop=stop) as (crms, workflows):
            resolver = Resolver(
                pool,
                crms=crms,
                default_number=settings.whatsapp.default_phone_number_id,
                region=settings.default_region,
                accounts=accounts,
                health=resolving,
                on_due=due.set,
                on_queued=queued.set,
            )
            await run_parts(
                whole.watch(stop=stop),
                *(
                    run_stage(stage, settings, stop=stop, health=health, completeness=whole)
                    for stage, health in stages
                ),
                resolver.run(wake=unknown, stop=stop),
                sync.run(wake=wanted, stop=stop),
                watch.run(stop=stop),
                run_dispatchers(
                    pool,
                    settings,
                    sender=announcing,
                    tables=whole,
                    view=watch,
                    due=due,
                    told=told,
                    queued=queued.set,
                    health=dispatching,
                    outcomes_health=telling,
                    hubspot=workflows,
                    stop=stop,
                ),
                run_relay(pool, stage=STAGE, sender=producer, wake=queued, stop=stop, health=relaying),
                serve_health(
                    settings.health,
                    [
                        *(health for _, health in stages),
                        *(resolving, reading, dispatching, telling, watching, relaying, tables),
                    ],
                    stop=stop,
                ),
            )
    finally:
        await graph.close()
        await announcing.stop()
        await producer.stop()
        await close_pool(pool)


@asynccontextmanager
async def _crms(
    settings: Settings, *, stop: asyncio.Event
) -> AsyncIterator[tuple[dict[CrmName, ContactReads], HubSpotClient | None]]:
    """The CRMs whose records can be asked for, each within its account's quota; and where workflows wait."""
    crms: dict[CrmName, ContactReads] = {}
    workflows: HubSpotClient | None = None
    async with AsyncExitStack() as stack:
        if settings.hubspot.enabled:
            quota = await stack.enter_async_context(
                governed(hubspot_limits(settings.hubspot), settings.database, stop=stop)
            )
            hubspot = HubSpot(settings.hubspot, quota=quota)
            stack.push_async_callback(hubspot.close)
            crms["hubspot"] = hubspot
            workflows = HubSpotClient(settings.hubspot, quota=quota)
            stack.push_async_callback(workflows.close)
        if settings.salesforce.enabled:
            quota = await stack.enter_async_context(
                governed(salesforce_limits(settings.salesforce), settings.database, stop=stop)
            )
            salesforce = Salesforce(settings.salesforce, quota=quota)
            stack.push_async_callback(salesforce.close)
            crms["salesforce"] = salesforce
        yield crms, workflows
