"""The fold: a batch of canonical events over what is known → the rows that change. Pure.

Commutative and idempotent: any order and any repetition of the same events ends in the same facts (see
tests/unit/test_fold.py, a hypothesis test). A row's desired version moves only when its facts move; an event
that was seen before changes nothing, so nothing is written to the CRM again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, TypeVar
from uuid import UUID

from connector.crm.port import Priority
from connector.events import Amendment, ContactMerged, ConversationEvent, Message, StatusChange
from connector.sync.core.activities import ActivityFacts, merge_activity_facts, message_facts, status_facts
from connector.sync.core.amendments import amendment_facts, without_deleted_text
from connector.sync.core.contacts import ContactFacts, contact_facts, merge_contact_facts
from connector.sync.core.holding import HoldRules, Standing, hold

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

# A status may overtake its message by moments; waiting this long saves a line that says "content not seen".
PLACEHOLDER_GRACE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record of the log lies."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ContactState:
    """A person's row as the fold sees it. Of `standing` the fold sets `held` only."""

    contact_id: UUID
    facts: ContactFacts = field(default_factory=dict)
    standing: Standing = field(default_factory=Standing)
    desired_version: int = 0
    written_version: int = 0
    redirect_to: UUID | None = None
    priority: Priority = Priority.LIVE
    fresh_at: datetime = LONG_AGO
    waiting_since: datetime | None = None
    stored: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityState:
    """A message's row as the fold sees it. `contact_id` None: its person is not known yet."""

    wamid: str
    contact_id: UUID | None = None
    facts: ActivityFacts = field(default_factory=dict)
    desired_version: int = 0
    written_version: int = 0
    priority: Priority = Priority.LIVE
    fresh_at: datetime = LONG_AGO
    waiting_since: datetime | None = None
    not_before: datetime = LONG_AGO
    position: Position | None = None
    stored: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """Rows to store, and the contacts whose messages now belong to somebody else (loser → winner)."""

    contacts: Sequence[ContactState]
    activities: Sequence[ActivityState]
    moved: Mapping[UUID, UUID]


def contacts_named(events: Iterable[ConversationEvent]) -> set[UUID]:
    """The contact ids that a fold of these events needs to know; their redirects come on top."""
    named: set[UUID] = set()
    for event in events:
        if event.person.contact_id is not None:
            named.add(event.person.contact_id)
        if isinstance(event, ContactMerged):
            named.add(event.loser_id)
    return named


def wamids_named(events: Iterable[ConversationEvent]) -> set[str]:
    """The messages that a fold of these events needs to know."""
    return {name for event in events if (name := _subject(event)) is not None}


def _subject(event: ConversationEvent) -> str | None:
    """The wamid of the message that the event tells something about; None when it is about people only."""
    if isinstance(event, Amendment):
        return event.target
    return event.wamid if isinstance(event, Message | StatusChange) else None


def resolve(contact_id: UUID, redirects: Mapping[UUID, UUID]) -> UUID:
    """Follow redirects to the person of today. A circle, which no rule makes, ends at its smallest id."""
    seen = {contact_id}
    while (target := redirects.get(contact_id)) is not None:
        if target in seen:
            return min(seen)
        seen.add(target)
        contact_id = target
    return contact_id


def fold(
    events: Sequence[tuple[ConversationEvent, Position]],
    *,
    contacts: Mapping[UUID, ContactState],
    activities: Mapping[str, ActivityState],
    now: datetime,
    forgotten: Collection[str] = (),
    replay: bool = False,
    keep_deleted_text: bool = False,
    holds: HoldRules | None = None,
) -> FoldResult:
    """Fold a batch. `contacts` holds every contact that is named, with the targets of its redirects.

    What is said of a message in `forgotten` changes its person only: it was written, and its facts are known no more.
    Of a message that its author deleted the facts keep no text, unless `keep_deleted_text`.
    """
    people = dict(contacts)
    holds = holds or HoldRules()
    redirects = {state.contact_id: state.redirect_to for state in people.values() if state.redirect_to}
    # One statement moves the messages of all losers at once: each has to name the person of today, not one who
    # loses in the same batch.
    moved = {loser: resolve(loser, redirects) for loser in _link_merges(events, redirects)}
    persons, messages = gather(events, redirects)
    for loser, winner in moved.items():
        lost = people.get(loser, ContactState(contact_id=loser))
        gained = persons.setdefault(winner, PersonNews())
        gained.facts = merge_contact_facts(gained.facts, lost.facts)
        gained.fresh_at = max(gained.fresh_at, lost.fresh_at)
        people[loser] = replace(lost, redirect_to=winner)

    changed_people = [people[loser] for loser in moved]
    for contact_id, person in persons.items():
        state = people.get(contact_id, ContactState(contact_id=contact_id))
        merged = merge_contact_facts(state.facts, person.facts)
        if merged != state.facts or not state.stored:
            priority = Priority.REPLAY if replay else person.priority
            held = hold(state.standing, before=state.facts, after=merged, rules=holds)
            standing = state.standing
            if held is not standing.held:
                standing = replace(standing, held=held)
            changed_people.append(
                ahead(state, merged, priority=priority, fresh_at=person.fresh_at, now=now, standing=standing)
            )

    changed_messages: list[ActivityState] = []
    for wamid, news in messages.items():
        if wamid in forgotten:
            continue
        known = activities.get(wamid, ActivityState(wamid=wamid))
        facts = merge_activity_facts(known.facts, news.facts)
        if not keep_deleted_text:
            facts = without_deleted_text(facts)
        holder = holder_of(facts, known, redirects)
        if facts == known.facts and holder == known.contact_id and known.stored:
            continue
        priority = Priority.REPLAY if replay else news.priority
        keep_position = known.position is not None and not news.has_message
        changed_messages.append(
            ahead(
                known,
                facts,
                priority=priority,
                fresh_at=news.fresh_at,
                now=now,
                contact_id=holder,
                position=known.position if keep_position else news.position,
                not_before=LONG_AGO if "message" in facts else now + PLACEHOLDER_GRACE,
            )
        )
    return FoldResult(contacts=changed_people, activities=changed_messages, moved=moved)


@dataclass(slots=True)
class PersonNews:
    """What one batch says about one person."""

    facts: ContactFacts = field(default_factory=dict)
    fresh_at: datetime = LONG_AGO
    priority: Priority = Priority.REPLAY


@dataclass(slots=True)
class MessageNews:
    """What one batch says about one message. `position`: of the message itself, once the batch has it."""

    position: Position
    has_message: bool = False
    facts: ActivityFacts = field(default_factory=dict)
    fresh_at: datetime = LONG_AGO
    priority: Priority = Priority.REPLAY


def _link_merges(
    events: Sequence[tuple[ConversationEvent, Position]], redirects: dict[UUID, UUID]
) -> list[UUID]:
    """Enter the batch's merges into `redirects`; who lost. A known merge is none."""
    losers: list[UUID] = []
    for event, _ in events:
        if isinstance(event, ContactMerged) and event.person.contact_id is not None:
            loser, winner = resolve(event.loser_id, redirects), resolve(event.person.contact_id, redirects)
            if loser != winner:
                redirects[loser] = winner
                losers.append(loser)
    return losers


def gather(
    events: Sequence[tuple[ConversationEvent, Position]], redirects: Mapping[UUID, UUID]
) -> tuple[dict[UUID, PersonNews], dict[str, MessageNews]]:
    """What the events say, by person and by message: the batch folded within itself, so that a row is read and
    written once however often it is named.
    """
    persons: dict[UUID, PersonNews] = {}
    messages: dict[str, MessageNews] = {}
    for event, position in events:
        contact_id = event.person.contact_id
        priority = _class_of(event)
        wamid = _subject(event)
        if wamid is not None:
            news = messages.setdefault(wamid, MessageNews(position=position))
            news.facts = merge_activity_facts(news.facts, _facts_about_message(event))
            news.fresh_at = max(news.fresh_at, event.at)
            news.priority = min(news.priority, priority)
            if isinstance(event, Message):
                news.position = position
                news.has_message = True
        if contact_id is None:
            continue
        person = persons.setdefault(resolve(contact_id, redirects), PersonNews())
        person.facts = merge_contact_facts(person.facts, contact_facts(event))
        person.fresh_at = max(person.fresh_at, event.at)
        person.priority = min(person.priority, priority)
    return persons, messages


def _class_of(event: ConversationEvent) -> Priority:
    """An import of old chats waits behind everything that happens now, as a replay does."""
    if isinstance(event, Message | Amendment) and event.via == "history":
        return Priority.REPLAY
    return Priority.STATUS if isinstance(event, StatusChange) else Priority.LIVE


def _facts_about_message(event: ConversationEvent) -> ActivityFacts:
    """What the event says about its message, and whose message that makes it."""
    if isinstance(event, Message):
        facts, certainty = message_facts(event), _Owner.STATED
    elif isinstance(event, Amendment):
        facts, certainty = amendment_facts(event), _Owner.IN_THE_CHAT
    else:
        assert isinstance(event, StatusChange), "events about people only have no message"
        facts, certainty = status_facts(event), _Owner.GUESSED
    if event.person.contact_id is not None:
        facts["owner"] = [int(certainty), str(event.person.contact_id)]
    return facts


class _Owner(IntEnum):
    """How well an event knows whose message it is about; the best wins."""

    GUESSED = 0
    """A status may know its person by alias only."""
    IN_THE_CHAT = 1
    """Somebody edited, deleted or reacted to it."""
    STATED = 2
    """The message itself."""


def holder_of(facts: ActivityFacts, known: ActivityState, redirects: Mapping[UUID, UUID]) -> UUID | None:
    """Whose message it is today: the owner's redirects followed."""
    owner = facts.get("owner")
    if owner is None:
        return None
    if owner == known.facts.get("owner") and known.contact_id is not None:
        # The owner of old may be merged away and not named in this batch; its redirects were followed in time.
        return resolve(known.contact_id, redirects)
    return resolve(UUID(owner[1]), redirects)


State = TypeVar("State", ContactState, ActivityState)


def ahead(
    state: State,
    facts: dict[str, Any],
    *,
    priority: Priority,
    fresh_at: datetime,
    now: datetime,
    **changes: Any,
) -> State:
    """The same row with other facts and `changes`: one version ahead, waiting since now unless it waited already."""
    waits = state.desired_version > state.written_version
    return replace(
        state,
        facts=facts,
        desired_version=state.desired_version + 1,
        priority=min(state.priority, priority) if waits else priority,
        fresh_at=max(state.fresh_at, fresh_at),
        waiting_since=state.waiting_since if waits and state.waiting_since else now,
        **changes,
    )
