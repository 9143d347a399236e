"""Reactions stand on the message they belong to; one that names no message is told by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connector.sync.core.rendering.parts import Part, Version
from connector.sync.core.rendering.wording import moment, one_line

_MOST = 20


def reaction_lines(reactions: Mapping[str, Any]) -> list[str]:
    """One line a reaction that stands, the earliest first."""
    standing = sorted(
        (at, emoji, direction, who) for emoji, at, direction, who in reactions.values() if emoji
    )
    lines = [
        f"Reaction {one_line(emoji, limit=40)} from {speaker(direction, who)}, {moment(at)}"
        for at, emoji, direction, who in standing[:_MOST]
    ]
    if len(standing) > _MOST:
        lines.append(f"… and {len(standing) - _MOST} more reactions")
    return lines


def speaker(direction: str, who: str) -> str:
    """Who did it, in words."""
    if direction == "outbound":
        return "the business"
    return one_line(who, limit=100) or "the person"


def reaction(version: Version) -> Part:
    """A reaction whose message WhatsApp did not name."""
    emoji = one_line(version.get("text"), limit=40)
    said = f"Reaction {emoji}" if emoji else "A reaction was taken back"
    return Part(label="reaction", lines=[f"{said}; WhatsApp did not say to which message"])
