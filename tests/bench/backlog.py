"""How fast a backlog drains: 10,000 updates wait on the topic, then route and sync-hubspot are started in turn.

Run by `make bench`. The reference in the same run is a raw aiokafka loop that makes the same two CRM calls per
hundred records with no state at all; only ratios to it say something about this code on this machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import httpx_aiohttp
from aiokafka import AIOKafkaConsumer

from connector.embedded.deployment import (
    SANDBOX_APP_SECRET,
    SANDBOX_HUBSPOT_TOKEN,
    LocalDeployment,
    SandboxOptions,
)
from connector.sandbox.audit import audit, hubspot_records
from connector.sandbox.whatsapp.conversations import Conversations, conversations
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

UPDATES = int(os.environ.get("BENCH_UPDATES", "10000"))
CALL_SECONDS = 0.05
CALLS_IN_FLIGHT = 8


async def measure(data_dir: Path) -> dict[str, Any]:
    """Drain the backlog once; events/s of each stage, calls an event, and whether the CRM has everything."""
    expected = conversations(
        seed=10, people=UPDATES // 10, messages=int(UPDATES * 0.7), outbound=int(UPDATES * 0.12)
    )
    deployment = LocalDeployment(
        data_dir,
        roles=["ingress"],
        sandbox=SandboxOptions(hubspot={"burst_limit": None, "association_limit": None, "daily_limit": None}),
        env={"CONNECTOR_HUBSPOT__CALLS_IN_FLIGHT": str(CALLS_IN_FLIGHT)},
        say=print,
    )
    async with deployment:
        await _post(deployment, expected)
        database = await asyncpg.connect(deployment.stack.database_url)
        crm = httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=60)
        count = len(expected.updates)
        try:
            latency = {"kind": "latency", "path": "/crm/objects/*", "seconds": CALL_SECONDS}
            await crm.post("/_sandbox/faults", json=latency)
            reference = await _raw_loop(deployment, "whatsapp.updates", count)
            routed = await _time(deployment, "route", lambda: _folded(database, "identity"), count)
            await crm.post("/_sandbox/reset", json={})
            await crm.post("/_sandbox/faults", json=latency)
            events = await _events(database)
            written = await _time(deployment, "sync-hubspot", lambda: _written(database), 0)
            calls = (await crm.get("/_sandbox/journal")).json()["counters"]
            verdict = audit(expected, hubspot_records((await crm.get("/_sandbox/hubspot/state")).json()))
        finally:
            await crm.aclose()
            await database.close()
    object_calls = sum(value for name, value in _flat(calls) if "/crm/objects/" in name)
    return {
        "updates": count,
        "conversation_events": events,
        "route_events_per_second": round(count / routed),
        "sync_events_per_second": round(events / written),
        "raw_loop_events_per_second": round(count / reference),
        "crm_calls_per_event": round(object_calls / events, 4),
        "missing": len(verdict.missing),
        "doubled": len(verdict.doubled_activities) + len(verdict.doubled_contacts),
    }


async def _post(deployment: LocalDeployment, expected: Conversations) -> None:
    sender = WebhookSender(
        url=f"{deployment.ingress_url}/webhooks/whatsapp",
        app_secret=SANDBOX_APP_SECRET,
        weather=Weather(batch=1000, in_flight=2),
    )
    async with sender:
        await sender.deliver(expected.updates)


async def _time(deployment: LocalDeployment, role: str, progress: Any, done: int) -> float:
    """Seconds from the role's start of work until `progress` reaches `done`; start-up is not counted."""
    starting = asyncio.create_task(deployment.start_more([role]))
    first = await progress()
    while await progress() == first:
        await asyncio.sleep(0.01)
    began = time.perf_counter()
    while await progress() != done:
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    await starting
    return seconds


async def _folded(database: asyncpg.Connection, schema: str) -> int:
    return int(await database.fetchval(f"SELECT coalesce(sum(next_offset), 0) FROM {schema}.offsets"))


async def _events(database: asyncpg.Connection) -> int:
    """Events that route makes of the backlog: one a message or status, and the merges it queued."""
    while await database.fetchval("SELECT count(*) FROM shared.outgoing"):
        await asyncio.sleep(0.05)
    merges = await database.fetchval("SELECT count(*) FROM identity.contacts WHERE redirect_to IS NOT NULL")
    return int(await _folded(database, "identity")) + int(merges)


async def _written(database: asyncpg.Connection) -> int:
    """Items that wait; -1 before anything was folded."""
    if not await _folded(database, "hubspot"):
        return -1
    total = await database.fetchval(
        "SELECT (SELECT count(*) FROM hubspot.activities WHERE desired_version > written_version) + "
        "(SELECT count(*) FROM hubspot.contacts WHERE desired_version > written_version AND redirect_to IS NULL)"
    )
    behind = await database.fetchval(
        "SELECT (SELECT sum(next_offset) FROM identity.offsets) > (SELECT sum(next_offset) FROM hubspot.offsets)"
    )
    return int(total) + (1 if behind else 0)


async def _raw_loop(deployment: LocalDeployment, topic: str, count: int) -> float:
    """The reference: getmany, and the same two calls per hundred records, with no state and no promise."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=deployment.stack.bootstrap_servers,
        auto_offset_reset="earliest",
        group_id="raw",
    )
    await consumer.start()
    slots = asyncio.Semaphore(CALLS_IN_FLIGHT)
    headers = {"Authorization": f"Bearer {SANDBOX_HUBSPOT_TOKEN}"}
    seen = 0
    began = time.perf_counter()
    try:
        async with (
            httpx_aiohttp.HttpxAiohttpClient(
                base_url=deployment.hubspot_url, headers=headers, timeout=30
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            while seen < count:
                batches = await consumer.getmany(timeout_ms=1000, max_records=100)
                records = [record for batch in batches.values() for record in batch]
                seen += len(records)
                if records:
                    await slots.acquire()
                    group.create_task(_two_calls(client, records, slots))
    finally:
        await consumer.stop()
    return time.perf_counter() - began


async def _two_calls(client: httpx.AsyncClient, records: Any, slots: asyncio.Semaphore) -> None:
    try:
        parsed = [json.loads(record.value) for record in records]
        contacts = {item["event_id"][-16:]: item for item in parsed}
        await client.post(
            "/crm/objects/2026-09/contacts/batch/create",
            json={"inputs": [{"properties": {"firstname": key}} for key in contacts]},
        )
        await client.post(
            "/crm/objects/2026-09/communications/batch/create",
            json={
                "inputs": [
                    {
                        "properties": {
                            "hs_communication_channel_type": "WHATS_APP",
                            "hs_communication_logged_from": "CRM",
                            "hs_communication_body": str(item["update"])[:500],
                            "hs_timestamp": "2026-01-01T00:00:00Z",
                        }
                    }
                    for item in parsed
                ]
            },
        )
    finally:
        slots.release()


def _flat(counters: Any, prefix: str = "") -> list[tuple[str, int]]:
    if isinstance(counters, dict):
        return [pair for name, value in counters.items() for pair in _flat(value, f"{prefix} {name}")]
    return [(prefix, counters)] if isinstance(counters, int) else []


def main() -> None:
    """Measure, print, and write docs/performance.md."""
    data_dir = Path(tempfile.mkdtemp(prefix="connector-bench-"))
    try:
        figures = asyncio.run(measure(data_dir))
    finally:
        shutil.rmtree(data_dir, ignore_errors=True)
    print(json.dumps(figures, indent=2))
    ratio = figures["sync_events_per_second"] / figures["raw_loop_events_per_second"]
    rows = "\n".join(f"| {name.replace('_', ' ')} | {value:,} |" for name, value in figures.items())
    Path("docs/performance.md").write_text(
        "# Performance\n\n"
        "<!-- Written by `make bench`; the numbers are of that run and that machine. -->\n\n"
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, Python {platform.python_version()}; broker, "
        "database, simulator, load and roles share them. "
        f"A backlog of {UPDATES:,} updates, CRM calls of {CALL_SECONDS * 1000:.0f} ms, {CALLS_IN_FLIGHT} in flight, no quota.\n\n"
        f"| figure | value |\n|--|--|\n{rows}\n| sync ÷ raw loop | {ratio:.2f} |\n\n"
        "The raw loop is an aiokafka `getmany` loop that makes two CRM calls per hundred records with no state: it "
        "neither knows people nor survives a lost answer. `crm calls per event` counts calls to HubSpot's object "
        "endpoints.\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
