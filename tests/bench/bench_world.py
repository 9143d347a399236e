"""Engines, roles and the light CRM of one benchmark run, and what each role costs while it works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition

from connector.embedded.deployment import EMBEDDED_PARTITIONS, SANDBOX_APP_SECRET, LocalDeployment
from connector.embedded.ports import free_ports
from connector.embedded.supervisor import Supervisor
from connector.sandbox.environment import sandbox_environment
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.whatsapp.config import WhatsAppConfig
from connector.sandbox.whatsapp.payloads import Update
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

CALLS_IN_FLIGHT = 8
_LONGEST = 240.0  # seconds that a stage may take before the run is given up


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a role did. `seconds`: from the first progress to the last. `cpu`: seconds of its own process."""

    events: int
    seconds: float
    cpu: float
    rss: int

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cpu_per_thousand(self) -> float:
        """Seconds of CPU for 1,000 events."""
        return self.cpu / self.events * 1000


class BenchWorld:
    """One deployment whose CRMs are the stub."""

    def __init__(
        self, deployment: LocalDeployment, stub_url: str, database: asyncpg.Connection, log: AIOKafkaConsumer
    ) -> None:
        self.deployment = deployment
        self.stub_url = stub_url
        self.database = database
        self._log = log
        self._running: dict[str, Supervisor] = {}
        self.crm = httpx.AsyncClient(base_url=f"{stub_url}/_stub", timeout=60)

    async def post(self, updates: tuple[Update, ...]) -> None:
        """Deliver webhooks, many updates in one, as fast as the ingress takes them."""
        url = f"{self.deployment.ingress_url}/webhooks/whatsapp"
        weather = Weather(batch=1000, in_flight=2)
        async with WebhookSender(url=url, app_secret=SANDBOX_APP_SECRET, weather=weather) as sender:
            await sender.deliver(updates)

    async def configure(self, sink: str, **values: Any) -> None:
        """Set the stub's latency and quota."""
        await self.crm.post(f"/{sink}/configure", json=values)

    async def counts(self, sink: str) -> dict[str, Any]:
        """What the stub was asked and holds."""
        answer: dict[str, Any] = (await self.crm.get(f"/{sink}/counts")).json()
        return answer

    async def offset(self, schema: str) -> int:
        """Records of its topic that a role has folded."""
        topic = "whatsapp.updates" if schema == "identity" else "conversation.events"
        query = f"SELECT coalesce(sum(next_offset), 0) FROM {schema}.offsets WHERE topic = $1"
        return int(await self.database.fetchval(query, topic))

    async def waiting(self, sink: str) -> bool:
        """Whether anything waits for the CRM. It is asked so often that a count would be part of what is measured."""
        activities = f"EXISTS (SELECT FROM {sink}.activities WHERE desired_version > written_version"
        contacts = f"EXISTS (SELECT FROM {sink}.contacts WHERE desired_version > written_version"
        for held in ("AND problem IS NULL AND contact_id IS NOT NULL AND held IS NULL)", ")"):
            if await self.database.fetchval(f"SELECT {activities} {held}"):
                return True
        return bool(await self.database.fetchval(f"SELECT {contacts} AND redirect_to IS NULL)"))

    async def size(self) -> dict[str, int]:
        """Bytes of tables and indexes, by schema."""
        rows = await self.database.fetch(
            "SELECT schemaname, sum(pg_total_relation_size(relid))::bigint AS bytes FROM pg_stat_user_tables "
            "GROUP BY schemaname"
        )
        return {row["schemaname"]: row["bytes"] for row in rows}

    async def routed(self, updates: int) -> int:
        """Wait until route has folded so many updates and sent what it queued; the events on the log."""
        await self.until(lambda: self._is_routed(updates))
        return await self.on_log()

    async def on_log(self) -> int:
        """Records on conversation.events."""
        partitions = [TopicPartition("conversation.events", number) for number in range(EMBEDDED_PARTITIONS)]
        ends = await self._log.end_offsets(partitions)
        return sum(ends.values())

    async def _is_routed(self, updates: int) -> bool:
        queued = await self.database.fetchval("SELECT count(*) FROM shared.outgoing")
        return not queued and await self.offset("identity") >= updates

    async def is_synced(self, sink: str) -> bool:
        """Whether a sink has folded the whole log and written all of it."""
        return await self.offset(sink) >= await self.on_log() and not await self.waiting(sink)

    async def until(self, done: Callable[[], Awaitable[bool]]) -> None:
        """Look again and again. Raises `TimeoutError` after four minutes."""
        async with asyncio.timeout(_LONGEST):
            while not await done():
                await asyncio.sleep(0.05)

    async def time(self, role: str, *, schema: str, done: Callable[[], Awaitable[bool]]) -> Work:
        """Start a role and watch it until `done`; its start-up is not counted. It stays running."""
        before = await self.offset(schema)
        starting = asyncio.create_task(self.start(role))
        while await self.offset(schema) == before and not await done():
            await asyncio.sleep(0.01)
        began, first = time.perf_counter(), await self.offset(schema)
        process = RoleProcess(role)
        cpu = process.cpu
        rss = 0

        async def finished() -> bool:
            nonlocal rss
            rss = max(rss, process.rss)
            return await done()

        await self.until(finished)
        seconds = time.perf_counter() - began
        events = await self.offset(schema) - min(first, before or first)
        await starting
        return Work(events=events, seconds=seconds, cpu=process.cpu - cpu, rss=rss)

    async def start(self, role: str) -> None:
        """Start a role; it is ready when this returns."""
        self._running[role] = await self.deployment.start_more([role])

    async def stop(self, role: str) -> None:
        """Stop it."""
        await self._running.pop(role).stop()


class RoleProcess:
    """The process of a role of this run, as Linux shows it under /proc. Raises `LookupError` when there is none."""

    def __init__(self, role: str) -> None:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "cmdline").read_bytes().endswith(f"\0run\0{role}\0".encode()) and self._ours(
                    folder
                ):
                    self._folder = folder
                    return
        raise LookupError(role)

    @staticmethod
    def _ours(folder: Path) -> bool:
        return int(_stat(folder)[1]) == os.getpid()

    @property
    def cpu(self) -> float:
        """Seconds of CPU, in user and system mode."""
        user, system = _stat(self._folder)[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    @property
    def rss(self) -> int:
        """Bytes of resident memory."""
        return int((self._folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _stat(folder: Path) -> list[str]:
    """The fields of `stat` after the name: state, parent, …"""
    return (folder / "stat").read_text().rpartition(")")[2].split()


@asynccontextmanager
async def bench_world(data_dir: Path) -> AsyncIterator[BenchWorld]:
    """Start engines, ingress and stub; stop them at the end."""
    port = free_ports(1)[0]
    stub_url = f"http://127.0.0.1:{port}"
    stub = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("crm_stub.py")), "--port", str(port)
    )
    environment = sandbox_environment(
        hubspot_url=stub_url,
        salesforce_url=stub_url,
        whatsapp_url=stub_url,
        hubspot=HubSpotConfig(),
        salesforce=SalesforceConfig(),
        whatsapp=WhatsAppConfig(),
    )
    env = {
        **environment,
        "CONNECTOR_HUBSPOT__CALLS_IN_FLIGHT": str(CALLS_IN_FLIGHT),
        "CONNECTOR_SALESFORCE__CALLS_IN_FLIGHT": str(CALLS_IN_FLIGHT),
        "CONNECTOR_SALESFORCE__CALLS_AT_ONCE": "0",
        "CONNECTOR_HUBSPOT__BURST_CALLS": "0",
        "CONNECTOR_HUBSPOT__ASSOCIATION_CALLS": "0",
        "CONNECTOR_HUBSPOT__DAILY_CALLS": "0",
        "CONNECTOR_SALESFORCE__DAILY_CALLS": "0",
    }
    deployment = LocalDeployment(data_dir, roles=["ingress"], env=env, say=print)
    try:
        async with deployment:
            database = await asyncpg.connect(deployment.stack.database_url)
            log = AIOKafkaConsumer(bootstrap_servers=deployment.stack.bootstrap_servers)
            await log.start()
            world = BenchWorld(deployment, stub_url, database, log)
            try:
                yield world
            finally:
                await log.stop()
                await world.crm.aclose()
                await database.close()
    finally:
        stub.terminate()
        await stub.wait()
