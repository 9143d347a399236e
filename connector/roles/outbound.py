"""The role `outbound`: three stages that fold, what looks for people and templates, the dispatcher, relay, health port.

Several replicas share the stages' partitions; everything else is safe beside another replica by the locks it takes.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from connector.outbound.account import AccountStage
from connector.outbound.account_graph import AccountGraph
from connector.outbound.account_sync import AccountSync
from connector.outbound.admission import AdmissionStage
from connector.outbound.announcements import STAGE
from connector.outbound.consent.keywords import tables_with_own
from connector.outbound.conversation import ConversationStage
from connector.outbound.crm_reader import CrmReader
from connector.outbound.dispatch.log_watch import LogWatch
from connector.outbound.dispatcher import run_dispatchers
from connector.outbound.personalisation.loading import load_personalisation
from connector.outbound.resolver import Resolver
from connector.roles.crm_accounts import crm_accounts
from connector.roles.parts import run_parts
from connector.roles.tables import OUTBOUND
from connector.settings import Settings
from connector.state.database import close_pool, open_pool
from connector.state.pruning import tend_pruning
from connector.streams.completeness import Completeness
from connector.streams.harness import run_stage
from connector.streams.pauses import Pauses
from connector.streams.producer import DurableProducer
from connector.streams.relay import run_relay
from connector.telemetry.health import StageHealth, serve_health


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run until `stop`. Kafka, PostgreSQL, WhatsApp and the CRMs may be away, also at start.

    Raises `SettingsError` for keywords that contradict each other and a wrong personalisation, `Terminal` when only a new process can help, and
    `OSError` when the health port is taken.
    """
    keywords = tables_with_own(settings.outbound)
    personalisation = load_personalisation(settings.outbound.personalisation)
    queued, due, unknown, wanted = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    told = asyncio.Event()
    # Three folds, the relay and the teller of outcomes hold one for long; the others come and go.
    size = max(settings.database.pool_size, 12)
    pool = await open_pool(settings.database.url.get_secret_value(), size=size, application="outbound")
    tables = StageHealth("outbound-tables")
    whole = Completeness(OUTBOUND, settings=settings.kafka, pool=pool, health=tables)
    pauses = Pauses(pool)
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
        async with crm_accounts(settings, stop=stop) as crms:
            readers = [
                (
                    CrmReader(
                        pool,
                        name=name,
                        crm=crm,
                        properties=sorted(properties),
                        usable=timedelta(seconds=settings.outbound.properties_usable_for),
                        health=(reading_crm := StageHealth(f"outbound-{name}")),
                        on_due=due.set,
                    ),
                    reading_crm,
                )
                for name, crm in crms.accounts.items()
                if (properties := personalisation.read_from(name))
            ]

            def wanted_in_crm() -> None:
                for reader, _ in readers:
                    reader.wake.set()

            resolver = Resolver(
                pool,
                crms=crms.accounts,
                default_number=settings.whatsapp.default_phone_number_id,
                region=settings.default_region,
                accounts=accounts,
                health=resolving,
                on_due=due.set,
                on_queued=queued.set,
            )
            await run_parts(
                whole.watch(stop=stop),
                pauses.watch(stop=stop),
                *(
                    run_stage(stage, settings, stop=stop, health=health, completeness=whole, pauses=pauses)
                    for stage, health in stages
                ),
                resolver.run(wake=unknown, stop=stop),
                sync.run(wake=wanted, stop=stop),
                watch.run(stop=stop),
                *(reader.run(stop=stop) for reader, _ in readers),
                run_dispatchers(
                    pool,
                    settings,
                    sender=announcing,
                    tables=whole,
                    view=watch,
                    due=due,
                    told=told,
                    queued=queued.set,
                    wanted=wanted_in_crm,
                    health=dispatching,
                    outcomes_health=telling,
                    hubspot=crms.workflows,
                    personalisation=personalisation,
                    crms=list(crms.accounts),
                    stop=stop,
                ),
                tend_pruning(pool, schema=OUTBOUND.schema, days=settings.database.keep_days, stop=stop),
                run_relay(pool, stage=STAGE, sender=producer, wake=queued, stop=stop, health=relaying),
                serve_health(
                    settings.health,
                    [
                        *(health for _, health in stages),
                        *(health for _, health in readers),
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
