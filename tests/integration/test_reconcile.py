"""Reconciliation on a real PostgreSQL, against both simulators: what came apart is named, and put together again."""

from collections.abc import AsyncIterator

import pytest
from conversation_events import contact, message
from replays import HandWork, Replays
from sink_world import SinkWorld, sink_world

from connector.recovery.reconcile.drift import SinkReport
from connector.recovery.reconcile.findings import findings


@pytest.fixture(params=["hubspot", "salesforce"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sync role of each CRM with three people and six messages, all written."""
    async with sink_world(request.param, database_url) as opened:
        await opened.fold(
            *(
                message(f"wamid.{who}.{number}", who, seconds=number, shown={"name": who, "username": who})
                for who in ("ann", "bob", "cem")
                for number in range(2)
            )
        )
        await opened.settle()
        yield opened


async def reconciled(replays: Replays, *, repair: bool = False) -> SinkReport:
    """What is found in the CRM; and mended, with the role's writer beside it."""
    plan = await replays.plan(restore=True, restore_known=False)
    async with replays.world.pool.acquire() as connection:
        (report,) = await findings(connection, plan)
    if repair:
        progress = await replays.apply(plan)
        assert (progress.open, progress.refused, progress.stale) == (0, 0, 0), progress
    return report


async def test_what_was_deleted_and_changed_is_named_and_mended(world: SinkWorld, database_url: str) -> None:
    """One line an item, with whose it is, its message and its record; a second look finds nothing."""
    replays, hands = Replays(world, database_url), HandWork(world)
    before = hands.picture()
    rows = await world.fetch("SELECT wamid, record_id FROM {sink}.activities ORDER BY wamid")
    records = {row["wamid"]: row["record_id"] for row in rows}
    hands.delete_activity(records["wamid.ann.0"])
    hands.change_activity(records["wamid.bob.1"])
    report = await reconciled(replays, repair=True)
    assert [(item.kind, item.contact_id, item.wamid, item.record_id) for item in report.drift] == [
        ("missing", str(contact("ann")), "wamid.ann.0", records["wamid.ann.0"]),
        ("different", str(contact("bob")), "wamid.bob.1", records["wamid.bob.1"]),
    ]
    assert [item.mends for item in report.drift] == ["made anew", "written over"]
    assert report.counts["activity"].crm == 5
    assert hands.picture() == before
    assert (await reconciled(replays)).drift == []


async def test_what_the_tables_know_as_deleted_is_no_drift(world: SinkWorld, database_url: str) -> None:
    """Somebody deleted a message, and the CRM told us: it stays deleted, and is named beside what is drift."""
    replays, hands = Replays(world, database_url), HandWork(world)
    await world.fetch(
        "UPDATE {sink}.activities SET problem = 'activity_deleted: by hand' WHERE wamid = 'wamid.ann.0'"
    )
    report = await reconciled(replays)
    assert (report.drift, sum(report.aside.values())) == ([], 1)
    assert hands.activities()
