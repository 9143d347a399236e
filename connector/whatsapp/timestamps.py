"""Meta's times: Unix seconds, as text or number. Milliseconds have been seen in the wild."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

# nyaruka/courier meets millisecond values in production: no second of this millennium has thirteen digits.
_MILLISECONDS_FROM = 1e12
# WhatsApp did not exist before.
_EARLIEST = datetime(2009, 1, 1, tzinfo=UTC)
# A fact cannot lie in the future; clocks may be a little apart.
_AHEAD = timedelta(days=1)


def unix_time(value: object) -> datetime | None:
    """The instant in UTC, or None for anything that is not a plausible one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(seconds):
        return None
    if seconds >= _MILLISECONDS_FROM:
        seconds /= 1000
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment >= _EARLIEST else None


def fact_time(value: object, *, received_at: datetime) -> datetime:
    """Meta's time of the fact, or the time of arrival when Meta gave none, nonsense, or one in the future.

    A time far ahead would win every "newer than" comparison until it comes, so it is not believed.
    """
    moment = unix_time(value)
    if moment is None or moment > received_at + _AHEAD:
        return received_at
    return moment
