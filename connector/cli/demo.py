"""`connector demo`: plays a conversation through the real thing and asks the CRM what arrived."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.output import JsonOption, err, out, print_json

if TYPE_CHECKING:
    from connector.embedded.deployment import LocalDeployment
    from connector.sandbox.audit import Audit
    from connector.sandbox.story import Story
    from connector.sandbox.whatsapp.sender import WebhookSender

_SETTLE_TIMEOUT = 45.0


def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Emptied at start; logs and data stay for a look.")
    ] = Path(".connector/demo"),
    as_json: JsonOption = False,
) -> None:
    """Start a real Kafka, PostgreSQL and every role, play WhatsApp webhooks, and count what the CRM got.

    Exit code 0 only if nothing is missing and nothing is doubled.
    """
    raise typer.Exit(asyncio.run(_demo(data_dir, as_json=as_json)))


async def _demo(data_dir: Path, *, as_json: bool) -> int:
    from connector.embedded.deployment import LocalDeployment, SandboxOptions
    from connector.sandbox.story import story

    began = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            out.print(f"[dim]{time.monotonic() - began:5.1f} s[/]  {text}")

    _empty(data_dir)
    deployment = LocalDeployment(
        data_dir,
        roles=["ingress", "route", "sync-hubspot"],
        sandbox=SandboxOptions(hubspot={"burst_limit": 190}),
        env={"CONNECTOR_LOG__FORMAT": "json"},
        say=say,
    )
    async with deployment:
        say(
            f"ready: webhooks at {deployment.ingress_url}/webhooks/whatsapp, HubSpot (simulated) at {deployment.hubspot_url}\n"
        )
        played = story(start=int(time.time()) - 600)
        summary = await _play(deployment, played, say=say)
    summary["seconds"] = round(time.monotonic() - began, 1)
    if as_json:
        print_json(summary)
    else:
        _show(summary, data_dir)
    return 0 if summary["passed"] else 1


def _empty(data_dir: Path) -> None:
    """Start from nothing, unless another demo is at work there."""
    from connector.embedded.directory import DirectoryLock

    if data_dir.exists():
        lock = DirectoryLock(data_dir)
        lock.acquire()
        lock.release()
        shutil.rmtree(data_dir)


async def _play(deployment: LocalDeployment, played: Story, *, say: Any) -> dict[str, Any]:
    import httpx

    from connector.embedded.deployment import SANDBOX_APP_SECRET
    from connector.sandbox.whatsapp.sender import RetrySchedule, Weather, WebhookSender

    sender = WebhookSender(
        url=f"{deployment.ingress_url}/webhooks/whatsapp",
        app_secret=SANDBOX_APP_SECRET,
        weather=Weather(seed=7, batch=5, duplicate=0.5, disorder=6),
        retries=RetrySchedule(speed=100),
    )
    async with httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=10) as crm, sender:
        for scene in played.scenes:
            say(f"[bold]{scene.title}[/]")
            for _ in range(3 if scene.redelivered else 1):
                await sender.post(scene.updates)
            await _await_arrival(crm, scene.updates, say=say)
        say(
            f"[bold]A crowd: {len(played.crowd)} updates of {len(played.expected.people) - 3} more people, "
            "half of them delivered twice, out of order[/]"
        )
        await sender.deliver(played.crowd)
        verdict, state = await _await_settled(crm, played)
        journal = (await crm.get("/_sandbox/journal")).json()
    return _summary(played, verdict, state, journal, sender)


async def _await_arrival(crm: Any, updates: Any, *, say: Any) -> None:
    """Show each message of a scene once the CRM has it."""
    waiting = {update.wamid for update in updates if update.field == "messages"}
    from rich.markup import escape

    deadline = time.monotonic() + _SETTLE_TIMEOUT
    while waiting and time.monotonic() < deadline:
        state = (await crm.get("/_sandbox/hubspot/state")).json()
        for record in state["communications"]:
            properties = record["properties"]
            wamid = properties.get("whatsapp_message_id")
            if wamid in waiting:
                waiting.discard(wamid)
                line = properties["hs_communication_body"].split("<br>")[0]
                contact = ", ".join(record["associations"]["contacts"])
                say(
                    f"  [green]→[/] {properties['whatsapp_direction']:<8} {properties['whatsapp_status']:<9} "
                    f"contact {contact}  activity {record['id']}  {escape(line)}"
                )
        await asyncio.sleep(0.05)


async def _await_settled(crm: Any, played: Story) -> tuple[Audit, dict[str, Any]]:
    from connector.sandbox.audit import audit

    deadline = time.monotonic() + _SETTLE_TIMEOUT
    while True:
        state = (await crm.get("/_sandbox/hubspot/state")).json()
        verdict = audit(played.expected, state)
        if verdict.settled or time.monotonic() > deadline:
            return verdict, state
        await asyncio.sleep(0.1)


def _summary(
    played: Story, verdict: Audit, state: dict[str, Any], journal: dict[str, Any], sender: WebhookSender
) -> dict[str, Any]:
    posted = {
        entry.wamid: entry.first_posted_at for entry in sender.journal.deliveries.values() if entry.wamid
    }
    inbound = played.expected.wamids
    waits = []
    for record in state["communications"]:
        wamid = record["properties"].get("whatsapp_message_id")
        at = posted.get(wamid)
        if wamid in inbound and at is not None:
            created = datetime.fromisoformat(record["properties"]["hs_createdate"]).timestamp()
            waits.append(max(0.0, created - at))
    waits.sort()
    return {
        "passed": verdict.passed,
        "updates_sent": sum(entry.posts for entry in sender.journal.deliveries.values()),
        "distinct_updates": len(sender.journal.deliveries),
        "people": len(played.expected.people),
        "messages": verdict.messages,
        "contacts_found": verdict.contacts,
        "activities_found": verdict.activities,
        "missing": len(verdict.missing),
        "doubled": len(verdict.doubled_activities)
        + len(verdict.doubled_contacts)
        + verdict.left_over_contacts,
        "misplaced": len(verdict.misplaced),
        "wrong_statuses": len(verdict.wrong_statuses),
        "first_activity_seconds": round(waits[0], 3) if waits else None,
        "p95_seconds": round(waits[int(len(waits) * 0.95)], 3) if waits else None,
        "violations": len(journal.get("violations", ())),
        "details": asdict(verdict),
    }


def _show(summary: dict[str, Any], data_dir: Path) -> None:
    good = "[bold green]complete[/]" if summary["passed"] else "[bold red]not complete[/]"
    out.print(f"\n[bold]Asked the CRM:[/] {good}")
    out.print(
        f"  webhook updates   {summary['updates_sent']} sent, {summary['distinct_updates']} distinct\n"
        f"  messages          {summary['messages']} expected, {summary['activities_found']} activities found\n"
        f"  people            {summary['people']} expected, {summary['contacts_found']} contacts found\n"
        f"  missing           {summary['missing']}\n"
        f"  doubled           {summary['doubled']}\n"
        f"  misplaced         {summary['misplaced']}, wrong status {summary['wrong_statuses']}\n"
        f"  webhook → CRM     first {summary['first_activity_seconds']} s, p95 {summary['p95_seconds']} s\n"
        f"  took              {summary['seconds']} s"
    )
    if summary["passed"]:
        out.print("\nnext: make up, and point a Meta app at it; connector trace WAMID tells of one message")
    else:
        err.print(
            f"\nsomething is missing or doubled: see --json for details and {data_dir / 'logs'} for the roles' logs"
        )
    sys.stdout.flush()
