"""`connector pause` and `resume` on a real PostgreSQL: what is pressed, who reads it, and what the log is told."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from operator_shell import Operator
from outbound_world import outbound_world

from connector.embedded.ports import free_ports
from connector.errors import Paused, Transient
from connector.events import SendsSwitched
from connector.state.database import close_pool, connect, open_pool
from connector.state.switches import pressed, switch
from connector.state.whole import AlwaysWhole
from connector.streams.codec import decode
from connector.streams.pauses import Pauses, UnlessPaused
from connector.topics import CRM_TRIGGERS

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def operator(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Operator:
    nowhere = f"127.0.0.1:{free_ports(1)[0]}"
    return Operator(monkeypatch, database__url=database_url, kafka__bootstrap_servers=nowhere)


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


def act(name: str, *, minute: int, paused: bool, subject: str = "") -> SendsSwitched:
    return SendsSwitched(
        event_id=name,
        source="cli",
        client="ana",
        received_at=NOW + timedelta(minutes=minute),
        paused=paused,
        scope="template" if subject else "all",
        subject=subject,
        reason="a wrong price",
    )


async def waiting_send(tables: Any, name: str, *, template: str, number: str, state: str = "queued") -> None:
    await tables.execute(
        "INSERT INTO outbound.sends (send_id, trigger_id, template_name, phone_number_id, state, created_at) "
        "VALUES ($1, 't', $2, $3, $4, $5)",
        name,
        template,
        number,
        state,
        NOW,
    )


async def test_a_pause_counts_at_once_and_says_who_when_and_why(operator: Operator, tables: Any) -> None:
    """The switch is in the table, its act is queued for the log, and what waits for it is counted."""
    await waiting_send(tables, "s1", template="offer", number="1")
    await waiting_send(tables, "s2", template="offer", number="1", state="accepted")
    code, out, err = await operator.run("pause", "sends", "--reason", " wrong \n price ", "--by", "ana")
    assert (code, err) == (0, "")
    assert "Paused: all sends. Sends that wait for it: 1." in out
    (switched,) = await pressed(tables)
    assert (switched.scope, switched.who, switched.reason) == ("all", "ana", "wrong price")
    row = await tables.fetchrow("SELECT topic, key, value, stage FROM shared.outgoing")
    event = decode(CRM_TRIGGERS, row["value"])
    assert (row["stage"], row["key"], event.paused, event.client) == ("outbound", b"switch:all:", True, "ana")
    assert event.received_at == switched.at


async def test_each_switch_is_lifted_by_the_same_words(operator: Operator, tables: Any) -> None:
    """A number is known by what people dial; resuming one switch leaves the others pressed, and says so."""
    await tables.execute(
        "INSERT INTO outbound.numbers (phone_number_id, waba_id, display_phone) VALUES ('106', 'w', '+1 555-123-0001')"
    )
    await operator.json("pause", "sends", "--reason", "limit")
    found = await operator.json("pause", "sends", "--number", "15551230001", "--reason", "quality")
    assert [(item["scope"], item["subject"]) for item in found["paused"]] == [("all", ""), ("number", "106")]
    code, out, _ = await operator.run("resume", "sends")
    assert (code, "Resumed: all sends." in out, "sends from the number 106" in out) == (0, True, True)
    found = await operator.json("resume", "sends", "--number", "106")
    assert (found["changed"], found["paused"]) == (True, [])
    assert (await operator.json("resume", "sends", "--number", "106"))["changed"] is False
    assert await operator.json("pause", "list") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--template", "ofer"], "is it offer?", id="misspelt template"),
        pytest.param(
            ["--number", "15550000000"], "is no number of this business", id="somebody else's number"
        ),
    ],
)
async def test_what_would_pause_nothing_is_refused(
    operator: Operator, tables: Any, arguments: list[str], says: str
) -> None:
    """A pause with a typing mistake in it would be none: it is refused, with what was meant."""
    await tables.execute(
        "INSERT INTO outbound.templates (waba_id, name, language, document) "
        "VALUES ('w', 'offer', 'en', '{\"status\": \"APPROVED\"}'::text::jsonb)"
    )
    await tables.execute("INSERT INTO outbound.numbers (phone_number_id, waba_id) VALUES ('106', 'w')")
    code, _, err = await operator.run("pause", "sends", "--reason", "x", *arguments)
    assert (code, says in err) == (1, True)
    assert await pressed(tables) == []
    assert await tables.fetchval("SELECT count(*) FROM shared.outgoing") == 0


async def test_acts_count_in_the_order_of_their_times_however_they_come(tables: Any) -> None:
    """Twice, late and in any order: the latest act of each switch counts, and no other switch is touched."""
    acts = [
        act("a", minute=0, paused=True),
        act("b", minute=1, paused=False),
        act("c", minute=2, paused=True),
    ]
    other = act("d", minute=0, paused=True, subject="offer")
    for order in permutations(acts):
        async with tables.transaction():
            for one in (*order, other, *order):
                await switch(tables, [one])
            found = [(item.scope, item.at) for item in await pressed(tables)]
            assert found == [("all", acts[2].received_at), ("template", other.received_at)]
            await switch(tables, [act("e", minute=3, paused=False)])
            await switch(tables, acts)
            assert [item.scope for item in await pressed(tables)] == ["template"]
            await tables.execute("DELETE FROM shared.switch_acts")
            await tables.execute("DELETE FROM shared.switches")


async def test_a_restored_database_learns_of_a_pause_from_the_log(
    operator: Operator, tables: Any, database_url: str
) -> None:
    """What the command queued for the log presses the switch again where the table has lost it, as it was."""
    await operator.run("pause", "sends", "--reason", "wrong price", "--by", "ana")
    before = await pressed(tables)
    event = decode(CRM_TRIGGERS, await tables.fetchval("SELECT value FROM shared.outgoing"))
    await tables.execute("DELETE FROM shared.switch_acts")
    await tables.execute("DELETE FROM shared.switches")
    async with outbound_world(database_url) as world:
        await world.trigger(event, event)
    assert await pressed(tables) == before


async def test_a_sink_and_a_stage_are_held_until_they_are_resumed(
    operator: Operator, tables: Any, database_url: str
) -> None:
    """The role's next look sees it; a claim is refused and what was begun is settled; sends are another switch."""
    pool = await open_pool(database_url, size=1, application="test")
    try:
        pauses = Pauses(pool)
        assert isinstance(pauses.held("stage", "route"), Transient)
        await pauses.look()
        assert pauses.held("stage", "route") is None
        found = await operator.json("pause", "sink", "hubspot", "--reason", "a wrong mapping", "--by", "ana")
        assert (found["changed"], found["waiting"]) == (True, 0)
        assert "operator.actions has no record of it" in found["note"]
        await operator.json("pause", "stage", "route", "--reason", "upgrade")
        assert await pressed(tables) == []
        await pauses.look()
        writer = UnlessPaused(AlwaysWhole(), pauses, sink="hubspot")
        with pytest.raises(Paused, match=r"Paused by ana since .*: a wrong mapping") as held:
            await writer.must_be_whole(tables)
        assert held.value.advice == "connector resume sink hubspot"
        assert await writer.must_be_whole(tables, since=("", 0)) == ("", 0)
        assert await UnlessPaused(AlwaysWhole(), pauses, sink="salesforce").must_be_whole(tables)
        assert isinstance(pauses.held("stage", "route"), Paused)
        assert pauses.held("stage", "route-history") is None
        listed = await operator.json("pause", "list")
        assert [(item["kind"], item["subject"]) for item in listed] == [
            ("stage", "route"),
            ("sink", "hubspot"),
        ]
        assert (await operator.json("resume", "sink", "hubspot"))["changed"] is True
        assert (await operator.json("resume", "sink", "hubspot"))["changed"] is False
        await pauses.look()
        assert await writer.must_be_whole(tables) == ("", 0)
    finally:
        await close_pool(pool)


async def test_what_is_no_sink_or_stage_is_not_paused(operator: Operator) -> None:
    """A typing error pauses nothing, and the names are told."""
    code, _, err = await operator.run("pause", "stage", "rout", "--reason", "x")
    assert (code, "route-history" in err) == (2, True)
