"""A batch's way through a stage, without Kafka: what is retried, what dies, what is given up."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import count

import pytest

from connector.errors import Paused, Rejected, Terminal, Transient, Uncertain
from connector.streams.batch import BatchRunner
from connector.streams.codec import EncodedRecord, decode
from connector.streams.dead_letter_limit import DeadLetterLimit
from connector.streams.outcomes import Dead, Done, Outcome, Record
from connector.streams.redriven import HEADER_STAGE
from connector.telemetry.health import StageHealth, State
from connector.topics import ACCOUNT_EVENTS, DEAD_LETTERS, WHATSAPP_UPDATES


class FakeStage:
    name = "fake"
    topic = WHATSAPP_UPDATES
    batch_size = 100

    def __init__(self, act: Callable[[Sequence[Record]], object] | None = None) -> None:
        self.calls: list[int] = []
        self._act = act

    async def handle(self, records: Sequence[Record]) -> Sequence[Outcome]:
        self.calls.append(len(records))
        answer = self._act(records) if self._act else None
        if asyncio.iscoroutine(answer):
            answer = await answer
        return [Done() for _ in records] if answer is None else answer  # type: ignore[return-value]


class FakeSender:
    """Keeps what it is sent. `refuse`: what to raise for a call, if anything."""

    def __init__(self, refuse: Callable[[Sequence[EncodedRecord]], Exception | None] | None = None) -> None:
        self.sent: list[EncodedRecord] = []
        self._refuse = refuse

    async def send_all(self, records: Sequence[EncodedRecord], *, timeout: float) -> None:
        if self._refuse and (error := self._refuse(records)):
            raise error
        self.sent += records


def records(count: int) -> list[Record]:
    return [
        Record(topic="t", partition=0, offset=n, key=b"k", value=b"v%d" % n, timestamp=1.0)
        for n in range(count)
    ]


def runner(
    stage: FakeStage,
    sender: FakeSender | None = None,
    *,
    health: StageHealth | None = None,
    run: int = 200,
    given_up: Callable[[], bool] = lambda: False,
    handler_timeout: float = 5.0,
    passed_over: Callable[[Sequence[Record]], Awaitable[None]] | None = None,
    held: Callable[[], Transient | None] = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> BatchRunner:
    return BatchRunner(
        stage,
        sender=sender or FakeSender(),
        limit=DeadLetterLimit(stage="fake", run=run, share=0.5),
        health=health or StageHealth("fake"),
        given_up=given_up,
        handler_timeout=handler_timeout,
        passed_over=passed_over,
        held=held,
        clock=clock,
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC),
        random=lambda: 0.0,
        stopped_pause=0.02,
    )


def fail_times(times: int, error: Exception) -> Callable[[Sequence[Record]], None]:
    left = iter([error] * times)

    def act(_: Sequence[Record]) -> None:
        if (now := next(left, None)) is not None:
            raise now

    return act


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(Transient("away", retry_after=0.01), id="transient"),
        pytest.param(Uncertain("answer lost"), id="uncertain"),
        pytest.param(Terminal("refused"), id="terminal"),
        pytest.param(asyncio.CancelledError(), id="cancelled from inside"),
    ],
)
async def test_infrastructure_errors_repeat_the_whole_batch_and_kill_nothing(error: Exception) -> None:
    """What is no fault of the data is waited for, and passes by itself when it is repaired."""
    stage, sender = FakeStage(fail_times(2, error)), FakeSender()
    assert await runner(stage, sender).run(records(3))
    assert (stage.calls, sender.sent) == ([3, 3, 3], [])


async def test_a_stopped_line_says_what_to_do_and_resumes_by_itself() -> None:
    """`Terminal` shows its advice while it lasts and is gone after the first success."""
    health, seen = StageHealth("fake"), []
    fails = fail_times(2, Terminal("the token was refused", advice="set the token"))

    def act(batch: Sequence[Record]) -> None:
        seen.append(health.state)
        fails(batch)

    health.running()
    assert await runner(FakeStage(act), health=health).run(records(1))
    assert seen == [State.RUNNING, State.STOPPED_LINE, State.STOPPED_LINE]
    assert health.state is State.RUNNING


async def test_the_record_at_fault_is_found_by_halving() -> None:
    """One bad record among a hundred costs about two log n calls, and only it dies."""

    def act(batch: Sequence[Record]) -> None:
        if any(record.offset == 37 for record in batch):
            raise ValueError("no")

    stage, sender = FakeStage(act), FakeSender()
    assert await runner(stage, sender).run(records(100))
    [letter] = [decode(DEAD_LETTERS, sent.value) for sent in sender.sent]
    assert (letter.offset, letter.cause, letter.original) == (37, "handler_failed", b"v37")
    assert len(stage.calls) <= 2 * 7 + 1


async def test_a_refusal_keeps_its_own_cause_and_advice() -> None:
    """`Rejected` out of a handler is the record's fault under its stable name, not ours."""
    sender = FakeSender()
    stage = FakeStage(fail_times(1, Rejected("too odd", cause="unreadable_update", advice="look at it")))
    assert await runner(stage, sender).run(records(1))
    [letter] = [decode(DEAD_LETTERS, sent.value) for sent in sender.sent]
    assert (letter.cause, letter.reason, letter.advice) == ("unreadable_update", "too odd", "look at it")


async def test_a_dead_letters_reason_never_quotes_the_record() -> None:
    """A validation error names the field, not the person's text in it."""

    def act(_: Sequence[Record]) -> None:
        ACCOUNT_EVENTS.value.model_validate({"event_id": {"secret": "Maria"}})

    sender = FakeSender()
    assert await runner(FakeStage(act), sender).run(records(1))
    [letter] = [decode(DEAD_LETTERS, sent.value) for sent in sender.sent]
    assert "event_id" in letter.reason
    assert "Maria" not in letter.reason


async def test_a_bad_deploy_is_noticed_before_the_whole_batch_is_cut_up() -> None:
    """Past the limit of dead letters in a row the line stops, and nothing was sent."""
    health, sender = StageHealth("fake"), FakeSender()
    stage = FakeStage(fail_times(10_000, TypeError("bad deploy")))
    stopped = False

    def given_up() -> bool:
        nonlocal stopped
        stopped = stopped or health.state is State.STOPPED_LINE
        return stopped

    assert not await runner(stage, sender, health=health, run=5, given_up=given_up).run(records(500))
    assert sender.sent == []
    assert len(stage.calls) < 40


async def test_a_record_too_large_to_produce_makes_its_source_a_dead_letter() -> None:
    """The broker's size limit is met by one record: the others are sent, that one's source dies with the cause."""

    def refuse(batch: Sequence[EncodedRecord]) -> Exception | None:
        big = any(record.topic is WHATSAPP_UPDATES and record.value == b"v1" for record in batch)
        return Rejected("too large", cause="record_too_large") if big else None

    def act(batch: Sequence[Record]) -> list[Outcome]:
        return [
            Done(produce=(EncodedRecord(topic=WHATSAPP_UPDATES, key=b"", value=r.value or b"", headers=[]),))
            for r in batch
        ]

    sender = FakeSender(refuse)
    assert await runner(FakeStage(act), sender).run(records(3))
    assert [sent.topic.name for sent in sender.sent] == [
        "whatsapp.updates",
        "dead.letters",
        "whatsapp.updates",
    ]
    assert decode(DEAD_LETTERS, sender.sent[1].value).cause == "record_too_large"


async def test_a_dead_letter_that_cannot_be_sent_stops_the_line() -> None:
    """If not even the dead letter passes, nothing is dropped: the line stops and says which limit to raise."""
    health = StageHealth("fake")
    stage = FakeStage(lambda batch: [Dead(cause="x", reason="y") for _ in batch])
    sender = FakeSender(lambda _: Rejected("too large", cause="record_too_large"))

    def given_up() -> bool:
        return health.state is State.STOPPED_LINE

    assert not await runner(stage, sender, health=health, given_up=given_up).run(records(1))


async def test_a_failed_send_does_not_repeat_the_handler() -> None:
    """Outcomes are kept while the broker is away: the handler's own effects are not made again."""
    refusals = iter([Transient("away", retry_after=0.01)] * 3)
    stage = FakeStage(lambda batch: [Dead(cause="x", reason="y") for _ in batch])
    sender = FakeSender(lambda _: next(refusals, None))
    assert await runner(stage, sender).run(records(4))
    assert (stage.calls, len(sender.sent)) == ([4], 4)


async def test_a_handler_that_hangs_is_cancelled_and_called_again() -> None:
    """A call may not outlast its share of a rebalance; abandoned, it is really cancelled."""
    cancelled = 0

    async def hang() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1

    calls = 0

    def act(_: Sequence[Record]) -> object:
        nonlocal calls
        calls += 1
        return hang() if calls == 1 else None

    assert await runner(FakeStage(act), handler_timeout=0.05).run(records(1))
    assert (calls, cancelled) == (2, 1)


async def test_a_batch_given_up_while_waiting_is_not_durable_and_health_forgets_it() -> None:
    """A rebalance ends the waiting; whoever holds the partition next reports for itself."""
    health, calls = StageHealth("fake"), 0

    def act(_: Sequence[Record]) -> None:
        nonlocal calls
        calls += 1
        raise Transient("away", retry_after=2.0)

    health.running()
    assert not await runner(FakeStage(act), health=health, given_up=lambda: calls > 0).run(records(1))
    assert health.state is State.RUNNING


def redriven(record: Record, *, stage: bytes) -> Record:
    return replace(record, headers={HEADER_STAGE: stage})


async def test_what_is_redriven_for_another_stage_is_passed_over_in_its_place() -> None:
    """The stage never sees it, its tables learn of the offsets in order, and the batch is done."""
    first, second, third, fourth, last = records(5)
    batch = [
        redriven(first, stage=b"fake"),
        redriven(second, stage=b"other"),
        redriven(third, stage=b"other"),
        fourth,
        redriven(last, stage=b"other"),
    ]
    seen: list[tuple[str, list[int]]] = []

    async def passed_over(skipped: Sequence[Record]) -> None:
        seen.append(("passed", [record.offset for record in skipped]))

    stage = FakeStage(lambda part: seen.append(("handled", [record.offset for record in part])))
    assert await runner(stage, passed_over=passed_over).run(batch)
    assert seen == [("handled", [0]), ("passed", [1, 2]), ("handled", [3]), ("passed", [4])]


async def test_redriven_records_that_die_again_do_not_stop_the_line() -> None:
    """Each becomes a letter again; all of them count as one against the limit, which is there for bad deploys."""
    sender = FakeSender()
    stage = FakeStage(lambda batch: [Dead(cause="x", reason="y") for _ in batch])
    batch = [redriven(record, stage=b"fake") for record in records(50)]
    assert await runner(stage, sender, run=5).run(batch)
    letters = [decode(DEAD_LETTERS, sent.value) for sent in sender.sent]
    assert [letter.headers for letter in letters] == [{HEADER_STAGE: "fake"}] * 50


async def test_a_redriven_record_that_a_handler_fails_on_is_a_letter_again() -> None:
    """A defect that is not mended yet isolates the record as before, and does not stop the line."""
    sender = FakeSender()
    stage = FakeStage(fail_times(10_000, TypeError("still wrong")))
    batch = [redriven(record, stage=b"fake") for record in records(20)]
    assert await runner(stage, sender, run=5).run(batch)
    assert len(sender.sent) == 20


async def test_a_paused_stage_handles_nothing_says_who_paused_it_and_goes_on() -> None:
    """The stage is not called while it is held, nor before it is known whether it is; the health names the command."""
    health = StageHealth("fake")
    health.running()
    answers = iter(
        [
            Transient("not known yet", retry_after=0.0),
            *[Paused("Paused by ana", advice="resume", retry_after=0.01)] * 2,
        ]
    )
    seen: list[object] = []

    def held() -> Transient | None:
        seen.append(health.snapshot().get("waiting_for"))
        return next(answers, None)

    stage = FakeStage()
    assert await runner(stage, health=health, held=held).run(records(2))
    assert stage.calls == [2]
    assert seen[:2] == [None, None]
    assert [one["operator"]["reason"] for one in seen[2:]] == ["Paused by ana"] * 2  # type: ignore[index]
    assert health.state is State.RUNNING


async def test_a_stage_that_cannot_learn_whether_it_is_paused_waits_and_does_not_stall() -> None:
    """A database that is away when the role starts is shown as such: a standstill that is not explained ends it."""
    health = StageHealth("fake")
    health.running()
    away = [Transient("The database is away.", advice="start it", retry_after=0.001)] * 3
    answers = iter(away)
    seen: list[tuple[bool, object]] = []

    def held() -> Transient | None:
        seen.append((health.is_held_up, health.snapshot().get("waiting_for")))
        return next(answers, None)

    ticks = count(step=0.6)
    assert await runner(FakeStage(), health=health, held=held, clock=lambda: next(ticks)).run(records(2))
    held_up, told = seen[-1]
    assert held_up
    assert told["work"]["reason"] == "The database is away."  # type: ignore[index]
    assert health.state is State.RUNNING


async def test_a_paused_batch_is_given_back_in_a_rebalance() -> None:
    """A pause keeps nobody from stopping."""
    stops = iter([False, False, True])
    paused = runner(
        FakeStage(), held=lambda: Paused("Paused", retry_after=0.01), given_up=lambda: next(stops, True)
    )
    assert not await paused.run(records(2))
