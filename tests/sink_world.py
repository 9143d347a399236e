"""A sync role's two halves in a test, against either CRM's simulator, and what people do in that CRM."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from conversation_events import contact
from pydantic import SecretStr
from sandbox_org import APP

from connector.crm.hubspot.adapter import HubSpot
from connector.crm.hubspot.quota import account_limits
from connector.crm.quota import governed
from connector.crm.salesforce.adapter import Salesforce
from connector.events import ConversationEvent
from connector.sandbox import HubSpotConfig, SandboxServer
from connector.sandbox.faults import FaultPlan
from connector.sandbox.hubspot.records import PERSON
from connector.sandbox.journal import Journal
from connector.sandbox.salesforce.config import PERSON_USER_ID
from connector.sandbox.salesforce.transactions import Transaction
from connector.settings import (
    DatabaseSettings,
    HubSpotSettings,
    SalesforceSettings,
    StreamSettings,
    SyncSettings,
)
from connector.state.database import close_pool, open_pool
from connector.streams.codec import encode
from connector.streams.outcomes import Record
from connector.sync.agent import SyncStage
from connector.sync.core.mapping import SyncMapping
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS

_BY_HAND = Transaction(user_id=PERSON_USER_ID)


class HubSpotPeople:
    """What people see and do in the portal."""

    def __init__(self, server: SandboxServer) -> None:
        self._sandbox = server.hubspot
        self.url = server.hubspot_url

    @property
    def journal(self) -> Journal:
        return self._sandbox.journal

    @property
    def faults(self) -> FaultPlan:
        return self._sandbox.faults

    def add(self, name: str, **fields: str) -> str:
        """Somebody enters a contact; `phone`, `mobile`."""
        names = {"phone": "phone", "mobile": "mobilephone"}
        values = {names[field]: value for field, value in fields.items()}
        return self._sandbox.portal.contacts.create({"firstname": name, **values}, PERSON).id

    def merge(self, primary: str, other: str) -> str:
        document = {"primaryObjectId": primary, "objectIdToMerge": other}
        return self._sandbox.portal.merge_contacts(document).id

    def delete(self, record_id: str) -> None:
        self._sandbox.portal.objects["contacts"].archive({"inputs": [{"id": record_id}]})

    def erase(self, record_id: str) -> None:
        self._sandbox.portal.gdpr_delete({"objectId": record_id})

    def begin_day(self, *, used: int = 0) -> None:
        """It is a new day, of which other integrations have used so many calls."""
        self._sandbox.portal.limits.today = used

    def remove_property(self, name: str) -> None:
        """The portal never had it."""
        del self._sandbox.portal.contacts.catalog.properties[name]

    def records(self) -> dict[str, dict[str, str]]:
        """Record id → key, name, phone, wa_phone, bsuid."""
        names = {
            "key": "whatsapp_contact_key",
            "name": "firstname",
            "phone": "phone",
            "wa_phone": "whatsapp_phone",
            "bsuid": "whatsapp_bsuid",
        }
        return {
            item["id"]: {name: item["properties"].get(field, "") for name, field in names.items()}
            for item in self._sandbox.state()["contacts"]
        }

    def bodies(self) -> Counter[str]:
        """First line of a message → how many activities say it."""
        found = self._sandbox.state()["communications"]
        return Counter(item["properties"]["hs_communication_body"].split("<br>")[0] for item in found)

    def messages(self) -> Counter[str]:
        """Record id → how many messages hang on it."""
        found = self._sandbox.state()["communications"]
        return Counter(place for item in found for place in item["associations"]["contacts"])


class SalesforcePeople:
    """What people see and do in the org."""

    def __init__(self, server: SandboxServer) -> None:
        self._sandbox = server.salesforce

    @property
    def journal(self) -> Journal:
        return self._sandbox.journal

    @property
    def faults(self) -> FaultPlan:
        return self._sandbox.faults

    def add(self, name: str, *, sobject: str = "Contact", **fields: str) -> str:
        names = {"phone": "Phone", "mobile": "MobilePhone", "company": "Company"}
        values = {names[field]: value for field, value in fields.items()}
        return self._sandbox.org.insert(sobject, {"LastName": name, **values}, _BY_HAND).id

    def merge(self, primary: str, other: str) -> str:
        return self._sandbox.org.merge("Contact", master=primary, loser=other).id

    def delete(self, record_id: str) -> None:
        self._sandbox.org.delete("Contact", record_id, _BY_HAND)

    def records(self) -> dict[str, dict[str, str]]:
        names = {
            "key": "WA_Contact_Key__c",
            "name": "LastName",
            "phone": "Phone",
            "wa_phone": "WA_Phone__c",
            "bsuid": "WA_BSUID__c",
        }
        state = self._sandbox.state()
        return {
            item["id"]: {name: item["values"].get(field) or "" for name, field in names.items()}
            for item in (*state["contacts"], *state["leads"])
        }

    def messages(self) -> Counter[str]:
        return Counter(item["values"]["WhoId"] for item in self._sandbox.state()["tasks"])


class SinkWorld:
    """A sync role in this process: `fold` and `settle` are its two halves, in the test's own order."""

    def __init__(
        self, *, crm: Any, pool: asyncpg.Pool, people: Any, settings: SyncSettings, region: str
    ) -> None:
        self.crm = crm
        self.pool = pool
        self.people = people
        self._region = region
        self._offset = 0
        self.restart(settings)

    def restart(
        self,
        settings: SyncSettings,
        *,
        mapping: SyncMapping | None = None,
        limits: StreamSettings | None = None,
    ) -> None:
        """The process starts anew, with these settings."""
        self.stop = asyncio.Event()
        self.health = StageHealth("writer")
        wake = Wake()
        self.writer = Writer(
            crm=self.crm,
            pool=self.pool,
            settings=settings,
            limits=limits,
            calls_in_flight=4,
            health=self.health,
            mapping=mapping,
            stop=self.stop,
            wake=wake,
            default_region=self._region,
        )
        self.stage = SyncStage(self.crm.name, pool=self.pool, settings=settings, wake=wake, waiting=lambda: 0)

    async def fold(self, *events: ConversationEvent) -> None:
        records = []
        for event in events:
            value = encode(CONVERSATION_EVENTS, key="k", value=event, origin="test").value
            records.append(
                Record(topic="conversation.events", partition=0, offset=self._offset, key=b"k", value=value)
            )
            self._offset += 1
        await self.stage.handle(records)

    async def settle(self, *, within: float = 20) -> None:
        """Run the writer until nothing waits any more, but for people who are held for a reason that stays."""
        await self.writer.apply_rules()
        running = asyncio.create_task(self.writer.run())
        try:
            async with asyncio.timeout(within):
                while await self.fetch(_BUSY.format(sink=self.crm.name)):
                    await asyncio.sleep(0.02)
        finally:
            self.stop.set()
            await running
            self.stop.clear()

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """Rows of the sink's tables; `{sink}` is its schema."""
        async with self.pool.acquire() as connection:
            return list(await connection.fetch(query.replace("{sink}", self.crm.name), *arguments))

    async def held(self, who: str) -> str | None:
        rows = await self.fetch("SELECT held FROM {sink}.contacts WHERE contact_id = $1", contact(who))
        held: str | None = rows[0]["held"]
        return held

    async def adoptions(self) -> dict[str, Counter[str]]:
        """Outcome → which contacts, how often."""
        found: dict[str, Counter[str]] = {}
        for row in await self.fetch("SELECT contact_id, outcome FROM {sink}.adoptions"):
            found.setdefault(row["outcome"], Counter())[str(row["contact_id"])] += 1
        return found

    def record_of(self, who: str) -> str | None:
        """The record with this person's key; there is never more than one."""
        found = [
            record_id for record_id, item in self.people.records().items() if item["key"] == str(contact(who))
        ]
        assert len(found) <= 1
        return found[0] if found else None


_BUSY = """
SELECT 1 FROM {sink}.contacts WHERE redirect_to IS NULL AND problem IS NULL
   AND (held = 'lookup' OR held IS NULL AND (desired_version > written_version
        OR record_id IS NOT NULL AND phone IS DISTINCT FROM looked_up_phone AND phone IS NOT NULL))
UNION ALL SELECT 1 FROM {sink}.activities WHERE desired_version > written_version AND problem IS NULL
   AND contact_id IS NOT NULL AND held IS NULL
UNION ALL SELECT 1 FROM {sink}.retirements WHERE settled_at IS NULL LIMIT 1
"""


@asynccontextmanager
async def sink_world(
    sink: str,
    database_url: str,
    *,
    settings: SyncSettings | None = None,
    region: str = "BR",
    request_timeout: float | None = None,
    **config: Any,
) -> AsyncIterator[SinkWorld]:
    """Open a role of `hubspot` or `salesforce` on a new portal or org. `config`: of the HubSpot simulator.

    `request_timeout`: seconds, in place of the settings' own.
    """
    timeout: dict[str, float] = {} if request_timeout is None else {"request_timeout": request_timeout}
    portal = HubSpotConfig(**({"burst_limit": None, "search_lag": 0.0} | config))
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SandboxServer(hubspot=portal))
        crm: Any
        if sink == "hubspot":
            account = HubSpotSettings(
                access_token=SecretStr("pat-na1-sandbox"),
                base_url=server.hubspot_url,
                burst_calls=portal.burst_limit or 0,
                search_calls=portal.search_limit or 0,
                daily_calls=portal.daily_limit or 0,
                **timeout,
            )
            database = DatabaseSettings(url=SecretStr(database_url))
            quota = await stack.enter_async_context(governed(account_limits(account), database))
            crm = HubSpot(account, quota=quota)
        else:
            crm = Salesforce(
                SalesforceSettings(
                    consumer_key=SecretStr(APP.consumer_key),
                    consumer_secret=SecretStr(APP.consumer_secret),
                    base_url=server.salesforce_url,
                    **timeout,
                )
            )
        if request_timeout is not None:
            crm.request_timeout = request_timeout + 0.2
        assert (await crm.check_setup(create=True)).ready
        pool = await open_pool(database_url, size=8, application="test")
        people = HubSpotPeople(server) if sink == "hubspot" else SalesforcePeople(server)
        try:
            yield SinkWorld(
                crm=crm, pool=pool, people=people, settings=settings or SyncSettings(), region=region
            )
        finally:
            await close_pool(pool)
            await crm.close()
