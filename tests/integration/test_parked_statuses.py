"""Statuses that are routed before anything tells whose they are, on a real PostgreSQL."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from route_batches import ARRIVAL, contacts, events, produced, queued, status, text, update

from connector.errors import Transient
from connector.identity.directory import Alias, contact_id_for
from connector.identity.role import RouteStage
from connector.identity.tending import tend_once
from connector.state.database import close_pool, open_pool
from connector.streams.outcomes import Record

PHONE, BSUID = "16505551234", "US.1"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A pool such as a role has."""
    opened = await open_pool(database_url, size=6, application="test")
    yield opened
    await close_pool(opened)


def echo(wamid: str, **people: str) -> Record:
    """What the business wrote in its app; `people` are Meta's keys: to, to_user_id."""
    return update({"id": wamid, "from": "15550783881", "type": "text", **people}, kind="echo")


def change_of_number(*, old: str, new: str, hours_ago: int = 5) -> Record:
    """Meta's notice that a person has another number now."""
    at = ARRIVAL - timedelta(hours=hours_ago)
    return update(
        {
            "id": f"wamid.from-{old}",
            "from": old,
            "timestamp": str(int(at.timestamp())),
            "type": "system",
            "system": {"type": "user_changed_number", "body": "changed", "wa_id": new},
        }
    )


async def parked(pool: asyncpg.Pool) -> list[str]:
    """The wamids that wait."""
    rows = await pool.fetch("SELECT wamid FROM identity.parked_statuses ORDER BY wamid, event_id")
    return [row["wamid"] for row in rows]


async def leftovers(pool: asyncpg.Pool) -> int:
    """Rows of those that are inserted and deleted within a transaction."""
    count: int = await pool.fetchval(
        "SELECT (SELECT count(*) FROM identity.aliases WHERE contact_id IS NULL)"
        " + (SELECT count(*) FROM identity.messages WHERE first_event_id = '')"
    )
    return count


async def handled(stage: RouteStage, batch: Sequence[Record]) -> list[Any]:
    """The events of a batch, repeated as often as the stage asks for it."""
    while True:
        try:
            return events(await stage.handle(batch))
        except Transient:
            continue


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: text("wamid.M", from_=PHONE), id="phone"),
        pytest.param(lambda: text("wamid.M", from_user_id=BSUID), id="bsuid"),
        pytest.param(lambda: echo("wamid.S", to="12195555358"), id="message"),
        pytest.param(lambda: change_of_number(old="12195555358", new=PHONE), id="change-of-number"),
    ],
)
async def test_statuses_find_their_person_later(pool: asyncpg.Pool, answer: Any) -> None:
    """The same events, now with the contact and keyed by it, are queued once; the relay is woken; nothing waits."""
    woken: list[bool] = []
    stage = RouteStage(pool, on_queued=lambda: woken.append(True))
    before = events(
        await stage.handle(
            [
                status("wamid.S", word, recipient_id=PHONE, recipient_user_id=BSUID)
                for word in ("delivered", "sent", "half an emoji \ud83d and \x00")
            ]
        )
    )
    assert [event.person.contact_id for event in before] == [None] * 3
    assert await parked(pool) == ["wamid.S"] * 3
    assert not woken
    first_update = answer()
    [contact_id] = contacts(await stage.handle([first_update]))
    after = [event for event in await queued(pool) if event.type == "status"]
    assert {event.person.contact_id for event in after} == {contact_id}
    ownerless = {event.event_id: event for event in before}
    for event in after:
        shown = event.person.model_copy(update={"contact_id": None})
        assert event.model_copy(update={"person": shown}) == ownerless.pop(event.event_id)
    assert not ownerless
    assert {row["key"] for row in await pool.fetch("SELECT key FROM shared.outgoing")} == {
        str(contact_id).encode()
    }
    assert woken == [True]
    assert await parked(pool) == []
    assert await leftovers(pool) == 0
    assert contacts(await stage.handle([first_update])) == [contact_id]
    assert [event for event in await queued(pool) if event.type == "status"] == after


async def test_a_batch_that_answers_itself_parks_nothing(pool: asyncpg.Pool) -> None:
    """Statuses before their person's message in one batch are produced with the contact, the same when repeated."""
    stage = RouteStage(pool)
    batch = [
        status("wamid.S", "read", recipient_user_id=BSUID),
        status("wamid.S", "failed", recipient_id=PHONE),
        text("wamid.M", from_user_id=BSUID, from_=PHONE),
    ]
    first = produced(await stage.handle(batch))
    assert len({sent.key for sent in first}) == 1
    assert await parked(pool) == []
    assert await queued(pool) == []
    assert [sent.value for sent in produced(await stage.handle(batch))] == [sent.value for sent in first]


async def test_people_who_are_known_have_nothing_parked(pool: asyncpg.Pool) -> None:
    """By message, BSUID or phone: the status has its contact at once, also when it shows an alias nobody has met."""
    stage = RouteStage(pool)
    [contact_id, *_] = contacts(
        await stage.handle([text("wamid.M", from_user_id=BSUID, from_=PHONE), echo("wamid.E", to=PHONE)])
    )
    outcomes = await stage.handle(
        [
            status("wamid.E"),
            status("wamid.E", recipient_id="12195555358"),
            status("wamid.1", recipient_user_id=BSUID, recipient_id="12195555358"),
            status("wamid.2", recipient_user_id="US.2", recipient_id=PHONE),
        ]
    )
    assert contacts(outcomes) == [contact_id] * 4
    assert await parked(pool) == []
    assert await queued(pool) == []


async def test_a_status_that_waits_is_kept_once(pool: asyncpg.Pool) -> None:
    """Twice in a batch and once more later: one row, one event."""
    stage = RouteStage(pool)
    early = status("wamid.S", recipient_id=PHONE)
    await stage.handle([early, early])
    await stage.handle([early])
    assert await parked(pool) == ["wamid.S"]
    await stage.handle([text("wamid.M", from_=PHONE)])
    assert len(await queued(pool)) == 1


async def test_a_status_redelivered_after_it_was_sent_on_is_not_parked_again(pool: asyncpg.Pool) -> None:
    """It has its contact now, under the same event id, and nothing is queued for it."""
    stage = RouteStage(pool)
    early = status("wamid.S", recipient_id=PHONE)
    await stage.handle([early])
    await stage.handle([text("wamid.M", from_=PHONE)])
    [sent_on] = await queued(pool)
    assert events(await stage.handle([early])) == [sent_on]
    assert await parked(pool) == []
    assert await queued(pool) == [sent_on]


async def test_a_status_redelivered_beside_its_answer_is_sent_once(pool: asyncpg.Pool) -> None:
    """A crash after the first commit, then a larger batch: the record's own event is enough."""
    stage = RouteStage(pool)
    early = status("wamid.S", recipient_id=PHONE)
    await stage.handle([early])
    by_status, by_message = contacts(await stage.handle([early, text("wamid.M", from_=PHONE)]))
    assert by_status == by_message
    assert await parked(pool) == []
    assert await queued(pool) == []


async def test_statuses_of_others_go_on_waiting(pool: asyncpg.Pool) -> None:
    """A BSUID and a phone that look alike are two names, and a person's answer is theirs alone."""
    stage = RouteStage(pool)
    await stage.handle(
        [status("wamid.1", recipient_user_id=PHONE), status("wamid.2", recipient_id="12195555358")]
    )
    await stage.handle([text("wamid.M", from_=PHONE)])
    assert await parked(pool) == ["wamid.1", "wamid.2"]
    assert await queued(pool) == []


async def test_a_phone_given_up_in_the_batch_leaves_the_status_waiting(pool: asyncpg.Pool) -> None:
    """The batch is not asked to repeat, though the phone had an owner when it began; later rulings are untouched."""
    stage = RouteStage(pool)
    [former] = contacts(await stage.handle([text("wamid.1", from_=PHONE)]))
    outcomes = await stage.handle(
        [
            change_of_number(old=PHONE, new="12195555358"),
            status("wamid.S", recipient_user_id=BSUID, recipient_id=PHONE),
        ]
    )
    assert contacts(outcomes) == [former, None]
    assert await parked(pool) == ["wamid.S"]
    [stranger] = contacts(await stage.handle([text("wamid.2", from_user_id=BSUID)]))
    assert stranger == contact_id_for(Alias("bsuid", BSUID), made=0)
    assert [(event.type, event.person.contact_id) for event in await queued(pool)] == [
        ("contact.changed", former),
        ("status", stranger),
    ]


async def test_replicas_leave_no_status_behind(pool: asyncpg.Pool) -> None:
    """Statuses and what answers them, in stages side by side: each status gets its one contact, and none waits."""
    order = random.Random(11)
    early: list[Record] = []
    answers: list[Record] = []
    for person in range(120):
        phone, bsuid = f"1650555{person:04}", f"US.{person}"
        early.append(status(f"wamid.{person}", "delivered", recipient_id=phone, recipient_user_id=bsuid))
        early.append(status(f"wamid.{person}", "failed", recipient_id=phone))
        answers.append(text(f"wamid.M{person}", from_=phone, from_user_id=bsuid))
        # An answer by the message alone: what the echo and the status show of the person differs.
        early.append(status(f"wamid.E{person}", recipient_id=f"1219555{person:04}"))
        answers.append(echo(f"wamid.E{person}", to_user_id=f"US.E{person}"))
    order.shuffle(early)
    order.shuffle(answers)

    async def work(batches: list[Sequence[Record]]) -> list[Any]:
        stage = RouteStage(pool)
        return [event for batch in batches for event in await handled(stage, batch)]

    def split(records: Sequence[Record], size: int) -> list[Sequence[Record]]:
        return [records[start : start + size] for start in range(0, len(records), size)]

    sent = await asyncio.gather(
        work(split(early[::2], 15)), work(split(early[1::2], 15)), work(split(answers, 20))
    )
    owned: dict[str, list[UUID]] = {}
    for event in itertools.chain(*sent, await queued(pool)):
        if event.type == "status" and event.person.contact_id is not None:
            owned.setdefault(event.event_id, []).append(event.person.contact_id)
    assert await parked(pool) == []
    assert len(owned) == len(early)
    assert {len(ids) for ids in owned.values()} == {1}
    assert await leftovers(pool) == 0


async def test_two_answers_at_once_send_a_status_on_once(pool: asyncpg.Pool) -> None:
    """One replica learns the BSUID, another the phone, and both reach the parked status before either commits."""
    stages = RouteStage(pool), RouteStage(pool)
    await stages[0].handle([status("wamid.S", recipient_id=PHONE, recipient_user_id=BSUID)])
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM identity.parked_statuses FOR UPDATE")
        answers = [
            asyncio.create_task(handled(stages[0], [text("wamid.P", from_=PHONE)])),
            asyncio.create_task(handled(stages[1], [text("wamid.B", from_user_id=BSUID)])),
        ]
        async with asyncio.timeout(10):
            while await pool.fetchval(waiting) < len(answers):
                pass
    await asyncio.gather(*answers)
    assert len(await queued(pool)) == 1
    assert await parked(pool) == []


async def test_a_status_whose_message_never_comes_is_forgotten_in_time(pool: asyncpg.Pool) -> None:
    """After the days of the setting it goes; a younger one waits on; one that is sent on just now is left alone."""
    await handled(
        RouteStage(pool), [status(wamid, "read", recipient_id=PHONE) for wamid in ("old", "taken", "new")]
    )
    await pool.execute(
        "UPDATE identity.parked_statuses SET parked_at = now() - interval '31 days' WHERE wamid <> 'new'"
    )
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT 1 FROM identity.parked_statuses WHERE wamid = 'taken' FOR UPDATE")
        assert await tend_once(pool, days=30) == 1
    assert await parked(pool) == ["new", "taken"]
    assert await tend_once(pool, days=30) == 1
    assert await parked(pool) == ["new"]
