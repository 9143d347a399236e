"""The pure parts of the stream harness: limits, back-off, progress, dead letters, commit positions."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from faust.types import TP, ConsumerMessage

from connector.errors import Terminal
from connector.settings import KafkaSettings
from connector.streams.app import make_app
from connector.streams.backoff import backoff
from connector.streams.codec import decode
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.dead_letters import dead_letter_record
from connector.streams.hardened import HardenedConsumer
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.streams.watchdog import Position, Progress
from connector.topics import DEAD_LETTERS

DEAD: Outcome = Dead(cause="x", reason="y")
DONE: Outcome = Done()
PLACE = TP("updates", 0)


def test_dead_letters_in_a_row_are_counted_across_batches() -> None:
    """Two bad batches add up; one good record in between starts the count again."""
    limit = DeadLetterLimit(stage="s", run=3, share=1.0)
    limit.check([DEAD] * 3)
    limit.record([DEAD] * 3)
    with pytest.raises(Terminal, match="more than 3 records in a row"):
        limit.check([DEAD])
    limit.check([DONE, DEAD, DEAD, DEAD])


def test_the_share_of_dead_letters_is_of_the_last_thousand() -> None:
    """A first handful of bad records is no share; two hundred and one of a thousand are too many."""
    limit = DeadLetterLimit(stage="s", run=1000, share=0.2)
    limit.check([DEAD] * 200)
    limit.record([DEAD, DONE, DONE, DONE] * 50 + [DEAD, DONE] * 150)
    with pytest.raises(Terminal, match="of the last 1000"):
        limit.check([DEAD])
    limit.record([DONE] * 1000)
    limit.check([DEAD] * 200)


def test_one_bad_delivery_counts_once() -> None:
    """A thousand unreadable elements of one webhook stop nothing; as many webhooks do, and so do records without one."""
    limit = DeadLetterLimit(stage="s", run=3, share=1.0)
    one = [Dead(cause="c", reason="r", source="post-1")] * 1000
    limit.check(one)
    limit.record(one)
    limit.check(one)
    limit.check([Dead(cause="c", reason="r", source=f"post-{number}") for number in (1, 2, 3)])
    with pytest.raises(Terminal, match="more than 3 records in a row"):
        limit.check([Dead(cause="c", reason="r", source=f"post-{number}") for number in (2, 3, 4)])
    with pytest.raises(Terminal, match="more than 3 records in a row"):
        limit.check([DEAD] * 3)


def test_what_its_record_foretold_counts_for_the_run_only() -> None:
    """Updates that came in without a known form are no share of anything; a topic full of them still stops the line."""
    unknown = Dead(cause="c", reason="r", foretold=True)
    limit = DeadLetterLimit(stage="s", run=300, share=0.2)
    limit.record([unknown, DONE] * 1000)
    limit.check([unknown, DONE] * 500)
    limit.record([DEAD] * 200)
    limit.record([unknown, DONE] * 300)
    with pytest.raises(Terminal, match="of the last 1000"):
        limit.check([DEAD])
    with pytest.raises(Terminal, match="more than 300 records in a row"):
        limit.check([unknown] * 301)


def test_backoff_doubles_up_to_its_cap_with_jitter_above_a_half() -> None:
    """The first pause is short, the longest is capped, and no two workers agree."""
    assert backoff(1, random=lambda: 0.0) == pytest.approx(0.1)
    assert backoff(3, random=lambda: 0.5) == pytest.approx(0.6)
    assert backoff(5000, random=lambda: 0.99999) == pytest.approx(15.0, rel=0.01)


def at(committed: int, end: int) -> Position:
    return Position(committed=committed, end=end)


@pytest.mark.parametrize(
    ("looks", "standstill"),
    [
        pytest.param([{0: at(5, 9)}, {0: at(5, 9)}], 10.0, id="work and no commit"),
        pytest.param([{0: at(5, 9)}, {0: at(6, 99)}], 0.0, id="any commit is progress"),
        pytest.param([{0: at(9, 9)}, {0: at(9, 9)}], 0.0, id="no work is no standstill"),
        pytest.param([{0: at(5, 9)}, {1: at(5, 9)}], 0.0, id="new partitions start anew"),
        pytest.param([{0: at(5, 9), 1: at(0, 9)}, {0: at(6, 9), 1: at(0, 9)}], 0.0, id="one of two moves"),
    ],
)
def test_standstill_is_work_without_commits(looks: list[dict[int, Position]], standstill: float) -> None:
    """What the watchdog takes for a standstill, ten seconds after its first look."""
    progress = Progress()
    for number, look in enumerate(looks):
        progress.observe(look, at=number * 10.0, excused=False)
    assert progress.standstill(10.0) == standstill


def test_waiting_for_a_dependency_is_no_standstill() -> None:
    """An excused look starts the count again, for every partition."""
    progress = Progress()
    for moment in (0.0, 100.0, 200.0):
        progress.observe({0: at(5, 9)}, at=moment, excused=True)
    assert progress.standstill(201.0) == 1.0
    assert progress.stuck_partitions(201.0, longer_than=10) == []


def test_a_partition_that_is_left_behind_is_named() -> None:
    """Progress elsewhere does not hide a partition that never moves."""
    progress = Progress()
    for moment in range(5):
        progress.observe({0: at(moment, 9), 1: at(3, 9)}, at=moment * 10.0, excused=False)
    assert progress.standstill(40.0) == 0.0
    assert progress.stuck_partitions(40.0, longer_than=30) == [1]


def test_a_dead_letter_keeps_every_byte_and_a_stable_id() -> None:
    """Key and value come back exactly, odd headers become text, repeating it gives the same id."""
    record = Record(
        topic="p.whatsapp.updates",
        partition=3,
        offset=7,
        key=b"\xff\x00",
        value=b"\x00\xfe{",
        headers={"event-id": b"e1", "odd": b"\xff"},
    )
    moments = [datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)]
    first, again = (
        dead_letter_record(record, Dead(cause="x", reason="y"), stage="route", at=moment)
        for moment in moments
    )
    letter = decode(DEAD_LETTERS, first.value)
    assert (letter.key, letter.original, letter.partition, letter.offset) == (b"\xff\x00", b"\x00\xfe{", 3, 7)
    assert letter.headers == {"event-id": "e1", "odd": "�"}
    assert first.key == b"route"
    assert json.loads(first.value)["event_id"] == json.loads(again.value)["event_id"]


def message(offset: int, *, generation: int = 0) -> ConsumerMessage:
    return ConsumerMessage(
        *(PLACE.topic, PLACE.partition, offset, 0.0, 0, [], None, b"", None, 0, 0, PLACE),
        generation_id=generation,
    )


class RefusedOnce(HardenedConsumer):
    """A consumer whose broker refuses the first commit."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.commits: list[dict[TP, int]] = []

    def assignment(self) -> set[TP]:
        return {PLACE}

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        self.commits.append(dict(offsets))
        return len(self.commits) > 1


@pytest.fixture
async def consumer() -> AsyncIterator[RefusedOnce]:
    async def agent(_app: object, _stream: object) -> None: ...

    app = make_app(stage="unit", topic=PLACE.topic, settings=KafkaSettings(), agent=agent)
    app.transport.Consumer = RefusedOnce
    consumer = app.consumer
    app.topics._acking_topics.add(PLACE.topic)
    app.consumer_generation_id = 0
    yield consumer
    consumer.close_unstarted_thread()


def acknowledge(consumer: HardenedConsumer, *offsets: int) -> None:
    for offset in offsets:
        consumer.ack(message(offset))


async def test_nothing_at_or_above_an_open_record_is_committed(consumer: HardenedConsumer) -> None:
    """#606: a fresh group with a hole of one commits up to the hole, later all of it."""
    hole = message(2)
    consumer.track_message(hole)
    acknowledge(consumer, 0, 1, 3, 4)
    assert consumer._new_offset(PLACE) == 2
    consumer.ack(hole)
    assert consumer._new_offset(PLACE) == 5
    assert consumer._new_offset(PLACE) is None


async def test_nothing_at_or_above_an_abandoned_record_is_committed(consumer: HardenedConsumer) -> None:
    """A batch given back stays the limit until the partitions are assigned anew."""
    acknowledge(consumer, 0, 1)
    consumer.abandon(message(2))
    acknowledge(consumer, 3)
    assert consumer._new_offset(PLACE) == 2
    assert consumer._new_offset(PLACE) is None


async def test_a_record_of_an_earlier_assignment_holds_nothing_up(consumer: HardenedConsumer) -> None:
    """A stale record is being read again already: giving it back sets no limit."""
    consumer.abandon(message(0, generation=-5))
    acknowledge(consumer, 0, 1)
    assert consumer._new_offset(PLACE) == 2


async def test_offsets_that_do_not_exist_do_not_hold_a_commit_up(consumer: HardenedConsumer) -> None:
    """Ten million offsets deleted by retention cost nothing and are stepped over."""
    acknowledge(consumer, 0, 1)
    await asyncio.wait_for(consumer._add_gap(PLACE, 2, 10_000_000), 0.1)
    acknowledge(consumer, 10_000_000)
    assert consumer._new_offset(PLACE) == 10_000_001


async def test_a_refused_commit_is_repeated(consumer: RefusedOnce) -> None:
    """#316: what the broker refused is not taken for committed; the next round commits it."""
    acknowledge(consumer, 0, 1, 2)
    assert not await consumer.commit()
    assert await consumer.commit()
    assert consumer.commits == [{PLACE: 3}, {PLACE: 3}]
    assert not await consumer.commit()
