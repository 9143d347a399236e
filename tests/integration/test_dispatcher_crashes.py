"""A process that sends is gone at each point: what it leaves is sent once, or nobody knows and nobody repeats it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from dispatch_world import DispatchWorld, dispatch_world

from connector.outbound.dispatch import telling
from connector.outbound.dispatch.claiming import Claimed, record_of
from connector.sandbox.faults import Fault, FaultKind
from connector.sandbox.whatsapp import Number
from connector.streams.codec import EncodedRecord


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[DispatchWorld]:
    async with dispatch_world(database_url, numbers=[Number(throughput=1_000)]) as one:
        yield one


def announcements(claimed: Claimed) -> list[EncodedRecord]:
    number = claimed.number.business
    return [record_of(telling.attempted(item.send, number, at=claimed.now)) for item in claimed.leaving]


async def test_a_claim_that_never_was_announced_is_sent_by_the_next(world: DispatchWorld) -> None:
    """Row 1: its lease ends, the log as it was after that has no attempt: queued again, and sent once."""
    ids = await world.campaign(3)
    assert len((await world.claim()).leaving) == 3
    await world.later(seconds=60)
    await world.tend()
    assert await world.states() == {"queued": 3}
    async with world.dispatching():
        await world.until(accepted=3)
    assert world.sent == dict.fromkeys(ids, 1)


async def test_a_claim_is_left_alone_until_the_log_is_read_beyond_its_lease(world: DispatchWorld) -> None:
    """Row 1: an attempt may be on the log and not read yet, so what was read before the lease ended says nothing."""
    await world.campaign(1)
    await world.claim()
    world.view.seen = datetime.now(UTC) - timedelta(seconds=35)
    await world.later(seconds=60)
    await world.tend()
    assert await world.states() == {"sending": 1}
    world.view.seen = None
    await world.tend()
    assert await world.states() == {"queued": 1}


async def test_an_announced_attempt_whose_answer_nobody_wrote_down_is_unknown(world: DispatchWorld) -> None:
    """Row 2: it may have left. It is not sent again, and reported as unknown after a quarter of an hour, once."""
    (send_id,) = await world.campaign(1)
    claimed = await world.claim()
    await world.log.send_all(announcements(claimed), timeout=1)
    await world.fold()
    await world.later(seconds=60)
    await world.tend()
    assert await world.states() == {"unknown": 1}
    await world.later(minutes=20)
    await world.tend()
    await world.tend()
    await world.relay()
    assert [event.send_id for event in world.log.of("send.unknown")] == [send_id]
    async with world.dispatching():
        await world.fold()
    assert await world.states() == {"unknown": 1}
    assert world.sent == {}


async def test_a_status_settles_what_was_sent_without_an_answer(world: DispatchWorld) -> None:
    """Row 3: the answer is lost, WhatsApp has it: the status moves the send on, and the message is told to the CRMs."""
    world.server.whatsapp.faults.add(Fault(kind=FaultKind.RESET, when="after", times=1))
    (send_id,) = await world.campaign(1)
    async with world.dispatching():
        await world.until(unknown=1)
    await world.relay()
    await world.fold()
    assert world.log.of("message") == []
    await world.status(send_id, "delivered")
    await world.later(seconds=60)
    await world.tend()
    await world.tend()
    await world.relay()
    await world.fold()
    (message,) = world.log.of("message")
    assert message.wamid == world.server.whatsapp.business.sent[0].wamid
    assert message.text.startswith("Hi Ana")
    assert await world.states() == {"delivered": 1}
    assert world.sent == {send_id: 1}


async def test_a_status_that_overtakes_our_own_answer_is_not_undone(world: DispatchWorld) -> None:
    """Row 4: delivered is told before the acceptance is written down: it stays delivered, with one message told."""
    (send_id,) = await world.campaign(1)
    line, settler = world.line()
    stop = asyncio.Event()
    running = asyncio.create_task(line.run(stop=stop))
    async with asyncio.timeout(20):
        while not world.sent:
            await asyncio.sleep(0.01)
        await world.status(send_id, "delivered")
    stop.set()
    await running
    await settler.run(stop=stop)
    await world.relay()
    await world.fold()
    assert await world.states() == {"delivered": 1}
    assert len(world.log.of("message")) == 1


async def test_a_process_that_was_frozen_sends_nothing_after_its_lease(world: DispatchWorld) -> None:
    """Row 2: it wakes up with its attempt on the log; the lease is over, so nothing leaves, and the next attempt does."""
    (send_id,) = await world.campaign(1)
    frozen = [0.0]
    line, settler = world.line(clock=lambda: asyncio.get_running_loop().time() + frozen[0])

    def freeze(_: Sequence[EncodedRecord]) -> None:
        frozen[0] = 3_600.0

    world.log.before = freeze
    stop = asyncio.Event()
    running = asyncio.create_task(line.run(stop=stop))
    async with asyncio.timeout(20):
        while not world.log.records:
            await asyncio.sleep(0.01)
    stop.set()
    await running
    await settler.run(stop=stop)
    assert world.sent == {}
    assert await world.states() == {"queued": 1}
    await world.fold()
    assert await world.states() == {"queued": 1}
    await world.later(seconds=60)
    async with world.dispatching():
        await world.until(accepted=1)
    assert world.sent == {send_id: 1}


async def test_a_frozen_process_changes_nothing_of_the_next_attempt(world: DispatchWorld) -> None:
    """Row 1: the send was queued again and sent by another; the first process says late that it did nothing."""
    (send_id,) = await world.campaign(1)
    frozen = await world.claim()
    await world.later(seconds=60)
    await world.tend()
    async with world.dispatching():
        await world.until(accepted=1)
    await world.log.send_all(announcements(frozen), timeout=1)
    await world.relay()
    await world.fold()
    assert await world.states() == {"accepted": 1}
    assert world.sent == {send_id: 1}


async def test_a_restored_outbox_sends_nothing_that_the_log_says_may_have_left(world: DispatchWorld) -> None:
    """Row 5: the rows say queued, the log says attempted or accepted: nothing is claimed before that is read."""
    ids = await world.campaign(4)
    world.server.whatsapp.faults.add(Fault(kind=FaultKind.RESET, when="after", times=2))
    async with world.dispatching():
        await world.until(accepted=2, unknown=2)
    await world.relay()
    await world.execute(
        "UPDATE outbound.sends SET state = 'queued', attempts = 0, attempt_logged = 0, wamid = NULL, "
        "attempted_at = NULL, message_told = false, problem = NULL"
    )
    world.view.seen = datetime.now(UTC) - timedelta(seconds=30)
    claimed = await world.claim(since=datetime.now(UTC))
    assert claimed.judged == ()
    await world.fold()
    world.view.seen = None
    assert await world.states() == {"accepted": 2, "unknown": 2}
    async with world.dispatching():
        await world.tend()
    assert world.sent == dict.fromkeys(ids, 1)


async def test_a_broker_that_takes_no_attempt_lets_nothing_leave(world: DispatchWorld) -> None:
    """Not announced, not sent; when the broker is back every send leaves once."""
    ids = await world.campaign(5)
    world.log.broken = True
    async with world.dispatching():
        async with asyncio.timeout(20):
            while not any(
                "broker" in str(part) for part in world.health.snapshot().get("waiting_for", {}).values()
            ):
                await asyncio.sleep(0.02)
        assert world.sent == {}
        world.log.broken = False
        async with asyncio.timeout(30):
            while (await world.states())["accepted"] < 5:
                await world.later(seconds=5)
                await asyncio.sleep(0.2)
    assert world.sent == dict.fromkeys(ids, 1)


async def test_a_campaign_survives_deaths_at_any_moment_and_lost_answers(world: DispatchWorld) -> None:
    """Dispatchers die again and again, one answer of twenty is lost: nothing is sent twice, nothing is forgotten."""
    random = Random(7)
    ids = await world.campaign(150)
    world.server.whatsapp.faults.add(Fault(kind=FaultKind.RESET, when="after", probability=0.05))
    world.server.whatsapp.faults.add(Fault(kind=FaultKind.LATENCY, seconds=0.02, seconds_max=0.1))
    for _ in range(12):
        await world.killed(random.uniform(0.1, 0.6))
        await world.relay()
        await world.fold()
        await world.later(seconds=60)
        await world.tend()
    async with world.dispatching():
        async with asyncio.timeout(60):
            while set(await world.states()) & {"queued", "held", "sending"}:
                await world.fold()
                await world.later(seconds=5)
                await asyncio.sleep(0.1)
    await world.fold()
    assert max(world.sent.values()) == 1
    for send_id in world.sent:
        await world.status(send_id, "sent")
    states = await world.states()
    assert states["sent"] == len(world.sent)
    assert states["sent"] + states["unknown"] == len(ids)
    await world.later(minutes=20)
    await world.tend()
    await world.relay()
    assert len(world.log.of("send.unknown")) == states["unknown"]
    told = {message.wamid for message in world.log.of("message")}
    assert told == {message.wamid for message in world.server.whatsapp.business.sent}
