"""What a person sent and WhatsApp keeps from businesses: named, as far as WhatsApp names it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from connector.sync.core.rendering.parts import Part, Version, part_of
from connector.sync.core.rendering.wording import joined, one_line, titled
from connector.whatsapp.lenient import as_object

_WHAT = {
    "gif": "a GIF",
    "group_invite": "an invitation to a group",
    "hsm": "a template",
    "image": "an image",
    "interactive": "an interactive message",
    "keep_in_chat": "keeping a disappearing message",
    "link_preview": "a link preview",
    "list": "a list",
    "location": "a location",
    "media_placeholder": "a file",
    "order": "an order",
    "pin": "pinning a message",
    "poll_creation": "a poll",
    "poll_update": "a vote in a poll",
    "product": "a product",
    "reaction": "a reaction",
    "button": "a button",
    "edit": "an edit",
}


def unsupported(version: Version) -> Part:
    """Says what it was, so that nobody thinks that the connector lost it."""
    named = as_object(part_of(version, "unsupported")) or as_object(part_of(version, str(version["type"])))
    kind = one_line(named.get("type"), limit=60).lower()
    what = _WHAT.get(kind) or (titled(kind).lower() if kind and kind != "unknown" else "")
    said = joined("A message that WhatsApp does not hand over to businesses", what, by=": ")
    return Part(label="unsupported message", lines=[said])


_NOT_SENT = "Not sent"
"""The title of our own reasons: a send that was blocked, or refused for good (outbound/dispatch/telling.py)."""


def error_lines(errors: Iterable[Any]) -> Iterator[str]:
    """Meta's reasons: code and the fullest text that came with it. Ours: why it was not sent."""
    for item in errors:
        error = as_object(item)
        if error.get("title") == _NOT_SENT:
            yield joined(_NOT_SENT, one_line(error.get("message"), limit=1_000), by=": ")
            continue
        title = one_line(error.get("title") or error.get("message"))
        details = one_line(as_object(error.get("error_data")).get("details"))
        told = details if details.startswith(title) else joined(title, details, by=": ")
        if line := joined(one_line(error.get("code"), limit=20), told, by=" "):
            yield f"WhatsApp says: {line}"
