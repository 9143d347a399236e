"""What the outbound role's tables make of its three topics, on a real PostgreSQL."""

import asyncio
import itertools
import random
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conversation_events import T0, at, changed, contact, merged, message, status
from outbound_world import attempted, given, notice, outbound_world, request, taken

from connector.errors import Transient
from connector.events import ConsentChanged, Recipient, StatusError
from connector.outbound.fates import OutboxFates
from connector.topics import CONVERSATION_EVENTS

ANA = Recipient(phone="+15551230000")


async def test_a_stop_is_a_denial_of_all_and_is_told_once(database_url: str) -> None:
    """STOP denies both purposes, each change is queued once, and the same record again changes nothing."""
    async with outbound_world(database_url) as world:
        stop = message("m1", "ana", text="Stop!")
        await world.tell(message("m0", "ana", text="hello"), stop)
        await world.tell(stop)
        assert await world.consent("ana", "marketing") == "denied"
        assert await world.consent("ana", "utility") == "denied"
        told: list[ConsentChanged] = await world.queued()
        assert [(event.person.contact_id, event.purpose, event.state) for event in told] == [
            (contact("ana"), "marketing", "denied"),
            (contact("ana"), "utility", "denied"),
        ]
        assert world.called == ["queued"]
        windows = await world.fetch("SELECT contact_id, phone_number_id FROM outbound.windows")
        assert windows == [{"contact_id": contact("ana"), "phone_number_id": "1000"}]


async def test_the_same_request_is_admitted_once(database_url: str) -> None:
    """A redelivered request is one row, and another body under its key is a recorded rejection."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.trigger(request("k", to=ANA), request("k", to=ANA))
        await world.trigger(request("k", to=ANA), request("k", to=ANA, parameters={"1": "other"}))
        row = await world.send("trg_k.0")
        assert (row["state"], row["contact_id"], row["phone_number_id"], row["parameters"]) == (
            "queued",
            contact("ana"),
            "1000",
            {},
        )
        assert row["expires_at"] == T0 + timedelta(hours=24)
        rejections = await world.fetch("SELECT trigger_id, reason FROM outbound.rejections")
        assert [(one["trigger_id"], "used before" in one["reason"]) for one in rejections] == [
            ("trg_k", True)
        ]


async def test_a_wrong_request_is_blocked_from_the_start(database_url: str) -> None:
    """A request with a problem of its own is a blocked row with that reason, and nobody is looked for."""
    async with outbound_world(database_url) as world:
        await world.trigger(
            request("k", to=Recipient(hubspot_id="7"), problem="names no template", expires_at=T0)
        )
        row = await world.send("trg_k.0")
        assert (row["state"], row["problem"]["reason"]) == ("blocked", "names no template")
        assert "unknown" not in world.called


async def test_who_is_not_known_is_waited_for_with_what_they_said(database_url: str) -> None:
    """A denial of somebody unknown is kept, and their sends stay without a contact, even when the alias is there."""
    async with outbound_world(database_url) as world:
        await world.trigger(given("denied", to=ANA), request("k1", to=ANA))
        assert (await world.send("trg_k1.0"))["contact_id"] is None
        await world.introduce("ana", phone="15551230000")
        await world.trigger(request("k2", to=ANA), request("k3", to=Recipient(phone="+15551239999")))
        assert (await world.send("trg_k2.0"))["contact_id"] is None
        (waiting,) = await world.fetch("SELECT names FROM outbound.waiting_acts")
        assert waiting == {"names": ["phone:15551230000"]}
        assert "unknown" in world.called


async def test_a_phone_is_found_in_the_form_that_whatsapp_uses(database_url: str) -> None:
    """A Brazilian mobile asked for with its ninth digit finds the person whose WhatsApp is without."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="551187654321")
        await world.trigger(request("k", to=Recipient(phone="+5511987654321")))
        assert (await world.send("trg_k.0"))["contact_id"] == contact("ana")


@pytest.mark.parametrize(
    ("recipient", "obstacle"),
    [(Recipient(phone="+999123456789"), "invalid_phone"), (Recipient(), "not_found")],
    ids=["no country", "nothing named"],
)
async def test_nobody_is_looked_for_in_vain(database_url: str, recipient: Recipient, obstacle: str) -> None:
    """What can be nobody's name is said at once; the gate blocks it with its reason."""
    async with outbound_world(database_url) as world:
        await world.trigger(request("k", to=recipient))
        row = await world.send("trg_k.0")
        assert (row["state"], row["contact_id"], row["obstacle"]) == ("queued", None, obstacle)
        assert "unknown" not in world.called


def _life(send_id: str) -> list[Any]:
    """Everything that the log says of a send that was tried twice and read, and failed on one device."""
    shown = {"callback_data": send_id}
    return [
        attempted(send_id, "ana", at=at(1)),
        attempted(send_id, "ana", attempt=2, at=at(2)),
        taken(send_id, "ana", wamid="wamid.1", at=at(3)),
        status("wamid.1", "sent", "ana", seconds=4, **shown),
        status("wamid.1", "failed", "ana", seconds=5, errors=[StatusError(code=131000, title="x")], **shown),
        status("wamid.1", "delivered", "ana", seconds=6),  # some do not repeat our data
        status("wamid.1", "read", "ana", seconds=7, **shown),
    ]


async def test_reports_fold_the_same_in_any_order(database_url: str) -> None:
    """Whatever the order and cut of batches, before or after admission, a send that was read is read."""
    rng = random.Random(7)
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        for number in range(12):
            events = _life(f"trg_{number}.0")
            for event in events:
                if hasattr(event, "wamid"):
                    object.__setattr__(event, "wamid", f"wamid.{number}")
            rng.shuffle(events)
            cut = rng.randrange(len(events))
            await world.tell(*events[:cut])
            await world.trigger(request(str(number), to=ANA))
            await world.tell(*events[cut:])
            await world.tell(*events)
            row = await world.send(f"trg_{number}.0")
            assert (row["state"], row["wamid"], row["attempts"], row["attempt_logged"], row["problem"]) == (
                "read",
                f"wamid.{number}",
                2,
                2,
                None,
            ), [event.event_id for event in events]
            assert row["admitted_at"] is not None


async def test_an_attempt_that_the_tables_do_not_know_makes_a_send_unknown(database_url: str) -> None:
    """In a restored database a queued send whose attempt is on the log is not sent again, whichever is read first."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.trigger(request("a", to=ANA))
        await world.tell(attempted("trg_a.0", "ana"), attempted("trg_b.0", "ana"))
        await world.trigger(request("b", to=ANA))
        for send_id in ("trg_a.0", "trg_b.0"):
            row = await world.send(send_id)
            assert (row["state"], row["attempts"], row["attempt_logged"]) == ("unknown", 1, 1)
        assert (await world.send("trg_b.0"))["template_name"] == "order_update"


async def test_an_attempt_that_the_tables_know_only_is_marked_as_logged(database_url: str) -> None:
    """The dispatcher's own row stays where it is: queued again after a refusal that did nothing."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.trigger(request("a", to=ANA))
        await world.fetch("UPDATE outbound.sends SET attempts = 1 RETURNING 1")
        await world.tell(attempted("trg_a.0", "ana"))
        row = await world.send("trg_a.0")
        assert (row["state"], row["attempts"], row["attempt_logged"]) == ("queued", 1, 1)


async def test_others_callback_data_is_not_ours(database_url: str) -> None:
    """A status with another sender's callback data makes no row."""
    async with outbound_world(database_url) as world:
        await world.tell(status("wamid.9", "sent", "ana", callback_data="their-own-id"))
        assert await world.fetch("SELECT 1 FROM outbound.sends") == []


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_at_a_merge_the_stricter_consent_wins_and_is_told_last(
    database_url: str, order: tuple[int, int, int]
) -> None:
    """A later yes of the one does not undo the no of the other, and the last change that is told says so."""
    events: list[Any] = [
        message("no", "ana", text="STOP", seconds=1),
        message("yes", "bea", text="start promotions", seconds=2),
        merged("bea", "ana", seconds=3),
    ]
    async with outbound_world(database_url) as world:
        for place in order:
            await world.tell(events[place])
        assert await world.consent("ana") == "denied"
        assert await world.consent("bea") == ""
        told: list[ConsentChanged] = [one for one in await world.queued() if one.purpose == "marketing"]
        assert max(told, key=lambda one: one.at).state == "denied"


async def test_a_start_that_agrees_to_nothing_lifts_the_stop(database_url: str) -> None:
    """After STOP and START the person is as if nobody had asked, and that is told."""
    async with outbound_world(database_url) as world:
        await world.tell(message("m1", "ana", text="STOP", seconds=1))
        await world.tell(message("m2", "ana", text="START", seconds=2))
        assert await world.consent("ana") == "unknown"
        told = [one for one in await world.queued() if one.purpose == "marketing"]
        assert [one.state for one in told] == ["denied", "unknown"]


async def test_a_lost_ledger_is_made_anew_from_what_was_announced(database_url: str) -> None:
    """The announcements alone give the same standings, and announce nothing again."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.trigger(given("granted", to=ANA, at=at(1)))
        await world.tell(message("m1", "bea", text="STOP", seconds=1))
        await world.tell(message("m2", "cleo", text="STOP", seconds=1))
        await world.tell(message("m3", "cleo", text="START", seconds=2))
        told = await world.queued()
        standings = "SELECT contact_id, purpose, state, act_id FROM outbound.consents WHERE state <> 'unknown' ORDER BY 1, 2"
        before = await world.fetch(standings)
        assert len(before) == 3
        await world.tell(*told)
        assert await world.queued() == told
        await world.fetch("TRUNCATE outbound.consents, outbound.consent_acts")
        await world.tell(*reversed(told))
        assert await world.fetch(standings) == before


async def test_merges_chain_in_any_order(database_url: str) -> None:
    """Ana became Bea and Bea became Cleo: all three are one person, whichever is told first."""
    async with outbound_world(database_url) as world:
        await world.tell(merged("bea", "cleo", seconds=2))
        await world.tell(merged("ana", "bea", seconds=1))
        rows = await world.fetch("SELECT contact_id, person_id FROM outbound.people")
        assert {row["contact_id"]: row["person_id"] for row in rows} == {
            contact(name): contact("cleo") for name in ("ana", "bea", "cleo")
        }


async def test_a_phone_that_moved_is_the_persons_no_more(database_url: str) -> None:
    """The lost phone is kept beside the phone with the time, and a later sighting of another phone is current."""
    async with outbound_world(database_url) as world:
        await world.tell(
            changed("ana", seconds=5, phone_lost=True, phone="+15551230000"),
            message("m", "ana", seconds=1, shown={"phone": "+15551230000", "bsuid": "US.1"}),
        )
        (row,) = await world.fetch("SELECT phone, phone_at, lost_phone, lost_at, bsuid FROM outbound.people")
        assert row == {
            "phone": "+15551230000",
            "phone_at": at(1),
            "lost_phone": "+15551230000",
            "lost_at": at(5),
            "bsuid": "US.1",
        }


async def test_a_paused_template_is_known_at_once_and_an_edited_one_is_wanted(database_url: str) -> None:
    """A webhook changes what it says, and has the rest read from Meta."""
    named = {"message_template_name": "order_update", "message_template_language": "en_US"}
    async with outbound_world(database_url) as world:
        await world.notice(notice("message_template_status_update", named | {"event": "PAUSED"}, at=at(2)))
        await world.notice(notice("message_template_status_update", named | {"event": "APPROVED"}, at=at(1)))
        rows = await world.fetch("SELECT name, language, status FROM outbound.templates")
        assert rows == [{"name": "order_update", "language": "en_US", "status": "PAUSED"}]
        wanted = await world.fetch("SELECT waba_id FROM outbound.account_syncs WHERE wanted_at IS NOT NULL")
        assert wanted == [{"waba_id": "waba"}]
        assert "wanted" in world.called


async def test_who_stops_marketing_in_whatsapp_is_heard(database_url: str) -> None:
    """user_preferences of somebody known is a denial at once; of somebody unknown it waits for them."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        stop = {"category": "marketing_messages", "value": "stop"}
        await world.notice(
            notice("user_preferences", stop | {"wa_id": "15551230000"}),
            notice("user_preferences", stop | {"wa_id": "15551239999"}),
        )
        assert await world.consent("ana") == "denied"
        waiting = await world.fetch("SELECT names FROM outbound.waiting_acts")
        assert waiting == [{"names": ["phone:15551239999"]}]


async def test_replicas_never_lock_in_a_ring(database_url: str) -> None:
    """PostgreSQL counts no deadlock while messages, merges, consent and reports of twelve people are folded."""
    people = [f"person-{number}" for number in range(12)]

    def batch(rng: random.Random) -> list[Any]:
        events: list[Any] = [
            message(
                f"m{rng.random()}", rng.choice(people), text=rng.choice(["STOP", "START", "hi"]), seconds=n
            )
            for n in range(10)
        ]
        events += [attempted(f"trg_{rng.randrange(20)}.0", rng.choice(people)) for _ in range(5)]
        if rng.random() < 0.3:
            winner, loser = sorted(rng.sample(range(12), 2))
            events.append(merged(people[loser], people[winner], seconds=rng.randrange(9)))
        rng.shuffle(events)
        return events

    async with outbound_world(database_url) as world:

        async def replica(seed: int) -> None:
            rng = random.Random(seed)
            for _ in range(25):
                records = [world.record(CONVERSATION_EVENTS, event) for event in batch(rng)]
                while True:
                    try:
                        await world.conversation.handle(records)
                    except Transient:
                        continue  # what the harness does: the same batch again
                    break

        await asyncio.gather(*(replica(seed) for seed in range(4)))
        rows = await world.fetch(
            "SELECT count(*) FILTER (WHERE w.person_id <> p.person_id) AS apart FROM outbound.people p "
            "JOIN outbound.people w ON w.contact_id = p.redirect_to"
        )
        assert rows == [{"apart": 0}]
    connection = await asyncpg.connect(database_url)
    try:
        deadlocks = await connection.fetchval(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        )
    finally:
        await connection.close()
    assert deadlocks == 0


async def test_a_trigger_tells_what_became_of_each_of_its_sends(database_url: str) -> None:
    """States, reasons and message ids in the order that they were asked for, to the client that asked, to no other."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        third = request("k", place=10, to=Recipient(phone="+15551239999"), recipients=4)
        shared = {"recipients": 4, "request_hash": third.request_hash}
        first = request("k", place=2, to=ANA, reference="order 7").model_copy(update=shared)
        wrong = request("k", place=1, to=ANA, problem="names no template").model_copy(update=shared)
        await world.trigger(third, first, wrong)
        await world.tell(
            attempted(first.send_id, "ana", at=at(1)), taken(first.send_id, "ana", wamid="wamid.1", at=at(2))
        )
        fates = OutboxFates(world.pool)
        fate = await fates.fate_of("trg_k", client="shop")
        assert fate is not None
        assert fate["not_admitted_yet"] == 1
        assert fate["recipients"] == [
            {
                "send_id": "trg_k.1",
                "status": "blocked",
                "reason": "names no template",
                "settled_at": "2026-03-01T12:00:00Z",
            },
            {
                "send_id": "trg_k.2",
                "status": "accepted",
                "reference": "order 7",
                "message_id": "wamid.1",
                "attempted_at": "2026-03-01T12:00:01Z",
                "settled_at": "2026-03-01T12:00:02Z",
            },
            {"send_id": "trg_k.10", "status": "queued", "reason": "the recipient is being looked for"},
        ]
        assert await fates.fate_of("trg_k", client="another") is None
        assert await fates.fate_of("trg_none", client="shop") is None
