"""A database from a backup, and one that is gone, under load: real roles, and both CRMs' own records as the judge."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest

from connector.embedded.deployment import SANDBOX_APP_SECRET, LocalDeployment, SandboxOptions
from connector.sandbox.audit import Audit, CrmRecords, audit, hubspot_records, salesforce_records
from connector.sandbox.retries import RetrySchedule
from connector.sandbox.whatsapp.conversations import Conversations, conversations
from connector.sandbox.whatsapp.sender import Weather, WebhookSender

_ROLES = ["ingress", "route", "sync-hubspot", "sync-salesforce"]


class World:
    """A deployment, its CRMs, and what an administrator does to its database."""

    def __init__(self, deployment: LocalDeployment, clients: Mapping[str, httpx.AsyncClient]) -> None:
        self.deployment = deployment
        self._clients = clients
        self._url = deployment.stack.database_url
        self._name = urlsplit(self._url).path.lstrip("/")

    def sender(self, seed: int) -> WebhookSender:
        return WebhookSender(
            url=f"{self.deployment.ingress_url}/webhooks/whatsapp",
            app_secret=SANDBOX_APP_SECRET,
            weather=Weather(seed=seed, batch=4, duplicate=0.1, disorder=5, in_flight=2),
            retries=RetrySchedule(speed=50),
        )

    async def records(self) -> dict[str, CrmRecords]:
        read = {"hubspot": hubspot_records, "salesforce": salesforce_records}
        return {
            crm: read[crm]((await client.get(f"/_sandbox/{crm}/state")).json())
            for crm, client in self._clients.items()
        }

    async def settled(self, expected: Conversations, *, within: float) -> dict[str, Audit]:
        """The verdict on each CRM, once nothing is missing anywhere, or after `within` seconds."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            verdicts = await self.verdicts(expected)
            if all(verdict.settled for verdict in verdicts.values()):
                return verdicts
            if asyncio.get_running_loop().time() > deadline:
                return verdicts
            await asyncio.sleep(0.3)

    async def verdicts(self, expected: Conversations) -> dict[str, Audit]:
        return {crm: audit(expected, found) for crm, found in (await self.records()).items()}

    async def whole(self) -> bool:
        """Whether every table was found behind once, and nothing lacks or waits any more."""
        noticed = await self.fetch("SELECT 1 FROM shared.tables WHERE generation > 0")
        return len(noticed) == len(_ROLES) - 1 and not await self.fetch(_NOT_WHOLE)

    async def copy(self, source: str, target: str) -> None:
        """Copy a database of the server, whoever is connected to it; `target` is replaced."""
        async with self._server() as server:
            await server.execute(f'ALTER DATABASE "{source}" ALLOW_CONNECTIONS false')
            await self._disconnect(server, source)
            await server.execute(f'DROP DATABASE IF EXISTS "{target}" WITH (FORCE)')
            await server.execute(f'CREATE DATABASE "{target}" TEMPLATE "{source}"')
            await server.execute(f'ALTER DATABASE "{source}" ALLOW_CONNECTIONS true')
            await server.execute(f'ALTER DATABASE "{target}" ALLOW_CONNECTIONS true')

    async def back_up(self) -> None:
        await self.copy(self._name, "backup")

    async def restore(self) -> None:
        await self.copy("backup", self._name)

    async def lose(self) -> None:
        """The database is gone; an empty one of its name is there."""
        async with self._server() as server:
            await server.execute(f'DROP DATABASE "{self._name}" WITH (FORCE)')
            await server.execute(f'CREATE DATABASE "{self._name}"')

    async def fetch(self, query: str) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self._url)
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    def command(self, *arguments: str) -> str:
        answer = subprocess.run(
            [sys.executable, "-m", "connector", *arguments],
            env=dict(self.deployment.env),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return answer.stdout

    def _server(self) -> "_Server":
        return _Server(self._url.replace(f"/{self._name}", "/postgres"))

    async def _disconnect(self, server: asyncpg.Connection, name: str) -> None:
        while await server.fetchval("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", name):
            await server.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name
            )
            await asyncio.sleep(0.05)


class _Server:
    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(self._url)
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()


@pytest.fixture
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """A portal that refuses no double by itself; ingress, route and both sync roles; calls of some length, so that the restore falls into some of them."""
    deployment = LocalDeployment(
        tmp_path_factory.mktemp("restore"),
        roles=_ROLES,
        sandbox=SandboxOptions(
            hubspot={
                "unique_communications": False,
                "burst_limit": None,
                "association_limit": None,
                "search_lag": 0.0,
            }
        ),
        env={
            "CONNECTOR_HUBSPOT__REQUEST_TIMEOUT": "2",
            "CONNECTOR_SALESFORCE__REQUEST_TIMEOUT": "2",
            "CONNECTOR_SYNC__LOST_WRITE_MARGIN": "2",
        },
    )
    async with (
        deployment,
        httpx.AsyncClient(base_url=deployment.hubspot_url, timeout=30) as hubspot,
        httpx.AsyncClient(base_url=deployment.salesforce_url, timeout=30) as salesforce,
    ):
        for client, path in ((hubspot, "/crm/*"), (salesforce, "/services/data/*")):
            await client.post(
                "/_sandbox/faults",
                json={"kind": "latency", "path": path, "seconds": 0.03, "seconds_max": 0.12},
            )
        yield World(deployment, {"hubspot": hubspot, "salesforce": salesforce})


def _judge(verdicts: Mapping[str, Audit]) -> dict[str, Any]:
    return {
        crm: (
            len(verdict.missing),
            len(verdict.doubled_activities),
            len(verdict.doubled_contacts),
            verdict.left_over_contacts,
            len(verdict.misplaced),
            len(verdict.wrong_statuses),
        )
        for crm, verdict in verdicts.items()
    }


_NOTHING_WRONG = {"hubspot": (0, 0, 0, 0, 0, 0), "salesforce": (0, 0, 0, 0, 0, 0)}


@pytest.mark.timeout(420)
async def test_an_older_database_under_load_and_a_lost_one_lose_and_double_nothing(world: World) -> None:
    """Restored while the roles work, then dropped and rebuilt: every message once, and everybody keeps their id."""
    expected = conversations(seed=31, people=60, messages=420, outbound=80)
    updates = expected.updates
    quarter = len(updates) // 4

    async with world.sender(3) as sender:
        await sender.deliver(updates[:quarter])
        await world.back_up()
        await sender.deliver(updates[quarter : 2 * quarter])
        # Some of it is in the CRMs by now, which the backup knows nothing of.
        async with asyncio.timeout(60):
            while min(len(found.messages) for found in (await world.records()).values()) < quarter // 2:
                await asyncio.sleep(0.2)
        delivering = asyncio.create_task(sender.deliver(updates[2 * quarter : 3 * quarter]))
        await world.restore()
        await delivering
    async with asyncio.timeout(120):
        while not await world.whole():
            await asyncio.sleep(0.3)
    for crm, verdict in (await world.verdicts(expected)).items():
        doubled = (verdict.doubled_activities, verdict.doubled_contacts)
        assert doubled == ([], []), crm
    generations = {
        row["schema"]: row["generation"] for row in await world.fetch("SELECT * FROM shared.tables")
    }
    assert generations == {"identity": 1, "hubspot": 1, "salesforce": 1}, "the restore was noticed, once"

    before = {row["contact_id"] for row in await world.fetch("SELECT contact_id FROM identity.contacts")}
    await world.lose()
    roles = [part for role in _ROLES[1:] for part in ("--role", role)]
    assert "Nothing was changed" in world.command("state", "rebuild", *roles)
    world.command("state", "rebuild", *roles, "--yes")
    async with world.sender(4) as sender:
        await sender.deliver(updates[3 * quarter :])
    assert _judge(await world.settled(expected, within=180)) == _NOTHING_WRONG
    after = {row["contact_id"] for row in await world.fetch("SELECT contact_id FROM identity.contacts")}
    assert before <= after


_WAITING = (
    "SELECT 1 FROM {sink}.activities WHERE desired_version > written_version AND contact_id IS NOT NULL"
)
_NOT_WHOLE = " UNION ALL ".join(
    [
        "SELECT 1 FROM shared.tables WHERE behind_since IS NOT NULL",
        *(_WAITING.format(sink=sink) for sink in ("hubspot", "salesforce")),
    ]
)
