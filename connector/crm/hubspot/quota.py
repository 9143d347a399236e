"""HubSpot's call limits: which call counts for which, and what the headers of its answers say.

https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines: a rolling 10 s per app, less for the
association endpoints, 5 searches a second per account, and a sum per day and account that begins anew at midnight
in the portal's time zone. Answers of search carry no such headers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from connector.crm.quota import AccountLimits, DayNews, News, Pace, PaceNews
from connector.settings import HubSpotSettings

BURST, ASSOCIATIONS, SEARCH = "burst", "associations", "search"

_BURST_SECONDS = 10.0
_SEARCH_SECONDS = 1.0


def account_limits(settings: HubSpotSettings) -> AccountLimits:
    """What the settings say of the account of this token."""
    credential = f"{settings.base_url} {settings.access_token.get_secret_value()}"
    paces = {
        BURST: (settings.burst_calls, _BURST_SECONDS),
        ASSOCIATIONS: (settings.association_calls, _BURST_SECONDS),
        SEARCH: (settings.search_calls, _SEARCH_SECONDS),
    }
    return AccountLimits(
        crm="hubspot",
        account=f"hubspot {hashlib.sha256(credential.encode()).hexdigest()[:12]}",
        paces={name: Pace(calls=calls, seconds=seconds) for name, (calls, seconds) in paces.items() if calls},
        day_calls=settings.daily_calls,
        share=settings.quota_share,
    )


def bucket_of(path: str) -> str:
    """The rolling window that a call counts for."""
    if path.startswith("/crm/associations/"):
        return ASSOCIATIONS
    return SEARCH if path.partition("?")[0].endswith("/search") else BURST


def read_news(headers: Mapping[str, str]) -> News:
    """What the headers of an answer say of limits; what is missing or unreadable says nothing."""
    said = {name.lower(): value for name, value in headers.items()}

    def number(name: str) -> int | None:
        try:
            return int(said[f"x-hubspot-ratelimit-{name}"])
        except (KeyError, ValueError):
            return None

    calls, left, window = number("max"), number("remaining"), number("interval-milliseconds")
    daily, daily_left = number("daily"), number("daily-remaining")
    return News(
        pace=PaceNews(calls=calls, seconds=window / 1000, left=left)
        if calls and window and left is not None
        else None,
        day=DayNews(calls=daily, left=daily_left) if daily and daily_left is not None else None,
    )
