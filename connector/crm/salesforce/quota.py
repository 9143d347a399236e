"""Salesforce's call limits, and what the header of its answers says.

https://developer.salesforce.com/docs/platform/salesforce-app-limits-cheatsheet/guide/salesforce-app-limits-platform-api.html:
calls of the whole org in any 24 h, and calls of 20 s and longer that are open at once. How long a call will take is
not known when it leaves, so every open one counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from connector.crm.quota import AccountLimits, DayNews, News
from connector.settings import SalesforceSettings

NO_BUCKET = ""
"""Calls have no limit of their number in a short time."""

_USAGE = re.compile(r"(?:^|[;,\s])api-usage=(\d+)/(\d+)")


def account_limits(settings: SalesforceSettings) -> AccountLimits:
    """What the settings say of the org of this credential."""
    credential = " ".join(
        (
            settings.base_url or settings.domain,
            settings.consumer_key.get_secret_value(),
            settings.username,
        )
    )
    return AccountLimits(
        crm="salesforce",
        account=f"salesforce {hashlib.sha256(credential.encode()).hexdigest()[:12]}",
        day_calls=settings.daily_calls,
        at_once=settings.calls_at_once,
        over_after=settings.request_timeout + 5.0,
        share=settings.quota_share,
    )


def read_news(headers: Mapping[str, str]) -> News:
    """`Sforce-Limit-Info: api-usage=10018/100000; …`; what is missing or unreadable says nothing."""
    usage = _USAGE.search(headers.get("Sforce-Limit-Info", ""))
    if usage is None or not int(usage[2]):
        return News()
    used, calls = int(usage[1]), int(usage[2])
    return News(day=DayNews(calls=calls, left=max(0, calls - used)))
