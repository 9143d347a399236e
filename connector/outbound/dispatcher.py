"""The half of the role `outbound` that sends: a line for each business number, and what looks after them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import asyncpg

from connector.crm.hubspot.client import HubSpotClient
from connector.errors import ConnectorError
from connector.outbound.dispatch.claiming import Judgement, SeenUntil
from connector.outbound.dispatch.line import LineParts, NumberLine, lease_seconds
from connector.outbound.dispatch.outcomes import run_outcomes
from connector.outbound.dispatch.settler import Settler
from connector.outbound.dispatch.tending import tend
from connector.outbound.due import hear_due
from connector.outbound.measuring import run_measuring
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.rules import gate_rules
from connector.settings import Settings
from connector.state.database import transaction
from connector.state.whole import Wholeness
from connector.streams.batch import RecordSender
from connector.sync.rest import rest
from connector.telemetry.health import StageHealth
from connector.whatsapp.client import CloudApi

_LOOK_FOR_NUMBERS = 2.0  # seconds

# Numbers that Meta listed, and numbers that somebody wants to send from: one step of the index a number.
_NUMBERS = """
WITH RECURSIVE waiting (number) AS (
    (SELECT phone_number_id FROM outbound.sends WHERE state IN ('queued', 'held')
        AND (contact_id IS NOT NULL OR obstacle <> '') ORDER BY phone_number_id LIMIT 1)
    UNION ALL
    SELECT (SELECT phone_number_id FROM outbound.sends WHERE state IN ('queued', 'held')
        AND (contact_id IS NOT NULL OR obstacle <> '') AND phone_number_id > w.number
        ORDER BY phone_number_id LIMIT 1) FROM waiting w WHERE w.number IS NOT NULL
)
SELECT number FROM waiting WHERE number IS NOT NULL UNION SELECT phone_number_id FROM outbound.numbers
"""


_NONE = Personalisation()


def _nobody() -> None:
    """Nobody waits for it."""


async def run_dispatchers(
    pool: asyncpg.Pool,
    settings: Settings,
    *,
    sender: RecordSender,
    tables: Wholeness,
    view: SeenUntil,
    due: asyncio.Event,
    told: asyncio.Event,
    queued: Callable[[], None],
    wanted: Callable[[], None] = _nobody,
    health: StageHealth,
    outcomes_health: StageHealth,
    stop: asyncio.Event,
    hubspot: HubSpotClient | None = None,
    personalisation: Personalisation = _NONE,
    crms: Sequence[str] = (),
) -> None:
    """Dispatch until `stop`, and then until what is under way has been answered and written down.

    `sender`: where attempts are announced. `due`, `told`: set when sends are due, or have moved. `queued` is called
    after a commit that left rows for the relay of the stage `outbound`, `wanted` after one that left records to be read
    in `crms`, which are in the order in which their values are preferred. `hubspot`: where workflows are told outcomes.
    """
    outbound = settings.outbound
    judgement = Judgement(
        rules=gate_rules(outbound),
        personalisation=personalisation,
        rates=outbound.rates,
        tables=tables,
        view=view,
        crms=crms,
        accounts=settings.whatsapp.business_account_ids,
    )
    api = CloudApi(
        settings.whatsapp, request_timeout=outbound.request_timeout, connections=outbound.sends_in_flight
    )
    settled = asyncio.Event()
    settler = Settler(pool, outbound, health=health, queued=queued)
    parts = LineParts(
        url=settings.database.url.get_secret_value(),
        judgement=judgement,
        settings=outbound,
        api=api,
        sender=sender,
        settler=settler,
        in_flight=asyncio.Semaphore(outbound.sends_in_flight),
        queued=queued,
        wanted=wanted,
    )
    try:
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(settler.run(stop=settled))
            group.create_task(hear_due(parts.url, due, stop=stop))
            group.create_task(
                tend(
                    pool,
                    tables=tables,
                    view=view,
                    unknown_after=outbound.unknown_after,
                    answered_within=lease_seconds(outbound.request_timeout),
                    queued=queued,
                    due=due.set,
                    health=health,
                    stop=stop,
                )
            )
            group.create_task(run_measuring(pool, stop=stop))
            if hubspot is not None:
                group.create_task(run_outcomes(pool, hubspot, wake=told, health=outcomes_health, stop=stop))
            else:
                outcomes_health.running()
            await _run_lines(pool, parts, due=due, health=health, stop=stop)
            settled.set()
            await settling
    finally:
        await api.close()


async def _run_lines(
    pool: asyncpg.Pool, parts: LineParts, *, due: asyncio.Event, health: StageHealth, stop: asyncio.Event
) -> None:
    """A line for every number there is, until `stop`; return when all have ended."""
    lines: dict[str, NumberLine] = {}
    async with asyncio.TaskGroup() as group:
        while not stop.is_set():
            due.clear()
            try:
                async with transaction(pool) as connection:
                    rows = await connection.fetch(_NUMBERS)
            except ConnectorError as error:
                health.waiting("database", reason=error.message, advice=error.advice)
            else:
                health.recovered("database")
                health.running()
                for number in sorted({row["number"] for row in rows if row["number"]} - set(lines)):
                    lines[number] = NumberLine(number, parts, health=health)
                    group.create_task(lines[number].run(stop=stop))
            for line in lines.values():
                line.wake.set()
            health.about = {"numbers": sorted(name for name, line in lines.items() if line.holds_lock)}
            await rest(_LOOK_FOR_NUMBERS, stop, due)
