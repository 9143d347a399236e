"""The loop under `kill -9`: real processes, a real Kafka, a real PostgreSQL, and the CRM's own records as the judge."""

import asyncio
import json
import os
import random
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from connector.embedded.deployment import SANDBOX_APP_SECRET, LocalDeployment, SandboxOptions
from connector.embedded.supervisor import RestartPolicy
from connector.sandbox.audit import Audit, audit, hubspot_records
from connector.sandbox.retries import RetrySchedule
from connector.sandbox.whatsapp.conversations import Conversations, conversations
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

_KILLS = 10  # of each victim
_VICTIMS = ("route", "sync-hubspot")


async def _kill(deployment: LocalDeployment, victim: str, *, times: int, chance: random.Random) -> int:
    """Kill a role's process with -9, `times` times, each time a moment after it is ready again."""
    assert deployment.supervisor is not None
    for _ in range(times):
        await deployment.supervisor.wait_ready(victim, timeout=60)
        await asyncio.sleep(chance.uniform(0.05, 0.8))  # where in its work the kill falls is the point
        pid = deployment.supervisor.statuses[victim].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while deployment.supervisor.statuses[victim].pid == pid:
                await asyncio.sleep(0.02)
    return times


async def _settled(
    crm: httpx.AsyncClient, expected: Conversations, *, within: float
) -> tuple[Audit, Mapping[str, Any]]:
    deadline = asyncio.get_running_loop().time() + within
    while True:
        state = (await crm.get("/_sandbox/hubspot/state")).json()
        verdict = audit(expected, hubspot_records(state))
        if verdict.settled or asyncio.get_running_loop().time() > deadline:
            return verdict, state
        await asyncio.sleep(0.3)


@pytest.mark.timeout(300)
async def test_twenty_kills_during_two_thousand_updates_lose_and_double_nothing(tmp_path: Path) -> None:
    """Route and sync-hubspot are killed 20 times: every message is on its person's timeline exactly once.

    Without a unique property, where only our own look-ups keep a message from being made twice; the chaos suite
    kills them with one.
    """
    expected = conversations(seed=20, people=150, messages=1550, outbound=200)
    deployment = LocalDeployment(
        tmp_path,
        roles=["ingress", "route", "sync-hubspot"],
        sandbox=SandboxOptions(hubspot={"unique_communications": False, "burst_limit": None}),
        # A lost create that no unique key guards is looked up after timeout + margin: short here, so that it happens.
        env={"CONNECTOR_HUBSPOT__REQUEST_TIMEOUT": "2", "CONNECTOR_SYNC__LOST_WRITE_MARGIN": "2"},
        policy=RestartPolicy(first=0.1, limit=0.5),
    )
    async with deployment:
        sender = WebhookSender(
            url=f"{deployment.ingress_url}/webhooks/whatsapp",
            app_secret=SANDBOX_APP_SECRET,
            weather=Weather(seed=3, batch=4, duplicate=0.1, disorder=5, in_flight=2),
            retries=RetrySchedule(speed=50),
        )
        async with httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=20) as crm, sender:
            # CRM calls of some length, so that kills fall into them.
            await crm.post(
                "/_sandbox/faults",
                json={"kind": "latency", "path": "/crm/*", "seconds": 0.03, "seconds_max": 0.12},
            )
            killing = asyncio.gather(
                *(
                    _kill(deployment, victim, times=_KILLS, chance=random.Random(victim))
                    for victim in _VICTIMS
                )
            )
            for start in range(0, len(expected.updates), 60):
                await sender.deliver(expected.updates[start : start + 60])
                if not killing.done():
                    await asyncio.sleep(0.8)  # spreads the load over the kills
            killed = sum(await killing)
            verdict, state = await _settled(crm, expected, within=45)
            journal = (await crm.get("/_sandbox/journal")).json()
            # Left beside the roles' logs: what the CRM had and was asked, should the assertions below fail.
            (tmp_path / "crm.json").write_text(json.dumps({"state": state, "journal": journal}))
    assert len(expected.updates) >= 2000
    assert killed == 20
    assert verdict.missing == []
    assert verdict.doubled_activities == []
    assert verdict.doubled_contacts == []
    assert verdict.left_over_contacts == 0
    assert verdict.misplaced == []
    assert verdict.wrong_statuses == []
    assert state["doubled"]["communications"] == {}
    assert journal["violations"] == []
