"""The stage for imports of old chats, on a real PostgreSQL: chunks in, events of people out."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from route_batches import events, produced, record, text, update

from connector.events import AccountEvent, Message, StatusChange
from connector.identity import history_stage
from connector.identity.history_stage import HistoryStage
from connector.identity.role import RouteStage
from connector.state.database import close_pool, open_pool
from connector.streams.codec import decode
from connector.streams.outcomes import Dead, Record
from connector.topics import CONVERSATION_EVENTS, DEAD_LETTERS, WHATSAPP_HISTORY

BUSINESS = "15550783881"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool such as the role has."""
    opened = await open_pool(database_url, size=6, application="test")
    yield opened
    await close_pool(opened)


@pytest.fixture
def stage(pool: asyncpg.Pool) -> HistoryStage:
    """The stage, alone."""
    return HistoryStage(pool, on_queued=lambda: None)


def past(wamid: str, sender: str, **more: Any) -> dict[str, Any]:
    """A message of the history, written in May 2026."""
    return {
        "id": wamid,
        "from": sender,
        "timestamp": "1777600000",
        "type": "text",
        "text": {"body": wamid},
    } | more


def chunk(*threads: tuple[str, list[Any]]) -> Record:
    """A record of a chunk with these threads."""
    content = {
        "metadata": {"phase": 0, "progress": 55},
        "threads": [{"id": customer, "messages": messages} for customer, messages in threads],
    }
    return update(content, kind="history", field="history")


async def test_a_chunk_becomes_messages_of_its_people(stage: HistoryStage) -> None:
    """Own times, both directions, what became of them, the customer of the thread; progress is account news."""
    outcomes = await stage.handle(
        [
            chunk(
                (
                    "16505551234",
                    [past("w.1", "16505551234"), past("w.2", BUSINESS, history_context={"status": "READ"})],
                ),
                ("966500000002", [past("w.3", BUSINESS)]),
            )
        ]
    )
    one, two, three, progress = events(outcomes)
    assert [(event.direction, event.person.wa_id, event.via) for event in (one, two, three)] == [
        ("inbound", "16505551234", "history"),
        ("outbound", "16505551234", "history"),
        ("outbound", "966500000002", "history"),
    ]
    assert two.reported_status == "read"
    assert one.person.contact_id == two.person.contact_id != three.person.contact_id
    assert f"{one.at:%Y-%m-%d}" == "2026-05-01"
    assert isinstance(progress, AccountEvent)
    assert progress.content["history"] == {"metadata": {"phase": 0, "progress": 55}}


async def test_a_large_chunk_is_routed_in_slices_and_its_offset_comes_last(
    stage: HistoryStage, pool: asyncpg.Pool
) -> None:
    """More messages than a transaction holds: every one once, in order, and the same again when repeated."""
    count = history_stage.SLICE * 2 + 7
    record_ = chunk(("16505551234", [past(f"w.{n}", "16505551234") for n in range(count)]))
    outcomes = await stage.handle([record_])
    assert [event.wamid for event in events(outcomes)[:-1]] == [f"w.{n}" for n in range(count)]
    assert await pool.fetchval("SELECT count(*) FROM identity.messages") == count
    assert await pool.fetchval("SELECT next_offset FROM identity.offsets") == record_.offset + 1
    again = await stage.handle([record_])
    assert [sent.value for sent in produced(again)] == [sent.value for sent in produced(outcomes)]


async def test_one_bad_message_is_a_dead_letter_and_can_be_redriven(stage: HistoryStage) -> None:
    """The rest of its chunk goes on; two bad ones have two ids; the kept bytes are a record of the same topic."""
    nobody = [past("w.1", BUSINESS) | {"from": ""}, past("w.2", "") | {"type": "image"}]
    outcomes = await stage.handle([chunk(("", nobody), ("16505551234", [past("w.3", "16505551234")]))])
    letters = [decode(DEAD_LETTERS, sent.value) for sent in produced(outcomes) if sent.topic is DEAD_LETTERS]
    assert [letter.cause for letter in letters] == ["no_person", "no_person"]
    assert letters[0].event_id != letters[1].event_id
    assert [decode(WHATSAPP_HISTORY, letter.original).update["id"] for letter in letters] == ["w.1", "w.2"]
    told = [
        decode(sent.topic, sent.value) for sent in produced(outcomes) if sent.topic is CONVERSATION_EVENTS
    ]
    assert [event.wamid for event in told] == ["w.3"]
    (again,) = await stage.handle([record(letters[0].original)])
    assert [sent.topic for sent in produced([again])] == [DEAD_LETTERS]


async def test_a_late_file_finds_the_person_of_its_placeholder(stage: HistoryStage) -> None:
    """A file that the business sent names no customer; the placeholder with its id does."""
    await stage.handle([chunk(("16505551234", [past("w.1", BUSINESS, type="media_placeholder")]))])
    late = update(
        {"id": "w.1", "from": BUSINESS, "timestamp": "1777600000", "type": "image", "image": {"id": "9"}},
        kind="history",
        field="history",
    )
    (event,) = events(await stage.handle([late]))
    assert isinstance(event, Message)
    assert event.media is not None
    assert event.direction == "outbound"


async def test_history_and_live_messages_are_one_person(stage: HistoryStage, pool: asyncpg.Pool) -> None:
    """Whoever wrote before the number was connected is the contact who writes now, and their statuses' too."""
    (old, _) = events(await stage.handle([chunk(("16505551234", [past("w.1", "16505551234")]))]))
    live = RouteStage(pool)
    (new,) = events(await live.handle([text("w.2", from_="16505551234", from_user_id="US.1")]))
    assert new.person.contact_id == old.person.contact_id
    (same,) = events(await live.handle([update(past("w.1", "16505551234"))]))
    assert same.person.contact_id == old.person.contact_id
    assert not isinstance(same, StatusChange)


async def test_what_is_no_record_of_the_topic_is_a_dead_letter(stage: HistoryStage) -> None:
    """Bytes that nobody can read do not stop the import."""
    (bad, good) = await stage.handle([record(b"\xff"), chunk(("49", []))])
    assert isinstance(bad, Dead)
    assert bad.cause == "undecodable"
    assert len(produced([good])) == 1
