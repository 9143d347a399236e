"""Limits and refusals while sends are dispatched: the right one rests, and the others go on."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from conversation_events import contact
from dispatch_world import NUMBER, DispatchWorld, dispatch_world
from outbound_world import given

from connector.events import Recipient
from connector.outbound.dispatch.paces import lock_number, store_number, turns
from connector.sandbox.whatsapp import Number
from connector.sandbox.whatsapp.refusals import Refusal
from connector.state.database import transaction

SALE = {"header": "https://shop.example/sale.jpg", "1": "Ana", "2": "20%"}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url, numbers=[Number(throughput=1_000)]) as one:
        yield one


def phone(place: int) -> str:
    return f"1650555{place:04d}"


async def pace(world: DispatchWorld, kind: str) -> dict[str, Any]:
    (row,) = await world.stages.fetch(
        "SELECT * FROM outbound.paces WHERE kind = $1 AND (refusals > 0 OR kind = 'number')", kind
    )
    return row


async def test_two_dispatchers_take_the_turns_of_one_number_exactly(world: DispatchWorld) -> None:
    """Over 60 s at 80 a second: at least 99 % of 4,800 turns, no second has more than 80, none is taken twice."""
    began = datetime.fromisoformat("2026-05-05T12:00:00+00:00")
    found: list[datetime] = []
    for tick in range(120):
        now = began + timedelta(seconds=tick / 2, milliseconds=tick % 7)
        async with world.pool.acquire() as connection, connection.transaction():
            state = await lock_number(connection, NUMBER.id)
            taken = turns(state, per_second=80, now=now, horizon=timedelta(seconds=0.5), most=500)
            # Two replicas: each takes a part of what is open.
            for part in (taken[: len(taken) // 2], taken[len(taken) // 2 :]):
                if part:
                    await store_number(connection, NUMBER.id, part[-1][0])
                    found += [when for _, when in part]
    minute = [when for when in found if when < began + timedelta(seconds=60)]
    assert 0.99 * 80 * 60 <= len(minute) <= 80 * 60
    assert all(later - first >= timedelta(seconds=1) for first, later in zip(found, found[80:], strict=False))
    assert len(set(found)) == len(found)


async def test_a_throttled_number_slows_down_and_no_pair_does(world: DispatchWorld) -> None:
    """130429: the number rests and goes on slower; the send is not lost, and no person is held up for it."""
    ids = await world.campaign(10)
    world.server.whatsapp.business.refusals.add(Refusal(code=130429, times=1))
    async with world.dispatching():
        await world.until(accepted=10)
    row = await pace(world, "number")
    assert (row["share"], row["refusals"]) == (0.5, 1)
    assert await world.stages.fetch("SELECT 1 FROM outbound.paces WHERE kind = 'pair' AND refusals > 0") == []
    assert world.sent == dict.fromkeys(ids, 1)


async def test_a_refused_pair_rests_and_the_number_goes_on(world: DispatchWorld) -> None:
    """131056: this person gets nothing for four seconds, then it is sent; everybody else is sent at once."""
    ids = await world.campaign(10)
    world.server.whatsapp.business.refusals.add(Refusal(code=131056, to=phone(3), times=1))
    async with world.dispatching():
        await world.until(accepted=9, queued=1)
        row = await pace(world, "pair")
        assert (row["key"], row["refusals"]) == (f"{NUMBER.id}/{contact('+' + phone(3))}", 1)
        assert (await pace(world, "number"))["share"] == 1.0
        await world.execute(
            "UPDATE outbound.paces SET closed_until = now() WHERE kind = 'pair' AND refusals > 0"
        )
        await world.later(seconds=10)
        await world.until(accepted=10)
    assert world.sent == dict.fromkeys(ids, 1)
    assert await world.stages.fetch("SELECT 1 FROM outbound.paces WHERE refusals > 0") == []


async def test_one_person_gets_no_more_than_the_pair_limit(world: DispatchWorld) -> None:
    """Fifty sends to one person: 45 leave, 5 wait for their turns, and WhatsApp never refuses one."""
    for place in range(50):
        await world.campaign(1, key=f"k{place}", parameters={"1": "Ana", "2": f"#{place}"})
    world.outbound = world.outbound.model_copy(update={"utility_per_day": 0})
    async with world.dispatching():
        await world.until(accepted=45, held=5)
    rows = await world.stages.fetch("SELECT problem, attempts FROM outbound.sends")
    assert [row["problem"] for row in rows] == [None] * 50
    assert sum(row["attempts"] for row in rows) == 45


@pytest.mark.parametrize(
    ("code", "paused"),
    [(131048, True), (131031, True), (80007, True), (131026, False), (131016, False)],
)
async def test_an_error_about_the_number_or_more_pauses_it(
    world: DispatchWorld,
    code: int,
    paused: bool,  # noqa: FBT001 - a table
) -> None:
    """Spam limit, a locked account, an account's call limit: nothing leaves until then; an error of one send does not."""
    await world.campaign(1)
    world.server.whatsapp.business.refusals.add(Refusal(code=code, times=1))
    state = "failed" if code == 131026 else "queued"
    async with world.dispatching(), asyncio.timeout(30):
        while not await world.stages.fetch("SELECT 1 FROM outbound.sends WHERE problem IS NOT NULL"):
            await asyncio.sleep(0.02)
    assert await world.states() == {state: 1}
    (row,) = await world.stages.fetch("SELECT paused_until > now() AS paused FROM outbound.numbers")
    assert bool(row["paused"]) is paused
    (send,) = await world.stages.fetch("SELECT problem, attempts FROM outbound.sends")
    assert (send["problem"]["code"], send["attempts"]) == (code, 1)


async def test_a_refused_token_stops_the_line_and_loses_nothing(world: DispatchWorld) -> None:
    """190: nothing else is tried for a while, the health says what to do, and the sends go on when it is accepted."""
    ids = await world.campaign(20)
    world.outbound = world.outbound.model_copy(update={"stopped_retry": 0.2})
    world.server.whatsapp.business.refusals.add(Refusal(code=190, times=22))
    async with world.dispatching():
        await world.until(accepted=20)
    assert world.sent == dict.fromkeys(ids, 1)
    rows = await world.stages.fetch("SELECT attempts FROM outbound.sends")
    assert sum(row["attempts"] for row in rows) == 42


async def test_an_opt_out_in_mid_campaign_is_heard(world: DispatchWorld) -> None:
    """Ten agreed to marketing, one refuses after the campaign began: the person gets nothing, the others do."""
    await world.agree(10)
    ids = await world.campaign(10, template="spring_sale", parameters=SALE)
    claimed = await world.claim(most=4)
    assert len(claimed.leaving) == 4
    await world.stages.trigger(given("denied", to=Recipient(phone=f"+{phone(9)}"), at=claimed.now))
    async with world.dispatching():
        await world.until(accepted=5, blocked=1)
    assert world.sent == dict.fromkeys(ids[4:9], 1)
    row = await world.stages.send(ids[9])
    assert row["problem"]["cause"] == "opt_out"


async def test_with_the_consent_fold_held_back_marketing_waits(world: DispatchWorld) -> None:
    """What was read of the log is seven seconds old: marketing is held, utility is sent."""
    await world.agree(1)
    await world.campaign(1, template="spring_sale", parameters=SALE)
    await world.campaign(1, key="u")
    async with transaction(world.pool) as connection:
        now = await connection.fetchval("SELECT clock_timestamp()")
    world.view.seen = now - timedelta(seconds=7)
    claimed = await world.claim()
    assert {item.send.template_name: item.fate for item in claimed.judged} == {
        "spring_sale": "held",
        "order_shipped": "sending",
    }


async def test_a_template_that_is_paused_in_mid_campaign_is_not_sent(world: DispatchWorld) -> None:
    """Meta says PAUSED: what is due is held; recategorised as marketing, it needs an agreement."""
    await world.campaign(6)
    assert len((await world.claim(most=2)).leaving) == 2
    await world.read_templates(status="PAUSED")
    claimed = await world.claim(most=2)
    assert [item.fate for item in claimed.judged] == ["held", "held"]
    await world.read_templates(category="MARKETING")
    claimed = await world.claim(most=2)
    assert [
        (item.fate, item.verdict.decisive and item.verdict.decisive.policy) for item in claimed.judged
    ] == [("blocked", "consent")] * 2


@pytest.mark.parametrize(("code", "read"), [(132015, True), (132018, False)])
async def test_an_answer_that_the_template_is_another_has_the_account_read(
    world: DispatchWorld,
    code: int,
    read: bool,  # noqa: FBT001 - a table
) -> None:
    """Paused, and no webhook said so: the account is due to be read; a wrong parameter says nothing of it."""
    await world.campaign(1)
    world.server.whatsapp.business.refusals.add(Refusal(code=code, times=1))
    async with world.dispatching(), asyncio.timeout(30):
        while not await world.stages.fetch("SELECT 1 FROM outbound.sends WHERE problem IS NOT NULL"):
            await asyncio.sleep(0.02)
    (row,) = await world.stages.fetch("SELECT wanted_at > asked_at AS wanted FROM outbound.account_syncs")
    assert bool(row["wanted"]) is read


async def test_who_stopped_marketing_in_whatsapp_is_remembered(world: DispatchWorld) -> None:
    """131050 as the answer: the send fails, the log says so, and the ledger denies marketing from then on."""
    await world.agree(1)
    await world.campaign(1, template="spring_sale", parameters=SALE)
    world.server.whatsapp.business.refusals.add(Refusal(code=131050))
    async with world.dispatching():
        await world.until(failed=1)
    await world.relay()
    await world.fold()
    assert await world.stages.consent("+" + phone(0)) == "denied"


async def test_a_switch_stops_the_number_but_not_what_expires(world: DispatchWorld) -> None:
    """Paused: nothing is claimed; what runs out of time meanwhile says so."""
    ids = await world.campaign(2)
    await world.execute(
        "INSERT INTO shared.switches (kind, scope, subject, reason, who, at) "
        "VALUES ('sends', 'all', '', 'wrong prices', 'ops', now())"
    )
    await world.execute("UPDATE outbound.sends SET expires_at = now() WHERE send_id = $1", ids[0])
    async with world.dispatching():
        await world.until(expired=1, queued=1)
        await world.execute("DELETE FROM shared.switches")
        await world.until(expired=1, accepted=1)
    assert world.sent == {ids[1]: 1}


async def test_a_portfolio_of_250_writes_to_no_more_people(world: DispatchWorld) -> None:
    """Unique people outside their window: the 251st waits, somebody already counted does not."""
    await world.execute("UPDATE outbound.numbers SET limit_tier = 'TIER_250'")
    await world.execute(
        "INSERT INTO outbound.portfolio_people (contact_id, counted_at) "
        "SELECT gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 248)"
    )
    await world.campaign(3)
    claimed = await world.claim()
    assert [item.fate for item in claimed.judged] == ["sending", "sending", "held"]
    held = claimed.judged[2]
    assert held.verdict.decisive is not None
    assert held.verdict.decisive.policy == "portfolio_limit"
    await world.campaign(1, key="again", parameters={"1": "Ana", "2": "#2"})
    assert [item.fate for item in (await world.claim()).judged] == ["sending"]
