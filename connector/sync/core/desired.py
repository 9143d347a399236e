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
from connector.sync.core.layout import TEXT_FIELD, ActivityLayout, MessageLayout
from connector.sync.core.rendering import Rendering, render
from connector.sync.core.rendering.wording import one_line

BODY_LIMIT = 30_000
"""Characters of a body: under Salesforce's 32,000 and HubSpot's 65,536, also after HTML escaping of usual text."""

_DETAILS_LIMIT = 8_000
_NAME_LIMIT = 200
_SUBJECT_LIMIT = 255
_FIRST_LINE_LIMIT = 80


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
        marketing_consent=value("marketing_consent"),
        utility_consent=value("utility_consent"),
        consent_changed_at=_time(facts.get("consent_changed_at")),
    )


def activity_view(facts: ActivityFacts, *, layout: ActivityLayout) -> ActivityView:
    """Read a message's facts. A message that only its statuses or reactions tell of is said to be so."""
    rendering = render(facts)
    chosen = layout.of(rendering.family)
    values = _values(rendering)
    return ActivityView(
        direction=rendering.direction,
        status=activity_status(facts, rendering.direction),
        at=_time(rendering.at) or datetime.fromtimestamp(0, UTC),
        subject=cut(chosen.subject_of(values), _SUBJECT_LIMIT),
        body=_body(rendering, chosen, values),
    )


def activity_status(facts: ActivityFacts, direction: str) -> str:
    """How far it got. Before any status: what the phone shows as written has left it; what we send is accepted."""
    status: list[Any] | None = facts.get("status")
    if status:
        return str(status[0])
    if direction == "inbound":
        return "received"
    written = (facts.get("message") or {}).get("via", "platform") != "platform"
    return "sent" if written else "accepted"


def _values(rendering: Rendering) -> dict[str, str]:
    """The fields of subject and text (layout.py). Each is one line."""
    first_line = next((line for line in rendering.text.split("\n") if line.strip()), "")
    return {
        "kind": rendering.label,
        "direction": rendering.direction,
        "from_or_to": "from" if rendering.direction == "inbound" else "to",
        "person": rendering.person,
        "name": rendering.name,
        "who": rendering.name or rendering.person,
        "number": rendering.number,
        "first_line": one_line(first_line, limit=_FIRST_LINE_LIMIT),
    }


def _body(rendering: Rendering, layout: MessageLayout, values: dict[str, str]) -> str:
    """Text, a line, details. A text that is too long is cut; the details, and what the layout adds, stay."""
    details = cut("\n".join(rendering.below(layout.details)), _DETAILS_LIMIT)
    below = f"\n—\n{details}" if details else ""
    added = len(layout.text.fill({**values, TEXT_FIELD: ""}))
    text = cut(rendering.text, BODY_LIMIT - len(below) - added)
    return layout.text.fill({**values, TEXT_FIELD: text}) + below


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
