"""Reconciliation on a real PostgreSQL, against both simulators: what came apart is named, and put together again."""

import contextlib
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from conversation_events import contact, message
from prometheus_client import REGISTRY
from replays import HandWork, Replays
from sink_world import SinkWorld, sink_world

from connector.recovery.reconcile.drift import SinkReport
from connector.recovery.reconcile.gauges import show_reconciliation
from connector.recovery.reconcile.leftovers import Settled
from connector.recovery.reconcile.reconciling import Reconciler, only_one
from connector.recovery.replay.selection import Selection

PEOPLE = ("ann", "bob", "cem", "dua")


@pytest.fixture(params=["hubspot", "hubspot without unique ids", "salesforce"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sync role of each CRM with four people and twelve messages, all written."""
    async with _written(request.param, database_url) as opened:
        yield opened


@pytest.fixture
async def plain(database_url: str) -> AsyncIterator[SinkWorld]:
    """The same of a portal that takes the id of a message twice."""
    async with _written("hubspot without unique ids", database_url) as opened:
        yield opened


@contextlib.asynccontextmanager
async def _written(named: str, database_url: str) -> AsyncIterator[SinkWorld]:
    sink, _, plain = named.partition(" ")
    async with sink_world(sink, database_url, unique_communications=not plain) as opened:
        await opened.fold(
            *(
                message(f"wamid.{who}.{number}", who, seconds=number, shown=_shown(who, place))
                for place, who in enumerate(PEOPLE)
                for number in range(3)
            )
        )
        await opened.settle()
        yield opened


def _shown(who: str, place: int) -> dict[str, str]:
    return {"name": who, "username": who, "wa_id": f"1555123000{place}", "bsuid": f"US.{place}"}


class Reconciling:
    """What an operator does, on the database of a world."""

    def __init__(self, world: SinkWorld, database_url: str) -> None:
        self.world = world
        self.replays = Replays(world, database_url)
        self.hands = HandWork(world)

    async def look(self, *, repair: bool = False) -> tuple[SinkReport, Sequence[Settled]]:
        """What is found; with `repair` it is mended, with the role's writer beside it."""
        replays = self.replays
        selection = Selection(sinks=(replays.name,), topic="")
        async with only_one(replays.url) as connection:
            work = Reconciler(
                planner=replays.planner(), connection=connection, surveys={replays.name: self.world.crm}
            )
            plan, (report,) = await work.look(selection, who="a tester", now=datetime.now(UTC))
            if not repair:
                return report, ()
            if plan.summaries[0].acts:
                progress = await replays.apply(plan)
                assert (progress.open, progress.refused, progress.stale) == (0, 0, 0), progress
            settled = [one async for one in work.settle_leftovers([report], act=str(uuid.uuid4()))]
            await work.mended(selection, [report])
            return report, settled

    async def settle(self, report: SinkReport) -> Sequence[Settled]:
        """What is there too much is deleted or flagged."""
        async with only_one(self.replays.url) as connection:
            work = Reconciler(
                planner=self.replays.planner(),
                connection=connection,
                surveys={self.replays.name: self.world.crm},
            )
            return [one async for one in work.settle_leftovers([report], act=str(uuid.uuid4()))]

    async def records(self) -> dict[str, str]:
        """Wamid → record id."""
        rows = await self.world.fetch("SELECT wamid, record_id FROM {sink}.activities")
        return {row["wamid"]: row["record_id"] for row in rows}


async def test_an_intact_crm_has_no_drift(world: SinkWorld, database_url: str) -> None:
    """Everything is counted in all places, and nothing is named."""
    report, _ = await Reconciling(world, database_url).look()
    assert report.drift == []
    assert (report.counts["activity"].tables, report.counts["activity"].crm) == (12, 12)
    assert (report.counts["contact"].tables, report.counts["contact"].crm) == (4, 4)


async def test_random_damage_is_named_and_mended(world: SinkWorld, database_url: str) -> None:
    """Deleted, changed and copied behind our back: the CRM reads as the fold again, and a second look finds nothing."""
    work = Reconciling(world, database_url)
    before, random = work.hands.picture(), Random(world.crm.name)
    damage = _damage(work.hands, random)
    report, settled = await work.look(repair=True)
    named = {item.record_id for item in report.drift}
    assert damage["deleted"] | damage["changed"] | damage["copied"] <= named, (damage, report.drift)
    assert report.by_kind["doubled"] == len(damage["copied"])
    assert {one.drift.record_id for one in settled} == damage["copied"]
    assert all(one.reason for one in settled)  # people made them: each is left, and says why
    again, _ = await work.look()
    assert (again.drift, again.flagged) == ([], len(settled))
    for record_id in damage["copied"]:
        with contextlib.suppress(Exception):
            work.hands.delete_activity(record_id)
        with contextlib.suppress(Exception):
            work.hands.delete_contact(record_id)
    assert work.hands.picture() == before
    third, _ = await work.look()
    assert (third.drift, third.flagged) == ([], 0)


def _damage(hands: HandWork, random: Random) -> dict[str, set[str]]:
    people, messages = hands.contacts(), hands.activities()
    random.shuffle(people)
    random.shuffle(messages)
    copied = {hands.copy_activity(record_id) for record_id in messages[:2]} | {hands.copy_contact(people[0])}
    for record_id in messages[2:4]:
        hands.delete_activity(record_id)
    for record_id in messages[4:6]:
        hands.change_activity(record_id)
    hands.take_off(messages[6])
    hands.change_contact(people[1])
    hands.delete_contact(people[2])
    hands.forget_effects()
    return {
        # In Salesforce a person's messages go with the person.
        "copied": copied & {*hands.contacts(), *hands.activities()},
        "deleted": {*messages[2:4], people[2]},
        "changed": {*messages[4:7], people[1]},
    }


async def test_a_second_record_of_our_own_making_is_deleted(plain: SinkWorld, database_url: str) -> None:
    """All of it is ours: it goes, the first one stays, and a person's copy of the same message is left with the reason."""
    work = Reconciling(plain, database_url)
    kept = (await work.records())["wamid.ann.0"]
    ours = work.hands.copy_activity(kept, by_us=True)
    theirs = work.hands.copy_activity(kept)
    report, settled = await work.look(repair=True)
    assert [(item.kind, item.wamid, item.contact_id, item.kept) for item in report.drift] == [
        ("doubled", "wamid.ann.0", str(contact("ann")), kept)
    ] * 2
    outcomes = {one.drift.record_id: one.outcome for one in settled}
    assert outcomes == {ours: "deleted", theirs: "flagged"}
    assert {kept, theirs} <= set(work.hands.activities())
    assert ours not in work.hands.activities()
    # As after a crash behind the delete.
    again = {one.drift.record_id: one for one in await work.settle(report)}
    assert (again[ours].outcome, again[ours].reason) == ("deleted", "it was gone already")
    assert {kept, theirs} <= set(work.hands.activities())


async def test_a_copy_takes_the_place_of_a_deleted_record(plain: SinkWorld, database_url: str) -> None:
    """The record that the tables know is gone and another has its id: it is adopted, and none is made."""
    work = Reconciling(plain, database_url)
    kept = (await work.records())["wamid.bob.1"]
    copy = work.hands.copy_activity(kept)
    work.hands.delete_activity(kept)
    report, settled = await work.look(repair=True)
    assert [(item.kind, item.record_id, item.mends) for item in report.drift] == [
        ("orphaned", copy, "adopted again, made anew")
    ]
    assert settled == []
    assert (await work.records())["wamid.bob.1"] == copy
    assert len(work.hands.activities()) == 12
    assert (await work.look())[0].drift == []


async def test_records_that_no_table_knows_are_flagged(world: SinkWorld, database_url: str) -> None:
    """The tables lost a person with all messages: none of the records is touched, and each is told once."""
    work = Reconciling(world, database_url)
    await world.fetch("DELETE FROM {sink}.activities WHERE contact_id = $1", contact("cem"))
    await world.fetch("DELETE FROM {sink}.contacts WHERE contact_id = $1", contact("cem"))
    before = work.hands.picture()
    report, settled = await work.look(repair=True)
    assert Counter((item.kind, item.what) for item in report.drift) == {
        ("orphaned", "contact"): 1,
        ("orphaned", "activity"): 3,
    }
    assert {one.outcome for one in settled} == {"flagged"}
    assert work.hands.picture() == before
    assert (await work.look())[0].drift == []


async def test_what_the_tables_know_as_deleted_is_no_drift(world: SinkWorld, database_url: str) -> None:
    """Somebody deleted a message, and the CRM told us: it stays deleted, and is named beside what is drift."""
    work = Reconciling(world, database_url)
    record_id = (await work.records())["wamid.ann.0"]
    work.hands.delete_activity(record_id)
    await world.fetch(
        "UPDATE {sink}.activities SET problem = 'activity_deleted: by hand' WHERE wamid = 'wamid.ann.0'"
    )
    report, _ = await work.look(repair=True)
    assert (report.drift, sum(report.aside.values())) == ([], 1)
    assert record_id not in work.hands.activities()


async def test_what_was_found_is_kept_for_the_gauges(plain: SinkWorld, database_url: str) -> None:
    """The last look at everybody says how much of each kind there is; a repair takes it back to none."""
    work = Reconciling(plain, database_url)
    work.hands.delete_activity((await work.records())["wamid.ann.0"])
    await work.look()
    query = "SELECT drift FROM replay.reconciliations WHERE sink = 'hubspot'"
    none = {"missing": 0, "doubled": 0, "different": 0, "orphaned": 0}
    assert [row["drift"] for row in await plain.fetch(query)] == [none | {"missing": 1}]
    await show_reconciliation(plain.pool, "hubspot")
    assert _gauge("connector_reconcile_drift", kind="missing") == 1
    await work.look(repair=True)
    assert [row["drift"] for row in await plain.fetch(query)] == [none]
    await show_reconciliation(plain.pool, "hubspot")
    assert _gauge("connector_reconcile_drift", kind="missing") == 0
    assert (_gauge("connector_reconcile_last_run_timestamp_seconds") or 0) > 1_000_000_000


def _gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"sink": "hubspot"} | labels)
