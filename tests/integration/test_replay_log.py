"""Replays that read a real Kafka: what the tables lack comes back from the log, by today's code, and only that."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from conversation_events import contact, merged, message, status
from operator_shell import Operator
from replays import HandWork, Replays
from sink_world import SinkWorld, sink_world

from connector.errors import Rejected
from connector.events import ConversationEvent
from connector.recovery.replay.selection import Point
from connector.settings import KafkaSettings
from connector.streams.codec import decode, encode
from connector.streams.log_view import log_reader, read_spans
from connector.streams.producer import DurableProducer
from connector.streams.topic_admin import create_topics
from connector.topics import CONVERSATION_EVENTS, OPERATOR_ACTIONS, Topic

EVENTS: Sequence[ConversationEvent] = (
    *(
        message(
            f"wamid.{who}.{number}", who, seconds=number, shown={"name": who, "wa_id": f"1555123000{place}"}
        )
        for place, who in enumerate(("ann", "bob"))
        for number in range(2)
    ),
    message("wamid.out", "ann", seconds=5, direction="outbound"),
    status("wamid.out", "read", "ann", seconds=6),
    message("wamid.new", "ann again", seconds=7, shown={"name": "Ann", "bsuid": "US.1"}),
    merged("ann again", "ann", seconds=8, bsuid="US.1"),
)


@pytest.fixture
async def kafka_log(bootstrap_servers: str, topic_prefix: str) -> KafkaSettings:
    """A topic of two partitions that holds EVENTS."""
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, topic_prefix=topic_prefix, partitions=2)
    await create_topics(settings, replication=1, topics=[CONVERSATION_EVENTS])
    producer = DurableProducer(settings, client="test")
    await producer.send_all(
        [
            encode(CONVERSATION_EVENTS, key=str(event.person.contact_id), value=event, origin="test")
            for event in EVENTS
        ],
        timeout=20,
    )
    await producer.stop()
    return settings


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[SinkWorld]:
    """A HubSpot sink that has heard of nothing yet."""
    async with sink_world("hubspot", database_url) as opened:
        yield opened


async def test_a_new_crm_is_filled_from_the_beginning(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings
) -> None:
    """Merges come first and are said to; in the end it reads as after the live stream, and the next plan is empty."""
    replays, hands = Replays(world, database_url, kafka=kafka_log), HandWork(world)
    plan = await replays.plan(topic="conversation.events")
    (summary,) = plan.summaries
    assert (summary.merges, summary.create_contacts, summary.add_activities) == (1, 1, 2)
    assert list(summary.reasons) == ["belong to people whom this plan merges; plan again once it is applied"]
    assert (await replays.apply(plan)).written == 4
    plan = await replays.plan(topic="conversation.events")
    assert (await replays.apply(plan)).open == 0
    assert (await replays.plan(topic="conversation.events")).summaries[0].acts == 0
    replayed = hands.picture()
    assert len(replayed["messages"]) == 6

    await world.fold(*EVENTS)
    assert await world.fetch("SELECT 1 FROM {sink}.activities WHERE desired_version > written_version") == []
    await world.settle()
    assert hands.picture() == replayed


async def test_what_the_tables_lost_is_learned_again_without_a_write(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings
) -> None:
    """A row, a status and a name that are in the CRM and on the log, and in the tables no more, cost no CRM write."""
    replays = Replays(world, database_url, kafka=kafka_log)
    await world.fold(*EVENTS)
    await world.settle()
    query = "SELECT wamid AS key, facts, record_id FROM {sink}.activities UNION ALL SELECT contact_id::text, facts, record_id FROM {sink}.contacts ORDER BY 1"
    before = await world.fetch(query)
    await world.fetch("DELETE FROM {sink}.activities WHERE wamid = 'wamid.bob.0'")
    await world.fetch("UPDATE {sink}.activities SET facts = facts - 'status' WHERE wamid = 'wamid.out'")
    await world.fetch(
        "UPDATE {sink}.contacts SET facts = facts - 'name' WHERE contact_id = $1", contact("bob")
    )
    plan = await replays.plan(topic="conversation.events")
    assert {(item.key, item.act) for item in await replays.items(plan)} == {
        ("wamid.bob.0", "learn"),
        ("wamid.out", "learn"),
        (str(contact("bob")), "learn"),
    }
    start = replays.last_call
    await replays.apply(plan)
    assert replays.written(since=start) == set()
    assert await world.fetch(query) == before


async def test_a_slice_is_about_what_it_names(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings
) -> None:
    """By contact, by type, by offset: other people and messages are not looked at."""
    replays = Replays(world, database_url, kafka=kafka_log)
    topic = "conversation.events"
    plan = await replays.plan(topic=topic, contacts=frozenset({contact("bob")}))
    keys = {item.key for item in await replays.items(plan)}
    assert keys == {str(contact("bob")), "wamid.bob.0", "wamid.bob.1"}
    plan = await replays.plan(topic=topic, event_types=frozenset({"status"}))
    assert {item.key for item in await replays.items(plan)} == {str(contact("ann")), "wamid.out"}
    plan = await replays.plan(topic=topic, begin=Point(offsets={0: 0}), end=Point(offsets={0: 1}))
    assert plan.summary["records"] <= 1


async def test_a_range_that_the_log_does_not_have_is_said_so(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings
) -> None:
    """The future, a partition that is none, an end before the beginning, and what retention took."""
    replays = Replays(world, database_url, kafka=kafka_log)
    now = datetime.now(UTC)

    async def refused(**selection: Any) -> Rejected:
        with pytest.raises(Rejected) as raised:
            await replays.plan(topic="conversation.events", **selection)
        return raised.value

    assert "is in the future" in (await refused(begin=Point(at=now + timedelta(days=1)))).message
    assert "has no partition 7" in (await refused(begin=Point(offsets={7: 0}))).message
    assert "has no record from" in (await refused(end=Point(at=now - timedelta(days=1)))).message
    async with kafka_admin(kafka_log) as admin:
        full = CONVERSATION_EVENTS.full_name(kafka_log.topic_prefix)
        places = {TopicPartition(full, 0): RecordsToDelete(before_offset=1)}
        await admin.delete_records(places)
    gap = await refused(begin=Point(offsets={0: 0}))
    assert (gap.cause, "The log begins at" in gap.message) == ("retention_gap", True)
    gap = await refused(begin=Point(at=now - timedelta(days=1)))
    assert (gap.cause, "leave --from and --to out" in gap.advice) == ("retention_gap", True)
    plan = await replays.plan(topic="conversation.events")
    assert plan.summary["log_begins"]


@asynccontextmanager
async def kafka_admin(settings: KafkaSettings) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def test_an_operator_replays_by_command_and_it_is_recorded(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plan, look, apply with a reason: who, when and why lie on operator.actions before and after; then nothing is left."""
    operator = Operator(
        monkeypatch,
        database__url=database_url,
        kafka__bootstrap_servers=kafka_log.bootstrap_servers,
        kafka__topic_prefix=kafka_log.topic_prefix,
        hubspot__enabled="true",
    )
    await create_topics(kafka_log, replication=1, topics=[OPERATOR_ACTIONS])
    code, _, err = await operator.run("replay", "--contact", "+15550009999")
    assert (code, "Nobody is known as +15550009999" in err) == (1, True)
    code, out, err = await operator.run("replay", "--from", "0:0,1:0", "--csv")
    assert (code, out.splitlines()[0]) == (0, "sink,act,kind,key,fields,reason,state"), err
    plan = await operator.json("replay")
    assert plan["summary"]["sinks"][0]["merges"] == 1
    code, _, err = await operator.run("replay", "--apply", plan["hash"])
    assert (code, "--reason" in err) == (2, True)
    writing = asyncio.create_task(world.writer.run())
    code, out, err = await operator.run(
        "replay", "--apply", plan["hash"], "--reason", "a new CRM", "--by", "ana"
    )
    assert (code, "nothing was sent" in out) == (0, True), err
    world.stop.set()
    await writing
    assert [plan["state"] for plan in await operator.json("replay", "--list")] == ["done"]
    told = [decode(OPERATOR_ACTIONS, value) for value in await on_topic(kafka_log, OPERATOR_ACTIONS)]
    assert [(action.phase, action.who, action.why, action.subject) for action in told] == [
        ("began", "ana", "a new CRM", plan["hash"]),
        ("finished", "ana", "a new CRM", plan["hash"]),
    ]
    assert told[-1].details["written"] == 4


async def on_topic(settings: KafkaSettings, topic: Topic) -> list[bytes]:
    """The values of a topic, oldest first."""
    spans = await read_spans(settings, {topic.full_name(settings.topic_prefix): None})
    found: list[tuple[int, bytes]] = []
    async with log_reader(settings, group=None, client="test") as consumer:
        for place, span in spans.items():
            partition = TopicPartition(*place)
            consumer.assign([partition])
            consumer.seek(partition, span.begin)
            while span.begin < span.end and await consumer.position(partition) < span.end:
                records = (await consumer.getmany(partition, timeout_ms=1000)).get(partition, [])
                found += [(record.timestamp, record.value) for record in records]
    return [value for _, value in sorted(found, key=lambda item: item[0])]


async def test_an_operator_reconciles_by_command(
    world: SinkWorld, database_url: str, kafka_log: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1 with drift, 0 without; a repair says each thing it did, and both ends of it are recorded."""
    operator = Operator(
        monkeypatch,
        database__url=database_url,
        kafka__bootstrap_servers=kafka_log.bootstrap_servers,
        kafka__topic_prefix=kafka_log.topic_prefix,
        hubspot__enabled="true",
        hubspot__base_url=world.people.url,
        hubspot__access_token="pat-na1-sandbox",
    )
    await create_topics(kafka_log, replication=1, topics=[OPERATOR_ACTIONS])
    await world.fold(*EVENTS)
    await world.settle()
    found = await operator.json("reconcile", "--from", "1h")
    (report,) = found["sinks"]
    assert (report["drift"], report["counts"]["activity"]) == ([], {"log": 6, "tables": 6, "crm": 6})
    assert (await operator.run("reconcile", "--from", "0:0"))[0] == 2  # a CRM knows no offsets
    hands = HandWork(world)
    rows = await world.fetch("SELECT record_id FROM {sink}.activities WHERE wamid = 'wamid.bob.0'")
    hands.delete_activity(rows[0]["record_id"])
    copy = hands.copy_contact(hands.contacts()[0])
    code, out, err = await operator.run("reconcile")
    assert (code, "1 missing, 1 doubled, 0 different, 0 orphaned" in out, "wamid.bob.0" in out) == (
        1,
        True,
        True,
    )
    writing = asyncio.create_task(world.writer.run())
    code, out, err = await operator.run(
        "reconcile", "--repair", "--reason", "somebody tidied up", "--by", "ana"
    )
    assert code == 0, (out, err)
    assert "hubspot: activity wamid.bob.0: made anew" in out
    assert f"hubspot: doubled contact {copy}: flagged (somebody made it" in out
    world.stop.set()
    await writing
    assert (await operator.run("reconcile"))[0] == 0
    assert [item["record_id"] for item in await operator.json("reconcile", "--flagged")] == [copy]
    told = [decode(OPERATOR_ACTIONS, value) for value in await on_topic(kafka_log, OPERATOR_ACTIONS)]
    assert [(action.phase, action.command, action.who) for action in told] == [
        ("began", "reconcile", "ana"),
        ("finished", "reconcile", "ana"),
    ]
