"""The Retry-After header as it comes: in seconds, in milliseconds, as a date, or not at all."""

from __future__ import annotations

import math
from collections.abc import Mapping


def read_retry_after(headers: Mapping[str, str], *, longest: float) -> float | None:
    """Seconds to hold back; None when the answer does not say.

    RFC 9110 means seconds; HubSpot's webhooks send milliseconds, its APIs document neither. `longest`: seconds that
    can be meant at most. A larger number is one of milliseconds, and never believed beyond `longest`.
    """
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "")
    try:
        value = float(text)
    except ValueError:
        return None  # a date: clocks differ, and none of the CRMs sends one
    if not math.isfinite(value) or value < 0:
        return None
    return value if value <= longest else min(value / 1000, longest)
