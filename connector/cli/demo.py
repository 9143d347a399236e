"""`connector demo`: plays a conversation through the real thing and asks both CRMs what arrived."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connector.cli.demo_sends import Workflows, documents, show_sends
from connector.cli.output import JsonOption, err, out, print_json

if TYPE_CHECKING:
    import httpx

    from connector.embedded.deployment import LocalDeployment
    from connector.sandbox.audit import Audit, CrmRecords
    from connector.sandbox.story import Story
    from connector.sandbox.whatsapp.payloads import Update
    from connector.sandbox.whatsapp.sender import WebhookSender

Say = Callable[[str], None]

_SETTLE_TIMEOUT = 45.0


def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Emptied at start; logs and data stay for a look.")
    ] = Path(".connector/demo"),
    secure: Annotated[
        bool, typer.Option("--secure", help="With TLS, SCRAM and ACLs at Kafka: each role a user of its own.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a real Kafka, PostgreSQL and every role, play WhatsApp webhooks, and count what both CRMs got.

    Exit code 0 only if nothing is missing and nothing is doubled in either.
    """
    raise typer.Exit(asyncio.run(_demo(data_dir, secure=secure, as_json=as_json)))


@dataclass(frozen=True, kw_only=True)
class _Crm:
    """One simulated CRM, and how its own records are read."""

    name: str
    client: httpx.AsyncClient
    state_path: str
    read: Callable[[Mapping[str, Any]], CrmRecords]

    async def records(self) -> CrmRecords:
        return self.read((await self.client.get(self.state_path)).json())


async def _demo(data_dir: Path, *, secure: bool, as_json: bool) -> int:
    from connector.embedded.deployment import LocalDeployment, SandboxOptions
    from connector.sandbox.story import story

    began = time.monotonic()

    def say(text: str) -> None:
        if not as_json:
            out.print(f"[dim]{time.monotonic() - began:5.1f} s[/]  {text}")

    _empty(data_dir)
    deployment = LocalDeployment(
        data_dir,
        roles=["ingress", "route", "sync-hubspot", "sync-salesforce", "outbound"],
        sandbox=SandboxOptions(hubspot={"burst_limit": 190}),
        env={"CONNECTOR_LOG__FORMAT": "json"},
        secure_kafka=secure,
        say=say,
    )
    async with deployment:
        say(
            f"ready: webhooks at {deployment.ingress_url}/webhooks/whatsapp, simulated: HubSpot at "
            f"{deployment.hubspot_url}, Salesforce at {deployment.salesforce_url}\n"
        )
        summary = await _play(deployment, story(start=int(time.time()) - 600), say=say)
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


async def _play(deployment: LocalDeployment, played: Story, *, say: Say) -> dict[str, Any]:
    import httpx

    from connector.embedded.deployment import SANDBOX_APP_SECRET
    from connector.sandbox.audit import hubspot_records, salesforce_records
    from connector.sandbox.retries import RetrySchedule
    from connector.sandbox.whatsapp.sender import Weather, WebhookSender

    sender = WebhookSender(
        url=f"{deployment.ingress_url}/webhooks/whatsapp",
        app_secret=SANDBOX_APP_SECRET,
        weather=Weather(seed=7, batch=5, duplicate=0.5, disorder=6),
        retries=RetrySchedule(speed=100),
    )
    async with (
        httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=10) as hubspot,
        httpx.AsyncClient(base_url=deployment.salesforce_url, timeout=10) as salesforce,
        httpx.AsyncClient(base_url=deployment.whatsapp_url, timeout=10) as whatsapp,
        sender,
    ):
        crms = [
            _Crm(
                name="HubSpot",
                client=hubspot,
                state_path="/_sandbox/hubspot/state",
                read=hubspot_records,
            ),
            _Crm(
                name="Salesforce",
                client=salesforce,
                state_path="/_sandbox/salesforce/state",
                read=salesforce_records,
            ),
        ]
        for scene in played.scenes:
            say(f"[bold]{scene.title}[/]")
            for _ in range(3 if scene.redelivered else 1):
                await sender.post(scene.updates)
            await _await_arrival(crms, scene.updates, say=say)
        say(
            f"[bold]A crowd: {len(played.crowd)} updates of {len(played.expected.people) - 3} more people, "
            "half of them delivered twice, out of order[/]"
        )
        await sender.deliver(played.crowd)
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        found = {crm.name: await _settled(crm, played, sender, deadline=deadline) for crm in crms}
        workflows = Workflows(
            deployment,
            hubspot=hubspot,
            whatsapp=whatsapp,
            crms={crm.name: crm.records for crm in crms},
            say=say,
        )
        sends = await workflows.play()
    return {
        "passed": all(result["passed"] for result in found.values()) and all(item.passed for item in sends),
        "sends": documents(sends),
        "updates_sent": sum(entry.posts for entry in sender.journal.deliveries.values()),
        "distinct_updates": len(sender.journal.deliveries),
        "people": len(played.expected.people),
        "crms": found,
    }


async def _await_arrival(crms: Sequence[_Crm], updates: Sequence[Update], *, say: Say) -> None:
    """Show each message of a scene once a CRM has it."""
    from rich.markup import escape

    told = {update.wamid for update in updates if update.field == "messages"}
    waiting = {(crm.name, wamid) for crm in crms for wamid in told}
    deadline = time.monotonic() + _SETTLE_TIMEOUT
    while waiting and time.monotonic() < deadline:
        for crm in crms:
            for logged in (await crm.records()).messages:
                if (crm.name, logged.wamid) in waiting:
                    waiting.discard((crm.name, logged.wamid))
                    say(
                        f"  [green]→[/] {crm.name:<10} {logged.direction:<8} {logged.status:<9} "
                        f"contact {', '.join(logged.people):<18}  {escape(logged.text)}"
                    )
        await asyncio.sleep(0.05)


async def _settled(crm: _Crm, played: Story, sender: WebhookSender, *, deadline: float) -> dict[str, Any]:
    """Ask a CRM again until it has everything or the deadline has come; what it has."""
    from connector.sandbox.audit import audit

    while True:
        found = await crm.records()
        verdict = audit(played.expected, found)
        if verdict.settled or time.monotonic() > deadline:
            journal = (await crm.client.get("/_sandbox/journal")).json()
            return _result(played, verdict, found, journal, sender)
        await asyncio.sleep(0.1)


def _result(
    played: Story, verdict: Audit, found: CrmRecords, journal: Mapping[str, Any], sender: WebhookSender
) -> dict[str, Any]:
    posted = {entry.wamid: entry.first_posted_at for entry in sender.journal.deliveries.values()}
    waits = sorted(
        max(0.0, logged.created_at.timestamp() - at)
        for logged in found.messages
        if logged.wamid in played.expected.wamids and (at := posted.get(logged.wamid)) is not None
    )
    # Outbound messages are expected as well, though only their statuses were posted.
    expected = played.expected.wamids.union(*(person.outbound for person in played.expected.people))
    return {
        "passed": verdict.passed,
        "messages": verdict.messages,
        "contacts_found": verdict.contacts,
        "activities_found": verdict.activities,
        "notices_found": sum(logged.wamid not in expected for logged in found.messages),
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


def _show(summary: Mapping[str, Any], data_dir: Path) -> None:
    out.print(
        f"\n  webhook updates   {summary['updates_sent']} sent, {summary['distinct_updates']} distinct\n"
        f"  took              {summary['seconds']} s"
    )
    for name, found in summary["crms"].items():
        good = "[bold green]complete[/]" if found["passed"] else "[bold red]not complete[/]"
        out.print(
            f"[bold]Asked {name}:[/] {good}\n"
            f"  messages          {found['messages']} expected, {found['activities_found']} activities found, "
            f"{found['notices_found']} of them WhatsApp's own notices (a changed number)\n"
            f"  people            {summary['people']} expected, {found['contacts_found']} contacts found\n"
            f"  missing           {found['missing']}\n"
            f"  doubled           {found['doubled']}\n"
            f"  misplaced         {found['misplaced']}, wrong status {found['wrong_statuses']}\n"
            f"  webhook → CRM     first {found['first_activity_seconds']} s, p95 {found['p95_seconds']} s"
        )
    show_sends(summary["sends"])
    if summary["passed"]:
        out.print(
            "\nEverything is stopped again. next: make up starts such a stack and keeps it running, for connector "
            "trigger, send, why, trace and status"
        )
    else:
        err.print(
            f"\nsomething is missing, doubled or not as it should be: see --json for details and {data_dir / 'logs'} for the roles' logs"
        )
    sys.stdout.flush()
