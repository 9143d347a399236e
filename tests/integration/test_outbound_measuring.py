"""What the outbound role's gauges say of its tables."""

from conversation_events import T0, contact, status
from outbound_world import outbound_world, request, taken
from prometheus_client import REGISTRY

from connector.events import Recipient
from connector.outbound.measuring import measure, publish
from connector.state.database import transaction

_TEMPLATE = """
INSERT INTO outbound.templates (waba_id, name, language, document)
SELECT 'waba', name, 'en_US', jsonb_build_object('status', status) FROM unnest($1::text[], $2::text[]) AS n (name, status)
"""
_NUMBERS = """
INSERT INTO outbound.numbers (phone_number_id, waba_id, status, quality, paused_until)
VALUES ('1', 'waba', 'CONNECTED', 'GREEN', NULL), ('2', 'waba', 'RESTRICTED', 'RED', now() + interval '1 hour')
"""
_SWITCH = "INSERT INTO shared.switches VALUES ('sends', 'template', 'promo', 'complaints', 'ana', now())"
_SYNC = """
INSERT INTO outbound.account_syncs (waba_id, asked_at, problem) VALUES ('waba', now() - interval '2 hours', 'refused')
"""


async def test_open_sends_and_what_meta_restricts_are_measured(database_url: str) -> None:
    """Sends by state and the oldest that is due; templates, numbers, pauses and readings; words of tomorrow are other."""
    async with outbound_world(database_url) as world:
        await world.introduce("ana", phone="15551230000")
        await world.trigger(request("due"), request("nobody", to=Recipient(phone="+15559999999")))
        await world.tell(taken("trg_seen.0", "ana", wamid="wamid.1"))
        await world.pool.execute("UPDATE outbound.sends SET state = 'unknown' WHERE send_id = 'trg_seen.0'")
        await world.pool.execute(_TEMPLATE, ["a", "b", "c"], ["APPROVED", "PAUSED", "MOON"])
        for statement in (_NUMBERS, _SWITCH, _SYNC):
            await world.pool.execute(statement)
        async with transaction(world.pool) as connection:
            measured = await measure(connection)
        sends = {state: count for (state,), count in measured.sends.items()}
        assert sends == {"queued": 1, "held": 0, "unresolved": 1, "sending": 0, "unknown": 1}
        assert measured.overdue > 3600, f"it was asked for at {T0}"
        assert (measured.templates["paused",], measured.templates["other",]) == (1, 1)
        assert (measured.numbers["restricted", "red"], measured.numbers["connected", "green"]) == (1, 1)
        assert (measured.resting, measured.unread, round(measured.reading_age, -2)) == (1, 1, 7200)
        publish(measured)
        assert REGISTRY.get_sample_value("connector_send_switches", {"scope": "template"}) == 1
        assert REGISTRY.get_sample_value("connector_sends_open", {"state": "unresolved"}) == 1

        await world.pool.execute("DELETE FROM shared.switches")
        await world.pool.execute(
            "UPDATE outbound.sends SET state = 'blocked', contact_id = $1", contact("ana")
        )
        async with transaction(world.pool) as connection:
            publish(await measure(connection))
        assert REGISTRY.get_sample_value("connector_send_switches", {"scope": "template"}) == 0
        assert REGISTRY.get_sample_value("connector_sends_open", {"state": "unresolved"}) == 0
        assert REGISTRY.get_sample_value("connector_oldest_due_send_seconds") == 0


async def test_failures_and_statuses_of_sends_are_counted_as_they_are_read(database_url: str) -> None:
    """A status of our own send counts by its word; one of somebody else's message does not."""

    def counted(word: str) -> float:
        return REGISTRY.get_sample_value("connector_send_statuses_total", {"status": word}) or 0.0

    before = counted("delivered"), counted("other")
    async with outbound_world(database_url) as world:
        await world.tell(
            status("wamid.1", "delivered", "ana", callback_data="trg_k.0"),
            status("wamid.1", "teleported", "ana", callback_data="trg_k.0"),
            status("wamid.2", "delivered", "ana", callback_data="somebody else's"),
        )
    assert (counted("delivered") - before[0], counted("other") - before[1]) == (1, 1)
