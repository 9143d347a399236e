"""Replays of a sink world in a test: plan, apply beside its writer, and what the simulator saw."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sink_world import SinkWorld

from connector.recovery.replay.applying import Applier, Progress
from connector.recovery.replay.items import CallCost
from connector.recovery.replay.planning import Planner, Sink
from connector.recovery.replay.plans import ListedItem, Plan, listed_items
from connector.recovery.replay.selection import Selection
from connector.sandbox.hubspot.associations import _link
from connector.sandbox.hubspot.records import PERSON, Caller, RecordStore
from connector.sandbox.salesforce.config import PERSON_USER_ID
from connector.sandbox.salesforce.transactions import Transaction
from connector.settings import KafkaSettings, SyncSettings
from connector.sync.core.mapping import SyncMapping
from connector.sync.folding import SinkTables
from connector.sync.mapping import built_in


class Replays:
    """What an operator does, on the database of a world."""

    def __init__(self, world: SinkWorld, database_url: str, *, kafka: KafkaSettings | None = None) -> None:
        self.world = world
        self.url = database_url
        self.kafka = kafka or KafkaSettings()
        self.name: str = world.crm.name

    def planner(self, *, mapping: SyncMapping | None = None, compare: bool = True) -> Planner:
        crm = self.world.crm
        cost = CallCost(
            contacts_per_call=crm.contacts_per_call,
            activities_per_call=crm.activities_per_call,
            lookups_per_call=crm.lookups_per_call,
        )
        return Planner(
            kafka=self.kafka,
            database_url=self.url,
            sync=SyncSettings(),
            mapping=mapping or built_in(),
            links=None,
            sinks={
                self.name: Sink(name=self.name, cost=cost, comparison=crm if compare else None, survey=crm)
            },
        )

    async def plan(self, *, mapping: SyncMapping | None = None, **selection: Any) -> Plan:
        asked: dict[str, Any] = {"sinks": (self.name,), "topic": "", "verify": True}
        chosen = Selection(**(asked | selection))
        planner = self.planner(mapping=mapping, compare=chosen.verify)
        return await planner.make(chosen, who="a tester", now=datetime.now(UTC))

    def applier(self, mapping: SyncMapping | None = None) -> Applier:
        tables = {self.name: SinkTables(schema=self.name)}
        return Applier(database_url=self.url, mapping=(mapping or built_in()).version, tables=tables)

    async def begin(self, plan: Plan, *, mapping: SyncMapping | None = None, **options: Any) -> None:
        act = str(uuid.uuid4())
        now = datetime.now(UTC)
        await self.applier(mapping).begin(
            plan.hash, act=act, who="a tester", why="a test", now=now, **options
        )

    async def apply(self, plan: Plan, *, mapping: SyncMapping | None = None, **options: Any) -> Progress:
        """Apply with the world's writer running beside it."""
        await self.begin(plan, mapping=mapping, **options)
        return await self.go_on(plan)

    async def go_on(self, plan: Plan) -> Progress:
        writing = asyncio.create_task(self.world.writer.run())
        try:
            async with asyncio.timeout(30):
                return await self.applier().go_on(plan.hash, stop=asyncio.Event())
        finally:
            self.world.stop.set()
            await writing
            self.world.stop.clear()

    async def items(self, plan: Plan) -> list[ListedItem]:
        async with self.world.pool.acquire() as connection:
            return await listed_items(connection, plan.plan_id, most=10_000)

    def written(self, *, since: int) -> set[tuple[str, str]]:
        """(created or updated, record id) of every record that was written after the call with that number."""
        return {
            (effect.action, effect.record_id)
            for call in self.world.people.journal.calls(since=since)
            for effect in call.effects
            if effect.action in ("created", "updated", "archived", "erased", "merged")
        }

    @property
    def last_call(self) -> int:
        return max((call.number for call in self.world.people.journal.calls()), default=0)


class HandWork:
    """What people do in a CRM behind our back: changes and deletions, each as (what, record id)."""

    def __init__(self, world: SinkWorld) -> None:
        self._hubspot = world.crm.name == "hubspot"
        self._sandbox = world.people._sandbox

    def contacts(self) -> list[str]:
        """Record ids of the people that carry our key."""
        return [item["id"] for item in self._sandbox.state()["contacts"]]

    def activities(self) -> list[str]:
        """Record ids of all messages."""
        kind = "communications" if self._hubspot else "tasks"
        return [item["id"] for item in self._sandbox.state()[kind]]

    def change_contact(self, record_id: str) -> None:
        """Somebody types over a property that we write."""
        if self._hubspot:
            record = self._sandbox.portal.contacts.get(record_id)
            self._sandbox.portal.contacts.update(record, {"whatsapp_username": "typed over"}, PERSON)
        else:
            self._in_org("update", "Contact", record_id, {"WA_Username__c": "typed over"})

    def change_activity(self, record_id: str) -> None:
        if self._hubspot:
            record = self._sandbox.portal.communications.get(record_id)
            values = {"hs_communication_body": "somebody edited it"}
            self._sandbox.portal.communications.update(record, values, PERSON)
        else:
            self._in_org("update", "Task", record_id, {"Description": "somebody edited it"})

    def take_off(self, record_id: str) -> None:
        """An activity is taken off its contact."""
        if self._hubspot:
            graph = self._sandbox.portal.associations
            for contact_id in graph.of("communications", record_id, "contacts"):
                graph.remove(_link("communications", "contacts", record_id, contact_id))
        else:
            self._in_org("update", "Task", record_id, {"WhoId": None})

    def delete_contact(self, record_id: str) -> None:
        if self._hubspot:
            self._sandbox.portal.objects["contacts"].archive({"inputs": [{"id": record_id}]})
        else:
            self._in_org("delete", "Contact", record_id)

    def delete_activity(self, record_id: str) -> None:
        if self._hubspot:
            self._sandbox.portal.objects["communications"].archive({"inputs": [{"id": record_id}]})
        else:
            self._in_org("delete", "Task", record_id)

    def copy_activity(self, record_id: str, *, by_us: bool = False) -> str:
        """Somebody copies a message; a unique id stays with the original. `by_us`: our own token made it."""
        if self._hubspot:
            portal = self._sandbox.portal
            values = _kept(portal.communications, record_id, keep="whatsapp_message_id")
            copy = portal.communications.create(values, Caller() if by_us else PERSON)
            for place in portal.associations.of("communications", record_id, "contacts"):
                portal.associations.add(_link("communications", "contacts", copy.id, place))
            return str(copy.id)
        names = ("Subject", "Description", "Status", "ActivityDate", "WhoId")
        return self._copy("Task", record_id, (*names, "WA_Status__c", "WA_Direction__c", "WA_Sent_At__c"))

    def copy_contact(self, record_id: str) -> str:
        """Somebody copies a person's record; our key stays with the original."""
        if self._hubspot:
            store = self._sandbox.portal.contacts
            return str(store.create(_kept(store, record_id, keep=""), PERSON).id)
        return self._copy("Contact", record_id, ("LastName", "WA_BSUID__c", "WA_Phone__c"))

    def _copy(self, sobject: str, record_id: str, names: Sequence[str]) -> str:
        org = self._sandbox.org
        values = org.tables[sobject].get(record_id).values
        said = {name: values[name] for name in names if values.get(name)}
        return str(org.insert(sobject, said, Transaction(user_id=PERSON_USER_ID)).id)

    def _in_org(self, act: str, *arguments: Any) -> None:
        getattr(self._sandbox.org, act)(*arguments, Transaction(user_id=PERSON_USER_ID))

    def forget_effects(self) -> None:
        """What people did is not what the next call did."""
        (self._sandbox.portal if self._hubspot else self._sandbox.org).drain_effects()

    def picture(self) -> dict[str, Any]:
        """All that readers of the CRM see, whatever the records' ids and dates are."""
        state = self._sandbox.state()
        if self._hubspot:
            keys = {
                item["id"]: item["properties"].get("whatsapp_contact_key", "") for item in state["contacts"]
            }
            people = {keys[item["id"]]: _said(item["properties"]) for item in state["contacts"]}
            messages = {
                item["properties"]["whatsapp_message_id"]: (
                    _said(item["properties"]),
                    sorted(keys.get(place, "") for place in item["associations"].get("contacts", [])),
                )
                for item in state["communications"]
            }
        else:
            keys = {item["id"]: item["values"].get("WA_Contact_Key__c") or "" for item in state["contacts"]}
            people = {keys[item["id"]]: _said(item["values"]) for item in state["contacts"]}
            messages = {
                item["values"]["WA_Message_Id__c"]: (
                    _said(item["values"]),
                    [keys.get(item["values"].get("WhoId") or "", "")],
                )
                for item in state["tasks"]
            }
        return {"people": people, "messages": messages}


def _kept(store: RecordStore, record_id: str, *, keep: str) -> dict[str, str]:
    """What a copy of a record says: what anybody can write, without unique values but for `keep` where it is not."""
    record = store.get(record_id)
    assert record is not None
    catalog = store.catalog
    return {
        name: value
        for name, value in record.values.items()
        if (definition := catalog.properties.get(name)) is not None
        and not definition.read_only
        and (not definition.unique or (name == keep and not catalog.is_key(name)))
    }


def _said(values: dict[str, Any]) -> dict[str, Any]:
    ours = ("whatsapp_", "WA_", "hs_communication_body", "hs_timestamp", "Description", "Subject")
    return {name: value for name, value in values.items() if name.startswith(ours) and value}
