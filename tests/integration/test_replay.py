"""Replays on a real PostgreSQL, against both simulators: a plan says what will be written, and just that is."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest
from conversation_events import message, status
from replays import HandWork, Replays
from sink_world import SinkWorld, sink_world

from connector.recovery.replay.plans import ListedItem


@pytest.fixture(params=["hubspot", "salesforce"])
async def world(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[SinkWorld]:
    """A sync role of each CRM with three people and five messages, all written."""
    async with sink_world(request.param, database_url) as opened:
        await opened.fold(
            *(
                message(
                    f"wamid.{who}.{number}",
                    who,
                    seconds=number,
                    shown={"name": who, "username": who, "wa_id": f"1555123000{place}"},
                )
                for place, who in enumerate(("ann", "bob", "cem"))
                for number in range(2)
            ),
            message("wamid.out", "ann", seconds=5, direction="outbound"),
            status("wamid.out", "read", "ann", seconds=6),
        )
        await opened.settle()
        yield opened


async def test_a_plan_of_an_intact_crm_is_empty(world: SinkWorld, database_url: str) -> None:
    """What the CRM says already is nothing to write, whether it is looked at or not."""
    replays = Replays(world, database_url)
    for verify in (False, True):
        plan = await replays.plan(verify=verify)
        (summary,) = plan.summaries
        assert (summary.acts, summary.cannot, summary.already_there) == (0, 0, 10), plan.summary


@pytest.mark.parametrize("seed", range(3))
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
