"""Rate limits: a rolling burst for each app, a daily sum for the account, and search on its own.

developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines. A 429 body carries policyName
TEN_SECONDLY_ROLLING, SECONDLY or DAILY (HubSpot/hubspot-api-python#117). The headers are absent on search.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from connector.sandbox.hubspot.config import HubSpotConfig
from connector.sandbox.hubspot.errors import CORRELATION_ID

BURST_SECONDS = 10.0
SEARCH_SECONDS = 1.0


class RateLimits:
    """Counts calls. `clock` gives Unix seconds."""

    def __init__(self, *, config: HubSpotConfig, clock: Callable[[], float]) -> None:
        self._config = config
        self._clock = clock
        self._recent: defaultdict[str, deque[float]] = defaultdict(deque)
        self._day = ""
        self.today = 0
        """Calls since midnight in the portal's time zone."""

    def change(self, config: HubSpotConfig) -> None:
        """Count on by other limits: an account that buys more calls has them at once."""
        self._config = config

    def admit(self, *, app_id: str, family: str) -> str | None:
        """Count a call of `family` (objects, associations, search); return the policy it breaks."""
        now = self._clock()
        self._turn_day(now)
        config = self._config
        if config.daily_limit is not None and self.today >= config.daily_limit:
            return "DAILY"
        bucket, limit, window, policy = self._bucket(app_id, family)
        recent = self._recent[bucket]
        while recent and recent[0] <= now - window:
            recent.popleft()
        if limit is not None and len(recent) >= limit:
            return policy
        recent.append(now)
        self.today += 1
        return None

    def headers(self, *, app_id: str, family: str) -> dict[str, str]:
        """Return the rate-limit headers of an answer; search has none."""
        if family == "search":
            return {}
        bucket, limit, window, _ = self._bucket(app_id, family)
        headers = {}
        if limit is not None:
            headers["X-HubSpot-RateLimit-Interval-Milliseconds"] = str(int(window * 1000))
            headers["X-HubSpot-RateLimit-Max"] = str(limit)
            headers["X-HubSpot-RateLimit-Remaining"] = str(max(0, limit - len(self._recent[bucket])))
        if self._config.daily_limit is not None:
            headers["X-HubSpot-RateLimit-Daily"] = str(self._config.daily_limit)
            headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(
                max(0, self._config.daily_limit - self.today)
            )
        return headers

    def retry_after(self, policy: str) -> str | None:
        """Return the Retry-After value of a 429, in the portal's form."""
        seconds = {"SECONDLY": 1, "TEN_SECONDLY_ROLLING": 10}.get(policy, 3_600)
        form = self._config.retry_after
        return None if form == "absent" else str(seconds if form == "seconds" else seconds * 1000)

    def _bucket(self, app_id: str, family: str) -> tuple[str, int | None, float, str]:
        if family == "search":
            return "search", self._config.search_limit, SEARCH_SECONDS, "SECONDLY"
        if family == "associations":
            limit = self._config.association_limit
            return f"associations:{app_id}", limit, BURST_SECONDS, "TEN_SECONDLY_ROLLING"
        return f"app:{app_id}", self._config.burst_limit, BURST_SECONDS, "TEN_SECONDLY_ROLLING"

    def _turn_day(self, now: float) -> None:
        day = datetime.fromtimestamp(now, tz=ZoneInfo(self._config.time_zone)).date().isoformat()
        if day != self._day:
            self._day, self.today = day, 0


def limit_body(policy: str) -> dict[str, Any]:
    """Return the body of a 429."""
    return {
        "status": "error",
        "message": f"You have reached your {policy.lower()} limit.",
        "errorType": "RATE_LIMIT",
        "correlationId": CORRELATION_ID,
        "policyName": policy,
    }
