"""What a family makes of its message type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Version = Mapping[str, Any]
"""One version of a message, as folded: direction, type, text, at, media, content, …"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """`label`: the kind of message in a person's words. `lines`: what it says. `details`: what is worth knowing."""

    label: str
    lines: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)


def part_of(version: Version, name: str) -> Any:
    """The typed part as sent, of whatever shape; None when there is none."""
    content = version.get("content")
    return content.get(name) if isinstance(content, dict) else None
