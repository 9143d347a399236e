"""`/account-info/{version}`: which portal this is, and how much of the day is used."""

from __future__ import annotations

from connector.sandbox.gateway import Answer
from connector.sandbox.hubspot.routing import WHEN, Asked, route


def _account(asked: Asked) -> Answer:
    config = asked.portal.config
    return Answer(
        status=200,
        document={
            "portalId": config.portal_id,
            "accountType": "DEVELOPER_TEST",
            "timeZone": config.time_zone,
            "companyCurrency": "USD",
            "additionalCurrencies": [],
            "utcOffset": "+00:00",
            "utcOffsetMilliseconds": 0,
            "uiDomain": "app.hubspot.com",
            "dataHostingLocation": "na1",
        },
    )


def _usage(asked: Asked) -> Answer:
    return Answer(
        status=200,
        document={
            "results": [
                {
                    "name": "private-apps-api-calls-daily",
                    "usageLimit": asked.portal.config.daily_limit,
                    "currentUsage": asked.portal.limits.today,
                    "collectedAt": WHEN,
                    "fetchStatus": "SUCCESS",
                    "resetsAt": WHEN,
                }
            ]
        },
    )


_ACCOUNT = r"/account-info/(?P<version>[^/]+)"

ROUTES = (
    route("GET", f"{_ACCOUNT}/details", _account, ""),
    route("GET", f"{_ACCOUNT}/api-usage/daily/private-apps", _usage, ""),
)
