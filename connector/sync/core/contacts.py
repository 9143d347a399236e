"""What is known about a person, as a fold of events: commutative, idempotent, a plain JSON object.

| fact            | fold                                        |
|-----------------|---------------------------------------------|
| bsuid, wa_id, phone, username, name, ad_source | latest register      |
| marketing_consent, utility_consent             | latest register      |
| first_at, last_inbound_at, consent_changed_at  | smallest, largest ms |

A number that moved to somebody else is the register `["", t]`: "none since t".
"""

from __future__ import annotations

from typing import Any

from connector.events import ConsentChanged, ContactChanged, ContactMerged, Event, Message
from connector.sync.core.registers import earliest_number, largest_number, latest

ContactFacts = dict[str, Any]

REGISTERS = (
    "bsuid",
    "wa_id",
    "phone",
    "username",
    "name",
    "ad_source",
    "marketing_consent",
    "utility_consent",
)
"""Facts that are latest registers."""


def milliseconds(event: Event) -> int:
    """Meta's time of the event in ms since the epoch."""
    return int(event.at.timestamp() * 1000)


def contact_facts(event: Event) -> ContactFacts:
    """What one event says about its person."""
    at = milliseconds(event)
    person = event.person
    facts: ContactFacts = {}
    if isinstance(event, ConsentChanged):
        return {f"{event.purpose}_consent": [event.state, at], "consent_changed_at": at}
    for name in ("bsuid", "wa_id", "phone"):
        value = getattr(person, name)
        if value:
            facts[name] = [value, at]
    if isinstance(event, ContactChanged) and event.phone_lost:
        facts["phone"] = ["", at]
        facts["wa_id"] = ["", at]
    if isinstance(event, ContactMerged):
        return facts
    for name in ("username", "name"):
        value = getattr(person, name)
        if value:
            facts[name] = [value, at]
    if isinstance(event, Message):
        facts["first_at"] = at
        if event.direction == "inbound":
            if event.message_type != "system":
                facts["last_inbound_at"] = at
            if event.referral is not None:
                source = event.referral
                facts["ad_source"] = [source.headline or source.source_url or source.source_id, at]
    return facts


def merge_contact_facts(left: ContactFacts, right: ContactFacts) -> ContactFacts:
    """The union of two folds: of two batches, or of two contacts that turned out to be one person."""
    merged: ContactFacts = {}
    for name in REGISTERS:
        register = latest(left.get(name), right.get(name))
        if register is not None:
            merged[name] = register
    first = earliest_number(left.get("first_at"), right.get("first_at"))
    last = largest_number(left.get("last_inbound_at"), right.get("last_inbound_at"))
    changed = largest_number(left.get("consent_changed_at"), right.get("consent_changed_at"))
    if first is not None:
        merged["first_at"] = first
    if last is not None:
        merged["last_inbound_at"] = last
    if changed is not None:
        merged["consent_changed_at"] = changed
    return merged
