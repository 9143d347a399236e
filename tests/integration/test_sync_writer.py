"""The sync role's two halves on a real PostgreSQL, against the HubSpot simulator."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import asyncpg
import pytest
from conversation_events import contact, merged, message, status
from pydantic import SecretStr

from connector.crm.hubspot.adapter import HubSpot
from connector.errors import Transient
from connector.events import ConversationEvent
from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.server import SandboxServer
from connector.settings import HubSpotSettings, SyncSettings
from connector.state.database import close_pool, open_pool
from connector.streams.codec import encode
from connector.streams.outcomes import Record
from connector.sync.agent import SyncStage
from connector.sync.wake import Wake
from connector.sync.writer import Writer
from connector.telemetry.health import StageHealth
from connector.topics import CONVERSATION_EVENTS


class Sink:
    """A sync role in this process: `fold` and `settle` are its two halves, in the test's own order."""

    def __init__(
        self, pool: asyncpg.Pool, crm: HubSpot, sandbox: SandboxServer, settings: SyncSettings
    ) -> None:
        self.crm = crm
        self.sandbox = sandbox
        self.pool = pool
        self.stop = asyncio.Event()
        wake = Wake()
        self.health = StageHealth("writer")
        self.writer = Writer(
            crm=crm,
            pool=pool,
            settings=settings,
            calls_in_flight=4,
            health=self.health,
            stop=self.stop,
            wake=wake,
        )
        self.stage = SyncStage("hubspot", pool=pool, settings=settings, wake=wake, waiting=lambda: 0)
        self._offset = 0

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

    async def settle(self, *also: asyncio.Task[None], within: float = 20) -> None:
        """Run the writer until nothing waits any more; `also` are others that end on `stop`."""
        running = asyncio.create_task(self.writer.run())
        try:
            async with asyncio.timeout(within):
                while await self.waiting():
                    await asyncio.sleep(0.02)
        finally:
            self.stop.set()
            await asyncio.gather(running, *also)
            self.stop.clear()

    async def waiting(self) -> int:
        async with self.pool.acquire() as connection:
            count: int = await connection.fetchval(
                "SELECT (SELECT count(*) FROM hubspot.activities WHERE desired_version > written_version AND "
                "problem IS NULL AND contact_id IS NOT NULL) + (SELECT count(*) FROM hubspot.contacts WHERE "
                "desired_version > written_version AND problem IS NULL AND redirect_to IS NULL) + "
                "(SELECT count(*) FROM hubspot.retirements WHERE settled_at IS NULL)"
            )
            return count

    @property
    def contacts(self) -> dict[str, dict[str, Any]]:
        """Our key → the CRM's contact."""
        return {
            item["properties"]["whatsapp_contact_key"]: item
            for item in self.sandbox.hubspot.state()["contacts"]
        }

    @property
    def activities(self) -> Sequence[dict[str, Any]]:
        records: Sequence[dict[str, Any]] = self.sandbox.hubspot.state()["communications"]
        return records

    def texts(self) -> list[str]:
        return sorted(
            item["properties"]["hs_communication_body"].split("<br>")[0] for item in self.activities
        )

    def doubled(self) -> dict[str, int]:
        names = Counter(
            item["properties"].get("whatsapp_message_id") or item["properties"]["hs_communication_body"]
            for item in self.activities
        )
        return {name: count for name, count in names.items() if count > 1}


@pytest.fixture(params=["unique", "plain"])
async def sink(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Sink]:
    """A sink on a fresh database and a fresh portal, in both modes of guarding activities."""
    config = HubSpotConfig(unique_communications=request.param == "unique", burst_limit=None)
    async with SandboxServer(hubspot=config) as sandbox:
        crm = HubSpot(
            HubSpotSettings(
                enabled=True,
                access_token=SecretStr("pat-na1-sandbox"),
                base_url=sandbox.hubspot_url,
                request_timeout=0.6,
            )
        )
        crm.request_timeout = 0.8
        report = await crm.check_setup(create=True)
        assert report.ready
        assert report.unique_activities is (request.param == "unique")
        pool = await open_pool(database_url, size=8, application="test")
        sink = Sink(pool, crm, sandbox, SyncSettings(lost_write_margin=0.5, stopped_retry=0.5))
        yield sink
        await close_pool(pool)
        await crm.close()


async def test_messages_become_one_contact_and_one_activity_each(sink: Sink) -> None:
    """A conversation becomes one contact whose timeline has each message once, on the contact."""
    await sink.fold(message("a", "ana"), message("b", "ana", seconds=5), message("c", "bo", seconds=3))
    await sink.settle()
    assert set(sink.contacts) == {str(contact("ana")), str(contact("bo"))}
    assert sink.texts() == ["text of a", "text of b", "text of c"]
    properties = sink.contacts[str(contact("ana"))]["properties"]
    assert properties["whatsapp_last_inbound_at"].startswith("2026-03-01T12:00:05")
    assert properties["whatsapp_window_open_until"].startswith("2026-03-02T12:00:05")
    on = {item["id"]: item["associations"]["contacts"] for item in sink.activities}
    assert Counter(place for places in on.values() for place in places) == {
        sink.contacts[str(contact("ana"))]["id"]: 2,
        sink.contacts[str(contact("bo"))]["id"]: 1,
    }


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
    calls = sink.sandbox.hubspot.journal.count()
    await sink.fold(*reversed(events))
    assert await sink.waiting() == 0
    await sink.settle()
    assert sink.sandbox.hubspot.journal.count() == calls


async def test_a_status_moves_forward_only(sink: Sink) -> None:
    """Statuses in any order end at the furthest one, on the one activity of their message."""
    await sink.fold(message("out", "ana", direction="outbound"), status("out", "read", "ana", seconds=9))
    await sink.settle()
    await sink.fold(status("out", "sent", "ana", seconds=2), status("out", "delivered", "ana", seconds=3))
    await sink.settle()
    assert [item["properties"]["whatsapp_status"] for item in sink.activities] == ["read"]


@pytest.mark.parametrize("kind", ["reset", "stall"])
async def test_a_create_whose_answer_is_lost_is_found_not_repeated(sink: Sink, kind: str) -> None:
    """HubSpot wrote and the answer was lost: the activities are looked up and none is doubled."""
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind(kind), when="after", path="*/communications/batch/create", times=1)
    )
    await sink.fold(*(message(f"m{number}", "ana", seconds=number) for number in range(5)))
    await sink.settle()
    assert len(sink.activities) == 5
    assert sink.doubled() == {}


async def test_a_look_up_that_is_not_answered_leaves_the_doubt(sink: Sink) -> None:
    """The create's answer is lost and the look-ups leave it out: it is neither repeated nor given up, and told later."""
    faults = sink.sandbox.hubspot.faults
    faults.add(Fault(kind=FaultKind.RESET, when="after", path="*/communications/batch/create", times=1))
    faults.add(Fault(kind=FaultKind.EMPTY_RESULTS, path="*/communications/batch/read", times=2))
    await sink.fold(message("a", "ana"))
    await sink.settle()
    assert sink.texts() == ["text of a"]
    assert len(list(sink.sandbox.hubspot.journal.calls(path="*/communications/batch/create"))) == 1


async def test_a_create_that_never_arrived_is_made_after_looking(sink: Sink) -> None:
    """The request was lost on its way: it is looked up in vain and then created, once."""
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind.RESET, when="before", path="*/communications/batch/create", times=1)
    )
    await sink.fold(message("a", "ana"), message("b", "bo"))
    await sink.settle()
    assert sink.texts() == ["text of a", "text of b"]


async def test_a_poison_message_spares_the_others(sink: Sink) -> None:
    """One message that HubSpot refuses becomes a dead letter; the other 99 are written."""
    sink.sandbox.hubspot.faults.add(Fault(kind=FaultKind.POISON, text="poison"))
    await sink.fold(
        *(
            message(f"m{number}", "ana", seconds=number, text="poison" if number == 42 else "fine")
            for number in range(100)
        )
    )
    await sink.settle()
    assert len(sink.activities) == 99
    async with sink.pool.acquire() as connection:
        letters = await connection.fetch("SELECT topic, value FROM shared.outgoing")
        problem = await connection.fetchval("SELECT problem FROM hubspot.activities WHERE wamid = 'm42'")
    assert [letter["topic"] for letter in letters] == ["dead.letters"]
    assert "rejected" in problem


async def test_a_merge_moves_the_timeline_and_removes_our_second_contact(sink: Sink) -> None:
    """Two contacts we made for one person become one: activities move, the left-over record is deleted."""
    await sink.fold(message("a", "old"), message("b", "new", seconds=5))
    await sink.settle()
    assert len(sink.contacts) == 2
    await sink.fold(merged("new", "old", seconds=9), message("c", "new", seconds=10))
    await sink.settle()
    assert set(sink.contacts) == {str(contact("old"))}
    record_id = sink.contacts[str(contact("old"))]["id"]
    assert [item["associations"]["contacts"] for item in sink.activities] == [[record_id]] * 3


async def test_a_merged_contact_whose_first_write_was_lost_leaves_no_record(sink: Sink) -> None:
    """HubSpot made the loser's contact, the answer was lost, then the merge came: the record is found and deleted."""
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind.RESET, when="after", path="*/contacts/batch/upsert", times=1)
    )
    await sink.fold(message("b", "new", seconds=5))
    await sink.writer.look_up()
    await sink.writer.drain()
    assert len(sink.contacts) == 1
    await sink.fold(message("a", "old"), merged("new", "old", seconds=9))
    await sink.settle()
    assert set(sink.contacts) == {str(contact("old"))}
    record_id = sink.contacts[str(contact("old"))]["id"]
    assert [item["associations"]["contacts"] for item in sink.activities] == [[record_id]] * 2


async def test_a_contact_whose_creation_was_never_answered_is_still_ours(sink: Sink) -> None:
    """The first answer was lost, the repeat says "updated": a later merge deletes the record all the same."""
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind.RESET, when="after", path="*/contacts/batch/upsert", times=1)
    )
    await sink.fold(message("b", "new", seconds=5))
    await sink.settle()
    await sink.fold(message("a", "old"), merged("new", "old", seconds=9))
    await sink.settle()
    assert set(sink.contacts) == {str(contact("old"))}


async def test_a_credential_that_is_refused_stops_the_line_and_resumes(sink: Sink) -> None:
    """A 401 stops the writer with the command to run; once accepted again, what waits is written."""
    number = sink.sandbox.hubspot.faults.add(Fault(kind=FaultKind.STATUS, status=401))
    await sink.fold(message("a", "ana"))
    running = asyncio.create_task(sink.writer.run())
    async with asyncio.timeout(10):
        while str(sink.health.state) != "stopped_line":
            await asyncio.sleep(0.02)
    assert "CONNECTOR_HUBSPOT__ACCESS_TOKEN" in sink.health.snapshot()["stopped"]["advice"]
    sink.sandbox.hubspot.faults.remove(number)
    async with asyncio.timeout(20):
        while await sink.waiting():
            await asyncio.sleep(0.02)
    sink.stop.set()
    await running
    assert sink.texts() == ["text of a"]


async def test_two_writers_never_write_one_contact_at_once(sink: Sink) -> None:
    """Two processes' writers share the work: no overlapping writes of one contact, nothing doubled."""
    sink.sandbox.hubspot.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.02, seconds_max=0.08))
    other = Writer(
        crm=sink.crm,
        pool=sink.pool,
        settings=SyncSettings(drain_batch=30),
        calls_in_flight=4,
        health=StageHealth("other"),
        stop=sink.stop,
        wake=Wake(),
    )
    for round_number in range(10):
        await sink.fold(
            *(
                message(f"m{round_number}-{number}", f"p{number % 7}", seconds=round_number * 40 + number)
                for number in range(40)
            )
        )
    running = asyncio.create_task(other.run())
    await sink.settle(running, within=40)
    assert len(sink.activities) == 400
    assert sink.doubled() == {}
    assert sink.sandbox.hubspot.journal.violations == []


async def test_too_many_waiting_items_stop_the_fold(sink: Sink) -> None:
    """Past the bound the agent acknowledges nothing, and says that it waits."""
    stage = SyncStage(
        "hubspot",
        pool=sink.pool,
        settings=SyncSettings(max_waiting=10),
        wake=Wake(),
        waiting=lambda: 11,
    )
    with pytest.raises(Transient, match="11 items wait"):
        await stage.handle([])


async def test_a_merge_during_a_drain_doubles_nothing(sink: Sink) -> None:
    """The loser's contact is being written when its messages go to the winner: each is created once."""
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind.LATENCY, path="*/contacts/batch/upsert", seconds=0.3, times=1)
    )
    sink.sandbox.hubspot.faults.add(
        Fault(kind=FaultKind.LATENCY, path="*/communications/batch/create", seconds=0.3, times=1)
    )
    await sink.fold(*(message(f"m{number}", "new", seconds=number) for number in range(5)))
    await sink.writer.look_up()
    first = asyncio.create_task(sink.writer.drain())
    await asyncio.sleep(0.1)  # its contact call is under way
    await sink.fold(merged("new", "old", seconds=9))
    second = asyncio.create_task(sink.writer.drain())
    await asyncio.gather(first, second)
    await sink.settle()
    assert sink.doubled() == {}
    assert len(sink.activities) == 5
    assert set(sink.contacts) == {str(contact("old"))}
    assert sink.sandbox.hubspot.journal.violations == []


async def test_a_lost_create_of_a_long_drain_is_left_alone_for_as_long_as_any(sink: Sink) -> None:
    """The fourth call of a drain is lost: the wait before it is looked up counts from it, not from the first call."""
    path = "*/communications/batch/create"
    sink.sandbox.hubspot.faults.add(Fault(kind=FaultKind.LATENCY, path=path, seconds=0.3, times=3))
    # It lands after the request timeout, and before timeout + margin have passed.
    sink.sandbox.hubspot.faults.add(Fault(kind=FaultKind.LATENCY, path=path, seconds=1.2, skip=3, times=1))
    await sink.fold(*(message(f"m{number}", "ana", seconds=number) for number in range(400)))
    await sink.settle()
    assert len(sink.activities) == 400
    assert sink.doubled() == {}
    lost = list(sink.sandbox.hubspot.journal.calls(path=path))[3]
    assert lost.client_left
    looks = sink.sandbox.hubspot.journal.calls(path="*/communications/batch/read", since=lost.number)
    if not sink.crm.unique_activities:
        assert next(looks).started_at - lost.started_at >= 1.3
