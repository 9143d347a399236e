"""Sends calls in their turn: draws from the account's buckets, waits, and tells them what the answers say."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from connector.crm.port import Priority, Terms
from connector.crm.quota.port import (
    Answer,
    DayNews,
    LimitReached,
    News,
    PaceNews,
    Quota,
    QuotaHeld,
    Send,
    Slot,
    StaleSlot,
    Unlimited,
)
from connector.crm.quota.rule import HORIZON, LOOK_EVERY, Pace, kept_back, lateness
from connector.crm.quota.store import Draw, QuotaStore, Verdict
from connector.errors import ConnectorError, Transient
from connector.settings import DatabaseSettings
from connector.state.database import close_pool, open_pool
from connector.telemetry import metrics

log = structlog.get_logger(__name__)

_PATIENCE = HORIZON[Priority.LIVE]
"""Seconds that a call waits for its turn. What waits longer gives back its contacts, and is claimed again."""
_ASK_AGAIN = 15.0  # seconds
_TRIES = 5  # turns missed in a row
_CONNECTIONS = 2  # a draw takes about a millisecond
_ROOM = 3  # turns skipped when the CRM says that the window is full, though we spaced our calls


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountLimits:
    """What an account may, until the CRM says so itself.

    `account`: names it without telling the credential; `paces`: by bucket; `day_calls` and `at_once`: 0 where none is
    kept; `over_after`: seconds after which an open call counts as over; `share`: of all that, ours.
    """

    crm: str
    account: str
    paces: Mapping[str, Pace] = field(default_factory=dict)
    day_calls: int = 0
    at_once: int = 0
    over_after: float = 0.0
    share: float = 1.0

    @property
    def unlimited(self) -> bool:
        """Nothing is kept."""
        return not (self.paces or self.day_calls or self.at_once)


@asynccontextmanager
async def governed(
    limits: AccountLimits,
    database: DatabaseSettings,
    *,
    stop: asyncio.Event | None = None,
    needs_database: bool = True,
) -> AsyncIterator[Quota]:
    """The quota of an account. `stop` ends all waiting; without `needs_database` calls go out also when it is away."""
    if limits.unlimited:
        yield Unlimited()
        return
    pool = await open_pool(
        database.url.get_secret_value(),
        size=_CONNECTIONS,
        application=f"quota {limits.crm}",
        # A crash of the server may forget the last half second of draws: fewer than fit in while it starts.
        settings={"synchronous_commit": "off"},
    )
    store = QuotaStore(pool=pool, account=limits.account, crm=limits.crm)
    try:
        yield Governor(store=store, limits=limits, stop=stop, needs_database=needs_database)
    finally:
        await close_pool(pool)


class Governor:
    """One process's access to an account's buckets."""

    def __init__(
        self,
        *,
        store: QuotaStore,
        limits: AccountLimits,
        stop: asyncio.Event | None = None,
        needs_database: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._limits = limits
        self._stop = stop or asyncio.Event()
        self._needs_database = needs_database
        self._clock = clock
        self._ready = False
        self._off = False
        self._set_back_at: dict[str, float] = {}

    async def run(self, send: Send[Answer], *, bucket: str, terms: Terms) -> Answer:
        """Send a call when it is its turn; see `Quota`."""
        limits = self._limits
        if self._off or not (bucket in limits.paces or limits.day_calls or limits.at_once):
            return await Unlimited().run(send, bucket=bucket, terms=terms)
        for _ in range(_TRIES):
            slot, draw = await self._turn(bucket, terms.priority)
            try:
                terms.check()
                answer, news = await send(slot)
            except StaleSlot:
                metrics.QUOTA_MISSED_TURNS.labels(limits.crm).inc()
                continue
            except LimitReached as limit:
                await self._tell(self._refused(bucket, limit))
                raise
            finally:
                if limits.at_once and draw is not None:
                    await self._tell(self._store.over(slot.number))
            if draw is not None:
                await self._tell(self._heard(bucket, draw, news))
            return answer
        raise Transient(
            f"This process missed its turn to call {self._limits.crm} {_TRIES} times in a row; nothing was sent.",
            advice="give it more CPU, or lower the calls in flight",
        )

    async def _turn(self, bucket: str, priority: Priority) -> tuple[Slot, Draw | None]:
        try:
            return await self._wait_for_turn(bucket, priority)
        except QuotaHeld:
            raise
        except ConnectorError as error:
            if self._needs_database or self._stop.is_set():
                raise
            log.warning("the account's quota is not kept", crm=self._limits.crm, reason=error.message)
            self._off = True
            return Slot(), None

    async def _wait_for_turn(self, bucket: str, priority: Priority) -> tuple[Slot, Draw]:
        began = self._clock()
        while True:
            asked = self._clock()
            draw = await self._draw(bucket, priority)
            if draw.verdict is not Verdict.GRANTED:
                self._give_up_unless_soon(draw, priority, waited=self._clock() - began)
                await self._sleep(draw.wait * (1 + random.random() / 10) + 0.005)
                continue
            await self._sleep(draw.wait)
            # The turn on our clock, at the earliest: the database looked at its own some time after we asked.
            turn = asked + draw.wait
            until = turn + lateness(draw.pace_seconds) if draw.pace_seconds else math.inf
            if self._clock() > until or asked < self._set_back_at.get(bucket, 0.0):
                metrics.QUOTA_MISSED_TURNS.labels(self._limits.crm).inc()
                continue
            self._count(bucket, priority, draw, waited=self._clock() - began)
            return Slot(number=draw.number, until=until, clock=self._clock), draw

    async def _draw(self, bucket: str, priority: Priority) -> Draw:
        limits = self._limits
        for _ in range(2):
            if not self._ready:
                await self._store.ensure(
                    paces=limits.paces,
                    share=limits.share,
                    day_calls=limits.day_calls,
                    at_once=limits.at_once,
                )
                self._ready = True
            draw = await self._store.draw(
                bucket,
                horizon=HORIZON[priority],
                kept_back=kept_back(priority, share=limits.share),
                at_once=limits.at_once,
                over_after=limits.over_after,
            )
            if draw is not None:
                return draw
            self._ready = False  # the database is another one than a moment ago
        raise Transient("The quota's rows are not in the database.", retry_after=1.0)

    def _give_up_unless_soon(self, draw: Draw, priority: Priority, *, waited: float) -> None:
        crm = self._limits.crm
        if draw.verdict is Verdict.DAY:
            until = datetime.now(UTC) + timedelta(seconds=draw.wait)
            raise QuotaHeld(
                f"{crm}: daily quota used up until calls come back, looked at again at {until:%H:%M:%S} UTC: "
                f"{draw.day_left:,} of {draw.day_calls:,} calls are left"
                + ("" if priority is Priority.LIVE else f", kept for what comes before {_NAMES[priority]}")
                + ". Nothing is dropped; what waits stays in the database.",
                # Another process may look before us and find that calls came back: asking the database is cheap.
                retry_after=min(draw.wait, _ASK_AGAIN),
                priority=priority,
                advice="lower other integrations' use of the account, or buy more API calls",
            )
        if waited + draw.wait <= _PATIENCE:
            return
        why = {
            Verdict.PACED: f"the calls that {crm} allows are taken by other calls",
            Verdict.AT_ONCE: f"as many calls are open at {crm} as may be",
            Verdict.SET_BACK: f"{crm} refused calls for their number",
        }[draw.verdict]
        raise QuotaHeld(
            f"No turn for {_NAMES[priority]} yet: {why}. Nothing was sent.",
            retry_after=max(draw.wait, 0.5),
            priority=priority,
        )

    async def _heard(self, bucket: str, draw: Draw, news: News) -> None:
        if news.pace is not None:
            await self._heard_of_pace(bucket, draw, news.pace)
        if news.day is not None and draw.day_calls:
            await self._heard_of_day(draw, news.day)
        elif draw.day_calls and draw.number > draw.ends:
            # It passed, so calls are back; but not every answer tells how many (those of HubSpot's search do not).
            await self._store.look_on(number=draw.number)

    async def _heard_of_pace(self, bucket: str, draw: Draw, news: PaceNews) -> None:
        if draw.pace_calls is None:
            return
        metrics.QUOTA_LEFT.labels(self._limits.crm, bucket).set(news.left)
        if (news.calls, news.seconds) != (draw.pace_calls, draw.pace_seconds):
            pace = Pace(calls=news.calls, seconds=news.seconds)
            await self._store.set_pace(bucket, pace, share=self._limits.share)
        elif news.left == 0:
            await self._store.make_room(bucket, turns=_ROOM)

    async def _heard_of_day(self, draw: Draw, news: DayNews) -> None:
        ends = draw.number + news.left
        # Others call too: what they take is believed at once, what is only order of arrival is not written down.
        taken, returned = news.calls // 10_000, max(20, news.calls // 1_000)
        if news.calls != draw.day_calls or ends < draw.ends - taken or ends > draw.ends + returned:
            await self._store.set_day(number=draw.number, calls=news.calls, left=news.left, slack=returned)

    async def _refused(self, bucket: str, limit: LimitReached) -> None:
        """The bucket itself is set back, for everyone."""
        seconds = limit.retry_after or 0.0
        metrics.QUOTA_REFUSED.labels(
            self._limits.crm, "day" if limit.whole_day else bucket or "at_once"
        ).inc()
        log.warning(
            "refused for quota", crm=self._limits.crm, bucket=bucket, seconds=seconds, day=limit.whole_day
        )
        if limit.whole_day:
            await self._store.end_day(seconds or LOOK_EVERY)
        elif bucket in self._limits.paces:
            await self._store.set_back_bucket(bucket, seconds)
            self._set_back_at[bucket] = self._clock()  # turns that were drawn before are void
        else:
            await self._store.set_back(seconds)

    async def _tell(self, telling: Awaitable[None]) -> None:
        """What is learned may be lost with the database; the answer it came with may not."""
        try:
            await telling
        except ConnectorError as error:
            log.info("the quota's rows could not be updated", crm=self._limits.crm, reason=error.message)

    async def _sleep(self, seconds: float) -> None:
        if seconds > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), seconds)
        if self._stop.is_set():
            raise Transient("The process stops; the call was not sent.", retry_after=0.05)

    def _count(self, bucket: str, priority: Priority, draw: Draw, *, waited: float) -> None:
        crm = self._limits.crm
        metrics.QUOTA_DRAWS.labels(crm, bucket or "day", _NAMES[priority]).inc()
        metrics.QUOTA_WAIT_SECONDS.labels(crm, _NAMES[priority]).observe(waited)
        if draw.day_calls:
            metrics.QUOTA_LEFT.labels(crm, "day").set(draw.day_left)


_NAMES: Mapping[Priority, str] = {
    Priority.LIVE: "live",
    Priority.STATUS: "statuses",
    Priority.REPLAY: "replay",
}
