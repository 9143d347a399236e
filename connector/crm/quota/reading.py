"""What is left of the quotas, for people: `connector status` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.state.database import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class BucketQuota:
    """A rolling window. `left`: calls that may go now without leaving more than evenly spaced ones would.

    `told`: the limit was told by the CRM; else it is the one that is set.
    """

    bucket: str
    calls: int
    seconds: float
    told: bool
    left: int
    next_call_in: float
    """Seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountQuota:
    """One account. None where a quota is not kept."""

    crm: str
    account: str
    day_calls: int | None
    day_left: int | None
    look_again_at: datetime | None
    """Used up: when a call tries whether calls have come back."""
    refused_until: datetime | None
    """The CRM refused for too many calls; nobody calls until then."""
    at_once: int | None
    open_calls: int
    buckets: Sequence[BucketQuota]


async def read_quotas(connection: Connection) -> list[AccountQuota]:
    """Every account that was used in the last 30 days, by CRM."""
    accounts = await connection.fetch(
        "SELECT *, (SELECT count(*) FROM jsonb_each(open_calls) WHERE value::float8 > extract(epoch FROM now())) "
        "AS open, not_before > now() AS refused FROM shared.quota_accounts ORDER BY crm, used_at DESC"
    )
    buckets = await connection.fetch(
        "SELECT account, bucket, calls, seconds, told, "
        "greatest(0, floor(calls * (1 - extract(epoch FROM greatest(next_at, now()) - now()) / seconds)))::int AS left, "
        "greatest(0, extract(epoch FROM next_at - tolerance - now()))::float8 AS next_call_in "
        "FROM shared.quotas ORDER BY account, bucket"
    )
    found = []
    for row in accounts:
        kept = row["day_calls"] > 0
        left = max(0, row["ends"] - row["drawn"]) if kept else None
        found.append(
            AccountQuota(
                crm=row["crm"],
                account=row["account"],
                day_calls=row["day_calls"] if kept else None,
                day_left=left,
                look_again_at=row["look_again_at"] if left == 0 else None,
                refused_until=row["not_before"] if row["refused"] else None,
                at_once=row["at_once"] or None,
                open_calls=row["open"],
                buckets=[
                    BucketQuota(**{name: value for name, value in item.items() if name != "account"})
                    for item in buckets
                    if item["account"] == row["account"]
                ],
            )
        )
    return found
