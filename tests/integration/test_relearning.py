"""Identity tables that lost what they decided: what the log tells them, and what is routed again afterwards."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest
from route_batches import text, update

from connector.events import ContactChanged, ContactMerged, ConversationEvent
from connector.identity.batches import Guard
from connector.identity.relearning import learn
from connector.identity.role import RouteStage
from connector.state.database import Connection, close_pool, open_pool
from connector.streams.codec import decode
from connector.streams.outcomes import Done, Record
from connector.topics import CONVERSATION_EVENTS

_TABLES = "contacts, identity.aliases, identity.messages, identity.parked_statuses, identity.offsets"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database_url, size=4, application="test")
    yield opened
    await close_pool(opened)


async def _route(pool: asyncpg.Pool, records: Sequence[Record], *, guard: Guard) -> list[bytes]:
    """The values that go to `conversation.events`: made of the records, then queued."""
    values = []
    for outcome in await RouteStage(pool, guard=guard).handle(records):
        assert isinstance(outcome, Done)
        values += [one.value for one in outcome.produce]
    async with pool.acquire() as connection:
        rows = await connection.fetch("DELETE FROM shared.outgoing RETURNING id, value")
    return values + [row["value"] for row in sorted(rows, key=lambda row: row["id"])]


async def _catching_up(_: Connection) -> bool:
    return True


async def _whole(_: Connection) -> bool:
    return False


def _events(values: Sequence[bytes]) -> list[ConversationEvent]:
    return [decode(CONVERSATION_EVENTS, value) for value in values]


async def _lose_and_learn(pool: asyncpg.Pool, values: Sequence[bytes]) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(f"TRUNCATE identity.{_TABLES}")
        await learn(
            connection,
            [
                Record(topic="conversation.events", partition=0, offset=number, key=b"k", value=value)
                for number, value in enumerate(values)
            ],
        )


async def test_everybody_keeps_their_contact_when_the_updates_come_in_another_order(
    pool: asyncpg.Pool,
) -> None:
    """First seen by phone, then claimed by a user id: read the other way round, it is still the phone's contact."""
    first, second = text("wamid.1", 0, from_="100"), text("wamid.2", 1, from_="100", from_user_id="US.1")
    said = await _route(pool, [first, second], guard=_whole)
    await _lose_and_learn(pool, said)
    again = await _route(pool, [second, first], guard=_catching_up)
    assert {event.person.contact_id for event in _events(again)} == {
        event.person.contact_id for event in _events(said)
    }
    later = await _route(pool, [text("wamid.3", 2, from_user_id="US.1")], guard=_whole)
    assert _events(later)[0].person.contact_id == _events(said)[0].person.contact_id


async def test_a_merge_that_was_never_announced_is_announced_when_its_message_is_read_again(
    pool: asyncpg.Pool,
) -> None:
    """The relay had not sent it when the database was lost: the messages are on the log, the merge is not."""
    records = [
        text("wamid.1", 0, from_="100"),
        text("wamid.2", 1, from_user_id="US.1"),
        text("wamid.3", 2, from_="100", from_user_id="US.1"),
    ]
    said = await _route(pool, records, guard=_whole)
    merges = [event for event in _events(said) if isinstance(event, ContactMerged)]
    sent = [value for value in said if not isinstance(decode(CONVERSATION_EVENTS, value), ContactMerged)]
    assert len(merges) == 1
    await _lose_and_learn(pool, sent)
    again = [
        event
        for event in _events(await _route(pool, records, guard=_catching_up))
        if isinstance(event, ContactMerged)
    ]
    assert [event.event_id for event in again] == [merges[0].event_id]


@pytest.mark.parametrize("timestamp", ["1777604400", "1777600000"], ids=["in time", "older than the message"])
@pytest.mark.parametrize("sent", [True, False], ids=["announced", "never announced"])
async def test_a_change_of_number_is_learned_or_decided_again(
    pool: asyncpg.Pool, timestamp: str, *, sent: bool
) -> None:
    """The old number is given up, the new one is theirs; what was never sent comes out, by the same ids."""
    change = update(
        {
            "id": "wamid.9",
            "timestamp": timestamp,
            "type": "system",
            "from": "100",
            "system": {"type": "user_changed_number", "wa_id": "200", "body": "changed"},
        }
    )
    records = [text("wamid.1", 0, from_="100"), change, text("wamid.2", 600, from_="200")]
    said = await _route(pool, records, guard=_whole)
    announced = [
        event for event in _events(said) if isinstance(event, ContactChanged) and not event.phone_lost
    ]
    assert len(announced) == 1
    kept = [
        value for value in said if sent or not isinstance(decode(CONVERSATION_EVENTS, value), ContactChanged)
    ]
    await _lose_and_learn(pool, kept)
    again = _events(await _route(pool, records, guard=_catching_up))
    if not sent:
        assert {event.event_id for event in announced} <= {event.event_id for event in again}
    assert not [event for event in again if isinstance(event, ContactMerged)]
    assert {event.person.contact_id for event in again} == {
        event.person.contact_id for event in _events(said)
    }
    async with pool.acquire() as connection:
        released = await connection.fetchval(
            "SELECT released_at IS NOT NULL FROM identity.aliases WHERE value = '100'"
        )
    assert released is (timestamp == "1777604400")
