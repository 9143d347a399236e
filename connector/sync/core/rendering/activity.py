"""One message's facts → label, text and details: which family renders it, and what stands below the line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connector.sync.core.rendering.amendments import (
    deleted_line,
    deletion_of_nothing,
    edit_of_nothing,
    edited,
    edited_line,
)
from connector.sync.core.rendering.contacts import contacts
from connector.sync.core.rendering.interactive import interactive, template_button
from connector.sync.core.rendering.location import location
from connector.sync.core.rendering.media import media, media_placeholder
from connector.sync.core.rendering.order import order
from connector.sync.core.rendering.parts import Part, Version
from connector.sync.core.rendering.reactions import reaction, reaction_lines, speaker
from connector.sync.core.rendering.surroundings import ad_lines, channel_line, own_line, reply_lines
from connector.sync.core.rendering.system import system
from connector.sync.core.rendering.template import template
from connector.sync.core.rendering.unknown import unknown
from connector.sync.core.rendering.unsupported import error_lines, unsupported
from connector.sync.core.rendering.wording import joined, one_line, sentence

DETAILS = {
    "particulars": "what the kind of message has to say: a choice's id, a catalogue, a flow's token",
    "channel": "by which number, from or to whom, and by which way",
    "context": "the message that it answers, the product it is about, whether it was forwarded, the group",
    "ad": "the ad or post that the person came from",
    "edited": "who edited it, and when",
    "reactions": "who reacted with what, and when",
    "errors": "WhatsApp's reasons on a message that it does not hand over",
    "failure": "why it was not delivered to a device",
    "message_id": "the end of its id, by which replies name it",
}
"""What stands below the line: name of the detail → what it says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendering:
    """How one message reads, in parts.

    `family` is Meta's type (`FAMILIES`), `label` the kind of message in words; `person` and `name` are of the one
    on the other side, `number` is the business's ("" unknown). `text` is what it says, `details` (`DETAILS` → lines)
    stand below the line.
    """

    family: str
    label: str
    direction: str
    person: str
    name: str
    number: str
    at: int
    text: str
    details: Mapping[str, Sequence[str]]

    def below(self, details: Iterable[str]) -> list[str]:
        """The lines of these details, in this order."""
        return [line for name in details for line in self.details.get(name, ())]


def render(facts: dict[str, Any]) -> Rendering:
    """How the message reads today, with everything that has happened to it."""
    version: dict[str, Any] | None = facts.get("message")
    if version is None:
        return _unseen(facts)
    edit, revoked = facts.get("edit"), facts.get("revoked")
    today = version if edit is None else edited(version, edit)
    part = _part(today)
    lines, details = part.lines, part.details
    if revoked is not None:
        kept = version.get("text") or (edit or {}).get("text")
        lines, details = [deleted_line(revoked), *(["", *lines] if kept else [])], details if kept else []
    return Rendering(
        family=_family(today),
        label=part.label,
        direction=version["direction"],
        person=one_line(version.get("person"), limit=100),
        name=one_line(version.get("name"), limit=100),
        number=one_line(version.get("business_phone") or version.get("phone_number_id"), limit=100),
        at=version["at"],
        text="\n".join(lines) or f"[{part.label}]",
        details={
            "particulars": details,
            "channel": [channel_line(version)],
            "context": list(reply_lines(version)),
            "ad": list(ad_lines(version)),
            "edited": [edited_line(edit)] if edit is not None and revoked is None else [],
            "reactions": reaction_lines(facts.get("reactions", {})),
            "errors": list(error_lines(version.get("errors", ()))),
            "failure": _failure_lines(facts),
            "message_id": [own] if (own := own_line(version)) else [],
        },
    )


def _unseen(facts: dict[str, Any]) -> Rendering:
    """A message of which only its statuses, or what was done to it, are known."""
    edit, revoked, reactions = facts.get("edit"), facts.get("revoked"), facts.get("reactions", {})
    sent: list[Any] | None = facts.get("status") or facts.get("failure")
    label, lines = "message", ["Outgoing message. Its content was not seen by the connector."]
    details: list[str] = []
    direction, at, who = "outbound", 0, ""
    if sent is not None:
        at = sent[1] if "status" in facts else sent[-1]
    if revoked is not None:
        at, direction, who = revoked
        lines = [f"{deleted_line(revoked)}. Its content was not seen by the connector."]
    elif edit is not None:
        part = _part({**edit, "at": edit["at"]})
        label, lines, details = part.label, part.lines, [*part.details, edited_line(edit)]
        at, direction, who = edit["at"], edit["direction"], edit["who"]
    elif reactions and not sent:
        _, at, direction, who = max(reactions.values(), key=lambda one: (one[1], one[0]))
        label = "reaction"
        lines = reaction_lines(reactions) or [sentence(f"{speaker(direction, who)} took a reaction back")]
        details = ["To a message that the connector has not seen"]
        reactions = {}
    numbers = facts.get("numbers", {})
    number = one_line(numbers.get("business_phone") or numbers.get("phone_number_id"), limit=100)
    return Rendering(
        family="unseen",
        label=label,
        direction="outbound" if sent else direction,
        person=one_line(who, limit=100) if direction == "inbound" and not sent else "",
        name="",
        number=number,
        at=at,
        text="\n".join(lines),
        details={
            "particulars": details,
            "channel": [f"WhatsApp number: {number}"] if number else [],
            "reactions": reaction_lines(reactions),
            "failure": _failure_lines(facts),
        },
    )


def _family(version: Version) -> str:
    kind = str(version["type"])
    return kind if kind in _FAMILIES else "other"


def _part(version: Version) -> Part:
    family = _FAMILIES.get(str(version["type"]), unknown)
    if family in _READ_FROM_CONTENT and not version.get("content") and version.get("text"):
        # The typed part is not there (a deletion, a row of an older version): the text says what it can.
        return _text(version)
    return family(version)


def _text(version: Version) -> Part:
    text = version.get("text", "")
    return Part(label=str(version["type"]), lines=[text] if text.strip() else [])


def _welcome(_version: Version) -> Part:
    return Part(label="notice", lines=["Opened the chat for the first time"])


def _failure_lines(facts: dict[str, Any]) -> list[str]:
    failure = facts.get("failure")
    if not failure:
        return []
    return [joined("Not delivered to a device:", one_line(failure[0] or ""), one_line(failure[1]), by=" ")]


_FAMILIES: dict[str, Callable[[Version], Part]] = {
    "text": _text,
    "image": media,
    "video": media,
    "audio": media,
    "voice": media,
    "document": media,
    "sticker": media,
    "media_placeholder": media_placeholder,
    "location": location,
    "contacts": contacts,
    "interactive": interactive,
    "button": template_button,
    "order": order,
    "template": template,
    "reaction": reaction,
    "edit": edit_of_nothing,
    "revoke": deletion_of_nothing,
    "system": system,
    "unsupported": unsupported,
    "errors": unsupported,
    "unknown": unsupported,
    "request_welcome": _welcome,
}
FAMILIES = frozenset({*_FAMILIES, "other", "unseen"})
"""Meta's types that have a rendering; `other`: those that Meta adds; `unseen`: a message known by what was done to it."""

_READ_FROM_CONTENT = frozenset({location, contacts, interactive, template_button, order, unsupported})
