"""The call quota of a CRM account: one bucket of each kind, drawn from by every process that calls the CRM."""

from connector.crm.quota.governor import AccountLimits, governed
from connector.crm.quota.port import (
    DayNews,
    LimitReached,
    News,
    PaceNews,
    Quota,
    QuotaHeld,
    Slot,
    Unlimited,
)
from connector.crm.quota.reading import AccountQuota, BucketQuota, read_quotas
from connector.crm.quota.rule import LOOK_EVERY, Pace

__all__ = [
    "LOOK_EVERY",
    "AccountLimits",
    "AccountQuota",
    "BucketQuota",
    "DayNews",
    "LimitReached",
    "News",
    "Pace",
    "PaceNews",
    "Quota",
    "QuotaHeld",
    "Slot",
    "Unlimited",
    "governed",
    "read_quotas",
]
