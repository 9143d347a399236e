"""What the headers of Graph's answers say of its own limits.

developers.facebook.com/docs/graph-api/overview/rate-limiting: `X-Business-Use-Case-Usage` maps an account's id to a list
of uses, with `estimated_time_to_regain_access` in minutes once calls are refused; `X-App-Usage` is for the app.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from connector.whatsapp.lenient import as_int, as_list, as_object

_LONGEST_WAIT = 24 * 3600


def regained_after(headers: Mapping[str, str]) -> float | None:
    """Seconds until Graph takes calls again, as the headers of a refusal say; None when they do not."""
    try:
        document: Any = json.loads(headers.get("x-business-use-case-usage") or "{}")
    except ValueError:
        return None
    minutes = [
        as_int(as_object(use).get("estimated_time_to_regain_access")) or 0
        for uses in as_object(document).values()
        for use in as_list(uses)
    ]
    longest = max(minutes, default=0)
    return float(min(longest * 60, _LONGEST_WAIT)) if longest > 0 else None
