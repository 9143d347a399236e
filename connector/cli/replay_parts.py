"""What `connector replay` and `reconcile` are made of: sinks, their CRMs where they are looked at, planner, applier."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from connector.errors import Rejected, Terminal

if TYPE_CHECKING:
    from connector.crm.quota import AccountLimits
    from connector.recovery.replay.applying import Applier, Progress
    from connector.recovery.replay.items import CallCost
    from connector.recovery.replay.planning import Planner, Sink
    from connector.recovery.replay.plans import Plan
    from connector.settings import Settings
    from connector.sync.core.mapping import SyncMapping

ALL = "all"


def chosen_sinks(settings: Settings, named: str) -> tuple[str, ...]:
    """The sinks that `--sink` names. Raises `Rejected` (cause `unknown_sink`)."""
    enabled = {"hubspot": settings.hubspot.enabled, "salesforce": settings.salesforce.enabled}
    if named == ALL:
        sinks = tuple(name for name, on in enabled.items() if on)
        if sinks:
            return sinks
        raise Rejected(
            "No CRM is enabled. Nothing was planned.",
            cause="unknown_sink",
            advice="set CONNECTOR_HUBSPOT__ENABLED=true or CONNECTOR_SALESFORCE__ENABLED=true, or name one with --sink",
        )
    if named not in enabled:
        raise Rejected(
            f"{named} is no CRM that we know. Nothing was planned.",
            cause="unknown_sink",
            advice=f"--sink is {', '.join(enabled)} or {ALL}",
        )
    return (named,)


@asynccontextmanager
async def planner(
    settings: Settings, sinks: Sequence[str], *, compare: bool, told: Callable[[str], None]
) -> AsyncIterator[Planner]:
    """What plans are made with; `compare`: the CRMs are logged in to, and looked at in the class of replays."""
    from connector.media.links import media_links
    from connector.recovery.replay.planning import Planner
    from connector.sync.mapping import load_mapping

    mapping = load_mapping(settings.sync.mapping)
    async with AsyncExitStack() as stack:
        opened = {
            name: await stack.enter_async_context(_sink(settings, mapping, name, compare=compare, told=told))
            for name in sinks
        }
        yield Planner(
            kafka=settings.kafka,
            database_url=settings.database.url.get_secret_value(),
            sync=settings.sync,
            mapping=mapping,
            links=media_links(settings),
            sinks=opened,
            processes=os.cpu_count() or 1,
            told=told,
        )


def applier(settings: Settings, *, told: Callable[[Progress], None]) -> Applier:
    """What plans are applied with."""
    from connector.recovery.replay.applying import Applier
    from connector.sync.core.holding import HoldRules
    from connector.sync.folding import SinkTables
    from connector.sync.mapping import load_mapping

    holds = HoldRules.of(create_contacts=settings.sync.create_contacts, ignore=settings.sync.ignore)
    keep = settings.sync.keep_deleted_text
    return Applier(
        database_url=settings.database.url.get_secret_value(),
        mapping=load_mapping(settings.sync.mapping).version,
        tables={
            name: SinkTables(schema=name, keep_deleted_text=keep, holds=holds)
            for name in ("hubspot", "salesforce")
        },
        told=told,
    )


@asynccontextmanager
async def _sink(
    settings: Settings, mapping: SyncMapping, name: str, *, compare: bool, told: Callable[[str], None]
) -> AsyncIterator[Sink]:
    from connector.crm.hubspot.adapter import HubSpot
    from connector.crm.hubspot.quota import account_limits as hubspot_limits
    from connector.crm.quota import governed
    from connector.crm.salesforce.adapter import Salesforce
    from connector.crm.salesforce.quota import account_limits as salesforce_limits
    from connector.recovery.replay.patience import PatientComparison
    from connector.recovery.replay.planning import Sink

    kind = HubSpot if name == HubSpot.name else Salesforce
    limits = hubspot_limits(settings.hubspot) if kind is HubSpot else salesforce_limits(settings.salesforce)
    if not compare:
        yield Sink(name=name, cost=_cost(kind, limits))
        return
    async with governed(limits, settings.database) as quota:
        crm: HubSpot | Salesforce
        if kind is HubSpot:
            crm = HubSpot(settings.hubspot, mapped=mapping.mapped(name), quota=quota)
        else:
            crm = Salesforce(settings.salesforce, mapped=mapping.mapped(name), quota=quota)
        try:
            report = await crm.check_setup(create=False)
            if not report.ready:
                raise Terminal(
                    f"{name} lacks our properties: {', '.join(report.missing)}. Nothing was planned.",
                    advice=report.advice,
                )
            yield Sink(
                name=name, cost=_cost(kind, limits), comparison=PatientComparison(crm, told=told), survey=crm
            )
        finally:
            await crm.close()


def _cost(crm: type[HubSpot | Salesforce], limits: AccountLimits) -> CallCost:  # type: ignore[name-defined] # noqa: F821
    from connector.recovery.replay.items import CallCost

    pace = limits.paces.get("burst")
    return CallCost(
        contacts_per_call=crm.contacts_per_call,
        activities_per_call=crm.activities_per_call,
        lookups_per_call=crm.lookups_per_call,
        calls_per_second=pace.calls / pace.seconds if pace else 0.0,
    )


async def named_people(settings: Settings, named: Sequence[str], *, now: datetime) -> frozenset[UUID] | None:
    """The contact ids that `--contact` names, and those that were merged into them; None: nobody is named.

    Raises `Rejected` (cause `no_person`) for somebody whom nobody knows.
    """
    if not named:
        return None
    from connector.cli.people import find_person
    from connector.state.database import connect, database_errors

    found: set[UUID] = set()
    async with database_errors():
        connection = await connect(settings.database.url.get_secret_value())
        try:
            for text in named:
                person = await find_person(connection, text, at=now)
                if person.contact_id is None:
                    raise Rejected(
                        f"Nobody is known as {text}. Nothing was planned.",
                        cause="no_person",
                        advice="connector trace --contact with a phone, a BSUID or a record id shows whom we know",
                    )
                rows = await connection.fetch(
                    "WITH RECURSIVE merged AS (SELECT $1::uuid AS contact_id UNION SELECT c.contact_id "
                    "FROM identity.contacts c JOIN merged m ON c.redirect_to = m.contact_id) "
                    "SELECT contact_id FROM merged",
                    person.contact_id,
                )
                found |= {row["contact_id"] for row in rows}
        finally:
            await connection.close()
    return frozenset(found)


def stop_on_signals(stop: asyncio.Event) -> None:
    """Ctrl-C sets `stop` instead of breaking off: what was marked is then shown as such."""
    import signal

    loop = asyncio.get_running_loop()
    with contextlib.suppress(ValueError, RuntimeError):  # only a main thread hears signals
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, stop.set)


async def record_step(
    settings: Settings,
    plan: Plan,
    *,
    command: str,
    act: str,
    phase: str,
    who: str,
    why: str,
    details: dict[str, Any],
) -> None:
    """Put the step on the log, and wait until it is there."""
    from connector.cli.publishing import ORIGIN, publish
    from connector.events.operator import operator_action
    from connector.streams.codec import encode
    from connector.topics import OPERATOR_ACTIONS

    now = datetime.now(UTC)
    if phase in ("resumed", "stopped"):  # may come to pass several times in one act
        phase = f"{phase} {now:%Y-%m-%dT%H:%M:%S.%fZ}"
    action = operator_action(
        act=act, phase=phase, command=command, who=who, at=now, why=why, subject=plan.hash, details=details
    )
    await publish(settings, [encode(OPERATOR_ACTIONS, key=act, value=action, origin=ORIGIN)])
