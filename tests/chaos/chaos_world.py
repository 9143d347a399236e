"""A deployment under test: its processes and engines, what was posted to it, and what its CRMs hold."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from chaos_figures import Figure, equal, none_of
from chaos_judge import NAMES, Judgement, judge

from connector.embedded.deployment import EMBEDDED_PARTITIONS, LocalDeployment, SandboxOptions
from connector.embedded.supervisor import RestartPolicy, Supervisor
from connector.events import DeadLetter
from connector.sandbox.whatsapp.conversations import (
    Conversations,
    ExpectedMessage,
    ExpectedPerson,
    conversations,
)
from connector.sandbox.whatsapp.payloads import Update
from connector.streams.codec import decode
from connector.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WHATSAPP_UPDATES, Topic

BOTH = ("sync-hubspot", "sync-salesforce")

_SCHEMAS = {"route": "identity", "sync-hubspot": "hubspot", "sync-salesforce": "salesforce"}


class World:
    """One running deployment. What is posted has to come from `crowd` or `add`, so that it is expected."""

    def __init__(
        self, deployment: LocalDeployment, control: Mapping[str, httpx.AsyncClient], *, seed: int
    ) -> None:
        self.deployment = deployment
        self.control = control
        """CRM → a client of its simulator."""
        self.seed = seed
        self._crowds = count()
        self._people = 0
        self._updates: list[Update] = []
        self._expected: list[ExpectedPerson] = []

    # What is expected

    def crowd(self, updates: int) -> Sequence[Update]:
        """About so many updates of people who never wrote before: messages, statuses, moves to other numbers."""
        people = max(10, updates // 15)
        stream = conversations(
            seed=self.seed * 10_000 + next(self._crowds),
            people=people,
            messages=max(people, round(updates * 0.7)),
            outbound=round(updates * 0.11),
            first=self._people,
        )
        self._people += people
        self.add(stream)
        return stream.updates

    def crowds(self, *, of: int) -> Iterator[Sequence[Update]]:
        """Crowds of about so many updates, without end."""
        while True:
            yield self.crowd(of)

    def add(self, stream: Conversations) -> None:
        """Expect these conversations too."""
        self._updates += stream.updates
        self._expected += stream.people

    def also_said(self, person: ExpectedPerson, update: Update) -> None:
        """Expect one more text of somebody who is expected already."""
        person.messages.append(
            ExpectedMessage(
                wamid=str(update.wamid),
                type="text",
                text=update.content["text"]["body"],
                at=int(update.content["timestamp"]),
            )
        )

    @property
    def expected(self) -> Conversations:
        """Everything that the CRMs must show."""
        return Conversations(updates=tuple(self._updates), people=tuple(self._expected))

    # The CRMs

    @property
    def sinks(self) -> list[str]:
        """The CRMs that are synced."""
        return list(self.control)

    async def fault(self, sink: str, **fault: Any) -> int:
        """Put a fault of `connector.sandbox.faults` in force; its number."""
        answer = await self.control[sink].post("/_sandbox/faults", json=fault)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["numbers"][0])

    async def calm(self, sink: str) -> None:
        """Take every fault of a simulator out of force."""
        await self.control[sink].delete("/_sandbox/faults")

    async def journal(self, sink: str, **asked: Any) -> dict[str, Any]:
        """The simulator's journal; without calls unless `limit` asks for them."""
        answer = await self.control[sink].get("/_sandbox/journal", params={"limit": 0, **asked}, timeout=120)
        document: dict[str, Any] = answer.json()
        return document

    async def judge(self) -> list[Judgement]:
        """What each CRM holds now."""
        expected, judged = self.expected, []
        for sink, client in self.control.items():
            state = (await client.get(f"/_sandbox/{sink}/state", timeout=120)).json()
            judged.append(await asyncio.to_thread(judge, expected, sink=sink, state=state))
        return judged

    async def settled(self, *, within: float) -> list[Figure]:
        """Wait until nothing is owed to any CRM, at most `within` seconds; what they hold then, judged."""
        began = time.monotonic()
        judged: list[Judgement] = []
        while not judged or not all(one.settled for one in judged):
            if judged:
                if time.monotonic() - began > within:
                    break
                await asyncio.sleep(1.0)
            while await self.owed() != 0 and time.monotonic() - began <= within:
                await asyncio.sleep(0.3)
            judged = await self.judge()
        figures = [figure for one in judged for figure in one.figures()]
        owed = await self.owed()
        figures.append(equal("records and items that are still owed to a CRM", owed, 0))
        for sink in self.sinks:
            violations = (await self.journal(sink))["violations"]
            figures.append(
                none_of(
                    f"{NAMES[sink]}: two writes of one contact at once", [one["kind"] for one in violations]
                )
            )
        return figures

    # The log and the tables, only to know when it is worth looking

    async def owed(self) -> int | None:
        """Records not yet folded and items not yet written; None when broker or database does not answer."""
        try:
            ends = await self._ends(WHATSAPP_UPDATES, CONVERSATION_EVENTS)
            connection = await asyncpg.connect(self.deployment.stack.database_url, timeout=30)
            try:
                owed = ends[WHATSAPP_UPDATES.name] - await _folded(connection, "identity")
                owed += int(await connection.fetchval("SELECT count(*) FROM shared.outgoing"))
                for sink in self.sinks:
                    owed += ends[CONVERSATION_EVENTS.name] - await _folded(connection, sink)
                    owed += int(await connection.fetchval(_WAITING.format(sink=sink)))
            finally:
                await connection.close()
        except (OSError, TimeoutError, KafkaError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return owed

    async def waiting(self, sink: str) -> int:
        """Items that wait for a CRM."""
        connection = await asyncpg.connect(self.deployment.stack.database_url, timeout=30)
        try:
            return int(await connection.fetchval(_WAITING.format(sink=sink)))
        finally:
            await connection.close()

    async def progress(self, role: str) -> int | None:
        """Offsets that a role has folded; None when the database does not answer."""
        try:
            connection = await asyncpg.connect(self.deployment.stack.database_url, timeout=30)
            try:
                return await _folded(connection, _SCHEMAS[role])
            finally:
                await connection.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None

    async def dead_letters(self) -> int:
        """Records in `dead.letters`."""
        return (await self._ends(DEAD_LETTERS))[DEAD_LETTERS.name]

    async def read_dead_letters(self) -> list[DeadLetter]:
        """Every dead letter, in the order of its partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.deployment.stack.bootstrap_servers)
        await consumer.start()
        try:
            partitions = _partitions(DEAD_LETTERS)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            letters: list[DeadLetter] = []
            while len(letters) < sum(ends.values()):
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    letters += [decode(DEAD_LETTERS, record.value) for record in records]
        finally:
            await consumer.stop()
        return sorted(letters, key=lambda letter: letter.at)

    async def is_routed(self) -> bool:
        """Whether route has read all that the ingress wrote."""
        ends = await self._ends(WHATSAPP_UPDATES)
        return ends[WHATSAPP_UPDATES.name] == await self.progress("route")

    async def _ends(self, *topics: Topic) -> dict[str, int]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.deployment.stack.bootstrap_servers, request_timeout_ms=5000
        )
        await consumer.start()
        try:
            ends = {}
            for topic in topics:
                ends[topic.name] = sum((await consumer.end_offsets(_partitions(topic))).values())
            return ends
        finally:
            await consumer.stop()

    # Processes

    @property
    def supervisor(self) -> Supervisor:
        """Keeps the roles running."""
        assert self.deployment.supervisor is not None
        return self.deployment.supervisor

    async def kill(self, role: str) -> float:
        """`kill -9` of a role's process once it is there; monotonic seconds of the moment that it is gone."""
        async with asyncio.timeout(60):
            while (pid := self.supervisor.statuses[role].pid) is None:
                await asyncio.sleep(0.02)
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            while self.supervisor.statuses[role].pid == pid:
                await asyncio.sleep(0.01)
        return time.monotonic()


def _partitions(topic: Topic) -> list[TopicPartition]:
    return [TopicPartition(topic.name, number) for number in range(EMBEDDED_PARTITIONS)]


async def _folded(connection: asyncpg.Connection, schema: str) -> int:
    """Offsets of the topic that the schema's role reads; route also learns from another one after a restore."""
    topic = WHATSAPP_UPDATES if schema == "identity" else CONVERSATION_EVENTS
    return int(
        await connection.fetchval(
            f"SELECT coalesce(sum(next_offset), 0) FROM {schema}.offsets WHERE topic = $1", topic.name
        )
    )


_WAITING = """
SELECT (SELECT count(*) FROM {sink}.activities
        WHERE desired_version > written_version AND contact_id IS NOT NULL AND problem IS NULL)
     + (SELECT count(*) FROM {sink}.contacts
        WHERE desired_version > written_version AND redirect_to IS NULL AND problem IS NULL)
     + (SELECT count(*) FROM {sink}.retirements WHERE settled_at IS NULL)
"""

NO_QUOTA: Mapping[str, object] = {
    "burst_limit": None,
    "association_limit": None,
    "daily_limit": None,
    "search_limit": None,
}
PAID_QUOTA: Mapping[str, object] = {"burst_limit": 190, "daily_limit": 1_000_000}
"""A Professional or Enterprise portal's burst."""

IMPATIENT: Mapping[str, str] = {
    "CONNECTOR_HUBSPOT__REQUEST_TIMEOUT": "2",
    "CONNECTOR_SALESFORCE__REQUEST_TIMEOUT": "2",
    "CONNECTOR_SYNC__LOST_WRITE_MARGIN": "2",
}
"""Timeouts for a short run: what is lost is looked for soon."""


@asynccontextmanager
async def opened(
    data_dir: Path,
    *,
    seed: int,
    ingresses: int = 1,
    sinks: Sequence[str] = BOTH,
    hubspot: Mapping[str, object] = NO_QUOTA,
    salesforce: Mapping[str, object] | None = None,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[World]:
    """Start a deployment with fresh simulators; stop it at the end."""
    deployment = LocalDeployment(
        data_dir,
        roles=[*["ingress"] * ingresses, "route", *sinks],
        sandbox=SandboxOptions(hubspot=hubspot, salesforce={"daily_limit": 10_000_000, **(salesforce or {})}),
        env={"CONNECTOR_LOG__LEVEL": "INFO", **(env or {})},
        policy=RestartPolicy(first=0.1, limit=0.5),
    )
    urls = {"hubspot": lambda: deployment.hubspot_url, "salesforce": lambda: deployment.salesforce_url}
    async with deployment:
        clients = {
            sink: httpx.AsyncClient(base_url=urls[sink](), timeout=300)
            for sink in (role.removeprefix("sync-") for role in sinks)
        }
        try:
            yield World(deployment, clients, seed=seed)
        finally:
            for client in clients.values():
                await client.aclose()
