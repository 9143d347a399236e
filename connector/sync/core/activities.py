"""What is known about one message, as a fold of its versions and statuses.

* `message`: the richest version seen. The same wamid may come again richer (a placeholder first, the image
  later); rank, then time, then content decide, so any order of arrival ends the same.
* `status`: forward only. `failed` may come beside `delivered` (the person has two devices): delivered wins,
  the reason stays in `failure`. https://developers.facebook.com/docs/whatsapp → message status.
"""

from __future__ import annotations

import json
from typing import Any

from connector.events import Message, StatusChange
from connector.sync.core.contacts import milliseconds

ActivityFacts = dict[str, Any]

STATUS_RANK = {"accepted": 1, "sent": 2, "failed": 3, "delivered": 4, "read": 5, "played": 6}
"""How far a message got. A word that Meta adds later ranks 0: kept in `other_statuses`, shown by trace."""

_POOR_TYPES = {"unsupported", "unknown", "media_placeholder", "errors"}


def message_facts(event: Message) -> ActivityFacts:
    """What one version of a message says."""
    version: dict[str, Any] = {
        "direction": event.direction,
        "type": event.message_type,
        "text": event.text,
        "at": milliseconds(event),
        "business_phone": event.business_phone,
        "phone_number_id": event.phone_number_id,
    }
    person = event.person.phone or event.person.wa_id or event.person.username or event.person.bsuid
    if person:
        version["person"] = person
    if event.reply_to:
        version["reply_to"] = event.reply_to
    if event.media is not None:
        version["media"] = event.media.model_dump(exclude_defaults=True)
    if event.referral is not None:
        version["referral"] = event.referral.model_dump(exclude_defaults=True)
    if event.errors:
        version["errors"] = event.errors
    return {"message": version}


def status_facts(event: StatusChange) -> ActivityFacts:
    """What one status says."""
    at = milliseconds(event)
    rank = STATUS_RANK.get(event.status, 0)
    facts: ActivityFacts = {
        "numbers": {"business_phone": event.business_phone, "phone_number_id": event.phone_number_id}
    }
    if rank == 0:
        facts["other_statuses"] = [[event.status, at]]
    else:
        facts["status"] = [event.status, at]
    if event.errors:
        error = event.errors[0]
        facts["failure"] = [error.code or 0, error.details or error.message or error.title, at]
    if event.pricing_category:
        facts["pricing"] = [event.pricing_category, event.pricing_type]
    return facts


def _message_order(version: dict[str, Any]) -> tuple[int, int, str]:
    rich = 0 if version["type"] in _POOR_TYPES else 1
    return rich, version["at"], json.dumps(version, sort_keys=True)


def _status_order(status: list[Any]) -> tuple[int, int]:
    return STATUS_RANK[status[0]], -status[1]  # the first time a stage was reached is its time


def merge_activity_facts(left: ActivityFacts, right: ActivityFacts) -> ActivityFacts:
    """The union of two folds of one message."""
    merged: ActivityFacts = {}
    messages = [facts["message"] for facts in (left, right) if "message" in facts]
    if messages:
        merged["message"] = max(messages, key=_message_order)
    statuses = [facts["status"] for facts in (left, right) if "status" in facts]
    if statuses:
        merged["status"] = max(statuses, key=_status_order)
    for name in ("failure", "pricing"):
        values = [facts[name] for facts in (left, right) if name in facts]
        if values:
            merged[name] = min(values)
    numbers = [facts["numbers"] for facts in (left, right) if "numbers" in facts]
    if numbers:
        merged["numbers"] = max(numbers, key=lambda value: json.dumps(value, sort_keys=True))
    others = {(word, at) for facts in (left, right) for word, at in facts.get("other_statuses", ())}
    if others:
        merged["other_statuses"] = [list(item) for item in sorted(others)]
    return merged
