"""The whole deployment at a glance: what answers, what waits, what a person should do.

Needs the database and Kafka only; roles are asked where their health endpoints are known, CRMs where the settings
enable them. Nothing is changed, and what cannot be asked is said, not raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.hubspot.quota import account_limits as hubspot_limits
from connector.crm.port import Crm
from connector.crm.quota import AccountQuota, governed, read_quotas
from connector.crm.salesforce.adapter import Salesforce
from connector.crm.salesforce.quota import account_limits as salesforce_limits
from connector.errors import ConnectorError
from connector.recovery.letters.acts import letter_states
from connector.recovery.letters.groups import LetterGroups
from connector.recovery.letters.listing import latest_letters
from connector.recovery.log_stages import SINKS, STAGES
from connector.recovery.status import (
    NumberPause,
    Parked,
    SinkStatus,
    number_pauses,
    parked_statuses,
    sink_status,
)
from connector.settings import Settings
from connector.state.database import connect, database_errors
from connector.state.standing import Standing, tables_behind
from connector.state.switches import Pressed, everything_pressed
from connector.streams.lag import GroupLag, group_lags
from connector.sync.mapping import load_mapping
from connector.telemetry.reading import Reading, ask_role

_CRM_TIMEOUT = 20.0  # seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """Something that has to answer. `works`: None when it was not asked; `said`: why, or what is wrong."""

    name: str
    works: bool | None
    said: str
    advice: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """A role's process at its health endpoint. `state`: of its worst part, or `no answer`."""

    name: str
    url: str
    state: str
    ready: bool
    reading: Reading
    parts: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Overview:
    """One look. None or empty: it could not be asked; the dependency says why."""

    dependencies: Sequence[Dependency]
    roles: Sequence[Role]
    groups: Sequence[GroupLag]
    sinks: Sequence[SinkStatus]
    parked: Parked | None
    quotas: Sequence[AccountQuota]
    dead_letters: LetterGroups | None
    paused: Sequence[Pressed] = ()
    """What operators hold up."""
    behind: Mapping[str, Standing] = field(default_factory=dict)
    """Schema → how its tables stand, for those that are behind the log after a restore."""
    numbers_paused: Sequence[NumberPause] = ()
    """Business numbers that WhatsApp lets send nothing for now."""


async def look(
    settings: Settings, *, roles: Mapping[str, str], crms: Sequence[Dependency] | None = None
) -> Overview:
    """Look at everything at once. `roles`: name → base URL; `crms`: what `check_crms` said a while ago."""
    (database, state), asked, checked = await asyncio.gather(
        _ask_database(settings),
        _ask_roles(roles),
        check_crms(settings) if crms is None else _same(crms),
    )
    kafka, groups, letters = await _ask_kafka(settings, state.letters)
    return Overview(
        dependencies=[kafka, database, *checked],
        roles=asked,
        groups=groups,
        sinks=state.sinks,
        parked=state.parked,
        quotas=state.quotas,
        dead_letters=letters,
        paused=state.paused,
        behind=state.behind,
        numbers_paused=state.numbers_paused,
    )


async def check_crms(settings: Settings) -> list[Dependency]:
    """Whether each enabled CRM takes our credential and has our properties; a few calls each."""
    return list(
        await asyncio.gather(
            _check_crm("hubspot", settings, enabled=settings.hubspot.enabled),
            _check_crm("salesforce", settings, enabled=settings.salesforce.enabled),
        )
    )


async def _same(crms: Sequence[Dependency]) -> list[Dependency]:
    return list(crms)


async def _check_crm(name: str, settings: Settings, *, enabled: bool) -> Dependency:
    if not enabled:
        said = f"not asked: CONNECTOR_{name.upper()}__ENABLED is not true in this shell's settings"
        return Dependency(name=name, works=None, said=said)
    try:
        async with asyncio.timeout(_CRM_TIMEOUT):
            async with _open(name, settings) as crm:
                report = await crm.check_setup(create=False)
    except TimeoutError:
        return Dependency(
            name=name,
            works=False,
            said=f"does not answer within {_CRM_TIMEOUT:g} s",
            advice="the writer waits for it",
        )
    except ConnectorError as error:
        return Dependency(name=name, works=False, said=error.message, advice=error.advice)
    if not report.ready:
        missing = ", ".join(report.missing)
        return Dependency(
            name=name, works=False, said=f"lacks our properties: {missing}", advice=report.advice
        )
    return Dependency(name=name, works=True, said="takes our credential and has our properties")


@asynccontextmanager
async def _open(name: str, settings: Settings) -> AsyncIterator[Crm]:
    mapped = load_mapping(settings.sync.mapping).mapped(name)
    hubspot = name == "hubspot"
    limits = hubspot_limits(settings.hubspot) if hubspot else salesforce_limits(settings.salesforce)
    async with governed(limits, settings.database, needs_database=False) as quota:
        crm: Crm
        if hubspot:
            crm = HubSpot(settings.hubspot, mapped=mapped, quota=quota)
        else:
            crm = Salesforce(settings.salesforce, mapped=mapped, quota=quota)
        try:
            yield crm
        finally:
            await crm.close()


async def _ask_kafka(
    settings: Settings, states: Mapping[str, str]
) -> tuple[Dependency, Sequence[GroupLag], LetterGroups | None]:
    try:
        groups = await group_lags(settings.kafka, STAGES)
        letters = await latest_letters(settings.kafka, states)
    except ConnectorError as error:
        return Dependency(name="kafka", works=False, said=error.message, advice=error.advice), [], None
    servers = settings.kafka.bootstrap_servers
    return Dependency(name="kafka", works=True, said=f"answers at {servers}"), groups, letters


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    sinks: Sequence[SinkStatus] = ()
    parked: Parked | None = None
    quotas: Sequence[AccountQuota] = ()
    behind: Mapping[str, Standing] = field(default_factory=dict)
    letters: Mapping[str, str] = field(default_factory=dict)
    paused: Sequence[Pressed] = ()
    numbers_paused: Sequence[NumberPause] = ()


async def _ask_database(settings: Settings) -> tuple[Dependency, _State]:
    try:
        async with database_errors():
            connection = await connect(settings.database.url.get_secret_value())
            try:
                state = _State(
                    sinks=[await sink_status(connection, sink) for sink in SINKS],
                    parked=await parked_statuses(connection),
                    quotas=await read_quotas(connection),
                    behind=await tables_behind(connection),
                    letters=await letter_states(connection),
                    paused=await everything_pressed(connection),
                    numbers_paused=await number_pauses(connection),
                )
            finally:
                await connection.close()
    except ConnectorError as error:
        return Dependency(name="postgresql", works=False, said=error.message, advice=error.advice), _State()
    return Dependency(name="postgresql", works=True, said="answers, and has our tables"), state


async def _ask_roles(roles: Mapping[str, str]) -> list[Role]:
    async with httpx.AsyncClient(trust_env=False) as client:
        answers = await asyncio.gather(*(ask_role(client, url) for url in roles.values()))
    found = []
    for (name, url), (document, reading) in zip(roles.items(), answers, strict=True):
        parts = document["parts"] if document else []
        waiting = next((part["state"] for part in parts if not part["ready"]), None)
        found.append(
            Role(
                name=name,
                url=url,
                state="no answer" if document is None else waiting or "ready",
                ready=document is not None and waiting is None,
                reading=reading,
                parts=parts,
            )
        )
    return found
