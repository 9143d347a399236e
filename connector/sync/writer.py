"""The writer: drains what waits into the CRM. Only "desired is ahead of written" ever decides a write.

Several drains run at once in one process, and any number of processes; leases in the database (claims.py) keep
two of them off one contact. What a drain does, in order: claim → upsert the people → look up the creates in
doubt → mark the creates as begun → create, change → settle. Each arrow that is a commit stands in claims.py.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from connector.crm.personal_data import readable
from connector.crm.port import (
    Crm,
    FindResult,
    Gone,
    Homeless,
    Later,
    Refused,
    Terms,
    Unknown,
    WriteResult,
    Written,
)
from connector.errors import ConnectorError, Paused
from connector.settings import StreamSettings, SyncSettings
from connector.state.database import Connection, transaction
from connector.state.whole import AlwaysWhole, Token, Wholeness
from connector.streams.backoff import backoff
from connector.streams.outgoing import queue_outgoing
from connector.sync.backlog import in_doubt, refused, waiting
from connector.sync.calls import CallRunner
from connector.sync.claims import LONGEST_RETRY, ActivityOutcome, Claim, Claims, ContactOutcome
from connector.sync.commit import commit
from connector.sync.core.file_links import FileLinks
from connector.sync.core.holding import HoldRules
from connector.sync.core.mapping import SyncMapping
from connector.sync.holds import apply_rules as apply_hold_rules
from connector.sync.leases import HeldLease, held, lease_seconds, longest_lease
from connector.sync.lookup import LookupRules, Lookups
from connector.sync.mapping import built_in
from connector.sync.plan import ActivityPlan, PlannedActivity, PlannedContact, plan_activities, plan_contact
from connector.sync.refusals import RefusalLimit, refusal_letter
from connector.sync.rest import rest
from connector.sync.retirement import queue_retirements, retire_one
from connector.sync.traced import trace_written
from connector.sync.wake import Wake
from connector.telemetry import metrics, tracing
from connector.telemetry.health import StageHealth

log = structlog.get_logger(__name__)

Done = TypeVar("Done")

_Result = TypeVar("_Result")

_IDLE_POLL = 1.0  # seconds; what a lost notification told of is seen at the next look
_PARTIAL_EVERY = (
    0.2  # seconds between claims that leave nothing waiting: several statuses of a message are one write
)
_MARK_HOLDS = 1.0  # seconds after which the mark of a create that has not left yet is set anew
_MEASURE_EVERY = 2.0  # seconds
_COUNT_EVERY = 5  # measurements between counts of what is in doubt or refused, which walk through more
_LOOKUPS = 2  # vain look-ups after which a create in doubt is repeated, where no unique key guards it
_REFUSED_AGAIN = 3  # times `stopped_retry`, so that each look at a stopped line tries another item
_LONGEST_DOUBT = 300.0  # seconds between look-ups that the CRM does not answer for one message
_TELL_EVERY = 5  # attempts at one item, between lines in the log
_OLDEST_SHARE = 5  # every so many claims starts at the oldest, so that no conversation waits for ever


@dataclass(frozen=True, kw_only=True, slots=True)
class _Drain:
    """What was claimed, until when (monotonic seconds), and from which life of the tables."""

    claim: Claim
    until: float
    token: Token


class Writer:
    """Drains one sink until `stop`. `wake` is set by the agent after each fold. `mapping`: else the built-in one.

    `tables` are asked in each transaction: nothing is written from tables that were restored and lack something.
    """

    def __init__(
        self,
        *,
        crm: Crm,
        pool: asyncpg.Pool,
        settings: SyncSettings,
        limits: StreamSettings | None = None,
        calls_in_flight: int,
        health: StageHealth,
        stop: asyncio.Event,
        wake: Wake,
        mapping: SyncMapping | None = None,
        links: FileLinks | None = None,
        default_region: str = "",
        outgoing_queued: Callable[[], None] = lambda: None,
        tables: Wholeness | None = None,
    ) -> None:
        self.crm = crm
        self.stage = f"sync-{crm.name}"
        self.items_waiting = 0
        self._mapping = mapping or built_in()
        self._links = links
        self._pool = pool
        self._tables = tables or AlwaysWhole()
        self._settings = settings
        self._claims = Claims(
            schema=crm.name,
            longest_lease=longest_lease(crm.request_timeout, settings.lost_write_margin),
        )
        self._calls = CallRunner(
            crm,
            health=health,
            stopped_retry=settings.stopped_retry,
            late_write=settings.lost_write_margin,
        )
        self._refused_contacts, self._refused_activities = (
            RefusalLimit(
                stage=self.stage,
                kind=kind,
                settings=limits or StreamSettings(),
                retry_after=_REFUSED_AGAIN * settings.stopped_retry,
            )
            for kind in ("contacts", "activities")
        )
        self._holds = HoldRules.of(create_contacts=settings.create_contacts, ignore=settings.ignore)
        self._lookups = Lookups(
            crm=crm,
            pool=pool,
            rules=LookupRules(
                rule=settings.adoption_rule,
                create_contacts=self._holds.create_contacts,
                region=default_region,
            ),
            health=health,
            stopped_retry=settings.stopped_retry,
            tables=self._tables,
            claims=self._claims,
        )
        self._drains = calls_in_flight
        self._health = health
        self._stop = stop
        self._wake = wake
        self._outgoing_queued = outgoing_queued
        self._turn = 0
        self._lease = lease_seconds(crm.request_timeout)

    async def run(self) -> None:
        """Drain until `stop`; what the CRM or the database does is waited for and shown, never raised."""
        self._health.running()
        await self.apply_rules()
        async with asyncio.TaskGroup() as group:
            lookups = self._lookups.run(stop=self._stop, wake=self._wake)
            group.create_task(lookups, name=f"{self.stage}-lookup")
            group.create_task(self._drain_forever(), name=f"{self.stage}-drains")
            group.create_task(self._retire_forever(), name=f"{self.stage}-retire")
            group.create_task(self._measure_forever(), name=f"{self.stage}-measure")

    async def apply_rules(self) -> None:
        """Hold and release people by the settings of today, before anything is written."""
        place: UUID | None = UUID(int=0)
        while place is not None and not self._stop.is_set():
            try:
                async with transaction(self._pool) as connection:
                    place = await apply_hold_rules(connection, self._claims.schema, self._holds, after=place)
            except ConnectorError as error:
                self._health.waiting("database", reason=error.message, advice=error.advice)
                await self._sleep(_IDLE_POLL)
            else:
                self._health.recovered("database")

    async def drain(self) -> int:
        """Claim and write one batch; the number of items settled, 0 when nothing waits."""
        drain = await self._claim()
        return await self._write_claimed(drain) if drain.claim else 0

    async def _claim(self) -> _Drain:
        self._turn += 1
        asked = time.monotonic()
        async with transaction(self._pool) as connection:
            token = await self._tables.must_be_whole(connection)
            claim = await self._claims.claim(
                connection,
                limit=self._settings.drain_batch,
                lease=self._lease,
                doubt_wait=self._doubt_wait,
                oldest_first=self._turn % _OLDEST_SHARE == 0,
                lowest=self._calls.lowest,
            )
        return _Drain(claim=claim, until=asked + self._lease, token=token)

    async def _write_claimed(self, drain: _Drain) -> int:
        holding = [contact.contact_id for contact in drain.claim.contacts]
        leased_until = drain.claim.leased_until
        assert leased_until is not None  # a claim of nobody is not written
        async with held(
            self._pool,
            self._claims,
            holding,
            until=drain.until,
            leased_until=leased_until,
            seconds=self._lease,
        ) as lease:
            return await self._write(drain.claim, lease, drain.token)

    async def look_up(self) -> int:
        """Look one batch of new people up in the CRM; how many may be written now."""
        return await self._lookups.look()

    async def _write(self, claim: Claim, lease: HeldLease, token: Token) -> int:
        began = time.time_ns()
        records, people = await self._write_contacts(claim, lease)
        plan = plan_activities(
            [item for item in claim.activities if item.contact_id not in lease.lingering],
            records=records,
            layout=self._mapping.layout,
            links=self._links,
        )
        found, absent = await self._look_up(plan.in_doubt, lease)
        creates = [*plan.creates, *absent]

        async def settle_contacts(connection: Connection) -> set[str]:
            await self._tables.must_be_whole(connection, since=token)
            merged = await self._claims.settle_contacts(connection, people)
            if merged:  # while its write was under way: it may leave a record over
                await queue_retirements(connection, self._claims.schema, merged)
            await self._bury(
                connection, [(str(item.contact_id), item.version, item.result) for item in people]
            )
            return await self._claims.begin_creates(
                connection,
                [item.claimed for item in creates],
                records=records,
                leased_until=lease.leased_until,
            )

        marked = time.monotonic()
        begun = await self._commit(settle_contacts, lease)
        messages = [*found, *(_outcome(item, _known(item)) for item in plan.unchanged)]
        creates = [item for item in creates if item.claimed.wamid in begun]
        written, lost = await self._write_activities(creates, plan, lease, marked=marked)
        messages += written
        gone = {item.wamid for item in messages if isinstance(item.result, Gone | Homeless)}
        homeless = {
            item.claimed.contact_id: item.activity.contact_record_id
            for item in (*creates, *plan.changes)
            if item.claimed.wamid in gone
        }

        async def settle_activities(connection: Connection) -> None:
            await self._tables.must_be_whole(connection, since=token)
            await self._claims.settle_activities(
                connection,
                messages,
                lost=lost,
                homeless=homeless,
                ends=lease.ends([contact.contact_id for contact in claim.contacts]),
            )
            await self._bury(connection, [(item.wamid, item.version, item.result) for item in messages])

        await self._commit(settle_activities, lease)
        self._count("contact", [item.result for item in people])
        self._count("activity", [item.result for item in messages])
        if (traces := tracing.active()) is not None:
            trace_written(traces, self.crm.name, messages, lost=lost, began=began)
        return len(people) + len(messages)

    async def _commit(self, work: Callable[[Connection], Awaitable[_Result]], lease: HeldLease) -> _Result:
        """Store what the CRM answered, through a restart of the database, while nobody else may write these items.

        What cannot be stored in that time is found out anew: contacts are upserted again, creates are looked up.
        """
        async with lease.lock:
            return await commit(self._pool, work, until=lambda: 0.0 if self._stop.is_set() else lease.until)

    async def _write_contacts(
        self, claim: Claim, lease: HeldLease
    ) -> tuple[dict[UUID, str], list[ContactOutcome]]:
        """Upsert the people who are ahead; (contact id → record id of all claimed people, outcomes)."""
        records = {contact.contact_id: contact.record_id for contact in claim.contacts if contact.record_id}
        mapping = self._mapping.contacts[self.crm.name]
        planned = [plan_contact(contact, mapping=mapping) for contact in claim.contacts if contact.ahead]

        async def upsert(chunk: Sequence[PlannedContact], terms: Terms) -> Sequence[WriteResult]:
            return await self.crm.upsert_contacts([item.upsert for item in chunk], terms)

        written: list[tuple[PlannedContact, WriteResult]] = [
            (item, Written(record_id=records[item.claimed.contact_id])) for item in planned if item.unchanged
        ]
        ahead = [item for item in planned if not item.unchanged]
        written += await self._calls.run(
            ahead, self.crm.contacts_per_call, upsert, lease=lease, limit=self._refused_contacts
        )
        for item, result in written:
            if isinstance(result, Written):
                records[item.claimed.contact_id] = result.record_id
            elif isinstance(result, Gone):
                records.pop(item.claimed.contact_id, None)
        outcomes = [
            ContactOutcome(
                contact_id=item.claimed.contact_id,
                version=item.claimed.version,
                result=result,
                digest=item.digest,
                retry_in=_retry_in(result, item.claimed.attempts, sink=self.crm.name, item=item.key),
            )
            for item, result in written
        ]
        return records, outcomes

    async def _look_up(
        self, items: Sequence[PlannedActivity], lease: HeldLease
    ) -> tuple[list[ActivityOutcome], list[PlannedActivity]]:
        """Settle creates in doubt: (outcomes, those that are certainly absent and may be created)."""

        async def find(chunk: Sequence[PlannedActivity], terms: Terms) -> Sequence[WriteResult]:
            found = await self.crm.find_activities([item.query for item in chunk], terms)
            return [_found(result) for result in found]

        outcomes: list[ActivityOutcome] = []
        absent: list[PlannedActivity] = []
        asked = await self._calls.run(items, self.crm.activities_per_call, find, lease=lease, reads=True)
        for item, result in asked:
            if isinstance(result, Written):
                metrics.IN_DOUBT.labels(self.crm.name, "found").inc()
                outcomes.append(_outcome(item, result, on_record_id=item.begun_on, found_in_doubt=True))
            elif isinstance(result, Unknown):
                metrics.IN_DOUBT.labels(self.crm.name, "absent").inc()
                if self.crm.unique_activities or item.claimed.lookups + 1 >= _LOOKUPS:
                    absent.append(item)
                else:
                    again = self._settings.lost_write_margin / 2
                    outcomes.append(_outcome(item, result, retry_in=again))
            elif isinstance(result, Later) and result.retry_after is None:
                metrics.IN_DOUBT.labels(self.crm.name, "not_told").inc()
                outcomes.append(_still_in_doubt(item, result, sink=self.crm.name))
            # Anything else: the CRM is away, and the doubt stands.
        return outcomes, absent

    async def _write_activities(
        self, creates: Sequence[PlannedActivity], plan: ActivityPlan, lease: HeldLease, *, marked: float
    ) -> tuple[list[ActivityOutcome], list[str]]:
        """Create and change: (outcomes, the wamids of creates whose answer was lost).

        `marked`: when (monotonic seconds) the creates were marked as begun.
        """

        async def create(chunk: Sequence[PlannedActivity], terms: Terms) -> Sequence[WriteResult]:
            # The chunks before it may have taken longer than a doubt is left alone.
            if time.monotonic() - marked > _MARK_HOLDS:
                async with transaction(self._pool) as connection:
                    await self._claims.begin_again(connection, [item.claimed.wamid for item in chunk])
            return await self.crm.log_activities([item.activity for item in chunk], terms)

        async def change(chunk: Sequence[PlannedActivity], terms: Terms) -> Sequence[WriteResult]:
            return await self.crm.update_activities([item.change for item in chunk], terms)

        size, limit = self.crm.activities_per_call, self._refused_activities
        created = await self._calls.run(creates, size, create, lease=lease, limit=limit)
        changed = await self._calls.run(plan.changes, size, change, lease=lease, limit=limit)
        outcomes: list[ActivityOutcome] = []
        lost: list[str] = []
        for item, result in created:
            if isinstance(result, Unknown):
                # Its intent stands: it is looked up once its request can no longer be on the way.
                lost.append(item.claimed.wamid)
                metrics.IN_DOUBT.labels(self.crm.name, "lost_answer").inc()
            else:
                outcomes.append(
                    _outcome(
                        item,
                        result,
                        retry_in=_retry_in(result, item.claimed.attempts, sink=self.crm.name, item=item.key),
                    )
                )
        for item, result in changed:
            known = _settled_change(result)
            outcomes.append(
                _outcome(
                    item,
                    known,
                    retry_in=_retry_in(known, item.claimed.attempts, sink=self.crm.name, item=item.key),
                )
            )
        return outcomes, lost

    @property
    def _doubt_wait(self) -> float:
        """Seconds during which a lost create may still arrive at the CRM."""
        if self.crm.unique_activities:
            return 0.0
        return self.crm.request_timeout + self._settings.lost_write_margin + _MARK_HOLDS

    async def _bury(self, connection: Connection, results: Sequence[tuple[str, int, WriteResult]]) -> None:
        """Queue a dead letter for each refusal, in the transaction that stores it."""
        letters = [
            refusal_letter(self.stage, subject=subject, version=version, result=result)
            for subject, version, result in results
            if isinstance(result, Refused)
        ]
        await queue_outgoing(connection, stage=self.stage, records=letters)

    async def _drain_forever(self) -> None:
        """One claims, several write: drains that looked at the same moment would see the same items."""
        slots = asyncio.Semaphore(self._drains)
        not_before = 0.0
        async with asyncio.TaskGroup() as drains:
            while not self._stop.is_set():
                if self._calls.pause > 0:
                    await self._sleep(self._calls.pause)
                    continue
                await slots.acquire()
                await self._sleep(not_before - time.monotonic())
                self._wake.items.clear()  # before looking, so that what is folded meanwhile is not missed
                drain = await self._survived(self._claim())
                full = drain is not None and len(drain.claim.activities) >= self._settings.drain_batch
                not_before = 0.0 if full else time.monotonic() + _PARTIAL_EVERY
                if drain is not None and drain.claim:
                    drains.create_task(self._drain_one(drain, slots=slots), name=f"{self.stage}-drain")
                else:
                    slots.release()
                    await self._sleep(_IDLE_POLL, or_wake=True)

    async def _drain_one(self, drain: _Drain, *, slots: asyncio.Semaphore) -> None:
        try:
            await self._survived(self._write_claimed(drain))
        finally:
            slots.release()
            self._wake.items.set()  # more may wait for the people whose leases were given back

    async def _survived(self, work: Coroutine[Any, Any, Done]) -> Done | None:
        """The result; or None after a pause, when it failed: the leases end and the items are tried again."""
        try:
            done = await work
        except Paused as error:
            self._health.waiting("operator", reason=error.message, advice=error.advice)
            await self._sleep(_IDLE_POLL)
            return None
        except ConnectorError as error:
            self._health.waiting("database", reason=error.message, advice=error.advice)
            await self._sleep(_IDLE_POLL)
            return None
        except Exception:
            log.exception(
                "a drain failed; its leases run out and the items are tried again", sink=self.crm.name
            )
            await self._sleep(_IDLE_POLL)
            return None
        self._health.recovered("operator")
        self._health.recovered("database")
        return done

    async def _retire_forever(self) -> None:
        while not self._stop.is_set():
            try:
                async with transaction(self._pool) as connection:
                    await self._tables.must_be_whole(connection)
                    retired = self._calls.pause <= 0 and await retire_one(
                        connection,
                        self._claims.schema,
                        self.crm,
                        mapping=self._mapping.contacts[self.crm.name],
                        late_write=self._settings.lost_write_margin,
                    )
            except Paused:
                retired = False
            except ConnectorError as error:
                log.info("a left-over contact record waits", sink=self.crm.name, reason=error.message)
                retired = False
            except Exception:
                log.exception("a left-over contact record could not be settled", sink=self.crm.name)
                retired = False
            if not retired:
                await self._sleep(_MEASURE_EVERY)

    async def _measure_forever(self) -> None:
        for turn in itertools.count():
            if self._stop.is_set():
                return
            try:
                await self._measure()
                if turn % _COUNT_EVERY == 0:
                    await self._count_standing()
            except ConnectorError:
                log.debug("the waiting items could not be counted")  # the drains say why
            except Exception:
                # The fold stops at a bound of this count: it has to go on.
                log.exception("the waiting items could not be counted", sink=self.crm.name)
            await self._sleep(_MEASURE_EVERY)

    async def _measure(self) -> None:
        async with transaction(self._pool) as connection:
            self.items_waiting, oldest = await waiting(connection, self._claims.schema)
        metrics.ITEMS_WAITING.labels(self.crm.name).set(self.items_waiting)
        age = time.time() - oldest.timestamp() if oldest else 0.0
        metrics.OLDEST_WAITING_SECONDS.labels(self.crm.name).set(max(0.0, age))
        if self.items_waiting == 0:  # what stopped here may have been mended and written elsewhere
            for limit in (self._refused_contacts, self._refused_activities):
                self._health.line_resumed(by=limit.name)

    async def _count_standing(self) -> None:
        schema = self._claims.schema
        async with transaction(self._pool) as connection:
            doubts, refusals = await in_doubt(connection, schema), await refused(connection, schema)
        metrics.ITEMS_IN_DOUBT.labels(self.crm.name).set(doubts)
        metrics.ITEMS_REFUSED.labels(self.crm.name).set(refusals)

    async def _sleep(self, seconds: float, *, or_wake: bool = False) -> None:
        if seconds > 0:
            await rest(seconds, self._stop, *((self._wake.items,) if or_wake else ()))

    def _count(self, kind: str, results: Sequence[WriteResult]) -> None:
        for outcome, items in Counter(type(result) for result in results).items():
            metrics.CRM_ITEMS.labels(self.crm.name, kind, outcome.__name__.lower()).inc(items)
            if outcome is Refused:
                self._outgoing_queued()


def _found(result: FindResult) -> WriteResult:
    if isinstance(result, Later):
        return result
    return Unknown(reason="not found", under_way=False) if result is None else Written(record_id=result)


def _still_in_doubt(item: PlannedActivity, result: Later, *, sink: str) -> ActivityOutcome:
    """The look-up itself failed. The doubt stands: to take the message for absent could make it twice."""
    attempts = item.claimed.attempts + 1
    if attempts % _TELL_EVERY == 0:
        log.warning(
            "a create in doubt cannot be looked up; it is neither repeated nor given up",
            sink=sink,
            wamid=item.claimed.wamid,
            attempts=attempts,
        )
    again = backoff(attempts, random=random.random, longest=_LONGEST_DOUBT)
    return _outcome(item, result, retry_in=again, in_doubt=True)


def _settled_change(result: WriteResult) -> WriteResult:
    """An update repeated is the same update, so a lost answer is only tried again; a deleted activity stays so."""
    if isinstance(result, Unknown):
        return Later(reason=result.reason)
    if isinstance(result, Gone):
        return Refused(
            cause="activity_deleted",
            reason=result.reason,
            advice="somebody deleted the activity in the CRM; it is left deleted",
        )
    return result


def _known(item: PlannedActivity) -> Written:
    return Written(record_id=item.claimed.record_id or "")


def _outcome(
    item: PlannedActivity,
    result: WriteResult,
    *,
    on_record_id: str | None = None,
    retry_in: float = 0.0,
    found_in_doubt: bool = False,
    in_doubt: bool = False,
) -> ActivityOutcome:
    return ActivityOutcome(
        wamid=item.claimed.wamid,
        version=item.claimed.version,
        result=result,
        digest=item.digest,
        on_record_id=on_record_id or item.activity.contact_record_id,
        retry_in=retry_in,
        found_in_doubt=found_in_doubt,
        in_doubt=in_doubt,
    )


def _retry_in(result: WriteResult, attempts: int, *, sink: str, item: str) -> float:
    """Seconds until an item is tried again. One that alone does not pass, time after time, is told about.

    A CRM that is away holds everything back by a time of its own, and is shown as such.
    """
    if isinstance(result, Later) and result.retry_after is not None:
        return min(result.retry_after, LONGEST_RETRY)
    if isinstance(result, Later | Unknown) and (attempts + 1) % _TELL_EVERY == 0:
        log.warning(
            "an item does not pass; it is tried again",
            sink=sink,
            item=item,
            attempts=attempts + 1,
            reason=readable(result.reason),
        )
    return backoff(attempts + 1, random=random.random)
