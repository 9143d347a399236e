"""Mending what letters hold: tried on every letter of a selection, kept only when each would pass its stage's checks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from connector.errors import Rejected
from connector.events import DeadLetter
from connector.recovery.letters.json_patch import patched
from connector.recovery.letters.redriving import Door, put_back

Transformation = Callable[[bytes], bytes]
"""A letter's original → its mended value. Raises `Rejected`."""


def by_patch(patch: Sequence[dict[str, Any]]) -> Transformation:
    """Apply a checked JSON Patch to what is JSON."""

    def transform(original: bytes) -> bytes:
        try:
            document = json.loads(original)
        except (ValueError, RecursionError):
            raise Rejected(
                "What it holds is not JSON, so a patch cannot mend it.",
                cause="patch_failed",
                advice="replace it whole: connector dlq fix LETTER --value FILE",
            ) from None
        return json.dumps(patched(document, patch), ensure_ascii=True, separators=(",", ":")).encode()

    return transform


def by_value(value: bytes) -> Transformation:
    """Replace it whole."""
    return lambda _: value


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One letter's trial: the mended value, or why it would not do."""

    letter_id: str
    value: bytes
    refusal: Rejected | None


def tried(
    letter: DeadLetter,
    transformation: Transformation,
    *,
    prefix: str,
    doors: Mapping[str, Door],
    now: datetime,
) -> Trial:
    """Mend a letter and check the result as a redrive would, sends allowed."""
    value = b""
    try:
        value = transformation(letter.original)
        put_back(letter, fix=value, prefix=prefix, doors=doors, allow_sends=True, now=now)
    except Rejected as refusal:
        return Trial(letter_id=letter.event_id, value=value, refusal=refusal)
    return Trial(letter_id=letter.event_id, value=value, refusal=None)
