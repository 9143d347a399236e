"""People whom the business writes to first get their contact from the route role, by its rules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from conversation_events import T0
from outbound_world import request
from route_batches import text

from connector.events import ContactChanged, ContactMerged, PersonIntroduced
from connector.identity.directory import Alias, contact_id_for
from connector.identity.introductions import IntroductionStage
from connector.identity.role import RouteStage
from connector.state.database import close_pool, open_pool
from connector.streams.codec import decode, encode
from connector.streams.outcomes import Done, Record
from connector.topics import CONVERSATION_EVENTS, CRM_TRIGGERS


@asynccontextmanager
async def _pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database_url, size=4, application="test")
    try:
        yield pool
    finally:
        await close_pool(pool)


def _trigger(event: Any, *, offset: int = 0) -> Record:
    encoded = encode(CRM_TRIGGERS, key="k", value=event, origin="test")
    return Record(
        topic="crm.triggers",
        partition=0,
        offset=offset,
        key=b"k",
        value=encoded.value,
        headers=dict(encoded.headers),
    )


def _introduced(**who: str) -> PersonIntroduced:
    return PersonIntroduced(event_id=f"person.introduced:{who}", source="outbound", received_at=T0, **who)


async def _announced(pool: asyncpg.Pool) -> list[Any]:
    async with pool.acquire() as connection:
        rows = await connection.fetch("SELECT value FROM shared.outgoing ORDER BY id")
    return [decode(CONVERSATION_EVENTS, row["value"]) for row in rows]


@pytest.mark.parametrize(
    ("who", "alias"),
    [
        ({"phone": "+15551230000"}, Alias("phone", "15551230000")),
        ({"bsuid": "US.1", "phone": "+15551230000"}, Alias("bsuid", "US.1")),
    ],
    ids=["phone", "a BSUID counts alone"],
)
async def test_somebody_new_gets_the_contact_of_their_alias_once(
    database_url: str, who: dict[str, str], alias: Alias
) -> None:
    """Introduced twice, they are one contact, and the log is told once what it is known by."""
    async with _pool(database_url) as pool:
        stage = IntroductionStage(pool)
        await stage.handle([_trigger(_introduced(**who)), _trigger(_introduced(**who), offset=1)])
        await stage.handle([_trigger(_introduced(**who), offset=2)])
        (event,) = await _announced(pool)
        assert isinstance(event, ContactChanged)
        assert event.person.contact_id == contact_id_for(alias, made=0)
        assert (event.person.wa_id, event.person.bsuid) == (
            (alias.value, None) if alias.kind == "phone" else (None, alias.value)
        )


async def test_they_are_the_same_person_when_they_write(database_url: str) -> None:
    """The first message from the phone, with a BSUID, is that contact's: nobody is merged."""
    async with _pool(database_url) as pool:
        await IntroductionStage(pool).handle([_trigger(_introduced(phone="+16505551234"))])
        await RouteStage(pool).handle([text("wamid.1", from_="16505551234", from_user_id="US.1")])
        async with pool.acquire() as connection:
            holders = await connection.fetch("SELECT DISTINCT contact_id FROM identity.aliases")
        assert len(holders) == 1
        assert not [event for event in await _announced(pool) if isinstance(event, ContactMerged)]


async def test_who_is_known_in_another_form_of_the_number_is_nobody_new(database_url: str) -> None:
    """A Brazilian mobile with its ninth digit is the person whose WhatsApp is without."""
    async with _pool(database_url) as pool:
        await RouteStage(pool).handle([text("wamid.1", from_="551187654321")])
        await IntroductionStage(pool).handle([_trigger(_introduced(phone="+5511987654321"))])
        async with pool.acquire() as connection:
            known = await connection.fetch("SELECT value FROM identity.aliases")
        assert [row["value"] for row in known] == ["551187654321"]
        assert await _announced(pool) == []


@pytest.mark.parametrize("user", ["", "BR.1"], ids=["shows a phone", "shows a BSUID as well"])
@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("+5511987654321", "551187654321"),
        ("+551187654321", "5511987654321"),
        ("+525512345678", "5215512345678"),
    ],
    ids=["without the ninth digit", "with it", "with Mexico's 1"],
)
async def test_who_was_introduced_by_another_form_of_their_number_is_that_person_when_they_write(
    database_url: str, user: str, typed: str, shown: str
) -> None:
    """One contact, which has both forms from then on: nobody is made, nobody is merged."""
    async with _pool(database_url) as pool:
        shows: dict[str, Any] = {"from_": shown} | ({"from_user_id": user} if user else {})
        await IntroductionStage(pool).handle([_trigger(_introduced(phone=typed))])
        await RouteStage(pool).handle([text("wamid.1", **shows)])
        async with pool.acquire() as connection:
            rows = await connection.fetch("SELECT value, contact_id FROM identity.aliases")
            wrote = await connection.fetchval("SELECT contact_id FROM identity.messages")
        assert {row["value"] for row in rows} == {typed[1:], shown, user} - {""}
        assert {row["contact_id"] for row in rows} == {wrote}
        assert wrote == contact_id_for(Alias("phone", typed[1:]), made=0)
        assert not [event for event in await _announced(pool) if isinstance(event, ContactMerged)]


async def test_what_is_no_introduction_is_left_to_the_outbound_role(database_url: str) -> None:
    """Requests, and bytes that nobody can read, are passed over."""
    async with _pool(database_url) as pool:
        unreadable = Record(topic="crm.triggers", partition=0, offset=1, key=b"k", value=b"{")
        outcomes = await IntroductionStage(pool).handle([_trigger(request("k")), unreadable])
        assert outcomes == [Done(), Done()]
        assert await _announced(pool) == []
