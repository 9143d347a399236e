"""The buckets on a real PostgreSQL: what a draw grants, and what no order of draws can make it grant."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from connector.crm.port import Priority
from connector.crm.quota import Pace, read_quotas
from connector.crm.quota.rule import HORIZON, kept_back
from connector.crm.quota.store import Draw, QuotaStore, Verdict
from connector.state.database import close_pool, open_pool

START = datetime(2026, 11, 24, 12, tzinfo=UTC)
_numbers = itertools.count(1)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections to this test's database."""
    opened = await open_pool(database_url, size=4, application="test")
    yield opened
    await close_pool(opened)


async def new_account(
    pool: asyncpg.Pool, *, pace: Pace | None = None, share: float = 1.0, day_calls: int = 0, at_once: int = 0
) -> QuotaStore:
    """An account that nobody called yet."""
    store = QuotaStore(pool=pool, account=f"account {next(_numbers)}", crm="hubspot")
    paces = {} if pace is None else {"burst": pace}
    await store.ensure(paces=paces, share=share, day_calls=day_calls, at_once=at_once)
    return store


async def draw(
    store: QuotaStore,
    priority: Priority = Priority.LIVE,
    *,
    now: datetime | None = None,
    horizon: float | None = None,
    at_once: int = 0,
) -> Draw:
    found = await store.draw(
        "burst",
        horizon=HORIZON[priority] if horizon is None else horizon,
        kept_back=kept_back(priority, share=1.0),
        at_once=at_once,
        over_after=60.0,
        now=now,
    )
    assert found is not None
    return found


LIMITS = st.sampled_from([(2, 1.0), (5, 1.0), (19, 10.0), (100, 10.0), (190, 10.0), (250, 10.0)])
STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.001, 0.03, 0.2, 1.5, 7.0]), st.sampled_from(Priority)),
    min_size=10,
    max_size=300,
)


async def test_no_order_of_draws_exceeds_the_limit_in_any_window(pool: asyncpg.Pool) -> None:
    """Whoever draws when, the calls that reach the CRM within any window are never more than the limit."""
    loop = asyncio.get_running_loop()

    async def check(limit: tuple[int, float], steps: list[tuple[float, Priority]], seed: int) -> None:
        pace = Pace(calls=limit[0], seconds=limit[1])
        store = await new_account(pool, pace=pace)
        now, turns = START, []
        for pause, priority in steps:
            now += timedelta(seconds=pause)
            drawn = await draw(store, priority, now=now)
            if drawn.verdict is Verdict.GRANTED:
                turns.append((now - START).total_seconds() + drawn.wait)
            else:
                assert drawn.verdict is Verdict.PACED
                assert drawn.wait > 0
        # Each reaches the CRM some time after its turn, the worst way round for some window.
        arrivals = sorted(
            turn + (0.0 if (seed >> place % 16) & 1 else pace.travel)
            for place, turn in enumerate(sorted(turns))
        )
        for first, at in enumerate(arrivals):
            assert sum(at <= other < at + pace.seconds for other in arrivals[first:]) <= pace.calls

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
    @given(limit=LIMITS, steps=STEPS, seed=st.integers(0, 2**16 - 1))
    def examples(limit: tuple[int, float], steps: list[tuple[float, Priority]], seed: int) -> None:
        asyncio.run_coroutine_threadsafe(check(limit, steps, seed), loop).result(60)

    await asyncio.to_thread(examples)


async def test_a_backlog_uses_95_percent_of_the_limit(pool: asyncpg.Pool) -> None:
    """Draws that never cease are granted at least 95 % of the limit in a window."""
    store = await new_account(pool, pace=Pace(calls=190, seconds=10.0))
    turns = [(await draw(store, now=START, horizon=60.0)).wait for _ in range(200)]
    assert 0.95 * 190 <= sum(turn < 10.0 for turn in turns) <= 190


async def test_draws_at_the_same_moment_get_turns_of_their_own(pool: asyncpg.Pool) -> None:
    """Four connections that draw at once get each turn once, and every draw its own number."""
    pace = Pace(calls=50, seconds=1.0)
    store = await new_account(pool, pace=pace)
    draws = await asyncio.gather(*(draw(store, now=START, horizon=60.0) for _ in range(100)))
    assert sorted(item.number for item in draws) == list(range(1, 101))
    turns = sorted(item.wait for item in draws)
    gaps = [later - earlier for earlier, later in itertools.pairwise(turns)]
    assert min(gaps) == pytest.approx(pace.spacing, abs=1e-3)


async def test_what_is_live_never_queues_behind_much_that_is_not(pool: asyncpg.Pool) -> None:
    """However many replayed calls ask, they reserve a quarter of a second; then statuses, then live goes on."""
    store = await new_account(pool, pace=Pace(calls=190, seconds=10.0))
    asked = [await draw(store, Priority.REPLAY, now=START) for _ in range(100)]
    taken = Counter(item.verdict for item in asked)
    assert taken[Verdict.GRANTED] < 10
    assert 0 < asked[-1].wait < 0.2
    assert (await draw(store, Priority.STATUS, now=START)).verdict is Verdict.GRANTED
    assert (await draw(store, Priority.LIVE, now=START)).wait < HORIZON[Priority.REPLAY] + 0.15


async def test_each_class_leaves_the_end_of_the_day_to_those_before_it(pool: asyncpg.Pool) -> None:
    """Replay stops at 20 % of the day, statuses at 10 %, and what is live takes the last call."""
    store = await new_account(pool, day_calls=50)
    granted: Counter[Priority] = Counter()
    for priority in reversed(Priority):
        while (await draw(store, priority, now=START)).verdict is Verdict.GRANTED:
            granted[priority] += 1
    assert granted == {Priority.REPLAY: 40, Priority.STATUS: 5, Priority.LIVE: 5}


async def test_a_day_that_is_used_up_is_looked_at_by_one_call_in_five_minutes(pool: asyncpg.Pool) -> None:
    """Whoever asks, one call goes out to see whether calls came back; what it hears opens the day."""
    store = await new_account(pool, day_calls=50)
    await draw(store, now=START)
    await store.end_day(300.0)
    refused = await draw(store)
    assert refused.verdict is Verdict.DAY
    assert refused.wait == pytest.approx(300.0, abs=30)
    later = datetime.now(UTC) + timedelta(seconds=301)
    looks = [await draw(store, Priority.REPLAY, now=later) for _ in range(3)]
    assert [item.verdict for item in looks] == [Verdict.GRANTED, Verdict.DAY, Verdict.DAY]
    await store.look_on(number=looks[0].number)
    again = [await draw(store, Priority.REPLAY, now=later) for _ in range(2)]
    assert [item.verdict for item in again] == [Verdict.GRANTED, Verdict.DAY]
    await store.set_day(number=again[0].number, calls=50, left=49, slack=20)
    assert (await draw(store, now=later)).day_left == 48


async def test_the_day_is_what_the_crm_says_of_it(pool: asyncpg.Pool) -> None:
    """Calls of others count; an answer that was overtaken does not bring calls back."""
    store = await new_account(pool, day_calls=1_000)
    numbers = [(await draw(store, now=START)).number for _ in range(3)]
    await store.set_day(number=numbers[2], calls=500, left=100, slack=20)
    assert (await draw(store, now=START)).day_left == 99
    await store.set_day(number=numbers[0], calls=500, left=400, slack=20)
    assert (await draw(store, now=START)).day_left == 98
    await store.set_day(number=5, calls=500, left=499, slack=20)
    assert (await draw(store, now=START)).day_left == 498


async def test_a_refusal_sets_everybody_back(pool: asyncpg.Pool) -> None:
    """After a 429 the next turn of that bucket is as far away for whoever draws it."""
    store = await new_account(pool, pace=Pace(calls=100, seconds=10.0))
    await store.set_back_bucket("burst", 7.0)
    assert 5.0 < (await draw(store)).wait <= 7.0
    await store.set_back(3.0)
    drawn = await draw(store)
    assert drawn.verdict is Verdict.SET_BACK
    assert 1.0 < drawn.wait <= 3.0


async def test_open_calls_are_counted_until_they_are_over(pool: asyncpg.Pool) -> None:
    """No more calls are open than may be; one that is reported over, or is long past its time, makes room."""
    store = await new_account(pool, at_once=2)
    first, second, third = [await draw(store, now=START, at_once=2) for _ in range(3)]
    assert [item.verdict for item in (first, second, third)] == [
        Verdict.GRANTED,
        Verdict.GRANTED,
        Verdict.AT_ONCE,
    ]
    await store.over(first.number)
    assert (await draw(store, now=START, at_once=2)).verdict is Verdict.GRANTED
    assert (await draw(store, now=START, at_once=2)).verdict is Verdict.AT_ONCE
    assert (await draw(store, now=START + timedelta(seconds=61), at_once=2)).verdict is Verdict.GRANTED


async def test_a_limit_that_the_crm_told_outlives_a_restart(pool: asyncpg.Pool) -> None:
    """What was told is kept by a process that starts with other settings; what was only set is replaced."""
    store = await new_account(pool, pace=Pace(calls=100, seconds=10.0), day_calls=1_000)
    await store.ensure(paces={"burst": Pace(calls=110, seconds=10.0)}, share=1.0, day_calls=1_000, at_once=3)
    assert (await draw(store)).pace_calls == 110
    await store.set_pace("burst", Pace(calls=190, seconds=10.0), share=1.0)
    await store.ensure(paces={"burst": Pace(calls=100, seconds=10.0)}, share=0.5, day_calls=1_000, at_once=3)
    async with pool.acquire() as connection:
        quotas = [item for item in await read_quotas(connection) if item.account == store.account]
    (account,) = quotas
    (burst,) = account.buckets
    assert (burst.calls, burst.told, account.day_left, account.at_once) == (190, True, 999, 3)
    assert 180 < burst.left <= 190


async def test_a_draw_of_an_account_that_is_not_there_says_so(pool: asyncpg.Pool) -> None:
    """A database that was dropped meanwhile has no rows: the caller makes them anew."""
    store = QuotaStore(pool=pool, account="nobody", crm="hubspot")
    assert await store.draw("burst", horizon=1.0, kept_back=0.0) is None


async def test_a_clock_that_is_set_back_holds_nobody_up(pool: asyncpg.Pool) -> None:
    """Turns, open calls and refusals of an hour that comes again are void."""
    store = await new_account(pool, pace=Pace(calls=10, seconds=10.0), at_once=1)
    later = START + timedelta(hours=1)
    assert (await draw(store, now=later, at_once=1)).verdict is Verdict.GRANTED
    first, second = [await draw(store, now=START, at_once=1) for _ in range(2)]
    assert (first.verdict, first.wait) == (Verdict.GRANTED, 0.0)
    assert second.verdict is Verdict.AT_ONCE
    await store.set_back(60.0)
    assert (await draw(store, now=datetime.now(UTC))).verdict is Verdict.SET_BACK
    assert (await draw(store, now=datetime.now(UTC) - timedelta(hours=1))).verdict is Verdict.GRANTED
