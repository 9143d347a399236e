"""How one process waits for its turns, on scripted draws: no database, and a clock that the test moves."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from connector.crm.port import NOW, Priority, Terms
from connector.crm.quota import (
    AccountLimits,
    DayNews,
    LimitReached,
    News,
    Pace,
    PaceNews,
    QuotaHeld,
    Slot,
    Unlimited,
)
from connector.crm.quota.governor import Governor
from connector.crm.quota.store import Draw, QuotaStore, Verdict
from connector.errors import ConnectorError, Transient

LIMITS = AccountLimits(
    crm="hubspot", account="a", paces={"burst": Pace(calls=100, seconds=10.0)}, day_calls=1_000
)
AWAY = Transient("The database does not answer.")


def drawn(
    verdict: Verdict = Verdict.GRANTED, *, wait: float = 0.0, number: int = 1, ends: int = 1_000
) -> Draw:
    return Draw(
        verdict=verdict,
        wait=wait,
        number=number,
        ends=ends,
        day_calls=1_000,
        pace_calls=100,
        pace_seconds=10.0,
    )


class Script(QuotaStore):
    """Answers draws from a list, and keeps what it is told."""

    def __init__(self, *draws: Draw | ConnectorError | None, fails: bool = False) -> None:
        object.__setattr__(self, "told", [])
        object.__setattr__(self, "draws", list(draws))
        object.__setattr__(self, "fails", fails)

    told: list[tuple[Any, ...]]
    draws: list[Draw | ConnectorError | None]
    fails: bool

    async def ensure(self, **_: Any) -> None:
        self.told.append(("ensure",))

    async def draw(self, *_: Any, **__: Any) -> Draw | None:
        answer = self.draws.pop(0)
        if isinstance(answer, ConnectorError):
            raise answer
        return answer

    async def _tell(self, *what: Any) -> None:
        if self.fails:
            raise AWAY
        self.told.append(what)

    async def over(self, number: int) -> None:
        await self._tell("over", number)

    async def set_pace(self, bucket: str, pace: Pace, *, share: float) -> None:
        await self._tell("pace", bucket, pace.calls, share)

    async def make_room(self, bucket: str, *, turns: int) -> None:
        await self._tell("room", bucket, turns)

    async def set_day(self, *, number: int, calls: int, left: int, slack: int) -> None:
        await self._tell("day", number, calls, left, slack)

    async def look_on(self, *, number: int) -> None:
        await self._tell("look on", number)

    async def set_back_bucket(self, bucket: str, seconds: float) -> None:
        await self._tell("back", bucket, seconds)

    async def set_back(self, seconds: float) -> None:
        await self._tell("all back", seconds)

    async def end_day(self, seconds: float) -> None:
        await self._tell("ended", seconds)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


Send = Callable[[Slot], Coroutine[Any, Any, tuple[str, News]]]


def answering(news: News | None = None) -> Send:
    async def send(slot: Slot) -> tuple[str, News]:
        slot.must_be_fresh()
        return f"answer {slot.number}", news or News()

    return send


def refusing(error: Exception) -> Send:
    async def send(_: Slot) -> tuple[str, News]:
        raise error

    return send


def governor(store: Script, *, limits: AccountLimits = LIMITS, **options: Any) -> Governor:
    return Governor(store=store, limits=limits, **options)


async def test_a_call_goes_out_with_the_number_that_it_drew() -> None:
    """The rows are made once, and the call has its slot."""
    store = Script(drawn(number=7), drawn(number=8))
    subject = governor(store)
    assert await subject.run(answering(), bucket="burst", terms=NOW) == "answer 7"
    assert await subject.run(answering(), bucket="burst", terms=NOW) == "answer 8"
    assert store.told == [("ensure",)]


async def test_rows_that_were_lost_are_made_anew() -> None:
    """A database that was dropped under a running process is met with fresh rows."""
    store = Script(drawn(number=1), None, drawn(number=2))
    subject = governor(store)
    await subject.run(answering(), bucket="burst", terms=NOW)
    assert await subject.run(answering(), bucket="burst", terms=NOW) == "answer 2"
    assert store.told == [("ensure",), ("ensure",)]


async def test_a_turn_that_was_missed_is_given_up_for_another() -> None:
    """A process that was frozen between draw and call does not send on the old turn."""
    clock = Clock()
    store = Script(drawn(number=1), drawn(number=2))
    sent: list[int] = []

    async def send(slot: Slot) -> tuple[str, News]:
        clock.now += 0.2 if slot.number == 1 else 0.0
        slot.must_be_fresh()
        sent.append(slot.number)
        return "answer", News()

    await governor(store, clock=clock).run(send, bucket="burst", terms=NOW)
    assert sent == [2]


async def test_a_process_that_misses_every_turn_says_so() -> None:
    """Rather than draw for ever it gives up, and nothing was sent."""
    clock = Clock()
    store = Script(*(drawn(number=number) for number in range(20)))

    async def send(slot: Slot) -> tuple[str, News]:
        clock.now += 5.0
        slot.must_be_fresh()
        raise AssertionError

    with pytest.raises(Transient, match="missed its turn"):
        await governor(store, clock=clock).run(send, bucket="burst", terms=NOW)
    assert len(store.draws) == 15


async def test_turns_drawn_before_a_refusal_are_void() -> None:
    """What one call is refused, another that already waits for its turn heeds: it draws again."""
    store = Script(drawn(wait=0.05, number=1), drawn(number=2), drawn(number=3))
    subject = governor(store)
    waiting = asyncio.create_task(subject.run(answering(), bucket="burst", terms=NOW))
    await asyncio.sleep(0)
    limit = LimitReached("no", retry_after=10.0)
    with pytest.raises(LimitReached):
        await subject.run(refusing(limit), bucket="burst", terms=NOW)
    assert await waiting == "answer 3"
    assert ("back", "burst", 10.0) in store.told


@pytest.mark.parametrize(
    ("bucket", "limit", "told"),
    [
        ("burst", LimitReached("no", retry_after=5.0), ("back", "burst", 5.0)),
        ("", LimitReached("no", retry_after=5.0), ("all back", 5.0)),
        ("burst", LimitReached("no", retry_after=5.0, whole_day=True), ("ended", 5.0)),
    ],
    ids=["window", "calls-at-once", "day"],
)
async def test_a_refusal_sets_back_what_it_is_about(
    bucket: str, limit: LimitReached, told: tuple[Any, ...]
) -> None:
    """A window, the account, or the day; the refusal itself is the caller's to hear."""
    store = Script(drawn())
    with pytest.raises(LimitReached):
        await governor(store).run(refusing(limit), bucket=bucket, terms=NOW)
    assert store.told[1:] == [told]


async def test_what_is_too_far_away_is_not_waited_for() -> None:
    """A class that has no turn within its patience is told so, and for how long."""
    store = Script(drawn(Verdict.PACED, wait=30.0))
    with pytest.raises(QuotaHeld, match="No turn for replay yet") as held:
        await governor(store).run(answering(), bucket="burst", terms=Terms(priority=Priority.REPLAY))
    assert (held.value.priority, held.value.retry_after) == (Priority.REPLAY, 30.0)


async def test_what_is_soon_is_asked_for_again() -> None:
    """A turn that comes into reach in a moment is worth a second draw."""
    store = Script(drawn(Verdict.PACED, wait=0.01), drawn(Verdict.AT_ONCE, wait=0.01), drawn(number=9))
    assert await governor(store).run(answering(), bucket="burst", terms=NOW) == "answer 9"


async def test_a_day_that_is_used_up_is_told_with_what_is_left_and_when_it_is_looked_at() -> None:
    """A person reads what waits, why, and until when."""
    store = Script(drawn(Verdict.DAY, wait=200.0, number=920))
    with pytest.raises(QuotaHeld) as held:
        await governor(store).run(answering(), bucket="burst", terms=Terms(priority=Priority.STATUS))
    assert "hubspot: daily quota used up until" in held.value.message
    assert "80 of 1,000 calls are left, kept for what comes before statuses" in held.value.message
    assert held.value.retry_after == 15.0


async def test_a_look_at_a_used_up_day_that_hears_nothing_lets_the_next_call_look() -> None:
    """Answers of HubSpot's search tell nothing of the day; each look was a search, and calls never came back."""
    store = Script(drawn(number=1_001, ends=1_000), drawn(number=1_000, ends=1_000))
    quota = governor(store)
    await quota.run(answering(), bucket="burst", terms=NOW)
    assert ("look on", 1_001) in store.told
    await quota.run(answering(), bucket="burst", terms=NOW)
    assert [what for what in store.told if what[0] == "look on"] == [("look on", 1_001)]


async def test_a_call_whose_lease_ended_while_it_waited_is_not_sent() -> None:
    """The terms are looked at after the turn came, right before the call leaves."""

    def check() -> None:
        raise Transient("The lease ended.")

    with pytest.raises(Transient, match="lease ended"):
        await governor(Script(drawn())).run(
            refusing(AssertionError()), bucket="burst", terms=Terms(check=check)
        )


@pytest.mark.parametrize(
    ("news", "told"),
    [
        (News(), []),
        (News(pace=PaceNews(calls=100, seconds=10.0, left=40), day=DayNews(calls=1_000, left=995)), []),
        (News(pace=PaceNews(calls=190, seconds=10.0, left=40)), [("pace", "burst", 190, 1.0)]),
        (News(pace=PaceNews(calls=100, seconds=10.0, left=0)), [("room", "burst", 3)]),
        (News(day=DayNews(calls=1_000, left=990)), [("day", 5, 1_000, 990, 20)]),
        (News(day=DayNews(calls=2_000, left=1_995)), [("day", 5, 2_000, 1_995, 20)]),
        (News(day=DayNews(calls=1_000, left=999)), []),
    ],
    ids=["nothing", "as-known", "other-limit", "window-full", "others-called", "other-day", "overtaken"],
)
async def test_only_news_is_written_down(news: News, told: list[tuple[Any, ...]]) -> None:
    """What the answer says and the buckets know already costs no statement."""
    store = Script(drawn(number=5, ends=1_000))
    await governor(store).run(answering(news), bucket="burst", terms=NOW)
    assert store.told[1:] == told


async def test_an_answer_is_not_lost_with_the_database() -> None:
    """The call was made: that the buckets could not be told is no reason to forget what came back."""
    store = Script(drawn(), fails=True)
    news = News(day=DayNews(calls=9, left=1))
    limits = AccountLimits(crm="hubspot", account="a", day_calls=1_000, at_once=2)
    subject = governor(store, limits=limits)
    assert await subject.run(answering(news), bucket="burst", terms=NOW) == "answer 1"


async def test_without_its_database_a_role_waits_and_a_tool_goes_on() -> None:
    """A role could not write anything anyway; `connector setup` works on a machine without one."""
    with pytest.raises(Transient, match="does not answer"):
        await governor(Script(AWAY)).run(answering(), bucket="burst", terms=NOW)
    tool = governor(Script(AWAY), needs_database=False)
    for _ in range(2):  # asked once
        assert await tool.run(answering(), bucket="burst", terms=NOW) == "answer 0"


async def test_waiting_ends_when_the_process_stops() -> None:
    """A turn in ten seconds does not hold up the end of a role."""
    stop = asyncio.Event()
    subject = governor(Script(drawn(wait=60.0)), stop=stop)
    waiting = asyncio.create_task(subject.run(answering(), bucket="burst", terms=NOW))
    await asyncio.sleep(0)
    stop.set()
    with pytest.raises(Transient, match="stops"):
        await asyncio.wait_for(waiting, timeout=5)


async def test_calls_that_nothing_limits_draw_nothing() -> None:
    """A bucket whose limit is set to 0 costs no round trip to the database."""
    limits = AccountLimits(crm="hubspot", account="a", paces={"search": Pace(calls=5, seconds=1.0)})
    assert await governor(Script(), limits=limits).run(answering(), bucket="burst", terms=NOW) == "answer 0"
    assert await Unlimited().run(answering(), bucket="burst", terms=NOW) == "answer 0"
    assert Slot().until == math.inf
