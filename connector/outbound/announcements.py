"""What the outbound role says about people and sends on `conversation.events`. Pure: rows in, events out."""

from __future__ import annotations

from connector.events import ConsentChanged, Origin, Person, make_event_id
from connector.outbound.store.consents import ConsentChange
from connector.streams.codec import EncodedRecord, encode
from connector.topics import CONVERSATION_EVENTS

STAGE = "outbound"
"""Who wrote the record, and the stage under which it waits in shared.outgoing."""


def consent_changed(change: ConsentChange, *, origin: Origin) -> EncodedRecord:
    """The ledger's new standing of one purpose. The same change makes the same event."""
    act = change.act
    event = ConsentChanged(
        event_id=make_event_id(
            kind="consent.changed",
            number=change.purpose,
            subject=str(change.person_id),
            recipient=change.state,
            content=[act.act_id, change.at.isoformat()],
        ),
        waba_id="",
        at=change.at,
        person=Person(contact_id=change.person_id),
        origin=origin,
        purpose=change.purpose,
        state=change.state,
        source=act.source,
        evidence=act.evidence,
        act_id=act.act_id,
        acted_at=act.at,
        by_person=act.by_person,
        resumes=act.resumes,
    )
    return encode(CONVERSATION_EVENTS, key=str(change.person_id), value=event, origin=STAGE)
