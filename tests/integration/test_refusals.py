"""What a CRM refuses: a limit stops the line, a person says when to try again, and nothing else is held up."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import orjson
import pytest
from conversation_events import contact, message
from sink_world import SinkWorld, sink_world

from connector.recovery.retry import refusals, retry_some
from connector.recovery.trace import trace_contact
from connector.sandbox.faults import Fault, FaultKind
from connector.settings import StreamSettings, SyncSettings
from connector.sync.backlog import waiting
from connector.sync.mapping import load_mapping
from connector.telemetry.health import State

SETTINGS = SyncSettings(stopped_retry=0.2, lost_write_margin=0.5)
LIMITS = StreamSettings(dead_letter_run=20)
FORBIDDEN = "THE ORG'S RULE FORBIDS THIS"
BROKEN_ACTIVITIES = f"""version: 1
activity:
  families:
    text: {{subject: ["{{who}} writes", "A {{kind}}"], text: "{FORBIDDEN} {{text}}"}}
"""
BROKEN_CONTACTS = f"""version: 1
contact:
  hubspot: {{city: {{value: "{FORBIDDEN}"}}}}
  salesforce: {{Description: {{value: "{FORBIDDEN}"}}}}
"""


@pytest.fixture(params=["hubspot", "salesforce"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sink whose CRM has a rule against some text."""
    async with sink_world(request.param, database_url, settings=SETTINGS) as world:
        world.people.faults.add(Fault(kind=FaultKind.POISON, text=FORBIDDEN))
        yield world


async def _run_until(
    world: SinkWorld, condition: Callable[[], Awaitable[bool]], *, within: float = 30
) -> None:
    running = asyncio.create_task(world.writer.run())
    try:
        async with asyncio.timeout(within):
            while not await condition():
                await asyncio.sleep(0.02)
    finally:
        world.stop.set()
        await running
        world.stop.clear()


def _stopped(world: SinkWorld) -> bool:
    return world.health.state is State.STOPPED_LINE


async def _letters(world: SinkWorld) -> list[dict[str, object]]:
    rows = await world.fetch("SELECT value FROM shared.outgoing ORDER BY id")
    return [orjson.loads(row["value"]) for row in rows]


@pytest.mark.parametrize(
    ("mapping", "table"),
    [
        pytest.param(BROKEN_ACTIVITIES, "activities", id="activities"),
        pytest.param(BROKEN_CONTACTS, "contacts", id="contacts"),
    ],
)
async def test_a_mapping_that_breaks_everything_stops_at_the_limit(
    world: SinkWorld, tmp_path: Path, mapping: str, table: str
) -> None:
    """A limit's worth becomes dead letters, the rest waits; after the fix all but those few are written unasked."""
    file = tmp_path / "mapping.yaml"
    file.write_text(mapping)
    await world.fold(*(message(f"m{n}", f"p{n}", seconds=n, shown={"name": f"p{n}"}) for n in range(120)))
    world.restart(SETTINGS, mapping=load_mapping(file), limits=LIMITS)

    async def stopped_for_a_while() -> bool:
        tried = await world.fetch(f"SELECT 1 FROM {{sink}}.{table} WHERE attempts > 1")
        return _stopped(world) and len(tried) > 3 and bool(await _letters(world))

    await _run_until(world, stopped_for_a_while)
    letters = await _letters(world)
    assert len(letters) <= LIMITS.dead_letter_run
    shown = world.health.snapshot()["stopped"]
    assert "more than 20 records in a row" in shown["reason"]
    assert "connector mapping test" in shown["advice"]

    world.restart(SETTINGS, limits=LIMITS)
    refused = len(letters)
    await world.settle()
    assert sum(world.people.messages().values()) == 120 - refused
    assert not _stopped(world)
    assert await _letters(world) == letters

    async with world.pool.acquire() as connection:
        [cause] = {item.cause for item in await refusals(connection, world.crm.name)}
        async with connection.transaction():
            assert sum(await retry_some(connection, world.crm.name, cause=cause)) == refused
        async with connection.transaction():
            assert await retry_some(connection, world.crm.name, cause=cause) == (0, 0)
    assert f"connector state retry --sink {world.crm.name} --cause {cause}" in str(letters[0]["advice"])
    await world.settle()
    assert sum(world.people.messages().values()) == 120


async def test_the_line_goes_on_by_itself_once_the_crm_is_mended(world: SinkWorld, tmp_path: Path) -> None:
    """The rule is dropped in the CRM: without a restart the stopped line finds out and drains."""
    file = tmp_path / "mapping.yaml"
    file.write_text(BROKEN_ACTIVITIES)
    await world.fold(*(message(f"m{n}", "ana", seconds=n) for n in range(80)))
    world.restart(SETTINGS, mapping=load_mapping(file), limits=LIMITS)
    running = asyncio.create_task(world.writer.run())
    async with asyncio.timeout(30):
        while not _stopped(world):
            await asyncio.sleep(0.02)
        world.people.faults.clear()
        while sum(world.people.messages().values()) < 80 - LIMITS.dead_letter_run:
            await asyncio.sleep(0.02)
        while _stopped(world):
            await asyncio.sleep(0.02)
    world.stop.set()
    await running


async def test_a_property_that_somebody_deletes_is_no_fault_of_the_items(database_url: str) -> None:
    """Every write would be refused: nothing is a dead letter, the advice names the set-up, and running it is enough."""
    async with sink_world("hubspot", database_url, settings=SETTINGS) as world:
        await world.fold(message("a", "ana"))
        await world.settle()
        world.people.remove_property("whatsapp_username")
        await world.fold(
            *(message(f"m{n}", f"p{n}", seconds=n, shown={"username": f"p{n}"}) for n in range(30))
        )
        running = asyncio.create_task(world.writer.run())
        async with asyncio.timeout(30):
            while not _stopped(world):
                await asyncio.sleep(0.02)
            shown = world.health.snapshot()["stopped"]
            assert "whatsapp_username" in shown["reason"]
            assert "connector setup hubspot" in shown["advice"]
            assert (await world.crm.check_setup(create=True)).ready
            while world.people.messages().total() < 31 or _stopped(world):
                await asyncio.sleep(0.02)
        world.stop.set()
        await running
        assert await _letters(world) == []


async def test_a_refused_person_blocks_their_own_messages_only(world: SinkWorld) -> None:
    """They count as blocked, not as waiting; trace says so; new facts let them go on."""
    world.people.faults.clear()
    world.people.faults.add(Fault(kind=FaultKind.POISON, text=FORBIDDEN, path="*[cC]ontact*"))
    await world.fold(
        message("a", "bad", shown={"username": FORBIDDEN}),
        message("b", "bad", seconds=1, shown={}),
        message("c", "ana", seconds=2),
    )
    await world.settle()
    sink = world.crm.name
    async with world.pool.acquire() as connection:
        assert await waiting(connection, sink) == (0, None)
        person = await trace_contact(connection, contact("bad"))
    assert [record.stage.split(":")[0] for record in person.records] == [f"refused by {sink}"]
    assert {item.stage.split(":")[0] for found in person.messages for item in found.sinks} == {"blocked"}
    assert world.people.messages().total() == 1
    [letter] = await _letters(world)
    assert orjson.loads(base64.b64decode(str(letter["original"])))["subject"] == str(contact("bad"))

    await world.fold(message("d", "bad", seconds=5, shown={"username": "ana.lima"}))
    await world.settle()
    assert world.people.messages().total() == 4


async def test_a_person_is_tried_again_when_an_operator_says_so(world: SinkWorld) -> None:
    """The CRM's rule is dropped; nothing of the person changes; `retry` writes them and what they blocked."""
    await world.fold(message("a", "bad", shown={"username": FORBIDDEN}))
    await world.settle()
    world.people.faults.clear()
    await world.settle()
    assert world.people.messages().total() == 0
    async with world.pool.acquire() as connection, connection.transaction():
        assert await retry_some(connection, world.crm.name, cause="no_such_cause") == (0, 0)
        assert await retry_some(connection, world.crm.name, cause=None) == (1, 0)
    await world.settle()
    assert world.people.messages().total() == 1
