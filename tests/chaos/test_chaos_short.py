"""The rows of `make chaos` in small, one after the other on one deployment: every bar of theirs is held.

But those of time: on a machine that runs other tests beside they say nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import row_bad_items
import row_broker_away
import row_crm_away
import row_database_away
import row_killed_roles
import row_lost_answers
import row_redelivered
import row_state_machine
import row_workers_come_and_go
from chaos_figures import Figure
from chaos_world import IMPATIENT, NO_QUOTA, World, opened

pytestmark = [pytest.mark.xdist_group("chaos"), pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Two ingress replicas, route and both syncs, which wait less long than usual for lost answers."""
    folder = tmp_path_factory.mktemp("chaos")
    async with opened(folder, seed=7, ingresses=2, hubspot=NO_QUOTA, env=IMPATIENT) as running:
        yield running


def _broken(figures: Sequence[Figure]) -> list[str]:
    return [
        f"{figure.name}: {figure.seen}, not {figure.bar}"
        for figure in figures
        if not figure.held and not figure.timed
    ]


async def test_roles_are_killed_under_load(world: World) -> None:
    """Each role is killed twice and works again; nothing is lost or doubled."""
    assert _broken(await row_killed_roles.play(world, kills=8, per_second=60, settle=60)) == []


async def test_every_webhook_comes_four_times_on_two_replicas(world: World) -> None:
    """Copies within 10 ms on two replicas leave one activity each."""
    assert _broken(await row_redelivered.play(world, updates=500, per_second=100, settle=60)) == []


async def test_answers_of_the_crms_are_lost_after_the_write(world: World) -> None:
    """One answer in twenty is lost, in eight ways: nothing is lost or doubled, nobody is written twice at once."""
    assert _broken(await row_lost_answers.play(world, updates=600, per_second=60, settle=90, lands=4)) == []


async def test_the_broker_goes_away(world: World) -> None:
    """The ingress answers 503 meanwhile and nothing that it answered 200 is lost."""
    figures = await row_broker_away.play(world, away=5, kills=1, per_second=50, settle=90, even=2)
    assert _broken(figures) == []


async def test_the_database_goes_away(world: World) -> None:
    """Every role waits and goes on; the ingress does not notice."""
    figures = await row_database_away.play(world, away=4, kills=1, per_second=50, settle=60, even=2)
    assert _broken(figures) == []


async def test_both_crms_go_away(world: World) -> None:
    """Nothing becomes a dead letter, and everything is there when they are back."""
    assert (
        _broken(await row_crm_away.play(world, away=8, per_second=30, settle=60, drain_bar=0, even=2)) == []
    )


async def test_workers_come_and_go(world: World) -> None:
    """Workers join and leave, some by `kill -9`: no contact is written by two requests at once."""
    figures = await row_workers_come_and_go.play(world, seconds=12, every=3, per_second=30, settle=60)
    assert _broken(figures) == []


async def test_one_message_in_a_hundred_is_refused(world: World) -> None:
    """Its dead letter says why, the others are written, however short or wrong the answers are."""
    figures = await row_bad_items.play(world, updates=400, per_second=80, settle=60)
    assert _broken(figures) == []


async def test_any_order_of_crashes_and_webhooks_ends_as_the_log_says(world: World) -> None:
    """A state machine lives some lives on a database of its own."""
    url = await row_state_machine.new_database(world.deployment.stack.postgres)
    figures = await asyncio.to_thread(row_state_machine.play, url, lives=12, steps=40, seed=3)
    assert _broken(figures) == []
