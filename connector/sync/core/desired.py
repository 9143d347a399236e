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
from connector.sync.core.rendering import Rendering, render

BODY_LIMIT = 30_000
"""Characters of a body: under Salesforce's 32,000 and HubSpot's 65,536, also after HTML escaping of usual text."""

_DETAILS_LIMIT = 8_000
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
    """Read a message's facts. A message that only its statuses or reactions tell of is said to be so."""
    rendering = render(facts)
    direction = rendering.direction
    status: list[Any] | None = facts.get("status")
    arrow = "from" if direction == "inbound" else "to"
    kind = f"WhatsApp {rendering.label}"
    subject = f"{kind} {arrow} {rendering.person}" if rendering.person else f"{kind}, {direction}"
    return ActivityView(
        direction=direction,
        status=status[0] if status else _first_status(facts, direction),
        at=_time(rendering.at) or datetime.fromtimestamp(0, UTC),
        subject=cut(subject, _SUBJECT_LIMIT),
        body=_body(rendering),
    )


def _first_status(facts: ActivityFacts, direction: str) -> str:
    """Before any status: what the phone shows as written has left it; what we send has been accepted only."""
    if direction == "inbound":
        return "received"
    written = (facts.get("message") or {}).get("via", "platform") != "platform"
    return "sent" if written else "accepted"


def _body(rendering: Rendering) -> str:
    """Text, a line, details. A text that is too long is cut; the details stay."""
    details = cut("\n".join(rendering.details), _DETAILS_LIMIT)
    below = f"\n—\n{details}" if details else ""
    return cut(rendering.text, BODY_LIMIT - len(below)) + below


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
