"""Calls to the CRM: chunked, and paused as a whole when the CRM is what fails.

The chunks of one drain go one after the other, because a contact's items may lie in two of them and one contact
is never written by two requests at once. What is in flight at the same time is drains.

A request whose answer is lost has not ended: the CRM may write for as long as it takes. So its people are left alone,
in this drain and, by their leases, in every other (docs/decisions/a-lost-answer-keeps-the-lease.md).
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol, TypeVar
from uuid import UUID

import structlog

from connector.crm.port import Crm, Later, Priority, Terms, Unknown, WriteResult
from connector.crm.quota import QuotaHeld
from connector.errors import ConnectorError, Terminal, Transient, Uncertain
from connector.streams.backoff import backoff
from connector.sync.leases import HeldLease
from connector.sync.passed_over import PassedOver
from connector.sync.refusals import RefusalLimit
from connector.telemetry import metrics
from connector.telemetry.health import StageHealth

log = structlog.get_logger(__name__)

_HELD_RETRY = 5.0  # seconds; its class is not claimed before the quota has room again


class Classed(Protocol):
    """What waits in a class. `key` names it; `contact_id` is whose it is."""

    @property
    def key(self) -> str: ...

    @property
    def priority(self) -> Priority: ...

    @property
    def contact_id(self) -> UUID: ...


Item = TypeVar("Item", bound=Classed)
Call = Callable[[Sequence[Item], Terms], Awaitable[Sequence[WriteResult]]]

_PAUSED = Later(reason="The CRM is paused after a failure.", retry_after=0.0)
_STILL_UNDER_WAY = Later(reason="An earlier write of this person may still be under way.", retry_after=0.0)

LONGEST_PAUSE = 6.0
"""Seconds between looks at a CRM that is away, so that a new message is on its timeline within ten of its return."""


class CallRunner:
    """Runs one sink's calls. Every drain of the process shares its pause.

    `stopped_retry`: seconds between looks at a CRM that refuses our credential. `late_write`: seconds beyond the
    request timeout during which a request whose answer was lost may still be written.
    """

    def __init__(self, crm: Crm, *, health: StageHealth, stopped_retry: float, late_write: float) -> None:
        self._crm = crm
        self._health = health
        self._stopped_retry = stopped_retry
        self._at_work = crm.request_timeout + late_write
        self._failures = 0
        self._paused_until = 0.0
        self._held_until: dict[Priority, float] = {}
        self._passed_over = PassedOver(crm.name)

    @property
    def pause(self) -> float:
        """Seconds until the next call may be tried; ≤ 0 when it may be now."""
        return self._paused_until - time.monotonic()

    @property
    def _quota(self) -> str:
        return f"{self._crm.name} quota"

    @property
    def lowest(self) -> Priority:
        """The last class that the account's quota has room for."""
        now = time.monotonic()
        held = [priority for priority, until in self._held_until.items() if until > now]
        return Priority(min(held) - 1) if held else max(Priority)

    async def run(
        self,
        items: Sequence[Item],
        per_call: int,
        call: Call[Item],
        *,
        lease: HeldLease,
        limit: RefusalLimit | None = None,
        reads: bool = False,
    ) -> list[tuple[Item, WriteResult]]:
        """One result an item, in any order. A call that failed as a whole gives each of its items `Later`, or
        `Unknown` when the CRM may have acted; it also pauses the sink, so that fresh items go first when it is back.
        Refusals beyond `limit` are `Later` and stop the line: one item at a time tries whether it is mended.

        Whose write may still be under way is left alone from then on, under the `lease`. `reads`: `call` writes
        nothing.
        """
        results: list[tuple[Item, WriteResult]] = []
        waiting, alone = _apart(items, lease.lingering)
        while waiting and self.pause <= 0:
            size = 1 if limit is not None and limit.passed else per_call
            chunk = self._passed_over.chunk(waiting[:size])
            answers = self._passed_over.judge(chunk, await self._one(chunk, call, lease, reads=reads))
            if limit is not None:
                answers = self._judge(answers, limit)
            results.extend(zip(chunk, answers, strict=True))
            self._leave_alone(results[-len(chunk) :], lease)
            waiting, more = _apart(waiting[len(chunk) :], lease.lingering)
            alone += more
        results += [(item, _STILL_UNDER_WAY) for item in alone]
        return results + [(item, _PAUSED) for item in waiting]

    def _leave_alone(self, results: Sequence[tuple[Item, WriteResult]], lease: HeldLease) -> None:
        lost = {
            item.contact_id for item, result in results if isinstance(result, Unknown) and result.under_way
        }
        if lost:
            seconds = lease.linger(lost, self._at_work)
            log.info(
                "people are left alone: the CRM may still be writing them",
                sink=self._crm.name,
                people=len(lost),
                seconds=round(seconds, 1),
            )

    def _judge(self, answers: Sequence[WriteResult], limit: RefusalLimit) -> Sequence[WriteResult]:
        kept, stop = limit.judge(answers)
        if stop is not None:
            self._health.line_stopped(reason=stop.message, advice=stop.advice, by=limit.name)
            self._pause(self._stopped_retry, stop.message)
        elif not limit.passed:
            self._health.line_resumed(by=limit.name)
        return kept

    async def _one(
        self,
        chunk: Sequence[Item],
        call: Call[Item],
        lease: HeldLease,
        *,
        reads: bool,
    ) -> Sequence[WriteResult]:
        # The best class among them takes the others along: they cost no call of their own.
        terms = Terms(
            priority=min(item.priority for item in chunk),
            check=lambda: lease.must_outlast(self._crm.request_timeout),
        )
        started = time.perf_counter()
        try:
            results = await self._understood(call, chunk, terms, reads=reads)
        except QuotaHeld as error:
            self.held(error)
            return [
                Later(reason=error.message, retry_after=min(error.retry_after or 0.0, _HELD_RETRY))
            ] * len(chunk)
        except ConnectorError as error:
            self.failed(error)
            metrics.CRM_CALLS.labels(self._crm.name, type(error).__name__).inc()
            if isinstance(error, Uncertain) and not reads:  # a lost read is asked again: it says nothing
                return [Unknown(reason=error.message, under_way=error.under_way)] * len(chunk)
            # What waits out an outage has its turn when the pause ends. A stopped line may be these items' own
            # doing: they come back one by one, or they would be the first to stop it again.
            delay = None if isinstance(error, Terminal) else 0.0
            return [Later(reason=error.message, retry_after=delay)] * len(chunk)
        self.succeeded(terms.priority)
        metrics.CRM_CALLS.labels(self._crm.name, "ok").inc()
        metrics.CRM_CALL_SECONDS.labels(self._crm.name).observe(time.perf_counter() - started)
        if len(results) != len(chunk):
            raise AssertionError(f"{self._crm.name} answered {len(results)} results for {len(chunk)} items")
        return results

    async def _understood(
        self, call: Call[Item], chunk: Sequence[Item], terms: Terms, *, reads: bool
    ) -> Sequence[WriteResult]:
        """What the call answers. One that no adapter has met may have come after a write: it is lost, and shown."""
        try:
            return await call(chunk, terms)
        except ConnectorError:
            raise
        except Exception as error:
            log.exception("an answer of the CRM is not understood", sink=self._crm.name)
            message = f"{self._crm.name} answered what is not understood ({type(error).__name__})."
            advice = "look at the log for the place, and report it"
            if reads:  # which says nothing about what is there
                raise Transient(message, advice=advice) from error
            raise Uncertain(message, advice=advice) from error

    def held(self, error: QuotaHeld) -> None:
        """Hold a class and those behind it back, and say why; what is live holds back everything."""
        if error.priority is Priority.LIVE:
            self.failed(error)
            return
        metrics.CRM_CALLS.labels(self._crm.name, type(error).__name__).inc()
        self._held_until[error.priority] = time.monotonic() + (error.retry_after or 0.0)
        self._health.waiting(self._quota, reason=error.message, advice=error.advice)

    def failed(self, error: ConnectorError) -> None:
        """Hold the sink back, and say why."""
        if self.pause > 0:
            return  # one outage is one pause, however many calls meet it
        self._failures += 1
        seconds = backoff(self._failures, random=random.random, longest=LONGEST_PAUSE)
        if isinstance(error, Terminal):
            seconds = self._stopped_retry
            self._health.line_stopped(reason=error.message, advice=error.advice)
        else:
            if isinstance(error, Transient) and error.retry_after is not None:
                seconds = max(error.retry_after, 0.05)
            self._health.waiting(self._crm.name, reason=error.message, advice=error.advice)
        self._pause(seconds, error.message)

    def _pause(self, seconds: float, reason: str) -> None:
        self._paused_until = time.monotonic() + seconds
        log.info("sink pauses", sink=self._crm.name, seconds=round(seconds, 2), reason=reason)

    def succeeded(self, priority: Priority) -> None:
        """The CRM answers a call of this class."""
        self._held_until = {held: until for held, until in self._held_until.items() if held > priority}
        if not self._held_until:
            self._health.recovered(self._quota)
        self._failures = 0
        self._health.recovered(self._crm.name)
        self._health.line_resumed()


def _apart(items: Sequence[Item], people: Collection[UUID]) -> tuple[Sequence[Item], list[Item]]:
    """(the others' items, those of `people`)."""
    if not people:
        return items, []
    theirs = [item for item in items if item.contact_id in people]
    return [item for item in items if item.contact_id not in people], theirs
