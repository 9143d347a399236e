"""The role `outbound`: three stages that fold, what looks for people and templates, the relay, the health port.

Several replicas share the stages' partitions; everything else is safe beside another replica by the locks it takes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from connector.crm.hubspot.adapter import HubSpot
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
    pool = await open_pool(
        settings.database.url.get_secret_value(), size=settings.database.pool_size, application="outbound"
    )
    tables = StageHealth("outbound-tables")
    whole = Completeness(OUTBOUND, settings=settings.kafka, pool=pool, health=tables)
    admission = AdmissionStage(
        pool,
        default_number=settings.whatsapp.default_phone_number_id,
        on_due=due.set,
        on_unknown=unknown.set,
        on_queued=queued.set,
    )
    conversation = ConversationStage(pool, tables=keywords, on_queued=queued.set, on_told=due.set)
    account = AccountStage(pool, on_queued=queued.set, on_unknown=unknown.set, on_wanted=wanted.set)
    producer = DurableProducer(settings.kafka, client="connector-outbound-relay")
    stages = [(stage, StageHealth(stage.name)) for stage in (conversation, admission, account)]
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
        async with _crms(settings, stop=stop) as crms:
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
                run_relay(pool, stage=STAGE, sender=producer, wake=queued, stop=stop, health=relaying),
                serve_health(
                    settings.health,
                    [*(health for _, health in stages), resolving, reading, relaying, tables],
                    stop=stop,
                ),
            )
    finally:
        await graph.close()
        await producer.stop()
        await close_pool(pool)


@asynccontextmanager
async def _crms(settings: Settings, *, stop: asyncio.Event) -> AsyncIterator[dict[CrmName, ContactReads]]:
    """The CRMs whose records can be asked for, each within its account's quota."""
    crms: dict[CrmName, ContactReads] = {}
    async with AsyncExitStack() as stack:
        if settings.hubspot.enabled:
            quota = await stack.enter_async_context(
                governed(hubspot_limits(settings.hubspot), settings.database, stop=stop)
            )
            hubspot = HubSpot(settings.hubspot, quota=quota)
            stack.push_async_callback(hubspot.close)
            crms["hubspot"] = hubspot
        if settings.salesforce.enabled:
            quota = await stack.enter_async_context(
                governed(salesforce_limits(settings.salesforce), settings.database, stop=stop)
            )
            salesforce = Salesforce(settings.salesforce, quota=quota)
            stack.push_async_callback(salesforce.close)
            crms["salesforce"] = salesforce
        yield crms
