"""Untrusted text made safe to store, without hiding what was done to it.

PostgreSQL refuses NUL in text and jsonb, and UTF-8 has no lone surrogates (half an emoji, cut by somebody's
substring). Both become U+FFFD, the character that stands for "something was here". Lengths are cut visibly.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_REPLACEMENT = "\ufffd"

# Above any length that WhatsApp itself allows for the part; below what an index or a CRM field takes.
TEXT_LIMIT = 65_536
NAME_LIMIT = 512
IDENTIFIER_LIMIT = 255
# pydantic's serialiser and PostgreSQL's jsonb both have a depth beyond which they fail.
_DEPTH_LIMIT = 64


def storable(value: str) -> str:
    """The same text with NUL and lone surrogates replaced by U+FFFD."""
    return _UNSTORABLE.sub(_REPLACEMENT, value) if _UNSTORABLE.search(value) else value


def shortened(value: str, *, limit: int) -> str:
    """At most `limit` characters of the text, and a note of how many were cut."""
    if len(value) <= limit:
        return value
    return f"{value[:limit]}… [{len(value) - limit} characters cut]"


def storable_json(value: Any, *, depth: int = _DEPTH_LIMIT) -> Any:
    """The same JSON value with every string storable; what is nested deeper than 64 levels becomes a note."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        if depth == 0:
            return "… [nested too deep]"
        return {storable(str(key)): storable_json(item, depth=depth - 1) for key, item in value.items()}
    if isinstance(value, list):
        if depth == 0:
            return "… [nested too deep]"
        return [storable_json(item, depth=depth - 1) for item in value]
    return value


def identifier(value: object, *, limit: int = IDENTIFIER_LIMIT) -> str:
    """An id as text: storable, trimmed, "" when absent.

    Ids are opaque and must stay distinct, so one too long for an index keeps its beginning and gets a hash.
    """
    if isinstance(value, str):
        text = storable(value).strip()
    elif isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    else:
        return ""
    if len(text) <= limit:
        return text
    return f"{text[: limit - 33]}…{hashlib.sha256(text.encode()).hexdigest()[:32]}"
