"""Types without a rendering of their own: their content as lines that a person can read."""

from __future__ import annotations

from connector.sync.core.rendering.parts import Part, Version
from connector.sync.core.rendering.wording import entries, one_line, paragraph, sorted_keys, titled

_TOLD_BELOW = {"context", "group_id", "referral", "errors"}


def unknown(version: Version) -> Part:
    """A new type is readable on the day Meta adds it."""
    kind = one_line(version["type"], limit=60) or "unknown"
    content = version.get("content") or {}
    part = {key: value for key, value in content.items() if key not in _TOLD_BELOW}
    if set(part) == {kind}:
        part = part[kind] if isinstance(part[kind], dict) else part
    text = paragraph(version.get("text"))
    lines = [text] if text else []
    lines.extend(entries(sorted_keys(part)) if part else [])
    named = (
        f"{titled(kind)} message" if kind != "unknown" else "A message of a type that WhatsApp did not name"
    )
    return Part(label=titled(kind).lower(), lines=[named, *lines])
