"""Requests whose answers are lost go on in the CRM: nobody is written again before they can have ended."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from conversation_events import message, status
from sink_world import SinkWorld, sink_world

from connector.sandbox.faults import Fault
from connector.settings import SyncSettings

_UPSERTS = {"hubspot": "*/contacts/batch/u*", "salesforce": "*/composite/sobjects/Contact/*"}
_CREATES = {"hubspot": "*/communications/batch/create", "salesforce": "*/composite/sobjects/Task/*"}
_UPDATES = {"hubspot": "*/communications/batch/update", "salesforce": "*/composite/sobjects*"}

# Longer than the client waits, shorter than it leaves the person alone.
_TIMEOUT, _MARGIN, _LANDS = 0.3, 0.9, 1.0

_TIMED_OUT = {"kind": "latency", "seconds": _LANDS}
_RESET = {"kind": "reset", "lands_after": _LANDS}
_GATEWAY = {"kind": "status", "status": 504, "lands_after": _LANDS}


@pytest.fixture
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sink that waits less long than usual for answers, and for what became of those that did not come."""
    settings = SyncSettings(lost_write_margin=_MARGIN)
    async with sink_world(request.param, database_url, settings=settings, request_timeout=_TIMEOUT) as world:
        yield world


def _lose(world: SinkWorld, paths: dict[str, str], loss: dict[str, Any]) -> None:
    world.people.faults.add(Fault.model_validate({**loss, "path": paths[world.crm.name], "times": 1}))


async def _is_lost(world: SinkWorld) -> None:
    """Wait until a request is under way whose client has given it up."""
    async with asyncio.timeout(10):
        while not any(call.client_left for call in world.people.journal.calls()):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("world", "paths", "loss"),
    [
        pytest.param("hubspot", _UPSERTS, _TIMED_OUT, id="hubspot-person-timeout"),
        pytest.param("hubspot", _CREATES, _RESET, id="hubspot-message-reset"),
        pytest.param("salesforce", _UPSERTS, _GATEWAY, id="salesforce-person-504"),
        pytest.param("salesforce", _CREATES, _TIMED_OUT, id="salesforce-message-timeout"),
    ],
    indirect=["world"],
)
async def test_a_person_is_not_written_while_a_lost_request_may_go_on(
    world: SinkWorld, paths: dict[str, str], loss: dict[str, Any]
) -> None:
    """Their next message waits until the first request has landed; it is there once, and nobody else's waits."""
    await world.fold(message("first", "other"))
    await world.settle()
    _lose(world, paths, loss)
    await world.fold(message("a", "ana"))
    running = asyncio.create_task(world.writer.run())
    await _is_lost(world)
    await world.fold(message("b", "ana", seconds=5), message("c", "other", seconds=6))
    [lost] = [call for call in world.people.journal.calls() if call.client_left]
    async with asyncio.timeout(10):
        while sum(world.people.messages().values()) < 2:
            await asyncio.sleep(0.01)
    assert lost.finished_at is None  # the other's second message was written meanwhile
    world.stop.set()
    await running
    world.stop.clear()
    await world.settle()
    assert lost.effects
    assert sorted(world.people.messages().values()) == [2, 2]
    assert world.people.journal.violations == []


@pytest.mark.parametrize("world", ["hubspot"], indirect=True)
async def test_a_status_waits_for_a_lost_update(world: SinkWorld) -> None:
    """An update whose answer is lost may land late: the next one goes out after it, and has the last word."""
    await world.fold(message("out", "ana", direction="outbound"))
    await world.settle()
    _lose(world, _UPDATES, _TIMED_OUT)
    await world.fold(status("out", "delivered", "ana", seconds=2))
    running = asyncio.create_task(world.writer.run())
    await _is_lost(world)
    await world.fold(status("out", "read", "ana", seconds=9))
    world.stop.set()
    await running
    world.stop.clear()
    await world.settle()
    assert [call.effects != [] for call in world.people.journal.calls() if call.client_left] == [True]
    assert world.people.journal.violations == []
