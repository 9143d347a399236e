"""Edits and deletions: on the message itself, and where WhatsApp names no message."""

from __future__ import annotations

from typing import Any

from connector.sync.core.rendering.parts import Part, Version
from connector.sync.core.rendering.reactions import speaker
from connector.sync.core.rendering.wording import moment


def edited(version: Version, edit: dict[str, Any]) -> dict[str, Any]:
    """The message as it reads after the edit: what the edit says, on what it does not mention."""
    after = {**version, "text": edit.get("text", ""), "type": edit.get("type", version["type"])}
    if "media" in edit:
        after["media"] = {**version.get("media", {}), **edit["media"]}
    if "content" in edit:
        # Product or forwarding notes of the message stay; the edited part replaces its former self.
        after["content"] = {**version.get("content", {}), **edit["content"]}
    return after


def edited_line(edit: dict[str, Any]) -> str:
    """Who edited, and when."""
    return f"Edited by {speaker(edit['direction'], edit['who'])}, {moment(edit['at'])}"


def deleted_line(revoked: list[Any]) -> str:
    """Who deleted, and when."""
    at, direction, who = revoked
    return f"Deleted by {speaker(direction, who)}, {moment(at)}"


def edit_of_nothing(version: Version) -> Part:
    """An edit whose message WhatsApp did not name."""
    text = version.get("text", "")
    return Part(
        label="edit",
        lines=[text] if text else [],
        details=["An edit; WhatsApp did not say of which message"],
    )


def deletion_of_nothing(_version: Version) -> Part:
    """A deletion whose message WhatsApp did not name."""
    return Part(label="deletion", lines=["A message was deleted; WhatsApp did not say which"])
