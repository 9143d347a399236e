"""Times as CRMs write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def read_time(value: Any) -> datetime | None:
    """A time in ISO 8601, or in milliseconds since 1970 as HubSpot's properties may hold it; None: none is told.

    Always aware, so that any two can be compared: one without a zone is taken for UTC, as both CRMs answer in it.
    """
    text = str(value).strip() if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = None
    try:
        if milliseconds is not None:
            return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
        read = datetime.fromisoformat(text)
    except (ValueError, OverflowError, OSError):
        return None
    return read if read.tzinfo is not None else read.replace(tzinfo=UTC)
