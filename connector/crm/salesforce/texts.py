"""Texts and times as Salesforce takes them. What people type is untrusted: cleaned, and cut where all can see it."""

from __future__ import annotations

from datetime import UTC, datetime


def clean(text: str) -> str:
    """Without halves of surrogate pairs and NULs, one of which would make the whole call unreadable."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "")


def cut(text: str, limit: int) -> str:
    """At most `limit` characters as Salesforce counts them; what was left out is said."""
    if _length(text) <= limit:
        return text
    notice = f"… [cut: {len(text):,} characters in all]" if limit > 100 else "…"
    kept = text[: limit - len(notice)]
    while _length(kept) + len(notice) > limit:
        kept = kept[: -max(1, (_length(kept) + len(notice) - limit) // 2)]
    return kept + notice


def date_time(value: datetime) -> str:
    """A dateTime value: ISO 8601 in UTC with milliseconds."""
    value = value.astimezone(UTC)
    return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def _length(text: str) -> int:
    """UTF-16 code units: Java counts an emoji as two."""
    return len(text) + sum(letter > "\uffff" for letter in text)
