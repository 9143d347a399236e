"""Replays on a real PostgreSQL, against both simulators: a plan says what will be written, and just that is."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from random import Random

import pytest
from conversation_events import contact, message, status
from replays import HandWork, Replays
from sink_world import SinkWorld, sink_world

from connector.errors import Rejected
from connector.recovery.replay.items import sentence
from connector.recovery.replay.plans import ListedItem, Plan, alone
from connector.settings import SyncSettings
from connector.sync.core.mapping import SyncMapping
from connector.sync.core.templates import read_template
from connector.sync.mapping import built_in

LOUD = read_template("{text}!!", fields=("text",))


@pytest.fixture(params=["hubspot", "salesforce"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sync role of each CRM with three people and seven messages, all written."""
    async with _written(request.param, database_url) as opened:
        yield opened


@pytest.fixture
async def org(database_url: str) -> AsyncIterator[SinkWorld]:
    """The same of one CRM, for what is the same in both."""
    async with _written("salesforce", database_url) as opened:
        yield opened


@contextlib.asynccontextmanager
async def _written(sink: str, database_url: str) -> AsyncIterator[SinkWorld]:
    async with sink_world(sink, database_url) as opened:
        await opened.fold(
            *(
                message(f"wamid.{who}.{number}", who, seconds=number, shown=_shown(who, place))
                for place, who in enumerate(("ann", "bob", "cem"))
                for number in range(2)
            ),
            message("wamid.out", "ann", seconds=5, direction="outbound"),
            status("wamid.out", "read", "ann", seconds=6),
        )
        await opened.settle()
        yield opened


def _shown(who: str, place: int) -> dict[str, str]:
    return {"name": who, "username": who, "wa_id": f"1555123000{place}"}


async def test_a_plan_of_an_intact_crm_is_empty(world: SinkWorld, database_url: str) -> None:
    """What the CRM says already is nothing to write, whether it is looked at or not."""
    replays = Replays(world, database_url)
    for verify in (False, True):
        plan = await replays.plan(verify=verify)
        (summary,) = plan.summaries
        assert (summary.acts, summary.cannot, summary.already_there) == (0, 0, 10), plan.summary


@pytest.mark.parametrize("seed", range(2))
async def test_what_a_plan_says_is_what_it_does(world: SinkWorld, database_url: str, seed: int) -> None:
    """After any damage to CRM and tables just the planned records are written, and the CRM reads as it did before."""
    replays, hands = Replays(world, database_url), HandWork(world)
    before = hands.picture()
    random = Random(f"{seed} {world.crm.name}")
    for _ in range(2):
        await _damage(world, hands, random)
        plan = await replays.plan(restore=True)
        again = await replays.plan(restore=True)
        assert again.hash == plan.hash
        start = replays.last_call
        progress = await replays.apply(again)
        assert (progress.open, progress.refused, progress.stale, progress.held) == (0, 0, 0, 0), progress
        planned = await _as_effects(world, await replays.items(again))
        assert replays.written(since=start) == planned
        assert hands.picture() == before
        after = await replays.plan(restore=True)
        assert after.summaries[0].acts == 0, await replays.items(after)


async def _damage(world: SinkWorld, hands: HandWork, random: Random) -> None:
    people, messages = hands.contacts(), hands.activities()
    for act, records in (
        (hands.change_contact, random.sample(people, 2)),
        (hands.change_activity, random.sample(messages, 2)),
        (hands.take_off, random.sample(messages, 1)),
        (hands.delete_activity, random.sample(messages, 2)),
        (hands.delete_contact, random.sample(people, random.randrange(2))),
    ):
        for record_id in records:
            with contextlib.suppress(Exception):  # it is deleted by now
                act(record_id)
    hands.forget_effects()
    for table in ("contacts", "activities"):
        rows = await world.fetch(f"SELECT ctid::text AS place FROM {{sink}}.{table}")
        await world.fetch(
            f"UPDATE {{sink}}.{table} SET written_digest = 'of another mapping' WHERE ctid = ANY($1::text[]::tid[])",
            [row["place"] for row in random.sample(rows, 2)],
        )


async def _as_effects(world: SinkWorld, items: Sequence[ListedItem]) -> set[tuple[str, str]]:
    """(action, record id) as the simulator tells them, of what was planned."""
    wanted = set()
    for item in items:
        table, key = ("contacts", "contact_id") if item.kind == "contact" else ("activities", "wamid")
        rows = await world.fetch(f"SELECT record_id FROM {{sink}}.{table} WHERE {key}::text = $1", item.key)
        wanted.add(("updated" if item.act == "change" else "created", rows[0]["record_id"]))
    return wanted


async def test_without_restoring_what_people_deleted_stays_deleted(
    world: SinkWorld, database_url: str
) -> None:
    """Somebody deleted a person and a message: both are told, with the option that makes them anew, and left alone."""
    replays, hands = Replays(world, database_url), HandWork(world)
    hands.delete_activity(hands.activities()[0])
    plan = await replays.plan()
    assert (plan.summaries[0].acts, plan.summaries[0].cannot) == (0, 1)
    (item,) = await replays.items(plan)
    assert (item.act, "--restore-deleted" in item.reason) == ("cannot", True)


async def test_a_mended_mapping_rewrites_what_it_says_differently(
    world: SinkWorld, database_url: str
) -> None:
    """Without a look at the CRM or the log: every message that reads differently now, no person, and nothing twice."""
    replays, hands = Replays(world, database_url), HandWork(world)
    mended = louder()
    plan = await replays.plan(mapping=mended, verify=False)
    (summary,) = plan.summaries
    assert (summary.change_activities, summary.change_contacts, summary.already_there) == (7, 0, 3)
    assert sentence(summary, verified=False).startswith(
        "create 0 contacts, change 0 fields on 0 contacts, add 0 activities, change 7 activities, skip 3 already there, "
        "cannot 0; sends 0; about 1 CRM calls"
    )
    with pytest.raises(Rejected, match="made with the mapping") as raised:
        await replays.begin(plan)
    assert raised.value.cause == "stale_plan"
    world.restart(SyncSettings(), mapping=mended)
    start = replays.last_call
    progress = await replays.apply(plan, mapping=mended)
    assert (progress.written, len(replays.written(since=start))) == (7, 7)
    assert all("!!" in str(said) for said, _ in hands.picture()["messages"].values())
    assert (await replays.plan(mapping=mended)).summaries[0].acts == 0


def louder() -> SyncMapping:
    """The built-in mapping, with a mark behind every text."""
    usual = replace(built_in().layout.usual, text=LOUD)
    families = {name: replace(layout, text=LOUD) for name, layout in built_in().layout.families.items()}
    return replace(built_in(), layout=replace(built_in().layout, usual=usual, families=families))


async def test_a_stale_plan_is_refused_and_says_what_changed(org: SinkWorld, database_url: str) -> None:
    """An item that went on since; with the option to skip it the rest is applied, and the item is as it was."""
    replays = Replays(org, database_url)
    plan = await replays.plan(mapping=louder(), verify=False)
    await org.fold(status("wamid.out", "played", "ann", seconds=9))
    with pytest.raises(Rejected) as raised:
        await replays.begin(plan, mapping=louder())
    assert raised.value.cause == "stale_plan"
    assert f"activity wamid.out of {replays.name} went from version 1 to 2" in raised.value.message
    await org.settle()
    org.restart(SyncSettings(), mapping=louder())
    progress = await replays.apply(plan, mapping=louder(), skip_stale=True)
    assert (progress.written, progress.stale) == (6, 1)


async def test_who_was_erased_after_they_were_deleted_is_not_made_anew(
    world: SinkWorld, database_url: str
) -> None:
    """Of two whom somebody deleted, a restoring plan makes the one anew whom no webhook called erased since."""
    replays = Replays(world, database_url)
    deleted = HandWork(world).contacts()[:2]
    await world.fetch(
        "UPDATE {sink}.contacts SET record_id = NULL, held = 'deleted', written_version = 0 "
        "WHERE record_id = ANY($1::text[]) RETURNING 1",
        deleted,
    )
    await world.fetch(
        "INSERT INTO outbound.erased_records (crm, record_id, erased_at) VALUES ($1, $2, now()) RETURNING 1",
        world.crm.name,
        deleted[0],
    )
    items = await replays.items(await replays.plan(restore=True, verify=False))
    people = {item.act: item.reason for item in items if item.kind == "contact"}
    assert people.keys() == {"cannot", "restore"}, items
    assert "erased" in people["cannot"]


async def test_what_was_begun_is_shown_and_goes_on(org: SinkWorld, database_url: str) -> None:
    """A stop at once leaves a plan that nobody can begin beside, and that ends where it would have ended."""
    replays = Replays(org, database_url)
    plan = await replays.plan(mapping=louder(), verify=False)
    other = await replays.plan(topic="", restore=True)
    await replays.begin(plan, mapping=louder())
    stopped = asyncio.Event()
    stopped.set()
    progress = await replays.applier().go_on(plan.hash, stop=stopped)
    assert (progress.left, progress.written) == (7, 0)
    for again in (plan, other):
        with pytest.raises(Rejected) as raised:
            await replays.begin(again, mapping=louder() if again is plan else None)
        assert (raised.value.cause, f"--resume {plan.hash}" in raised.value.advice) == (
            "replay_unfinished",
            True,
        )
    await _marked_and_killed(replays, plan)
    org.restart(SyncSettings(), mapping=louder())
    assert (await replays.go_on(plan)).written == 7
    with pytest.raises(Rejected, match="is done"):
        await replays.begin(plan, mapping=louder())


async def test_a_cancelled_replay_takes_back_what_nobody_has_sent(org: SinkWorld, database_url: str) -> None:
    """Marked items are at rest again, as before; nothing is written, and what stood in its way may begin."""
    replays = Replays(org, database_url)
    plan = await replays.plan(mapping=louder(), verify=False)
    await replays.begin(plan, mapping=louder())
    await _marked_and_killed(replays, plan)
    start = replays.last_call
    progress = await replays.applier().cancel(plan.hash)
    assert (progress.taken_back, progress.open) == (7, 0)
    await org.settle()
    assert replays.written(since=start) == set()


async def test_a_cancelled_replay_leaves_what_a_lost_record_needs_told(
    org: SinkWorld, database_url: str
) -> None:
    """An item whose record was lost after it was marked waits to be written anew: it is not taken back as written."""
    replays = Replays(org, database_url)
    plan = await replays.plan(mapping=louder(), verify=False)
    await replays.begin(plan, mapping=louder())
    await _marked_and_killed(replays, plan)
    await org.fetch(
        "UPDATE {sink}.activities SET record_id = NULL, written_version = 0 WHERE wamid = "
        "(SELECT min(wamid) FROM {sink}.activities WHERE desired_version > written_version) RETURNING 1"
    )
    progress = await replays.applier().cancel(plan.hash)
    assert progress.taken_back == 6
    assert len(await org.fetch(_AHEAD)) == 1


async def _marked_and_killed(replays: Replays, plan: Plan) -> None:
    """All items are ahead, nobody writes, and the command that put them there is gone."""
    marking = asyncio.create_task(replays.applier().go_on(plan.hash, stop=asyncio.Event()))
    async with asyncio.timeout(10):
        while len(await replays.world.fetch(_AHEAD)) < 7:
            await asyncio.sleep(0.02)
    marking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await marking


_AHEAD = "SELECT 1 FROM {sink}.activities WHERE desired_version > written_version"


async def test_two_replays_at_once_are_one_too_many(org: SinkWorld, database_url: str) -> None:
    """Whoever comes second is told who is at it, and nothing is changed."""
    replays = Replays(org, database_url)
    plan = await replays.plan()
    async with alone(database_url):
        with pytest.raises(Rejected, match="Another replay works") as raised:
            await replays.plan()
        assert raised.value.cause == "replay_running"
        with pytest.raises(Rejected, match="Another replay works"):
            await replays.begin(plan)


async def test_people_on_hold_are_told_and_left_alone(org: SinkWorld, database_url: str) -> None:
    """Whom the settings or a person keep away is no item of a plan, whatever the mapping says by now."""
    replays = Replays(org, database_url)
    await org.fetch("UPDATE {sink}.contacts SET held = 'ignored' WHERE contact_id = $1", contact("ann"))
    plan = await replays.plan(mapping=louder(), verify=False)
    (summary,) = plan.summaries
    assert (summary.change_activities, summary.cannot, dict(summary.reasons)) == (
        4,
        4,
        {"are on the ignore list": 4},
    )
