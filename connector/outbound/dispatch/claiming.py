"""One claim: due sends of a number are judged, paced, counted and written, in one transaction on the lock's connection.

Locks are taken in the order of connector/outbound/store: people, then sends, then paces. Of the sends only those that
nobody else has are taken (SKIP LOCKED), so that a claim never waits for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from connector.events import ConversationEvent
from connector.outbound.announcements import STAGE
from connector.outbound.dispatch import telling
from connector.outbound.dispatch.judging import Judged, Known, judged
from connector.outbound.dispatch.knowledge import (
    NumberStanding,
    Someone,
    know_people,
    know_portfolio,
    know_records,
    know_templates,
    number_standing,
    persons_of,
)
from connector.outbound.dispatch.paces import (
    lock_number,
    lock_pairs,
    read_number,
    store_number,
    store_pairs,
    turns,
)
from connector.outbound.dispatch.send import COLUMNS, Send
from connector.outbound.facts import View
from connector.outbound.pacing.number import NumberState
from connector.outbound.personalisation.filling import Personalisation
from connector.outbound.personalisation.records import RecordPlace
from connector.outbound.policies.number_quality import UNLISTED
from connector.outbound.rules import GateRules
from connector.outbound.store.account_syncs import want_sync
from connector.outbound.store.crm_records import want_records
from connector.state.database import Connection
from connector.state.whole import Wholeness
from connector.streams.codec import EncodedRecord, encode
from connector.streams.outgoing import queue_outgoing
from connector.topics import CONVERSATION_EVENTS

_STOPPED_PAUSE = timedelta(seconds=1)
_READING_PAUSE = timedelta(milliseconds=100)

_PEEK = """
SELECT send_id, contact_id, template_name FROM outbound.sends
 WHERE phone_number_id = $1 AND priority = $2 AND state IN ('queued', 'held')
   AND (contact_id IS NOT NULL OR obstacle <> '')
   AND not_before <= $3 AND (expires_at <= $3 OR NOT $4 AND template_name <> ALL($5::text[]))
 ORDER BY priority, not_before, created_at LIMIT $6
"""
_CLAIM = f"""
SELECT {COLUMNS} FROM outbound.sends s
 WHERE send_id = ANY($1::text[]) AND state IN ('queued', 'held') AND not_before <= $2
 ORDER BY priority, not_before, created_at FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - the columns are ours
_WRITE = """
UPDATE outbound.sends s
   SET state = n.state, attempts = n.attempts, verdict = n.verdict, not_before = coalesce(n.not_before, s.not_before),
       template_language = CASE WHEN n.state = 'sending' THEN n.language ELSE s.template_language END,
       phone = n.phone, bsuid = n.bsuid, category = n.category, rendered = n.rendered, content_key = n.content_key,
       expires_at = n.expires_at, problem = coalesce(n.problem, s.problem),
       lease_until = CASE WHEN n.state = 'sending' THEN $14::timestamptz END,
       attempted_at = CASE WHEN n.state = 'sending' THEN $15::timestamptz ELSE s.attempted_at END,
       settled_at = CASE WHEN n.state IN ('blocked', 'expired') THEN $15 END,
       outcome_due_at = CASE WHEN n.state IN ('blocked', 'expired') AND s.callback IS NOT NULL THEN $15 END
  FROM unnest($1::text[], $2::text[], $3::int[], $4::jsonb[], $5::timestamptz[], $6::text[], $7::text[], $8::text[],
              $9::text[], $10::text[], $11::text[], $12::timestamptz[], $13::jsonb[])
       AS n (send_id, state, attempts, verdict, not_before, language, phone, bsuid, category, rendered, content_key,
             expires_at, problem)
 WHERE s.send_id = n.send_id
"""


class SeenUntil(Protocol):
    """How current the role's tables are."""

    async def seen_until(self, connection: Connection) -> datetime | None:
        """The latest moment, by the database's clock, up to which everything on the log is in the tables."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What every claim of a role goes by."""

    rules: GateRules
    personalisation: Personalisation
    rates: Mapping[str, int]
    tables: Wholeness
    view: SeenUntil
    crms: Sequence[str] = ()
    accounts: Sequence[str] = ()
    """The business's accounts at Meta, whose numbers are known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What a claim did. `leaving`: committed as `sending`, in the order of their turns."""

    now: datetime
    """The database's clock."""
    number: NumberStanding
    again_at: datetime
    """When the next claim of the number is worth while; `now`: at once."""
    judged: Sequence[Judged] = ()
    told: int = 0
    """Rows queued in `shared.outgoing`."""
    wanted: int = 0
    """Records that have to be read in a CRM."""
    leaving: Sequence[Judged] = ()


async def claim(
    connection: Connection,
    phone_number_id: str,
    judgement: Judgement,
    *,
    since: datetime,
    horizon: timedelta,
    most: int,
    lease: float,
) -> Claimed:
    """Claim up to `most` due sends whose turns lie within `horizon`, single ones before campaigns.

    `since`: when this dispatcher took the number's lock; nothing is claimed before all that was on the log then has
    been read. `lease`: seconds. While a switch or an error stops the number, only what has expired is claimed.

    Raises `Transient` while the tables are behind the log, and as the database does.
    """
    async with connection.transaction():
        await judgement.tables.must_be_whole(connection)
        seen = await judgement.view.seen_until(connection)
        now: datetime = await connection.fetchval("SELECT clock_timestamp()")
        number = await number_standing(
            connection, phone_number_id, rates=judgement.rates, accounts=judgement.accounts
        )
        if seen is None or seen < since:
            return Claimed(now=now, number=number, again_at=now + _READING_PAUSE)
        if number.tier is not None:
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('outbound portfolio', 0))"
            )
        stopped = number.stopped is not None or _rests(number, now)
        pace = await read_number(connection, phone_number_id)
        room = 0 if stopped else len(_turns(pace, number, now=now, horizon=horizon, most=most))
        sends = await _claimed(connection, number, now=now, only_expired=room == 0, most=room or most)
        known = await _known(connection, sends, judgement, number=number, seen=seen, now=now)
        if room:
            pace = await lock_number(connection, phone_number_id)
        open_turns = _turns(pace, number, now=now, horizon=horizon, most=room)
        found = _judged(sends, known, open_turns)
        taken = [item for item in found if item.fate == "sending"]
        if taken:
            pace = open_turns[len(taken) - 1][0]
            await _reserve(connection, taken, known, pace=pace)
        await _write(connection, found, now=now, lease=lease)
        told = await _tell(connection, found, number, now=now)
        if number.facts.status == UNLISTED and any(item.fate == "held" for item in found):
            await want_sync(connection, judgement.accounts)
        wanted = _wanted(found)
        await want_records(connection, wanted, at=now)
    return Claimed(
        now=now,
        number=number,
        judged=found,
        leaving=taken,
        told=told,
        wanted=len(wanted),
        again_at=_again_at(pace, horizon=horizon, stopped=stopped, now=now),
    )


def _turns(
    pace: NumberState, number: NumberStanding, *, now: datetime, horizon: timedelta, most: int
) -> Sequence[tuple[NumberState, datetime]]:
    return turns(pace, per_second=number.per_second, now=now, horizon=horizon, most=most)


def _judged(
    sends: Sequence[Send], known: Known, open_turns: Sequence[tuple[NumberState, datetime]]
) -> list[Judged]:
    """Judge sends in their order, for as long as there are turns; what is left stays as it was."""
    found: list[Judged] = []
    taken = 0
    for send in sends:
        expired = send.expires_at <= known.now
        if taken == len(open_turns) and not expired:
            continue
        found.append(judged(send, known, turn=None if expired else open_turns[taken][1]))
        taken += found[-1].fate == "sending"
    return found


def _rests(number: NumberStanding, now: datetime) -> bool:
    return number.facts.paused_until is not None and now < number.facts.paused_until


def _again_at(pace: NumberState, *, horizon: timedelta, stopped: bool, now: datetime) -> datetime:
    """When enough turns are open again for a claim to be worth while."""
    if stopped:
        return now + _STOPPED_PAUSE
    waits = [pace.tat - horizon / 2 if pace.tat else now, pace.closed_until or now]
    return max(now, *waits)


async def _claimed(
    connection: Connection, number: NumberStanding, *, now: datetime, only_expired: bool, most: int
) -> list[Send]:
    found: list[Any] = []
    for priority in (0, 1):
        if len(found) < most:
            found += await connection.fetch(
                _PEEK,
                number.business.phone_number_id,
                priority,
                now,
                only_expired,
                number.stopped_templates,
                most - len(found),
            )
    if not found:
        return []
    await persons_of(connection, {row["contact_id"] for row in found if row["contact_id"]})
    rows = await connection.fetch(_CLAIM, [row["send_id"] for row in found], now)
    return [Send.of(row) for row in rows]


async def _known(
    connection: Connection,
    sends: Sequence[Send],
    judgement: Judgement,
    *,
    number: NumberStanding,
    seen: datetime,
    now: datetime,
) -> Known:
    contacts = {send.contact_id for send in sends if send.contact_id}
    people = await persons_of(connection, contacts) if contacts else {}
    persons = set(people.values())
    names = {send.template_name for send in sends}
    someone: dict[UUID, Someone] = {}
    if persons:
        sender = number.business.phone_number_id
        someone = await know_people(connection, persons, number=sender, rules=judgement.rules, now=now)
        for person, pair in (await lock_pairs(connection, sender, persons)).items():
            someone[person].pair = pair
    templates = await know_templates(connection, number.business.waba_id, names) if names else {}
    return Known(
        now=now,
        number=number,
        people=people,
        someone=someone,
        templates=templates,
        portfolio=await know_portfolio(connection, persons, limit=number.tier if sends else None, now=now),
        view=View(lag=max(now - seen, timedelta(0)), templates_synced_at=number.templates_synced_at),
        rules=judgement.rules,
        personalisation=judgement.personalisation,
        records=await know_records(
            connection,
            sends,
            people,
            templates=templates,
            personalisation=judgement.personalisation,
            crms=judgement.crms,
            ages=judgement.rules.property_ages,
            now=now,
        ),
        crms=judgement.crms,
    )


async def _reserve(
    connection: Connection, taken: Sequence[Judged], known: Known, *, pace: NumberState
) -> None:
    phone_number_id = known.number.business.phone_number_id
    await store_number(connection, phone_number_id, pace)
    people = {known.people[item.send.contact_id] for item in taken if item.send.contact_id}
    pairs = {person: pair for person in people if (pair := known.someone[person].pair) is not None}
    await store_pairs(connection, phone_number_id, pairs)
    if known.portfolio.limit is not None:
        counted = sorted(people & known.portfolio.counted)
        await connection.execute(
            "INSERT INTO outbound.portfolio_people AS p (contact_id, counted_at) "
            "SELECT id, $2::timestamptz FROM unnest($1::uuid[]) AS n (id) ON CONFLICT (contact_id) "
            "DO UPDATE SET counted_at = excluded.counted_at WHERE p.counted_at <= $2 - interval '24 hours'",
            counted,
            known.now,
        )


async def _write(connection: Connection, found: Sequence[Judged], *, now: datetime, lease: float) -> None:
    if not found:
        return
    await connection.execute(
        _WRITE,
        [item.send.send_id for item in found],
        [item.fate for item in found],
        [item.send.attempts for item in found],
        [item.verdict.to_json() for item in found],
        [_again(item) for item in found],
        [item.send.template_language for item in found],
        [item.send.phone for item in found],
        [item.send.bsuid for item in found],
        [item.send.category for item in found],
        [item.send.rendered for item in found],
        [item.content_key for item in found],
        [item.send.expires_at for item in found],
        [_problem(item) for item in found],
        now + timedelta(seconds=lease),
        now,
    )


def _again(item: Judged) -> datetime | None:
    """When a held send is judged again: no later than when it expires, as somebody may wait for that."""
    until = item.verdict.until
    return None if until is None else min(until, item.send.expires_at)


def _problem(item: Judged) -> Mapping[str, Any] | None:
    """What the table says of a send that is over. What WhatsApp said before its time ran out is more telling."""
    decisive = item.verdict.decisive
    if item.fate not in ("blocked", "expired") or decisive is None:
        return None
    reason = item.verdict.explain()
    before = item.send.problem
    if item.fate == "expired" and before and before.get("reason"):
        reason = f"{reason} WhatsApp had said: {before['reason']}"
    return {"code": 0, "cause": decisive.policy, "reason": reason}


def _wanted(found: Sequence[Judged]) -> list[tuple[RecordPlace, UUID]]:
    return [
        (place, item.send.contact_id)
        for item in found
        if item.send.contact_id is not None
        for place in item.wanted
    ]


async def _tell(
    connection: Connection, found: Sequence[Judged], number: NumberStanding, *, now: datetime
) -> int:
    events: list[ConversationEvent] = []
    for item in found:
        problem = _problem(item)
        if problem is not None:
            events += telling.blocked(
                item.send,
                number.business,
                policy=problem["cause"],
                reason=problem["reason"],
                verdict=item.verdict,
                at=now,
            )
    await queue_outgoing(connection, stage=STAGE, records=[record_of(event) for event in events])
    return len(events)


def record_of(event: ConversationEvent) -> EncodedRecord:
    """An event of a send as the log takes it: by contact, and of nobody's by send."""
    contact_id = event.person.contact_id
    key = str(contact_id) if contact_id else getattr(event, "send_id", event.event_id)
    return encode(CONVERSATION_EVENTS, key=key, value=event, origin=STAGE)
