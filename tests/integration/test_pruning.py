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


async def test_sends_go_when_they_have_ended_and_the_log_cannot_bring_them_again(pool: asyncpg.Pool) -> None:
    """What has no end, is young, or is still to be told stays, and so does the request of any of them."""
    sends = [
        # send, state, age in days, outcome due, message told
        ("read", "read", LOG_DAYS + 1, False, True),
        ("blocked", "blocked", LOG_DAYS + 1, False, True),
        ("young", "read", LOG_DAYS - 1, False, True),
        ("unknown", "unknown", LOG_DAYS + 1, False, True),
        ("queued", "queued", LOG_DAYS + 1, False, True),
        ("workflow-waits", "failed", LOG_DAYS + 1, True, True),
        ("untold", "delivered", LOG_DAYS + 1, False, False),
    ]
    await pool.executemany(
        "INSERT INTO outbound.sends (send_id, trigger_id, state, created_at, admitted_at, settled_at, outcome_due_at, "
        "message_told, wamid) VALUES ($1, 't-' || $1, $2, now() - make_interval(days => $3), now(), "
        "now() - make_interval(days => $3), CASE WHEN $4 THEN now() END, $5, $1)",
        sends,
    )
    await pool.executemany(
        "INSERT INTO outbound.triggers VALUES ($1, '', 'api', 'c', 'offer', 1, now() - make_interval(days => $2))",
        [(f"t-{name}", LOG_DAYS + 1) for name, *_ in sends],
    )
    await pool.execute(
        "INSERT INTO outbound.consent_acts (act_id, contact_id, purpose, register, state, at, by_person, resumes, source, "
        "evidence) VALUES ('a', gen_random_uuid(), 'marketing', 'denied', 'denied', now() - interval '9 years', true, "
        "false, 'whatsapp', 'STOP')"
    )
    gone = await prune(pool, rules_of("outbound"), days=60)
    assert gone == {"outbound.sends": 2, "outbound.triggers": 2, "outbound.rejections": 0}
    left = {row["send_id"] for row in await pool.fetch("SELECT send_id FROM outbound.sends")}
    assert left == {"young", "unknown", "queued", "workflow-waits", "untold"}
    assert {row["trigger_id"] for row in await pool.fetch("SELECT trigger_id FROM outbound.triggers")} == {
        f"t-{name}" for name in left
    }
    assert await pool.fetchval("SELECT count(*) FROM outbound.consent_acts") == 1
