"""The route stage on a real PostgreSQL: one batch in, events out, whatever is repeated or runs beside it."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
from route_batches import ARRIVAL, METADATA, contacts, events, produced, queued, record, status, text, update

from connector.errors import Transient
from connector.events import AccountEvent, ContactChanged, ContactMerged, Message, StatusChange
from connector.identity.role import RouteStage
from connector.state.database import close_pool, open_pool
from connector.streams.codec import EncodedRecord, decode
from connector.streams.outcomes import Dead, Record


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool such as a role has."""
    opened = await open_pool(database_url, size=6, application="test")
    yield opened
    await close_pool(opened)


@pytest.fixture
def stage(pool: asyncpg.Pool) -> RouteStage:
    """The stage, alone."""
    return RouteStage(pool)


async def test_a_message_becomes_an_event_of_its_contact(stage: RouteStage) -> None:
    """The event carries the person as shown, our id, Meta's time, and where its record lies; it is keyed by contact."""
    message = update(
        {
            "id": "wamid.1",
            "from": "16505551234",
            "from_user_id": "US.1",
            "timestamp": "1777600000",
            "type": "text",
            "text": {"body": "hi"},
        },
        contact={"wa_id": "16505551234", "user_id": "US.1", "profile": {"name": "Ada"}},
    )
    outcomes = await stage.handle([message])
    [event] = events(outcomes)
    assert isinstance(event, Message)
    assert (event.direction, event.wamid, event.text) == ("inbound", "wamid.1", "hi")
    assert (event.person.bsuid, event.person.phone, event.person.name) == ("US.1", "+16505551234", "Ada")
    assert event.at == datetime.fromtimestamp(1777600000, tz=UTC)
    assert (event.origin.offset, event.origin.received_at) == (message.offset, ARRIVAL)
    assert event.phone_number_id == METADATA["phone_number_id"]
    assert produced(outcomes)[0].key == str(event.person.contact_id).encode()


async def test_every_kind_of_update_finds_its_topic(stage: RouteStage) -> None:
    """Echoes are outbound messages to the customer; errors, history, preferences and account fields are account events."""
    outcomes = await stage.handle(
        [
            update(
                {"id": "wamid.E", "from": "15550783881", "to": "16505551234", "type": "text"}, kind="echo"
            ),
            status("wamid.E", recipient_id="16505551234"),
            update({"code": 131035}, kind="error"),
            update({"threads": []}, kind="history", field="history"),
            update({"value": "stop", "timestamp": 1777600000}, kind="unknown", field="user_preferences"),
            update({"event": "PARTNER_REMOVED"}, kind="account", field="account_update"),
            update({"a": 1}, kind="unknown", field="field_of_the_future"),
        ]
    )
    echo, delivered, *account = events(outcomes)
    assert isinstance(echo, Message)
    assert (echo.direction, echo.person.wa_id) == ("outbound", "16505551234")
    assert isinstance(delivered, StatusChange)
    assert delivered.person.contact_id == echo.person.contact_id
    assert all(isinstance(event, AccountEvent) for event in account)
    assert [event.field for event in account] == [
        "messages",
        "history",
        "user_preferences",
        "account_update",
        "field_of_the_future",
    ]
    assert account[2].content["value"] == "stop"
    assert account[2].at == datetime.fromtimestamp(1777600000, tz=UTC)
    assert {sent.key for sent in produced(outcomes)[2:]} == {b"102290129340398"}


async def test_bad_records_do_not_hold_up_the_others(stage: RouteStage) -> None:
    """Each gets a cause of its own, and the good ones beside them are routed."""
    outcomes = await stage.handle(
        [
            record(b"\xff not json"),
            record(None),
            text("wamid.1", from_="16505551234"),
            update("a string", kind="unknown"),
            update({"messages": 5}, kind="unknown"),
            update({"id": "wamid.2", "type": "text", "text": {"body": "from nobody"}}),
            update({"status": "sent"}, kind="status"),
            text("wamid.3", from_="16505551234"),
        ]
    )
    assert [outcome.cause if isinstance(outcome, Dead) else "" for outcome in outcomes] == [
        "undecodable",
        "undecodable",
        "",
        "unreadable_update",
        "unreadable_update",
        "no_person",
        "unreadable_update",
        "",
    ]
    assert [event.wamid for event in events([outcomes[2], outcomes[7]])] == ["wamid.1", "wamid.3"]


async def test_what_postgresql_refuses_in_text_is_routed(stage: RouteStage, pool: asyncpg.Pool) -> None:
    """NUL and half an emoji in ids, names and texts, and ids too long for an index, fail nobody's batch."""
    nasty = "\x00\ud83d"
    outcomes = await stage.handle(
        [
            update(
                {
                    "id": f"wamid.{nasty}" + "w" * 9000,
                    "from_user_id": f"US.1{nasty}" + "x" * 9000,
                    "type": nasty,
                    "text": {"body": nasty},
                    nasty: nasty,
                },
                contact={"profile": {"name": nasty}},
            ),
            text("wamid.1", from_user_id="US.2"),
        ]
    )
    assert len(events(outcomes)) == 2
    assert await pool.fetchval("SELECT count(*) FROM identity.messages") == 2


async def test_a_batch_repeated_gives_the_same_events_and_decides_nothing(
    stage: RouteStage, pool: asyncpg.Pool
) -> None:
    """After a crash between commit and acknowledgement: the same bytes are produced, nothing is queued again."""
    batch = [
        text("wamid.1", 1, from_="100200300"),
        text("wamid.2", 2, from_user_id="US.1"),
        text("wamid.3", 3, from_user_id="US.1", from_="100200300"),
        text("wamid.4", 4, from_user_id="US.2", from_="100200300"),
        status("wamid.1"),
    ]
    first = produced(await stage.handle(batch))
    decided = await queued(pool)
    state = await pool.fetch("SELECT * FROM identity.aliases ORDER BY kind, value")
    assert [(sent.key, sent.value) for sent in produced(await stage.handle(batch))] == [
        (sent.key, sent.value) for sent in first
    ]
    assert await queued(pool) == decided
    assert await pool.fetch("SELECT * FROM identity.aliases ORDER BY kind, value") == state
    assert [event.type for event in decided] == ["contact.merged", "contact.changed"]


async def test_decisions_about_people_are_queued_in_the_transaction(
    pool: asyncpg.Pool,
) -> None:
    """A merge names winner and loser, a lost phone its former holder; the relay is woken; a conflict is kept."""
    woken: list[bool] = []
    stage = RouteStage(pool, on_queued=lambda: woken.append(True))
    by_phone, by_bsuid = contacts(
        await stage.handle([text("wamid.1", 1, from_="100200300"), text("wamid.2", 2, from_user_id="US.1")])
    )
    assert not woken
    both, robber = contacts(
        await stage.handle(
            [
                text("wamid.3", 3, from_user_id="US.1", from_="100200300"),
                text("wamid.4", 4, from_user_id="US.2", from_="100200300"),
            ]
        )
    )
    assert woken == [True]
    merged, lost = await queued(pool)
    assert isinstance(merged, ContactMerged)
    assert (merged.person.contact_id, merged.loser_id, merged.reason) == (
        by_bsuid,
        by_phone,
        "phone_claimed",
    )
    assert isinstance(lost, ContactChanged)
    assert (lost.person.contact_id, lost.phone_lost, lost.person.wa_id) == (by_bsuid, True, "100200300")
    assert both == by_bsuid != robber
    conflict = await pool.fetchrow("SELECT * FROM identity.conflicts")
    assert conflict is not None
    assert (conflict["kept_contact"], conflict["other_contact"], conflict["decision"]) == (
        robber,
        by_bsuid,
        "moved",
    )


async def test_a_change_of_number_stays_on_the_timeline(stage: RouteStage, pool: asyncpg.Pool) -> None:
    """The notice is a message of the winner that shows the new phone, and is announced as a change and a merge."""
    old, new = contacts(
        await stage.handle(
            [
                text("wamid.1", 1, from_user_id="US.1", from_="16505551234"),
                text("wamid.2", 9, from_user_id="US.2", from_="12195555358"),
            ]
        )
    )
    notice = update(
        {
            "id": "wamid.S",
            "from": "16505551234",
            "timestamp": str(int((ARRIVAL - timedelta(hours=10) + timedelta(minutes=5)).timestamp())),
            "type": "system",
            "system": {
                "type": "user_changed_number",
                "body": "Ada changed from 16505551234 to 12195555358",
                "wa_id": "12195555358",
                "user_id": "US.2",
                "previous_user_id": "US.1",
            },
        }
    )
    [event] = events(await stage.handle([notice]))
    assert (event.message_type, event.text) == ("system", "Ada changed from 16505551234 to 12195555358")
    assert (event.person.contact_id, event.person.phone) == (old, "+12195555358")
    merged, changed = await queued(pool)
    assert (merged.person.contact_id, merged.loser_id, merged.reason) == (old, new, "user_changed_number")
    assert (changed.person.contact_id, changed.person.bsuid, changed.phone_lost) == (old, "US.2", False)
    after = await stage.handle(
        [
            text("wamid.3", 20, from_user_id="US.2"),
            status("wamid.2"),
            text("wamid.4", 30, from_="16505551234"),
        ]
    )
    latest, recorded, stranger = contacts(after)
    assert latest == old
    assert recorded == new, "a recorded message keeps its contact: redirects are for whoever writes"
    assert stranger not in {old, new}


async def test_a_status_of_nobody_makes_no_contact(stage: RouteStage, pool: asyncpg.Pool) -> None:
    """It is passed on with the aliases it showed, keyed by its message, and leaves no trace among the people."""
    outcomes = await stage.handle([status("wamid.9", recipient_id="16505551234", recipient_user_id="US.1")])
    [event] = events(outcomes)
    assert (event.person.contact_id, event.person.bsuid) == (None, "US.1")
    assert produced(outcomes)[0].key == b"wamid.9"
    assert await pool.fetchval("SELECT count(*) FROM identity.aliases") == 0
    assert await pool.fetchval("SELECT count(*) FROM identity.contacts") == 0
    assert await pool.fetchval("SELECT count(*) FROM identity.messages") == 0


async def test_the_offsets_of_a_batch_are_kept_with_it(stage: RouteStage, pool: asyncpg.Pool) -> None:
    """Dead and good records count alike, and an older batch read again does not move them back."""
    older, newer = text("wamid.1", from_="100200300"), record(b"not json")
    await stage.handle([newer])
    await stage.handle([older])
    assert await pool.fetchval("SELECT next_offset FROM identity.offsets") == newer.offset + 1


async def test_replicas_with_the_same_people_make_one_contact_each(pool: asyncpg.Pool) -> None:
    """Batches side by side, in different orders and overlapping, wait for each other and agree."""
    stages = [RouteStage(pool) for _ in range(3)]
    order = random.Random(7)
    messages = [
        text(f"wamid.{person}.{number}", number, from_user_id=f"US.{person}", from_=f"10020030{person:02}")
        for person in range(40)
        for number in range(3)
    ]
    batches = []
    for _ in range(12):
        batch = order.sample(messages, 60)
        batches.append(batch)

    async def work(stage: RouteStage, mine: list[list[Record]]) -> list[EncodedRecord]:
        sent: list[EncodedRecord] = []
        for batch in mine:
            while True:
                try:
                    sent.extend(produced(await stage.handle(batch)))
                    break
                except Transient:
                    continue
        return sent

    shares = [batches[index::3] for index in range(3)]
    results = await asyncio.gather(*map(work, stages, shares))
    owners: dict[str, set[UUID]] = {}
    for sent in itertools.chain.from_iterable(results):
        event = decode(sent.topic, sent.value)
        owners.setdefault(event.person.bsuid, set()).add(event.person.contact_id)
    assert {len(ids) for ids in owners.values()} == {1}
    assert await pool.fetchval("SELECT count(*) FROM identity.contacts") == len(owners)
    assert await pool.fetchval("SELECT count(*) FROM identity.aliases WHERE contact_id IS NULL") == 0
    assert await queued(pool) == []


async def test_a_deadlock_is_repeated(stage: RouteStage, pool: asyncpg.Pool) -> None:
    """The batch that PostgreSQL sacrifices reports `Transient`, has kept nothing, and passes when repeated."""
    batch = [text("wamid.1", 1, from_user_id="US.1"), text("wamid.2", 2, from_user_id="US.2")]
    await stage.handle(batch)
    again = [text("wamid.3", 3, from_user_id="US.1"), text("wamid.4", 4, from_user_id="US.2")]
    lock = "SELECT 1 FROM identity.aliases WHERE value = $1 FOR UPDATE"
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with pool.acquire() as other, other.transaction():
        # The stage is to be the one whose patience ends first.
        await other.execute("SET LOCAL deadlock_timeout = '60s'")
        await other.fetchval(lock, "US.2")
        working = asyncio.create_task(stage.handle(again))
        async with asyncio.timeout(10):
            while not await pool.fetchval(waiting):
                pass
        await other.fetchval(lock, "US.1")
        with pytest.raises(Transient):
            await working
    assert await pool.fetchval("SELECT count(*) FROM identity.messages") == 2
    assert len(events(await stage.handle(again))) == 2


async def test_a_database_that_is_away_is_waited_for() -> None:
    """No server behind the address: `Transient`, so that the batch stays unacknowledged and is tried again."""
    absent = await open_pool("postgresql://nobody@127.0.0.1:1/none", size=1, application="test")
    try:
        with pytest.raises(Transient):
            await RouteStage(absent).handle([text("wamid.1", from_="100200300")])
    finally:
        await close_pool(absent)
