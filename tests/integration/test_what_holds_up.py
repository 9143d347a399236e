"""What `connector status` reads of items that do not pass, and of numbers that rest."""

from conversation_events import message
from sink_world import sink_world

from connector.recovery.status import number_pauses, sink_status
from connector.sandbox.faults import Fault
from connector.state.database import connect, transaction


async def test_items_that_do_not_pass_are_told_with_the_last_reason(database_url: str) -> None:
    """A row that stays locked is tried again, kept as a number, and why it did not pass is told without its values."""
    async with sink_world("salesforce", database_url) as world:
        await world.fold(message("a", "ana", shown={}))
        world.people.faults.add(Fault.model_validate({"kind": "lock"}))
        for tries in range(1, 6):
            await world.writer.drain()
            await world.fetch("UPDATE {sink}.contacts SET not_before = '-infinity', held = NULL")
            async with transaction(world.pool) as connection:
                status = await sink_status(connection, "salesforce")
            assert status.retried == (1 if tries >= 5 else 0)
        assert "unable to obtain exclusive access" in status.setback


async def test_numbers_that_whatsapp_holds_up_are_told(database_url: str) -> None:
    """After an error of theirs or refusals for their rate, with the end of it; what is over is not."""
    connection = await connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO outbound.numbers (phone_number_id, waba_id, paused_until, pause_reason) VALUES "
            "('2000', 'w', now() + interval '1 hour', '131031'), ('3000', 'w', now() - interval '1 hour', 'old'), "
            "('4000', 'w', NULL, '')"
        )
        await connection.execute(
            "INSERT INTO outbound.paces (kind, key, closed_until) "
            "VALUES ('number', '4000', now() + interval '1 minute')"
        )
        found = await number_pauses(connection)
    finally:
        await connection.close()
    assert [(item.phone_number_id, item.reason) for item in found] == [
        ("2000", "131031"),
        ("4000", "WhatsApp refused messages for its rate"),
    ]
