"""What a batch of `conversation.events` tells the outbound role: people, windows, consent, what became of sends. Pure.

Everything in here is folded commutatively: latest, largest, furthest. The same event twice, late or in another order
ends in the same tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from connector.events import (
    ConsentChanged,
    ContactChanged,
    ContactMerged,
    ConversationEvent,
    Message,
    MessageEdited,
    SendAccepted,
    SendAttempted,
    SendBlocked,
    SendEvent,
    SendFailed,
    SendUnknown,
    StatusChange,
)
from connector.outbound.consent.acts import act_of_refusal, act_of_status, act_told, said_in
from connector.outbound.consent.keywords import KeywordTables
from connector.outbound.consent.ledger import Act

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

SendState = Literal[
    "queued",
    "held",
    "sending",
    "unknown",
    "blocked",
    "expired",
    "accepted",
    "sent",
    "failed",
    "delivered",
    "read",
]
RANKS: dict[str, int] = {
    "queued": 0,
    "held": 0,
    "sending": 1,
    "unknown": 2,
    "blocked": 3,
    "expired": 3,
    "accepted": 4,
    "sent": 5,
    "failed": 6,
    "delivered": 7,
    "read": 8,
}
"""A send only moves up: what was delivered did not fail, and what a status speaks of was not held back."""

SEND_ID_PREFIX = "trg_"
"""Callback data that begins otherwise is somebody else's, who sends from the same number."""

_UNREACHABLE = 131026
_MARKETING_REFUSED = 131049


@dataclass(frozen=True, kw_only=True, slots=True)
class PersonNews:
    """What is new about one contact. Times are those of the facts."""

    contact_id: UUID
    phone: str = ""
    phone_at: datetime = LONG_AGO
    bsuid: str = ""
    bsuid_at: datetime = LONG_AGO
    lost_phone: str = ""
    lost_at: datetime = LONG_AGO
    unreachable_at: datetime | None = None
    marketing_refused_at: datetime | None = None

    def __or__(self, other: PersonNews) -> PersonNews:
        """Both, the later of each."""
        phone = max((self.phone_at, self.phone), (other.phone_at, other.phone))
        bsuid = max((self.bsuid_at, self.bsuid), (other.bsuid_at, other.bsuid))
        lost = max((self.lost_at, self.lost_phone), (other.lost_at, other.lost_phone))
        return replace(
            self,
            phone=phone[1],
            phone_at=phone[0],
            bsuid=bsuid[1],
            bsuid_at=bsuid[0],
            lost_phone=lost[1],
            lost_at=lost[0],
            unreachable_at=_later(self.unreachable_at, other.unreachable_at),
            marketing_refused_at=_later(self.marketing_refused_at, other.marketing_refused_at),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SendReport:
    """What the log says of one send.

    `attempt`: the highest that may have left. `at`: when the furthest state was reached. `contact_id`: as the event
    named it.
    """

    send_id: str
    state: SendState
    at: datetime
    attempt: int = 0
    attempted_at: datetime | None = None
    wamid: str = ""
    contact_id: UUID | None = None
    category: str = ""
    pricing_type: str = ""
    code: int = 0
    cause: str = ""
    reason: str = ""

    def __or__(self, other: SendReport) -> SendReport:
        """The further of the two, with what only the other one knows."""
        ahead, behind = (self, other) if _order(self) >= _order(other) else (other, self)
        return replace(
            ahead,
            attempt=max(self.attempt, other.attempt),
            attempted_at=_later(self.attempted_at, other.attempted_at),
            wamid=ahead.wamid or behind.wamid,
            contact_id=ahead.contact_id or behind.contact_id,
            category=ahead.category or behind.category,
            pricing_type=ahead.pricing_type or behind.pricing_type,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Merge:
    """Two contacts are one person."""

    winner_id: UUID
    loser_id: UUID
    at: datetime


@dataclass(slots=True)
class Told:
    """One batch, folded within itself, so that each row is read and written once."""

    people: dict[UUID, PersonNews] = field(default_factory=dict)
    windows: dict[tuple[UUID, str], datetime] = field(default_factory=dict)
    """(contact, business number) → last message of the person."""
    merges: list[Merge] = field(default_factory=list)
    acts: list[tuple[UUID, Act]] = field(default_factory=list)
    reports: dict[str, SendReport] = field(default_factory=dict)
    by_wamid: dict[str, SendReport] = field(default_factory=dict)
    """Statuses without our callback data: the send that has the wamid, if there is one. Their `send_id` is empty."""

    @property
    def contacts(self) -> set[UUID]:
        """Every contact that is named, merged ones included."""
        ids = set(self.people) | {contact_id for contact_id, _ in self.windows}
        ids |= {contact_id for contact_id, _ in self.acts}
        for merge in self.merges:
            ids |= {merge.winner_id, merge.loser_id}
        return ids


def told_by(events: Iterable[ConversationEvent], *, tables: KeywordTables) -> Told:
    """What the events say, in any order."""
    told = Told()
    for event in events:
        _note_person(told, event)
        if isinstance(event, Message | MessageEdited):
            _note_message(told, event, tables)
        elif isinstance(event, StatusChange):
            _note_status(told, event)
        elif isinstance(event, ContactMerged):
            if event.person.contact_id is not None:
                told.merges.append(
                    Merge(winner_id=event.person.contact_id, loser_id=event.loser_id, at=event.at)
                )
        elif isinstance(event, ConsentChanged):
            if event.person.contact_id is not None and (act := act_told(event)) is not None:
                told.acts.append((event.person.contact_id, act))
        elif isinstance(event, SendEvent):
            _note_report(told, _report(event))
            if isinstance(event, SendFailed):
                _note_refusal(told, event)
    return told


def _note_person(told: Told, event: ConversationEvent) -> None:
    person = event.person
    if person.contact_id is None:
        return
    news = PersonNews(contact_id=person.contact_id)
    if isinstance(event, ContactChanged) and event.phone_lost:
        news = replace(news, lost_phone=person.phone or "", lost_at=event.at)
    elif not isinstance(event, SendEvent | StatusChange | ConsentChanged) and not _is_ours(event):
        # A status shows whose device it was, and what we sent shows whom we meant: only the person shows who they are.
        if person.phone:
            news = replace(news, phone=person.phone, phone_at=event.at)
        if person.bsuid:
            news = replace(news, bsuid=person.bsuid, bsuid_at=event.at)
    known = told.people.get(person.contact_id)
    told.people[person.contact_id] = news if known is None else known | news


def _is_ours(event: ConversationEvent) -> bool:
    """Whether it is a message that we sent, or did not: it shows whom we meant."""
    return isinstance(event, Message) and event.direction == "outbound" and event.via == "platform"


def _note_refusal(told: Told, event: SendFailed) -> None:
    act = act_of_refusal(event)
    if act is not None and event.person.contact_id is not None:
        told.acts.append((event.person.contact_id, act))


def _note_message(told: Told, event: Message | MessageEdited, tables: KeywordTables) -> None:
    contact_id = event.person.contact_id
    if contact_id is None or event.direction != "inbound":
        return
    if isinstance(event, Message) and event.message_type != "system":
        key = contact_id, event.phone_number_id
        told.windows[key] = max(event.at, told.windows.get(key, event.at))
    said = said_in(event, tables=tables)
    if said is not None:
        told.acts += [(contact_id, act) for act in said.acts]


def _note_status(told: Told, event: StatusChange) -> None:
    contact_id = event.person.contact_id
    codes = {error.code for error in event.errors}
    if contact_id is not None:
        if (act := act_of_status(event)) is not None:
            told.acts.append((contact_id, act))
        if codes & {_UNREACHABLE, _MARKETING_REFUSED}:
            told.people[contact_id] |= PersonNews(
                contact_id=contact_id,
                unreachable_at=event.at if _UNREACHABLE in codes else None,
                marketing_refused_at=event.at if _MARKETING_REFUSED in codes else None,
            )
    state = _state_of(event.status)
    if state is None:
        return
    ours = event.callback_data.startswith(SEND_ID_PREFIX)
    error = event.errors[0] if event.errors else None
    report = SendReport(
        send_id=event.callback_data if ours else "",
        state=state,
        at=event.at,
        wamid=event.wamid,
        contact_id=contact_id,
        category=event.pricing_category.upper(),
        pricing_type=event.pricing_type,
        code=(error.code or 0) if error else 0,
        cause="delivery_failed" if state == "failed" else "",
        reason=(error.details or error.message or error.title) if error else "",
    )
    if ours:
        _note_report(told, report)
    else:
        known = told.by_wamid.get(event.wamid)
        told.by_wamid[event.wamid] = report if known is None else known | report


def _state_of(status: str) -> SendState | None:
    """A word that Meta adds later moves nothing."""
    match status:
        case "sent" | "delivered" | "read" | "failed":
            return status
        case "played":
            return "read"
    return None


def _note_report(told: Told, report: SendReport) -> None:
    known = told.reports.get(report.send_id)
    told.reports[report.send_id] = report if known is None else known | report


def _report(event: SendEvent) -> SendReport:
    contact_id = event.person.contact_id
    report = SendReport(
        send_id=event.send_id,
        state="unknown",
        at=event.at,
        contact_id=contact_id,
        category=event.category,
    )
    match event:
        case SendAttempted():
            return replace(report, attempt=event.attempt, attempted_at=event.at)
        case SendAccepted():
            return replace(report, state="accepted", wamid=event.wamid)
        case SendBlocked():
            expired = event.policy == "expiry"
            return replace(
                report, state="expired" if expired else "blocked", cause=event.policy, reason=event.reason
            )
        case SendFailed():
            return replace(report, state="failed", code=event.code, cause=event.cause, reason=event.reason)
        case SendUnknown():
            return replace(report, cause="outcome_unknown", reason=event.reason)
    return report


def _order(report: SendReport) -> tuple[int, datetime, str]:
    return RANKS[report.state], report.at, report.reason


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
