"""The sync role's two halves on a real PostgreSQL, against the Salesforce simulator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from conversation_events import contact, merged, message, status
from pydantic import SecretStr
from sandbox_org import APP

from connector.crm.salesforce.adapter import Salesforce
from connector.events import ConversationEvent
from connector.sandbox import Fault, FaultKind, SalesforceSandbox, SandboxServer
from connector.sandbox.salesforce.config import PERSON_USER_ID
from connector.sandbox.salesforce.transactions import Transaction
from connector.settings import SalesforceSettings, SyncSettings
from connector.state.database import close_pool, open_pool
from connector.streams.codec import encode
from connector.streams.outcomes import Record
from connector.sync.agent import SyncStage
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS

_TASKS = "*/composite/sobjects/Task/*"
_SETTINGS = SyncSettings(lost_write_margin=0.5, stopped_retry=0.5)


class Sink:
    """A sync role in this process: `fold` and `settle` are its two halves, in the test's own order."""

    def __init__(
        self, pool: asyncpg.Pool, crm: Salesforce, sandbox: SalesforceSandbox, *, person_object: str
    ) -> None:
        self.crm = crm
        self.sandbox = sandbox
        self.pool = pool
        self.person_object = person_object
        self.stop = asyncio.Event()
        self.health = StageHealth("writer")
        self.writer = self.another_writer(self.health, _SETTINGS)
        self.stage = SyncStage("salesforce", pool=pool, settings=_SETTINGS, wake=Wake(), waiting=lambda: 0)
        self._offset = 0

    def another_writer(self, health: StageHealth, settings: SyncSettings) -> Writer:
        return Writer(
            crm=self.crm,
            pool=self.pool,
            settings=settings,
            calls_in_flight=4,
            health=health,
            stop=self.stop,
            wake=Wake(),
        )

    async def fold(self, *events: ConversationEvent) -> None:
        records = []
        for event in events:
            encoded = encode(CONVERSATION_EVENTS, key="k", value=event, origin="test")
            records.append(
                Record(
                    topic="conversation.events",
                    partition=0,
                    offset=self._offset,
                    key=b"k",
                    value=encoded.value,
                )
            )
            self._offset += 1
        await self.stage.handle(records)

    async def settle(self, *others: Writer, within: float = 20) -> None:
        """Run the writer, and others beside it, until nothing waits any more."""
        running = [asyncio.create_task(writer.run()) for writer in (self.writer, *others)]
        try:
            async with asyncio.timeout(within):
                while await self.waiting():
                    await asyncio.sleep(0.02)
        finally:
            self.stop.set()
            await asyncio.gather(*running)
            self.stop.clear()

    async def waiting(self) -> int:
        async with self.pool.acquire() as connection:
            count: int = await connection.fetchval(
                "SELECT (SELECT count(*) FROM salesforce.activities WHERE desired_version > written_version AND "
                "problem IS NULL AND contact_id IS NOT NULL) + (SELECT count(*) FROM salesforce.contacts WHERE "
                "desired_version > written_version AND problem IS NULL AND redirect_to IS NULL) + "
                "(SELECT count(*) FROM salesforce.retirements WHERE settled_at IS NULL)"
            )
            return count

    @property
    def people(self) -> dict[str, dict[str, Any]]:
        """Our key → the org's record."""
        found = self.sandbox.state()["contacts" if self.person_object == "Contact" else "leads"]
        return {item["values"]["WA_Contact_Key__c"]: item for item in found}

    @property
    def tasks(self) -> Sequence[dict[str, Any]]:
        values: Sequence[dict[str, Any]] = [item["values"] for item in self.sandbox.state()["tasks"]]
        return values

    def texts(self) -> list[str]:
        return sorted(task["Description"].split("\n")[0] for task in self.tasks)

    def doubled(self) -> dict[str, Any]:
        doubled = self.sandbox.state()["doubled"]
        return {**doubled["tasks"], **doubled["people"]}

    def id_of(self, who: str) -> str:
        return str(self.people[str(contact(who))]["id"])


@pytest.fixture(params=["Contact", "Lead"])
async def sink(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Sink]:
    """A sink on a fresh database and a fresh org, with people as Contacts and as Leads."""
    async with SandboxServer() as server:
        crm = Salesforce(
            SalesforceSettings(
                enabled=True,
                consumer_key=SecretStr(APP.consumer_key),
                consumer_secret=SecretStr(APP.consumer_secret),
                base_url=server.salesforce_url,
                person_object=request.param,
                request_timeout=0.8,
            )
        )
        crm.request_timeout = 1.0
        report = await crm.check_setup(create=False)
        assert report.ready
        pool = await open_pool(database_url, size=8, application="test")
        yield Sink(pool, crm, server.salesforce, person_object=request.param)
        await close_pool(pool)
        await crm.close()


async def test_messages_become_one_person_and_one_task_each(sink: Sink) -> None:
    """A conversation becomes one person whose timeline has each message once, on the person."""
    await sink.fold(message("a", "ana"), message("b", "ana", seconds=5), message("c", "bo", seconds=3))
    await sink.settle()
    assert set(sink.people) == {str(contact("ana")), str(contact("bo"))}
    assert sink.texts() == ["text of a", "text of b", "text of c"]
    values = sink.people[str(contact("ana"))]["values"]
    assert values["WA_Last_Inbound_At__c"] == "2026-03-01T12:00:05.000+0000"
    assert values["WA_Window_Open_Until__c"] == "2026-03-02T12:00:05.000+0000"
    assert Counter(task["WhoId"] for task in sink.tasks) == {sink.id_of("ana"): 2, sink.id_of("bo"): 1}
    assert {task["Status"] for task in sink.tasks} == {"Completed"}


async def test_the_same_events_again_write_nothing(sink: Sink) -> None:
    """A redelivered batch changes no row, so no call is made."""
    events: list[ConversationEvent] = [
        message("out", "ana", direction="outbound"),
        message("a", "ana"),
        status("out", "sent", "ana", seconds=9),
        message("b", "ana", seconds=5),
    ]
    await sink.fold(*events)
    await sink.settle()
    calls = sink.sandbox.journal.count()
    await sink.fold(*reversed(events))
    assert await sink.waiting() == 0
    await sink.settle()
    assert sink.sandbox.journal.count() == calls


async def test_a_status_moves_forward_only(sink: Sink) -> None:
    """Statuses in any order end at the furthest one, on the one task of their message."""
    await sink.fold(message("out", "ana", direction="outbound"), status("out", "read", "ana", seconds=9))
    await sink.settle()
    await sink.fold(status("out", "sent", "ana", seconds=2), status("out", "delivered", "ana", seconds=3))
    await sink.settle()
    assert [task["WA_Status__c"] for task in sink.tasks] == ["read"]


async def test_an_empty_database_writes_the_same_org_again(sink: Sink) -> None:
    """All events into emptied tables double nothing, and leave a name that somebody corrected as it is."""
    events = [message("a", "ana"), message("b", "ana", seconds=5), message("c", "bo", seconds=3)]
    await sink.fold(*events)
    await sink.settle()
    sink.sandbox.org.update(
        sink.person_object, sink.id_of("ana"), {"LastName": "Souza"}, Transaction(user_id=PERSON_USER_ID)
    )
    async with sink.pool.acquire() as connection:
        await connection.execute("TRUNCATE salesforce.contacts, salesforce.activities")
    await sink.fold(*events)
    await sink.settle()
    assert len(sink.tasks) == 3
    assert sink.doubled() == {}
    assert sink.people[str(contact("ana"))]["values"]["LastName"] == "Souza"


@pytest.mark.parametrize("kind", ["reset", "stall"])
async def test_an_upsert_whose_answer_is_lost_is_found_not_repeated(sink: Sink, kind: str) -> None:
    """Salesforce wrote and the answer was lost: the tasks are looked up and none is doubled."""
    sink.sandbox.faults.add(Fault(kind=FaultKind(kind), when="after", path=_TASKS, times=1))
    await sink.fold(*(message(f"m{number}", "ana", seconds=number) for number in range(5)))
    await sink.settle()
    assert len(sink.tasks) == 5
    assert sink.doubled() == {}


async def test_an_upsert_that_never_arrived_is_made_after_looking(sink: Sink) -> None:
    """The request was lost on its way: it is looked up in vain and then made, once."""
    sink.sandbox.faults.add(Fault(kind=FaultKind.RESET, when="before", path=_TASKS, times=1))
    await sink.fold(message("a", "ana"), message("b", "bo"))
    await sink.settle()
    assert sink.texts() == ["text of a", "text of b"]


async def test_a_poison_message_spares_the_others(sink: Sink) -> None:
    """One message that Salesforce refuses becomes a dead letter; the other 99 are written."""
    sink.sandbox.faults.add(Fault(kind=FaultKind.POISON, text="poison"))
    await sink.fold(
        *(
            message(f"m{number}", "ana", seconds=number, text="poison" if number == 42 else "fine")
            for number in range(100)
        )
    )
    await sink.settle()
    assert len(sink.tasks) == 99
    async with sink.pool.acquire() as connection:
        letters = await connection.fetch("SELECT topic FROM shared.outgoing")
        problem = await connection.fetchval("SELECT problem FROM salesforce.activities WHERE wamid = 'm42'")
    assert [letter["topic"] for letter in letters] == ["dead.letters"]
    assert problem.startswith("salesforce_field_custom_validation_exception")


async def test_locked_rows_are_written_when_the_lock_is_gone(sink: Sink) -> None:
    """Rows that another transaction holds are tried again, and only they."""
    await sink.fold(message("a", "ana"), message("b", "bo"))
    sink.sandbox.faults.add(Fault(kind=FaultKind.LOCK, path=_TASKS, text="text of a", times=2))
    await sink.settle()
    assert sink.texts() == ["text of a", "text of b"]
    sizes = [call.inputs for call in sink.sandbox.journal.calls(path=_TASKS)]
    assert sizes == [2, 1, 1]


async def test_a_merge_moves_the_timeline_and_removes_our_second_person(sink: Sink) -> None:
    """Two people we made for one become one: tasks move, the left-over record is deleted."""
    await sink.fold(message("a", "old"), message("b", "new", seconds=5))
    await sink.settle()
    assert len(sink.people) == 2
    await sink.fold(merged("new", "old", seconds=9), message("c", "new", seconds=10))
    await sink.settle()
    assert set(sink.people) == {str(contact("old"))}
    assert [task["WhoId"] for task in sink.tasks] == [sink.id_of("old")] * 3


async def test_a_merged_person_whose_first_write_was_lost_leaves_no_record(sink: Sink) -> None:
    """Salesforce made the loser's record, the answer was lost, then the merge came: it is found and deleted."""
    path = f"*/composite/sobjects/{sink.person_object}/*"
    sink.sandbox.faults.add(Fault(kind=FaultKind.RESET, when="after", path=path, times=1))
    await sink.fold(message("b", "new", seconds=5))
    await sink.writer.look_up()
    await sink.writer.drain()
    assert len(sink.people) == 1
    await sink.fold(message("a", "old"), merged("new", "old", seconds=9))
    await sink.settle()
    assert set(sink.people) == {str(contact("old"))}
    assert [task["WhoId"] for task in sink.tasks] == [sink.id_of("old")] * 2


async def test_a_person_deleted_by_hand_is_made_anew_for_the_next_message(sink: Sink) -> None:
    """A message of somebody whose record was deleted lands on a new record."""
    await sink.fold(message("a", "ana"))
    await sink.settle()
    before = sink.id_of("ana")
    sink.sandbox.org.delete(sink.person_object, before, Transaction(user_id=PERSON_USER_ID))
    await sink.fold(message("b", "ana", seconds=5))
    await sink.settle()
    assert sink.id_of("ana") != before
    assert [task["WhoId"] for task in sink.tasks] == [sink.id_of("ana")]


async def test_a_credential_that_is_refused_stops_the_line_and_resumes(sink: Sink) -> None:
    """A 401 stops the writer with what to check; once accepted again, what waits is written."""
    number = sink.sandbox.faults.add(Fault(kind=FaultKind.STATUS, status=401, path="/services/data/*"))
    await sink.fold(message("a", "ana"))
    running = asyncio.create_task(sink.writer.run())
    async with asyncio.timeout(10):
        while str(sink.health.state) != "stopped_line":
            await asyncio.sleep(0.02)
    assert "sessions" in sink.health.snapshot()["stopped"]["advice"]
    sink.sandbox.faults.remove(number)
    async with asyncio.timeout(20):
        while await sink.waiting():
            await asyncio.sleep(0.02)
    sink.stop.set()
    await running
    assert sink.texts() == ["text of a"]


async def test_two_writers_never_write_one_person_at_once(sink: Sink) -> None:
    """Two processes' writers share the work: no overlapping writes of one person, nothing doubled, all final."""
    sink.sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.02, seconds_max=0.08))
    other = sink.another_writer(StageHealth("other"), SyncSettings(drain_batch=30))
    for round_number in range(10):
        numbers = range(round_number * 40, round_number * 40 + 40)
        await sink.fold(
            *(
                message(f"m{number}", f"p{number % 7}", seconds=number, direction="outbound")
                for number in numbers
            ),
            *(status(f"m{number - 40}", "read", None, seconds=number) for number in numbers if number >= 40),
        )
    await sink.settle(other, within=40)
    assert len(sink.tasks) == 400
    assert sink.doubled() == {}
    assert sink.sandbox.journal.violations == []
    assert Counter(task["WA_Status__c"] for task in sink.tasks) == {"read": 360, "accepted": 40}


@pytest.mark.parametrize("sink", ["Contact"], indirect=True)
async def test_people_of_one_account_collide_and_end_right(sink: Sink) -> None:
    """Updates of tasks lock their person's Account: colliding rows wait, and every status arrives."""
    person = Transaction(user_id=PERSON_USER_ID)
    numbers = range(60)
    await sink.fold(*(message(f"m{n}", f"p{n}", seconds=n, direction="outbound") for n in numbers))
    await sink.settle()
    account = sink.sandbox.org.insert("Account", {"Name": "Acme"}, person)
    for n in numbers:
        sink.sandbox.org.update("Contact", sink.id_of(f"p{n}"), {"AccountId": account.id}, person)
    sink.sandbox.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.05, seconds_max=0.1))
    # Whether two drains meet depends on the machine; somebody else's lock on the Account certainly does.
    sink.sandbox.faults.add(Fault(kind=FaultKind.LOCK, path="*/composite/sobjects", method="PATCH", times=1))
    other = sink.another_writer(StageHealth("other"), SyncSettings(drain_batch=10))
    sink.writer = sink.another_writer(sink.health, SyncSettings(drain_batch=10))
    await sink.fold(*(status(f"m{n}", "read", None, seconds=100 + n) for n in numbers))
    await sink.settle(other, within=60)
    assert [task["WA_Status__c"] for task in sink.tasks] == ["read"] * 60
    assert sink.sandbox.journal.violations == []
    # Rows that collided were sent again, so that the collisions really happened.
    sent = sum(
        call.inputs for call in sink.sandbox.journal.calls(path="*/composite/sobjects", method="PATCH")
    )
    assert sent > 60
