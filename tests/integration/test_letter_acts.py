"""What operators did about dead letters, in a real PostgreSQL: each letter once, and what a crash leaves is taken up."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from connector.errors import Rejected
from connector.recovery.letters import acts
from connector.recovery.letters.acts import Act
from connector.roles.tables import MEDIA
from connector.settings import KafkaSettings
from connector.state.database import close_pool, connect, open_pool, transaction
from connector.state.offsets import Place, load_offsets, store_offsets
from connector.streams.completeness import Completeness
from connector.streams.outcomes import Record
from connector.telemetry.health import StageHealth

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = Act(act="1", who="ana", why="try", at=NOW)
SECOND = Act(act="2", who="ben", why="again", at=NOW)


@pytest.fixture
async def tables(database_url: str) -> AsyncIterator[Any]:
    connection = await connect(database_url)
    yield connection
    await connection.close()


async def test_a_redrive_that_was_cut_off_is_taken_up_by_the_next(tables: Any) -> None:
    """A letter marked and perhaps sent may be sent again; one marked as sent never is."""
    assert await acts.begin_redrive(tables, ["a", "b"], FIRST) == ["a", "b"]
    await acts.finish_redrive(tables, ["a"])
    assert await acts.begin_redrive(tables, ["a", "b", "c"], SECOND) == ["b", "c"]
    await acts.finish_redrive(tables, ["b", "c"])
    assert await acts.begin_redrive(tables, ["a", "b", "c"], SECOND) == []
    done = await acts.letter_act(tables, "b")
    assert done is not None
    assert (done.state, done.who, done.why) == ("redriven", "ben", "again")


async def test_one_thing_is_done_about_a_letter(tables: Any) -> None:
    """What was dropped is not redriven, what is being redriven or was is not dropped; a fix goes with either."""
    await acts.keep_fixes(tables, {"a": b"1", "b": b"2", "c": b"3"}, FIRST)
    await acts.keep_fixes(tables, {"a": b"mended"}, SECOND)
    assert await acts.fixes_of(tables, ["a", "b", "z"]) == {"a": b"mended", "b": b"2"}
    assert await acts.drop(tables, ["a"], FIRST) == ["a"]
    assert await acts.begin_redrive(tables, ["a", "b"], FIRST) == ["b"]
    assert await acts.drop(tables, ["a", "b"], SECOND) == []
    await acts.finish_redrive(tables, ["b"])
    assert await acts.drop(tables, ["b"], SECOND) == []
    assert await acts.fixed_letters(tables) == {"c"}
    assert await acts.letter_states(tables) == {"a": "dropped", "b": "redriven"}
    assert await acts.states_of(tables, ["b", "c"]) == {"b": "redriven"}


async def test_two_commands_do_not_change_letters_at_a_time(tables: Any, database_url: str) -> None:
    """The second is refused until the connection of the first has ended."""
    other = await connect(database_url)
    try:
        await acts.alone(tables)
        with pytest.raises(Rejected, match="at this moment"):
            await acts.alone(other)
        await tables.close()
        await acts.alone(other)
    finally:
        await other.close()


async def test_records_of_another_stage_leave_no_gap_in_the_tables(tables: Any, database_url: str) -> None:
    """What is passed over counts as folded, so that the record after it finds nothing missing."""
    pool = await open_pool(database_url, size=1, application="test")
    whole = Completeness(MEDIA, settings=KafkaSettings(), pool=pool, health=StageHealth("media-tables"))
    records = [Record(topic="t", partition=0, offset=n, follows=n, key=None, value=None) for n in range(4)]
    try:
        async with transaction(pool) as connection:
            await store_offsets(connection, schema="media", offsets=records[:1])
        await whole.pass_over(records[1:3])
        async with transaction(pool) as connection:
            await store_offsets(connection, schema="media", offsets=records[3:])
    finally:
        await close_pool(pool)
    assert (await load_offsets(tables, schema="media"))[Place("t", 0)] == 4
