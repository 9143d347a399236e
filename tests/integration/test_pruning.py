"""Old rows that are forgotten, on a real PostgreSQL: what comes again all the same is not made twice."""

import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from conversation_events import message, status
from sink_world import sink_world
from typer.testing import CliRunner

from connector.cli import app
from connector.roles.tables import ALL_TABLES
from connector.state.database import close_pool, open_pool
from connector.state.pruning import LOG_DAYS, prune, rules_of

SINKS = ["hubspot", "salesforce"]
_AGE = "UPDATE {sink}.activities SET fresh_at = now() - make_interval(days => $1) WHERE wamid = ANY($2)"


@pytest.mark.parametrize("sink", SINKS)
async def test_what_comes_again_of_a_forgotten_message_changes_nothing_in_the_crm(
    sink: str, database_url: str
) -> None:
    """Redelivered, read years later or edited by a replay: one activity, which says what it said."""
    async with sink_world(sink, database_url) as world:
        hello = message("old", "ana", text="hello")
        await world.fold(hello, message("new", "ana", text="again"))
        await world.settle()
        await world.fetch(_AGE, LOG_DAYS + 1, ["old"])
        before = world.people.messages()

        gone = await prune(world.pool, rules_of(sink), days=60)
        assert gone[f"{sink}.activities"] == 1
        calls = len(list(world.people.journal.calls()))
        await world.fold(hello, status("old", "read", "ana"))
        await world.settle()

        assert world.people.messages() == before
        assert len(list(world.people.journal.calls())) == calls
        assert [row["wamid"] for row in await world.fetch("SELECT wamid FROM {sink}.activities")] == ["new"]


async def test_only_what_is_old_and_at_rest_is_forgotten(database_url: str) -> None:
    """What waits, was refused, is in doubt, or is younger than the log stays; a status of nobody goes."""
    async with sink_world("hubspot", database_url) as world:
        names = ["waits", "refused", "doubt", "young", "rest"]
        await world.fold(*(message(name, "ana") for name in names))
        await world.settle()
        await world.fold(status("orphan", "read", None))
        await world.fetch(_AGE, LOG_DAYS + 1, [*names[:3], "rest", "orphan"])
        await world.fetch(_AGE, LOG_DAYS - 1, ["young"])
        for change, name in (
            ("desired_version = desired_version + 1", "waits"),
            ("problem = 'bad: x'", "refused"),
            ("intent_at = now()", "doubt"),
        ):
            await world.fetch(f"UPDATE hubspot.activities SET {change} WHERE wamid = $1", name)
        async with world.pool.acquire() as other, other.transaction():
            await other.execute("SELECT 1 FROM hubspot.activities WHERE wamid = 'rest' FOR UPDATE")
            assert (await prune(world.pool, rules_of("hubspot"), days=60))["hubspot.activities"] == 1
        dry = await prune(world.pool, rules_of("hubspot"), days=60, dry_run=True)
        assert dry == await prune(world.pool, rules_of("hubspot"), days=60)
        assert dry["hubspot.activities"] == 1
        left = await world.fetch("SELECT wamid FROM {sink}.activities ORDER BY wamid")
        assert [row["wamid"] for row in left] == ["doubt", "refused", "waits", "young"]


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    opened = await open_pool(database_url, size=2, application="test")
    yield opened
    await close_pool(opened)


async def test_a_walk_of_many_keys_ends_and_takes_every_old_row(pool: asyncpg.Pool) -> None:
    """More rows than one transaction looks at, old and new mixed: the old ones go, the new ones stay."""
    await pool.execute(
        "INSERT INTO identity.messages SELECT 'w' || n, gen_random_uuid(), 'e' || n, "
        "now() - make_interval(days => 100 * (n % 2)), 't', 0, n FROM generate_series(1, 12001) AS n"
    )
    gone = await prune(pool, rules_of("identity"), days=60)
    assert gone == {"identity.messages": 6001, "identity.conflicts": 0}
    assert await pool.fetchval("SELECT count(*) FROM identity.messages") == 6000


def test_the_command_says_what_would_go(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--dry-run` runs the statement of every rule and changes nothing; without an age it is refused."""
    monkeypatch.setenv("CONNECTOR_DATABASE__URL", database_url)
    runner = CliRunner()
    assert runner.invoke(app, ["state", "prune"]).exit_code == 2
    result = runner.invoke(app, ["state", "prune", "--older-than", "90", "--dry-run", "--json"])
    told = json.loads(result.stdout)
    rules = [rule for tables in ALL_TABLES for rule in rules_of(tables.schema)]
    assert [row["table"] for row in told["tables"]] == [rule.name for rule in rules]
    assert {row["kept_days"] for row in told["tables"]} == {90, LOG_DAYS}
