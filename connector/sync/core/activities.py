"""What is known about one message, as a fold of its versions and statuses.

* `message`: the richest version seen. The same wamid may come again richer (a placeholder first, the image
  later); rank, then time, then content decide, so any order of arrival ends the same.
* `status`: forward only. `failed` may come beside `delivered` (the person has two devices): delivered wins,
  the reason stays in `failure`. https://developers.facebook.com/docs/whatsapp → message status.
* edits, deletions and reactions: amendments.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from connector.events import Message, StatusChange
from connector.sync.core.amendments import emptied, latest_edit, merged_reactions
from connector.sync.core.contacts import milliseconds
from connector.sync.core.excerpt import excerpt

ActivityFacts = dict[str, Any]

STATUS_RANK = {"accepted": 1, "sent": 2, "failed": 3, "delivered": 4, "read": 5, "played": 6}
"""How far a message got. A word that Meta adds later ranks 0: kept in `other_statuses`, shown by trace."""

_POOR_TYPES = {"unsupported", "unknown", "media_placeholder", "errors"}
_MOST_ERRORS = 10


def message_facts(event: Message) -> ActivityFacts:
    """What one version of a message says."""
    version: dict[str, Any] = {
        "direction": event.direction,
        "type": event.message_type,
        "text": event.text,
        "at": milliseconds(event),
        "via": event.via,
        "wamid": event.wamid,
        "business_phone": event.business_phone,
        "phone_number_id": event.phone_number_id,
    }
    person = event.person.phone or event.person.wa_id or event.person.username or event.person.bsuid
    if person:
        version["person"] = person
    if event.person.name:
        version["name"] = event.person.name
    content = {name: part for name, part in event.content.items() if name not in _said_elsewhere(event)}
    if content:
        version["content"] = excerpt(content)
    if event.reply_to:
        version["reply_to"] = event.reply_to
    if event.media is not None:
        version["media"] = event.media.model_dump(exclude_defaults=True)
    if event.referral is not None:
        version["referral"] = event.referral.model_dump(exclude_defaults=True)
    if event.errors:
        version["errors"] = event.errors[:_MOST_ERRORS]
    facts: ActivityFacts = {"message": version}
    if event.reported_status and event.direction == "outbound":
        facts |= _status_word(event.reported_status, milliseconds(event))
    return facts


def _said_elsewhere(event: Message) -> set[str]:
    """The parts of `content` that typed fields of the event repeat."""
    said = {"history_context"}
    if event.media is not None:
        said.add(event.message_type)
    if event.referral is not None:
        said.add("referral")
    return said


def status_facts(event: StatusChange) -> ActivityFacts:
    """What one status says."""
    at = milliseconds(event)
    facts: ActivityFacts = {
        "numbers": {"business_phone": event.business_phone, "phone_number_id": event.phone_number_id}
    }
    facts |= _status_word(event.status, at)
    if event.errors:
        error = event.errors[0]
        facts["failure"] = [error.code or 0, error.details or error.message or error.title, at]
    if event.pricing_category:
        facts["pricing"] = [event.pricing_category, event.pricing_type]
    return facts


def _status_word(word: str, at: int) -> ActivityFacts:
    return {"status": [word, at]} if word in STATUS_RANK else {"other_statuses": [[word, at]]}


def is_poor(version: dict[str, Any]) -> bool:
    """Whether a version of a message says little more than that there is one."""
    return version["type"] in _POOR_TYPES


def _message_order(version: dict[str, Any]) -> tuple[bool, bool, int, str, str]:
    rich = not is_poor(version)
    live = version.get("via") != "history"
    # What a deletion leaves decides first: emptied and whole versions then compare alike, whichever came first.
    left = json.dumps(emptied(version), sort_keys=True)
    return rich, live, version["at"], left, json.dumps(version, sort_keys=True)


def _status_order(status: list[Any]) -> tuple[int, int]:
    return STATUS_RANK[status[0]], -status[1]  # the first time a stage was reached is its time


def _richest(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    # Nearly always there is nothing to choose, and the order is costly.
    return left if left == right else max(left, right, key=_message_order)


def _furthest(left: list[Any], right: list[Any]) -> list[Any]:
    return max(left, right, key=_status_order)


def _either(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    return left if left == right else max(left, right, key=_written_out)


def _all_words(left: list[Any], right: list[Any]) -> list[Any]:
    return [list(item) for item in sorted({(word, at) for word, at in (*left, *right)})]


def _written_out(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


_FOLDS: Mapping[str, Callable[[Any, Any], Any]] = {
    "message": _richest,
    "status": _furthest,
    "failure": min,
    "pricing": min,
    "numbers": _either,
    "other_statuses": _all_words,
    "edit": latest_edit,
    "revoked": min,
    "reactions": merged_reactions,
    "owner": max,
}
"""Fact → which of two values stays, or what they make together. `owner` is the fold's own (fold.py)."""


def merge_activity_facts(left: ActivityFacts, right: ActivityFacts) -> ActivityFacts:
    """The union of two folds of one message."""
    merged = dict(left)
    for name, value in right.items():
        known = merged.get(name)
        merged[name] = value if known is None else _FOLDS[name](known, value)
    return merged
