"""Workflows that wait in HubSpot are told what became of their send."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dispatch_world import DispatchWorld, dispatch_world
from pydantic import SecretStr

from connector.crm.hubspot.client import HubSpotClient
from connector.errors import ConnectorError
from connector.outbound.dispatch.outcomes import tell_outcomes
from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.hubspot.executions import Execution
from connector.settings import HubSpotSettings


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url) as one:
        yield one


@pytest.fixture
async def hubspot(world: DispatchWorld) -> AsyncIterator[HubSpotClient]:
    client = HubSpotClient(
        HubSpotSettings(access_token=SecretStr("pat-na1-sandbox"), base_url=world.server.hubspot_url)
    )
    yield client
    await client.close()


def waiting(world: DispatchWorld) -> Execution:
    """A contact that waits in an action of a workflow."""
    executions = world.server.hubspot.portal.executions
    execution = executions.begin(contact_id="1", input_fields={}, workflow_id=7)
    executions.answered(execution, status=200, body=b'{"outputFields": {"hs_execution_state": "BLOCK"}}')
    return execution


async def asked(world: DispatchWorld, executions: list[Execution], **columns: Any) -> list[str]:
    """Sends that these executions wait for."""
    ids = await world.campaign(len(executions))
    for send_id, execution in zip(ids, executions, strict=True):
        await world.execute(
            "UPDATE outbound.sends SET callback = $2 WHERE send_id = $1",
            send_id,
            {"callback_id": execution.callback_id, "portal_id": "1"},
        )
    for name, value in columns.items():
        await world.execute(f"UPDATE outbound.sends SET {name} = $1", value)
    return ids


async def test_workflows_go_on_with_what_became_of_their_send(
    world: DispatchWorld, hubspot: HubSpotClient
) -> None:
    """Sent with its message id at the first status, blocked with the reason at once; both in one call."""
    sent, blocked = waiting(world), waiting(world)
    ids = await asked(world, [sent, blocked])
    await world.execute(
        "UPDATE outbound.sends SET template_name = 'refused_offer' WHERE send_id = $1", ids[1]
    )
    async with world.dispatching(hubspot=hubspot):
        await world.until(accepted=1, blocked=1)
        await world.status(ids[0], "sent")
        async with asyncio.timeout(20):
            while sent.branch == "" or blocked.branch == "":
                await asyncio.sleep(0.02)
    assert (sent.branch, sent.outputs["message_id"][:6]) == ("sent", "wamid.")
    assert blocked.branch == "blocked"
    assert "has not agreed to marketing" in blocked.outputs["reason"]


async def test_a_workflow_is_told_again_when_the_answer_was_lost(
    world: DispatchWorld, hubspot: HubSpotClient
) -> None:
    """HubSpot took it, nobody noted it: the second time nobody waits, which is fine, also beside one who does."""
    first, second = waiting(world), waiting(world)
    ids = await asked(world, [first, second], outcome_due_at=None, state="failed")
    await world.execute("UPDATE outbound.sends SET outcome_due_at = now() WHERE send_id = $1", ids[0])
    world.server.hubspot.faults.add(Fault(kind=FaultKind.RESET, when="after", times=1))
    with pytest.raises(ConnectorError):
        await tell_outcomes(world.pool, hubspot)
    assert first.branch == "failed"
    await world.execute("UPDATE outbound.sends SET outcome_due_at = now()")
    assert await tell_outcomes(world.pool, hubspot) == 2
    assert (first.completions, second.completions, second.branch) == (1, 1, "failed")
    assert await tell_outcomes(world.pool, hubspot) == 0
