"""Dispatchers over a real database and the simulated Cloud API; the log is a list, and the fold is fed by hand."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from conversation_events import contact
from outbound_world import OutboundWorld, given, request
from pydantic import SecretStr

from connector.errors import Transient
from connector.events import ConversationEvent, Recipient, StatusChange, TemplateRef
from connector.outbound.dispatch.claiming import Claimed, Judgement, claim
from connector.outbound.dispatch.line import HORIZON, LineParts, NumberLine
from connector.outbound.dispatch.settler import Settler
from connector.outbound.dispatch.tending import recover, report_unknown, tell_messages
from connector.outbound.dispatcher import run_dispatchers
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.rules import gate_rules
from connector.outbound.store.account_syncs import note_read
from connector.outbound.store.templates import fold_changes
from connector.outbound.templates.reading import node_change
from connector.sandbox import SandboxServer
from connector.sandbox.whatsapp import Number, WhatsAppConfig
from connector.sandbox.whatsapp.config import ACCESS_TOKEN
from connector.settings import DatabaseSettings, OutboundSettings, Settings, WhatsAppSettings
from connector.state.database import Connection, close_pool, open_pool, transaction
from connector.state.whole import AlwaysWhole
from connector.streams.codec import EncodedRecord, decode
from connector.streams.outcomes import Record
from connector.streams.relay import relay_once
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS
from connector.whatsapp.client import CloudApi

NUMBER = Number()
WABA = NUMBER.waba_id


class Log:
    """The broker as a stage sees it. `broken`: it takes nothing."""

    def __init__(self) -> None:
        self.records: list[EncodedRecord] = []
        self.broken = False
        self.before: Callable[[Sequence[EncodedRecord]], None] = lambda _: None

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        del timeout
        if self.broken:
            raise Transient("The broker is away.")
        self.before(records)
        self.records.extend(records)

    @property
    def events(self) -> list[ConversationEvent]:
        found = [record for record in self.records if record.topic is CONVERSATION_EVENTS]
        return [decode(CONVERSATION_EVENTS, record.value) for record in found]

    def of(self, kind: str) -> list[Any]:
        """Events of one type."""
        return [event for event in self.events if event.type == kind]


class View:
    """How current the tables are. `seen`: a moment, or always the present one."""

    def __init__(self) -> None:
        self.seen: datetime | None = None
        self.known = True

    async def seen_until(self, connection: Connection) -> datetime | None:
        if not self.known:
            return None
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        return self.seen or now


@dataclass(kw_only=True)
class DispatchWorld:
    """One business number at the simulated WhatsApp."""

    server: SandboxServer
    url: str
    pool: asyncpg.Pool
    stages: OutboundWorld
    outbound: OutboundSettings
    log: Log = field(default_factory=Log)
    view: View = field(default_factory=View)
    health: StageHealth = field(default_factory=lambda: StageHealth("outbound-dispatcher"))
    told: asyncio.Event = field(default_factory=asyncio.Event)
    whatsapp_url: str = ""
    """Another simulator than `server`, where a process of its own is wanted."""
    _folded: int = 0
    _apis: list[CloudApi] = field(default_factory=list)

    @property
    def sent(self) -> Counter[str]:
        """Send → how often WhatsApp got it."""
        return Counter(message.callback_data or "" for message in self.server.whatsapp.business.sent)

    @property
    def settings(self) -> Settings:
        return Settings(
            database=DatabaseSettings(url=SecretStr(self.url)),
            whatsapp=WhatsAppSettings(
                base_url=self.whatsapp_url or self.server.whatsapp_url,
                access_token=SecretStr(ACCESS_TOKEN),
                business_account_ids=[WABA],
            ),
            outbound=self.outbound,
        )

    @property
    def judgement(self) -> Judgement:
        return Judgement(
            rules=gate_rules(self.outbound),
            personalisation=Personalisation(),
            rates=self.outbound.rates,
            accounts=[WABA],
            tables=AlwaysWhole(),
            view=self.view,
        )

    async def number(self, number: Number = NUMBER, **columns: Any) -> None:
        """Meta listed a number of ours."""
        values = {
            "phone_number_id": number.id,
            "waba_id": number.waba_id,
            "display_phone": number.display_phone_number,
            "quality": "GREEN",
            "throughput": "HIGH" if number.throughput > 80 else "STANDARD",
            "limit_tier": "TIER_UNLIMITED",
        } | columns
        names = ", ".join(values)
        marks = ", ".join(f"${place}" for place in range(1, len(values) + 1))
        await self.execute(
            f"INSERT INTO outbound.numbers ({names}) VALUES ({marks})",
            *values.values(),
        )

    async def read_templates(self, **changes: Any) -> None:
        """All templates are read from the simulator; `changes` are of every node."""
        now = datetime.now(UTC)
        nodes = [item.node(()) | changes for item in self.server.whatsapp.business.templates_of(WABA)]
        read = [node_change(node, waba_id=WABA, asked_at=now) for node in nodes]
        async with transaction(self.pool) as connection:
            await fold_changes(connection, [change for change in read if change is not None])
            await note_read(connection, WABA, asked_at=now, templates=len(nodes))

    async def known(self, who: str, phone: str) -> UUID:
        """Somebody whom the identity role knows by a phone."""
        return await self.stages.introduce(who, phone=phone.lstrip("+"))

    async def introduced(self, people: int) -> list[str]:
        """So many people whom the identity role knows by their phone; the phones."""
        phones = [f"+1650555{place:04d}" for place in range(people)]
        contacts = [contact(phone) for phone in phones]
        async with self.pool.acquire() as connection:
            await connection.execute(
                "INSERT INTO identity.contacts (contact_id, first_seen_at) "
                "SELECT c, now() FROM unnest($1::uuid[]) AS n (c) ON CONFLICT DO NOTHING",
                contacts,
            )
            await connection.execute(
                "INSERT INTO identity.aliases (kind, value, contact_id, since, seen_at) "
                "SELECT 'phone', p, c, '2026-01-01', '2026-01-01' FROM unnest($1::text[], $2::uuid[]) AS n (p, c) "
                "ON CONFLICT DO NOTHING",
                [phone[1:] for phone in phones],
                contacts,
            )
        return phones

    async def campaign(
        self,
        people: int,
        *,
        key: str = "k",
        template: str = "order_shipped",
        parameters: dict[str, Any] | None = None,
        **fields: Any,
    ) -> list[str]:
        """Ask for a template to so many people, each known by their phone; the send ids."""
        phones = await self.introduced(people)
        values = {"1": "Ana", "2": "#1"} if parameters is None else parameters
        requests = [
            request(
                key,
                to=Recipient(phone=phone),
                place=place,
                template=TemplateRef(name=template, language="en_US"),
                parameters=values,
                received_at=datetime.now(UTC),
                recipients=people,
                **fields,
            ).model_copy(update={"request_hash": key})
            for place, phone in enumerate(phones)
        ]
        for start in range(0, len(requests), 500):
            await self.stages.trigger(*requests[start : start + 500])
        return [item.send_id for item in requests]

    async def agree(self, people: int, state: str = "granted") -> None:
        """These people agreed to marketing, or refused it."""
        await self.introduced(people)
        await self.stages.trigger(
            *(
                given(state, to=Recipient(phone=f"+1650555{place:04d}"), at=datetime.now(UTC))
                for place in range(people)
            )
        )

    async def claim(self, *, most: int = 100, lease: float = 30.0, since: datetime | None = None) -> Claimed:
        """One claim of a process that dies right after it."""
        async with self.pool.acquire() as connection:
            return await claim(
                connection,
                NUMBER.id,
                self.judgement,
                since=since or datetime(2026, 1, 1, tzinfo=UTC),
                horizon=HORIZON,
                most=most,
                lease=lease,
            )

    def line(self, clock: Callable[[], float] = time.monotonic) -> tuple[NumberLine, Settler]:
        """One line of a process whose clock is `clock`, and what writes its answers down."""
        settler = Settler(self.pool, self.outbound, health=self.health, queued=lambda: None)
        api = CloudApi(self.settings.whatsapp, request_timeout=self.outbound.request_timeout, connections=10)
        self._apis.append(api)
        parts = LineParts(
            url=self.url,
            judgement=self.judgement,
            settings=self.outbound,
            api=api,
            sender=self.log,
            settler=settler,
            in_flight=asyncio.Semaphore(10),
            queued=lambda: None,
            wanted=lambda: None,
            clock=clock,
        )
        return NumberLine(NUMBER.id, parts, health=self.health), settler

    async def tend(self) -> None:
        """One look after what nobody holds."""
        async with transaction(self.pool) as connection:
            await recover(connection, seen=await self.view.seen_until(connection))
            await report_unknown(connection, after=timedelta(minutes=15))
            await tell_messages(connection, after=timedelta(seconds=30))

    async def fold(self) -> None:
        """The role reads what is new on the log."""
        new = self.log.records[self._folded :]
        self._folded = len(self.log.records)
        records = [
            Record(
                topic=record.topic.name,
                partition=0,
                offset=self.stages.next_offset(record.topic),
                key=record.key,
                value=record.value,
            )
            for record in new
            if record.topic is CONVERSATION_EVENTS
        ]
        if records:
            await self.stages.conversation.handle(records)

    async def relay(self) -> None:
        """What was queued goes on the log."""
        while await relay_once(self.pool, stage="outbound", sender=self.log):
            pass

    async def status(self, send_id: str, word: str, *, code: int = 0, wamid: str = "") -> None:
        """A status with our callback data arrives."""
        row = await self.stages.send(send_id)
        sent = next(
            (item for item in self.server.whatsapp.business.sent if item.callback_data == send_id), None
        )
        await self.stages.tell(
            StatusChange(
                event_id=f"status:{send_id}:{word}",
                waba_id=WABA,
                phone_number_id=NUMBER.id,
                at=datetime.now(UTC),
                person={"contact_id": row["contact_id"]},
                origin={"topic": "t", "partition": 0, "offset": 0, "received_at": datetime.now(UTC)},
                wamid=wamid or (sent.wamid if sent else f"wamid.{uuid.uuid4().hex}"),
                status=word,
                errors=[{"code": code, "title": "failed"}] if code else [],
                callback_data=send_id,
                pricing_category="utility",
            )
        )

    @asynccontextmanager
    async def dispatching(
        self,
        *,
        replicas: int = 1,
        hubspot: Any = None,
        personalisation: Personalisation | None = None,
        wanted: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[None]:
        """Dispatchers at work; what is under way is finished when the body ends."""
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(self._dispatch(stop, hubspot, personalisation=personalisation, wanted=wanted))
            for _ in range(replicas)
        ]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _dispatch(
        self,
        stop: asyncio.Event,
        hubspot: Any,
        *,
        personalisation: Personalisation | None = None,
        wanted: Callable[[], None] = lambda: None,
    ) -> None:
        await run_dispatchers(
            self.pool,
            self.settings,
            sender=self.log,
            tables=AlwaysWhole(),
            view=self.view,
            due=asyncio.Event(),
            told=self.told,
            queued=lambda: None,
            health=self.health,
            outcomes_health=StageHealth("outbound-outcomes"),
            hubspot=hubspot,
            wanted=wanted,
            personalisation=personalisation or Personalisation(),
            crms=("hubspot", "salesforce"),
            stop=stop,
        )

    async def killed(self, after: float) -> None:
        """Dispatchers at work for so many seconds; then their process is gone, whatever it was doing."""
        task = asyncio.create_task(self._until_killed())
        await asyncio.sleep(after)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _until_killed(self) -> None:
        await self._dispatch(asyncio.Event(), None)

    async def close(self) -> None:
        """Close what lines used."""
        for api in self._apis:
            await api.close()

    async def states(self) -> Counter[str]:
        """State → how many sends."""
        rows = await self.stages.fetch("SELECT state FROM outbound.sends")
        return Counter(row["state"] for row in rows)

    async def until(self, **states: int) -> None:
        """Wait until so many sends are in these states."""
        async with asyncio.timeout(60):
            while True:
                found = await self.states()
                if all(found[state] == count for state, count in states.items()):
                    return
                await asyncio.sleep(0.02)

    async def execute(self, query: str, *values: Any) -> None:
        """Change a row as time or a person would."""
        async with self.pool.acquire() as connection:
            await connection.execute(query, *values)

    async def later(self, **passed: float) -> None:
        """Let time pass for sends that wait, are under way, or were."""
        await self.execute(
            "UPDATE outbound.sends SET lease_until = lease_until - $1::interval, "
            "attempted_at = attempted_at - $1::interval, not_before = not_before - $1::interval",
            timedelta(**passed),
        )


@asynccontextmanager
async def dispatch_world(
    database_url: str, *, outbound: OutboundSettings | None = None, **config: Any
) -> AsyncIterator[DispatchWorld]:
    """A business whose one number and templates are known."""
    pool = await open_pool(database_url, size=8, application="test")
    async with SandboxServer(whatsapp=WhatsAppConfig(**config)) as server:
        world = DispatchWorld(
            server=server,
            url=database_url,
            pool=pool,
            stages=OutboundWorld(pool=pool, default_number=server.whatsapp.business.config.numbers[0].id),
            outbound=outbound
            or OutboundSettings(us_marketing=True, quiet_until="21:00", request_timeout=2.0),
        )
        await world.number(server.whatsapp.business.config.numbers[0])
        await world.read_templates()
        try:
            yield world
        finally:
            await world.close()
            await close_pool(pool)
