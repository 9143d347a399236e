"""The whole pipeline in this process, with a real PostgreSQL and both simulated CRMs, that can crash at any commit.

Kafka is two lists: what is read is read from a committed position, what is sent is appended. Everything between is
the product's own: splitting, the route stage, the fold, the look-up, the writer and the relay. Only commits and calls
to a CRM can be told apart from outside, so a crash falls right before or right after one of them.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from pydantic import SecretStr

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.salesforce.adapter import Salesforce
from connector.identity.role import RouteStage
from connector.ingress.splitting import split_updates
from connector.sandbox import HubSpotConfig, SandboxServer
from connector.sandbox.hubspot.sandbox import HubSpotSandbox
from connector.sandbox.salesforce.config import SalesforceConfig
from connector.sandbox.salesforce.sandbox import SalesforceSandbox
from connector.settings import HubSpotSettings, SalesforceSettings, SyncSettings
from connector.state.database import close_pool, open_pool
from connector.streams.codec import EncodedRecord, encode
from connector.streams.outcomes import Dead, Record
from connector.streams.relay import relay_once
from connector.sync.agent import SyncStage
from connector.sync.mapping import built_in
from connector.sync.retirement import retire_one
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS, WHATSAPP_UPDATES

SINKS = ("hubspot", "salesforce")
_TIMEOUT = 1.0  # seconds; the simulators are in this process
_MARGIN = 2.0
_SETTINGS = SyncSettings(fold_batch=20, drain_batch=20, lost_write_margin=_MARGIN)
LATER = _TIMEOUT + _MARGIN + 10.0
"""Seconds after which no lease and no doubt of before is left."""


class Crashed(BaseException):
    """The process is gone. No code of the product catches it, as none runs after `kill -9`."""


class Fuse:
    """Burns down by one at every crash point; a process dies at the point where it is used up. None: it never is."""

    def __init__(self, length: int | None = None) -> None:
        self._left = length

    def burn(self) -> None:
        """Pass a crash point."""
        if self._left is None:
            return
        if self._left <= 0:
            raise Crashed
        self._left -= 1


class FusedPool:
    """A pool whose transactions have two crash points: before the commit, which is then none, and after it."""

    def __init__(self, pool: asyncpg.Pool, fuse: Fuse) -> None:
        self._pool = pool
        self._fuse = fuse

    @asynccontextmanager
    async def acquire(self, *, timeout: float | None = None) -> AsyncIterator[Any]:
        """Lend a connection."""
        async with self._pool.acquire(timeout=timeout) as connection:
            yield _FusedConnection(connection, self._fuse)


class _FusedConnection:
    def __init__(self, connection: Any, fuse: Fuse) -> None:
        self._connection = connection
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        async with self._connection.transaction():
            yield
            self._fuse.burn()
        self._fuse.burn()


class FusedCrm:
    """A CRM whose calls have two crash points: before the request leaves, and after the CRM has done it."""

    def __init__(self, crm: Any, fuse: Fuse) -> None:
        self._crm = crm
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._crm, name)
        if name not in _CALLS:
            return found

        async def called(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            answer = await found(*arguments, **named)
            self._fuse.burn()
            return answer

        return called


_CALLS = frozenset(
    {
        "upsert_contacts",
        "log_activities",
        "update_activities",
        "find_activities",
        "find_contact",
        "find_contacts",
        "retire_contact",
    }
)


class Clock:
    """The CRMs' clock, which a test may put forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        """Unix seconds."""
        return time.time() + self._ahead

    def forward(self, seconds: float) -> None:
        """Let time pass."""
        self._ahead += seconds


class MachineWorld:
    """The pipeline. Every step takes a crash: how many crash points it passes before its process dies."""

    def __init__(self, pool: asyncpg.Pool, server: SandboxServer, clock: Clock) -> None:
        self._pool = pool
        self.server = server
        self._clock = clock
        self._crms: Mapping[str, Any] = {}
        self._set_up: dict[bool, tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]] = {}
        self._shiftable: list[tuple[str, str, list[str]]] = []
        self._tables: list[str] = []
        self._log: dict[str, list[EncodedRecord]] = defaultdict(list)
        self._read: dict[str, int] = defaultdict(int)
        self.crashes = 0

    @property
    def dead_letters(self) -> int:
        """How many records went to `dead.letters`."""
        return len(self._log["dead.letters"])

    async def start_over(self, *, unique: bool) -> None:
        """An empty log, empty tables, an empty portal and org. `unique`: of the portal's property for messages."""
        if not self._tables:
            await self._read_catalog()
        await self._pool.execute(f"TRUNCATE {', '.join(self._tables)} CASCADE")
        self._log.clear()
        self._read.clear()
        self.server.hubspot.reset({"unique_communications": unique})
        self.server.salesforce.reset()
        if unique not in self._set_up:
            self._set_up[unique] = await self._setting_up()
        self._crms, properties = self._set_up[unique]
        for name, store in self.server.hubspot.portal.stores.items():
            store.catalog.properties.update(properties[name])  # setting up takes a second; lives are short

    async def _setting_up(self) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]]]:
        """Adapters of an empty portal and org, and the portal's properties once they are there."""
        hubspot = HubSpot(
            HubSpotSettings(
                access_token=SecretStr("pat-na1-sandbox"),
                base_url=self.server.hubspot_url,
                request_timeout=_TIMEOUT,
            )
        )
        salesforce = Salesforce(
            SalesforceSettings(
                consumer_key=SecretStr("sandbox-consumer-key"),
                consumer_secret=SecretStr("sandbox-consumer-secret"),
                base_url=self.server.salesforce_url,
                request_timeout=_TIMEOUT,
            )
        )
        for crm in (hubspot, salesforce):
            assert (await crm.check_setup(create=True)).ready
        stores = self.server.hubspot.portal.stores
        properties = {name: dict(store.catalog.properties) for name, store in stores.items()}
        return {"hubspot": hubspot, "salesforce": salesforce}, properties

    async def close(self) -> None:
        """Let everything go."""
        for crms, _ in self._set_up.values():
            for crm in crms.values():
                await crm.close()

    # What the roles do

    def post(self, body: bytes) -> None:
        """A webhook arrives, and is answered 200."""
        for key, update in split_updates(body, received_at=datetime.now(UTC)):
            self._log[WHATSAPP_UPDATES.name].append(
                encode(WHATSAPP_UPDATES, key=key, value=update, origin="ingress")
            )

    async def route(self, *, most: int, crash: int | None = None) -> None:
        """One batch of the route stage, and its acknowledgement."""

        async def work(fuse: Fuse) -> None:
            stage = RouteStage(self._fused(fuse))
            await self._consume("route", WHATSAPP_UPDATES.name, stage, most=most, fuse=fuse)

        await self._living(work, crash)

    async def fold(self, sink: str, *, most: int, crash: int | None = None) -> None:
        """One batch of a sink's agent, and its acknowledgement."""

        async def work(fuse: Fuse) -> None:
            stage = SyncStage(
                sink,
                pool=self._fused(fuse),
                settings=_SETTINGS,
                wake=Wake(),
                waiting=lambda: 0,
            )
            await self._consume(sink, CONVERSATION_EVENTS.name, stage, most=most, fuse=fuse)

        await self._living(work, crash)

    async def relay(self, stage: str, *, crash: int | None = None) -> None:
        """What a stage queued in its transactions goes out."""

        async def work(fuse: Fuse) -> None:
            await relay_once(self._fused(fuse), stage=stage, sender=_Sender(self._log, fuse))

        await self._living(work, crash)

    async def write(self, sink: str, *, writers: int = 1, crash: int | None = None) -> None:
        """People are looked up, and one batch is written, by so many writers at once; the first may die."""

        async def work(fuse: Fuse) -> None:
            writer = self._writer(sink, fuse)
            await writer.look_up()
            await writer.drain()

        others = [self._living(work, None) for _ in range(writers - 1)]
        await asyncio.gather(self._living(work, crash), *others)

    async def retire(self, sink: str, *, crash: int | None = None) -> bool:
        """A record that a merge left over is settled; False when there was none."""
        settled = False

        async def work(fuse: Fuse) -> None:
            nonlocal settled
            async with self._fused(fuse).acquire() as connection, connection.transaction():
                crm = FusedCrm(self._crms[sink], fuse)
                settled = await retire_one(
                    connection, sink, crm, mapping=built_in().contacts[sink], late_write=_MARGIN
                )

        await self._living(work, crash)
        return settled

    async def time_passes(self, seconds: float) -> None:
        """Leases, pauses and doubts of the sinks age, and so does what the CRMs search."""
        self._clock.forward(seconds)
        age = timedelta(seconds=seconds)
        for schema, table, columns in self._shiftable:
            sets = ", ".join(f"{name} = {name} - $1::interval" for name in columns)
            await self._pool.execute(f"UPDATE {schema}.{table} SET {sets}", age)

    async def settle(self) -> int:
        """Work until nothing is owed to anybody; how much is still owed after very long."""
        owed = -1
        for _ in range(60):
            while self._read["route"] < len(self._log[WHATSAPP_UPDATES.name]):
                await self.route(most=100)
            await self.relay("route")
            for sink in SINKS:
                while self._read[sink] < len(self._log[CONVERSATION_EVENTS.name]):
                    await self.fold(sink, most=100)
                await self.write(sink)
                await self.relay(f"sync-{sink}")
                await self.retire(sink)
            owed = await self.owed()
            if not owed:
                return 0
            await self.time_passes(LATER)
        return owed

    async def owed(self) -> int:
        """Rows that wait for a relay or a CRM."""
        owed = await self._pool.fetchval("SELECT count(*) FROM shared.outgoing")
        for sink in SINKS:
            owed += await self._pool.fetchval(_OWED.format(sink=sink))
        return int(owed)

    def _writer(self, sink: str, fuse: Fuse) -> Writer:
        """A process that has just started: it remembers no pause."""
        return Writer(
            crm=FusedCrm(self._crms[sink], fuse),
            pool=self._fused(fuse),
            settings=_SETTINGS,
            calls_in_flight=1,
            health=StageHealth("writer"),
            stop=asyncio.Event(),
            wake=Wake(),
        )

    def _fused(self, fuse: Fuse) -> Any:
        return FusedPool(self._pool, fuse)

    async def _living(self, work: Callable[[Fuse], Awaitable[None]], crash: int | None) -> None:
        try:
            await work(Fuse(crash))
        except Crashed:
            self.crashes += 1

    async def _consume(self, group: str, topic: str, stage: Any, *, most: int, fuse: Fuse) -> None:
        position = self._read[group]
        batch = [
            Record(topic=topic, partition=0, offset=position + place, key=record.key, value=record.value)
            for place, record in enumerate(self._log[topic][position : position + most])
        ]
        if not batch:
            return
        outcomes = await stage.handle(batch)
        for outcome in outcomes:
            assert not isinstance(outcome, Dead), outcome
            for record in outcome.produce:
                fuse.burn()
                self._log[record.topic.name].append(record)
        fuse.burn()
        self._read[group] = position + len(batch)

    async def _read_catalog(self) -> None:
        rows = await self._pool.fetch(
            "SELECT table_schema, table_name, "
            "array_agg(column_name::text) FILTER (WHERE data_type = 'timestamp with time zone' "
            "AND column_name <> 'fresh_at') AS times "
            "FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name) "
            "WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema', 'public') "
            "GROUP BY table_schema, table_name"
        )
        self._tables = [f"{row['table_schema']}.{row['table_name']}" for row in rows]
        self._shiftable = [
            (row["table_schema"], row["table_name"], row["times"])
            for row in rows
            if row["table_schema"] in SINKS and row["times"]
        ]


_OWED = """
SELECT (SELECT count(*) FROM {sink}.activities
        WHERE desired_version > written_version AND contact_id IS NOT NULL AND problem IS NULL)
     + (SELECT count(*) FROM {sink}.contacts
        WHERE desired_version > written_version AND redirect_to IS NULL AND problem IS NULL)
     + (SELECT count(*) FROM {sink}.retirements WHERE settled_at IS NULL)
"""


class _Sender:
    """The broker: each record is confirmed by itself."""

    def __init__(self, log: dict[str, list[EncodedRecord]], fuse: Fuse) -> None:
        self._log = log
        self._fuse = fuse

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        for record in records:
            self._fuse.burn()
            self._log[record.topic.name].append(record)


@asynccontextmanager
async def machine_world(database_url: str) -> AsyncIterator[MachineWorld]:
    """Open a pipeline on a migrated database."""
    clock = Clock()
    pool = await open_pool(database_url, size=8, application="machine")
    quota = {"burst_limit": None, "association_limit": None, "daily_limit": None, "search_limit": None}
    portal = HubSpotSandbox(HubSpotConfig.model_validate(quota), clock=clock)
    org = SalesforceSandbox(SalesforceConfig(daily_limit=10_000_000), clock=clock)
    try:
        async with SandboxServer(hubspot=portal, salesforce=org) as server:
            world = MachineWorld(pool, server, clock)
            try:
                yield world
            finally:
                await world.close()
    finally:
        await close_pool(pool)
