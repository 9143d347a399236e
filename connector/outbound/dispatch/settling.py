"""What became of attempts, set-wise: WhatsApp's answers, lost answers, and attempts that certainly did nothing.

A status may have come before our own answer: states only move forward. An attempt that is not the row's latest any
more (somebody took the row for a crashed process's) changes nothing, unless WhatsApp took the message.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from connector.events import ConversationEvent
from connector.outbound.announcements import STAGE
from connector.outbound.dispatch import telling
from connector.outbound.dispatch.claiming import record_of
from connector.outbound.dispatch.knowledge import persons_of
from connector.outbound.dispatch.paces import lock_number, lock_pairs, store_number, store_pairs
from connector.outbound.dispatch.send import BusinessNumber, Send
from connector.outbound.pacing.number import number_refused
from connector.outbound.pacing.pair import PairState, pair_accepted, pair_refused
from connector.outbound.store.account_syncs import want_sync
from connector.state.database import Connection
from connector.streams.outgoing import queue_outgoing
from connector.whatsapp.send_answers import Refused, SendAnswer, Taken, Unclear, Unsent
from connector.whatsapp.send_errors import ErrorClass

_ABOUT_PEOPLE = {"unreachable_at": 131026, "marketing_refused_at": 131049}
"""Column of `outbound.people` → the code that sets it."""
_NOT_AS_READ = frozenset({132001, 132015, 132016})
"""The template is not there, paused or disabled, and the gate did not know: its webhook is late or was lost."""
_RESTING = (ErrorClass.NUMBER, ErrorClass.ACCOUNT, ErrorClass.PORTFOLIO)
_APP_WIDE = frozenset({"app_rate_limit", "rate_limit"})
_FIRST_PAUSE = timedelta(seconds=2)
_LONGEST_PAUSE = timedelta(minutes=5)
_RESUMED = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One attempt and what came of it. `send.attempts` is its number."""

    send: Send
    number: BusinessNumber
    answer: SendAnswer


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """What the row says from now on."""

    state: str
    again_at: datetime | None = None
    wamid: str | None = None
    problem: dict[str, Any] | None = None


_WRITE = """
UPDATE outbound.sends s
   SET state = CASE WHEN n.state = 'accepted' AND s.state NOT IN ('sending', 'unknown', 'queued', 'held') THEN s.state
                    ELSE n.state END,
       wamid = coalesce(s.wamid, n.wamid),
       not_before = coalesce(n.not_before, s.not_before),
       problem = CASE WHEN n.state = 'accepted' AND s.state <> 'failed' THEN NULL ELSE coalesce(n.problem, s.problem) END,
       lease_until = NULL,
       message_told = s.message_told OR n.state = 'accepted',
       settled_at = CASE WHEN n.state = 'failed' THEN $6::timestamptz
                         WHEN n.state = 'accepted' THEN coalesce(s.settled_at, $6) ELSE s.settled_at END,
       outcome_due_at = CASE WHEN n.state = 'failed' AND s.callback IS NOT NULL THEN coalesce(s.outcome_due_at, $6)
                             ELSE s.outcome_due_at END
  FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::timestamptz[], $7::jsonb[])
       AS n (send_id, attempt, state, wamid, not_before, problem)
 WHERE s.send_id = n.send_id
   AND (n.state = 'accepted'
        OR s.attempts = n.attempt AND s.state IN ('sending', 'unknown') AND s.wamid IS NULL
           AND (s.state = 'sending' OR n.state <> 'unknown'))
RETURNING s.send_id
"""


async def settle(
    connection: Connection,
    attempts: Sequence[Attempt],
    *,
    stopped_retry: float,
    random: Callable[[], float],
) -> int:
    """Write what came of these attempts, in the caller's transaction; the rows queued in `shared.outgoing`.

    `stopped_retry`: seconds that a send rests whose refusal stops the line. `random`: from [0, 1).
    """
    if not attempts:
        return 0
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    ordered = sorted(attempts, key=lambda attempt: attempt.send.send_id)
    people = await _people(connection, ordered)
    await connection.fetch(
        "SELECT 1 FROM outbound.sends WHERE send_id = ANY($1::text[]) ORDER BY send_id FOR UPDATE",
        [attempt.send.send_id for attempt in ordered],
    )
    await _note_people(connection, ordered, now=now)
    rests = await _rest(connection, ordered, people, now=now)
    changes = [
        _change(attempt, rests, now=now, stopped_retry=stopped_retry, random=random) for attempt in ordered
    ]
    rows = await connection.fetch(
        _WRITE,
        [attempt.send.send_id for attempt in ordered],
        [attempt.send.attempts for attempt in ordered],
        [change.state for change in changes],
        [change.wamid for change in changes],
        [change.again_at for change in changes],
        now,
        [change.problem for change in changes],
    )
    written = {row["send_id"] for row in rows}
    events: list[ConversationEvent] = []
    for attempt, change in zip(ordered, changes, strict=True):
        if attempt.send.send_id in written:
            events += _events(attempt, change, now=now)
    await queue_outgoing(connection, stage=STAGE, records=[record_of(event) for event in events])
    await want_sync(connection, {item.number.waba_id for item in ordered if _is_not_as_read(item)} - {""})
    return len(events)


def _is_not_as_read(attempt: Attempt) -> bool:
    return isinstance(attempt.answer, Refused) and attempt.answer.error.code in _NOT_AS_READ


def _change(
    attempt: Attempt,
    rests: dict[str, datetime],
    *,
    now: datetime,
    stopped_retry: float,
    random: Callable[[], float],
) -> Change:
    answer = attempt.answer
    pause = min(_FIRST_PAUSE * 2 ** min(attempt.send.attempts - 1, 10), _LONGEST_PAUSE)
    pause *= 0.5 + random() / 2
    match answer:
        case Taken():
            return Change(state="accepted", wamid=answer.wamid)
        case Unclear():
            return Change(
                state="unknown", problem={"code": 0, "cause": "lost_answer", "reason": answer.reason}
            )
        case Unsent():
            problem = {"code": 0, "cause": "not_reached", "reason": answer.reason}
            return Change(state="queued", again_at=now + pause, problem=problem)
    return _refusal(attempt, answer, rests, now=now, pause=pause, stopped_retry=stopped_retry)


def _refusal(
    attempt: Attempt,
    answer: Refused,
    rests: dict[str, datetime],
    *,
    now: datetime,
    pause: timedelta,
    stopped_retry: float,
) -> Change:
    rule = answer.rule
    problem = {
        "code": answer.error.code,
        "cause": rule.cause,
        "reason": f"{rule.says}: {answer.error.sentence}",
        **({"advice": rule.advice} if rule.advice else {}),
    }
    used_up = rule.attempts is not None and attempt.send.attempts >= rule.attempts
    if rule.error_class in (ErrorClass.FAIL, ErrorClass.OPT_OUT) or used_up:
        return Change(state="failed", problem=problem)
    again = now + pause
    match rule.error_class:
        case ErrorClass.RETRY:
            again = now + max(pause, timedelta(seconds=answer.retry_after or 0))
        case ErrorClass.PARK:
            again = now + (rule.wait or pause)
        case ErrorClass.STOP:
            again = now + timedelta(seconds=stopped_retry)
        case _:  # the number, the pair or more rest; the send is due again when they do not any more
            again = rests.get(attempt.send.send_id, now + _RESUMED)
    return Change(state="queued", again_at=again, problem=problem)


async def _people(connection: Connection, attempts: Sequence[Attempt]) -> dict[UUID, UUID]:
    """Lock the people about whom something is written; contact → person. Most acceptances say nothing about anybody."""
    accepted = [
        (item.send.contact_id, item.number.phone_number_id)
        for item in attempts
        if item.send.contact_id and isinstance(item.answer, Taken)
    ]
    rows = await connection.fetch(
        "SELECT p.contact_id FROM unnest($1::uuid[], $2::text[]) AS n (contact_id, phone_number_id) "
        "JOIN outbound.people p USING (contact_id) JOIN outbound.paces a ON a.kind = 'pair' "
        "AND a.key = n.phone_number_id || '/' || p.person_id AND (a.refusals > 0 OR a.closed_until IS NOT NULL)",
        [contact_id for contact_id, _ in accepted],
        [phone_number_id for _, phone_number_id in accepted],
    )
    concerned = {row["contact_id"] for row in rows}
    concerned |= {
        item.send.contact_id
        for item in attempts
        if item.send.contact_id
        and isinstance(item.answer, Refused)
        and (
            item.answer.rule.error_class is ErrorClass.PAIR
            or item.answer.error.code in _ABOUT_PEOPLE.values()
        )
    }
    return await persons_of(connection, concerned) if concerned else {}


async def _note_people(connection: Connection, attempts: Sequence[Attempt], *, now: datetime) -> None:
    """What a refusal says about the person."""
    for column, code in _ABOUT_PEOPLE.items():
        contacts = sorted(
            item.send.contact_id
            for item in attempts
            if item.send.contact_id and isinstance(item.answer, Refused) and item.answer.error.code == code
        )
        if contacts:
            await connection.execute(
                f"UPDATE outbound.people SET {column} = greatest({column}, $2) "  # noqa: S608 - ours
                "WHERE contact_id = ANY($1::uuid[])",
                contacts,
                now,
            )


async def _rest(
    connection: Connection, attempts: Sequence[Attempt], people: Mapping[UUID, UUID], *, now: datetime
) -> dict[str, datetime]:
    """Let those rest whom a refusal is about; send → until when."""
    until: dict[str, datetime] = {}
    refused = [(item, item.answer) for item in attempts if isinstance(item.answer, Refused)]
    await _rest_numbers(connection, refused, until, now=now)
    throttled = {
        item.number.phone_number_id
        for item, answer in refused
        if answer.rule.error_class is ErrorClass.NUMBER and answer.rule.wait is None
    }
    await _pairs(connection, attempts, people, until, now=now)
    for phone_number_id in sorted(throttled):
        state = number_refused(await lock_number(connection, phone_number_id), now=now)
        await store_number(connection, phone_number_id, state)
    return until


async def _rest_numbers(
    connection: Connection,
    refused: Sequence[tuple[Attempt, Refused]],
    until: dict[str, datetime],
    *,
    now: datetime,
) -> None:
    """Pause the number, the account's numbers or all numbers, for as long as the refusal says."""
    for item, answer in refused:
        rule = answer.rule
        wait = rule.wait
        if wait is None or rule.error_class not in _RESTING:
            continue
        paused = now + max(wait, timedelta(seconds=answer.retry_after or 0))
        until[item.send.send_id] = paused
        everybody = rule.error_class is ErrorClass.PORTFOLIO or rule.cause in _APP_WIDE
        account = item.number.waba_id if rule.error_class is ErrorClass.ACCOUNT else ""
        await connection.execute(
            "WITH n AS (SELECT phone_number_id FROM outbound.numbers WHERE $3 OR phone_number_id = $1 "
            "OR waba_id = $2 AND $2 <> '' ORDER BY phone_number_id FOR UPDATE) "
            "UPDATE outbound.numbers AS t SET paused_until = greatest(t.paused_until, $4), pause_reason = $5 "
            "FROM n WHERE t.phone_number_id = n.phone_number_id",
            item.number.phone_number_id,
            account,
            everybody,
            paused,
            f"{rule.says} ({answer.error.code})",
        )


async def _pairs(
    connection: Connection,
    attempts: Sequence[Attempt],
    people: Mapping[UUID, UUID],
    until: dict[str, datetime],
    *,
    now: datetime,
) -> None:
    """131056 closes a pair; an acceptance opens one that was closed."""
    about: dict[str, dict[UUID, list[Attempt]]] = {}
    for item in attempts:
        person = people.get(item.send.contact_id) if item.send.contact_id else None
        if person is not None and (isinstance(item.answer, Taken) or _is_pair_limit(item)):
            about.setdefault(item.number.phone_number_id, {}).setdefault(person, []).append(item)
    for phone_number_id in sorted(about):
        mine = about[phone_number_id]
        known = await lock_pairs(connection, phone_number_id, mine)
        changed: dict[UUID, PairState] = {}
        for person, items in mine.items():
            # Refusals of messages that were under way together are one.
            refused = [item for item in items if _is_pair_limit(item)]
            if refused:
                changed[person] = pair_refused(known.get(person), now=now)
                closed = changed[person].closed_until
                until |= {item.send.send_id: closed for item in refused if closed is not None}
            elif person in known:
                changed[person] = pair_accepted(known[person])
        await store_pairs(connection, phone_number_id, changed)


def _is_pair_limit(attempt: Attempt) -> bool:
    return isinstance(attempt.answer, Refused) and attempt.answer.rule.error_class is ErrorClass.PAIR


def _events(attempt: Attempt, change: Change, *, now: datetime) -> Sequence[ConversationEvent]:
    answer = attempt.answer
    if isinstance(answer, Taken):
        return telling.accepted(
            attempt.send,
            attempt.number,
            wamid=answer.wamid,
            message_status=answer.message_status,
            at=now,
        )
    if change.state == "failed" and change.problem is not None:
        return telling.failed(
            attempt.send,
            attempt.number,
            code=change.problem["code"],
            cause=change.problem["cause"],
            reason=change.problem["reason"],
            at=now,
        )
    return ()
