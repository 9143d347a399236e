"""Webhooks → what is known, through every pure part of the way: splitting, reading, rules of identity, fold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from connector.errors import Rejected
from connector.events import AccountEvent, ConversationEvent, Origin, WhatsAppUpdate
from connector.identity.directory import Directory
from connector.identity.reading import Reading, read_update
from connector.identity.routing import Routing
from connector.ingress.intake import take_in
from connector.streams.codec import EncodedRecord, decode
from connector.streams.outcomes import Dead, Done
from connector.sync.core.fold import ActivityState, ContactState, Position, fold
from connector.topics import ACCOUNT_EVENTS, DEAD_LETTERS, WHATSAPP_HISTORY
from connector.whatsapp.history import past_updates

_FOLDED_AFTER = timedelta(seconds=1)


@dataclass(kw_only=True)
class Rehearsal:
    """One deployment in memory. `feed` may be called as often as there are POSTs. `arrival`: of all of them."""

    arrival: datetime
    keep_deleted_text: bool = False
    directory: Directory = field(default_factory=Directory)
    contacts: dict[UUID, ContactState] = field(default_factory=dict)
    activities: dict[str, ActivityState] = field(default_factory=dict)
    updates: list[WhatsAppUpdate] = field(default_factory=list)
    events: list[ConversationEvent] = field(default_factory=list)
    account_events: list[AccountEvent] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    refused_posts: int = 0

    def feed(self, *bodies: bytes) -> None:
        """Take in, route and fold these POSTs."""
        for body in bodies:
            for record in take_in(body, received_at=self.arrival).records:
                if record.topic is DEAD_LETTERS:
                    self.refused_posts += 1
                else:
                    self._route(record)

    def _route(self, record: EncodedRecord) -> None:
        update: WhatsAppUpdate = decode(record.topic, record.value)
        self.updates.append(update)
        parts = past_updates(update) if record.topic is WHATSAPP_HISTORY else [update]
        origin = Origin(topic=record.topic.name, partition=0, offset=0, received_at=update.received_at)
        routing = Routing(self.directory)
        produced: list[EncodedRecord] = []
        for outcome in routing.route([_read(part, origin) for part in parts]):
            if isinstance(outcome, Done):
                assert outcome.produce, "an update was acknowledged and left nothing on the log"
                produced.extend(outcome.produce)
            else:
                self.dead.append(outcome)
        news: list[ConversationEvent] = []
        for sent in [*routing.outgoing, *produced]:
            event = decode(sent.topic, sent.value)
            (self.account_events if sent.topic is ACCOUNT_EVENTS else news).append(event)
        self.events.extend(news)
        self.fold(news)

    def fold(self, events: Iterable[ConversationEvent]) -> int:
        """Fold events as they stand on the log; the number of rows that changed."""
        result = fold(
            [(event, Position("conversation.events", 0, 0)) for event in events],
            contacts=self.contacts,
            activities=self.activities,
            now=self.arrival + _FOLDED_AFTER,
            keep_deleted_text=self.keep_deleted_text,
        )
        self.contacts |= {one.contact_id: replace(one, stored=True) for one in result.contacts}
        self.activities |= {one.wamid: replace(one, stored=True) for one in result.activities}
        for wamid, state in self.activities.items():
            if state.contact_id is not None and state.contact_id in result.moved:
                self.activities[wamid] = replace(state, contact_id=result.moved[state.contact_id])
        return len(result.contacts) + len(result.activities)


def _read(update: WhatsAppUpdate, origin: Origin) -> Reading | Dead:
    try:
        return read_update(update, origin)
    except Rejected as error:
        return Dead(cause=error.cause, reason=error.message, advice=error.advice)
