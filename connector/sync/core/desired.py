"""Facts → what a CRM should say. Pure; the CRM's own property names are the adapter's.

A contact becomes named facts (`ContactProfile`), a message a readable `ActivityView`. What a person typed
is untrusted: cut visibly at the CRM's limits, escaped by the adapter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from connector.crm.port import ContactProfile
from connector.sync.core.activities import ActivityFacts
from connector.sync.core.contacts import ContactFacts

BODY_LIMIT = 30_000
"""Characters of a body: under Salesforce's 32,000 and HubSpot's 65,536, also after HTML escaping of usual text."""

_NAME_LIMIT = 200
_SUBJECT_LIMIT = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivityView:
    """How one message reads on a timeline. `body` is plain text."""

    direction: str
    status: str
    at: datetime
    subject: str
    body: str


def cut(text: str, limit: int) -> str:
    """At most `limit` characters; what was left out is said, not hidden."""
    if len(text) <= limit:
        return text
    notice = f"… [cut: {len(text):,} characters in all]"
    return text[: limit - len(notice)] + notice


def contact_profile(facts: ContactFacts) -> ContactProfile:
    """Read a contact's facts."""

    def value(name: str) -> str:
        register = facts.get(name)
        return str(register[0]) if register else ""

    phone = value("phone")
    wa_id = value("wa_id")
    return ContactProfile(
        bsuid=value("bsuid"),
        phone=phone or (f"+{wa_id}" if wa_id.isdigit() else ""),
        username=value("username"),
        name=cut(value("name"), _NAME_LIMIT),
        ad_source=cut(value("ad_source"), _SUBJECT_LIMIT),
        last_inbound_at=_time(facts.get("last_inbound_at")),
    )


def activity_view(facts: ActivityFacts) -> ActivityView:
    """Read a message's facts. A message that only its statuses tell of is said to be so."""
    message: dict[str, Any] | None = facts.get("message")
    status: list[Any] | None = facts.get("status")
    if message is None:
        first = status or facts.get("failure", [0, "", 0])
        at = status[1] if status else first[-1]
        lines = ["Outgoing message. Its content was not seen by the connector."]
        direction = "outbound"
        kind = "message"
    else:
        at = message["at"]
        direction = message["direction"]
        kind = message["type"]
        lines = _message_lines(message)
    lines.extend(_outcome_lines(facts))
    arrow = "from" if direction == "inbound" else "to"
    person = (message or {}).get("person", "")
    subject = f"WhatsApp {kind} {arrow} {person}" if person else f"WhatsApp {kind}, {direction}"
    return ActivityView(
        direction=direction,
        status=status[0] if status else ("received" if direction == "inbound" else "accepted"),
        at=_time(at) or datetime.fromtimestamp(0, UTC),
        subject=cut(subject, _SUBJECT_LIMIT),
        body=cut("\n".join(lines), BODY_LIMIT),
    )


def _message_lines(message: dict[str, Any]) -> list[str]:
    text = message["text"]
    media = message.get("media")
    lines = []
    if media:
        name = media.get("filename") or ("voice message" if media.get("voice") else "")
        parts = [part for part in (message["type"].capitalize(), name, media.get("mime_type")) if part]
        lines.append(" · ".join(parts))
    if text:
        lines.append(text)
    if not lines:
        lines.append(f"[{message['type']} message]")
    lines.append("—")
    way = "Received by" if message["direction"] == "inbound" else "Sent by"
    number = message.get("business_phone") or message.get("phone_number_id")
    who = message.get("person", "")
    peer = f" {'from' if message['direction'] == 'inbound' else 'to'} {who}" if who else ""
    lines.append(f"{way} {number}{peer}" if number else f"{message['direction']}{peer}")
    if message.get("reply_to"):
        lines.append(f"In reply to {message['reply_to']}")
    referral = message.get("referral")
    if referral:
        lines.append(
            f"From the ad: {referral.get('headline') or referral.get('source_id', '')} {referral.get('source_url', '')}".rstrip()
        )
    errors = [error for error in message.get("errors", []) if isinstance(error, dict)]
    lines.extend(
        f"WhatsApp says: {error.get('code', '')} {error.get('title') or error.get('message') or ''}".rstrip()
        for error in errors
    )
    return lines


def _outcome_lines(facts: ActivityFacts) -> list[str]:
    failure = facts.get("failure")
    if not failure:
        return []
    return [f"Not delivered to a device: {failure[0] or ''} {failure[1]}".replace("  ", " ").rstrip()]


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
