"""What is known about a person, as a fold of events: commutative, idempotent, a plain JSON object.

| fact            | fold                                        |
|-----------------|---------------------------------------------|
| bsuid, wa_id, phone, username, name, ad_source | latest register      |
| marketing_consent, utility_consent             | latest register      |
| first_at, last_inbound_at, consent_changed_at  | smallest, largest ms |

A number that moved to somebody else is the register `["", t]`: "none since t".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from connector.events import ConsentChanged, ContactChanged, ContactMerged, Event, Message
from connector.sync.core.registers import latest

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

_FOLDS: Mapping[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(REGISTERS, latest),
    "first_at": min,
    "last_inbound_at": max,
    "consent_changed_at": max,
}
"""Fact → which of two values stays."""


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
    merged = dict(left)
    for name, value in right.items():
        known = merged.get(name)
        merged[name] = value if known is None else _FOLDS.get(name, _either)(known, value)
    return merged


def _either(left: Any, right: Any) -> Any:
    """Of a fact that a newer version told: the same one whichever comes first. That version may work beside this one."""
    return max(left, right, key=lambda value: json.dumps(value, sort_keys=True))
