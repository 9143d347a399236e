"""The buckets in PostgreSQL. A draw is one statement on the database's clock, whoever draws.

The account's row is locked first, then the bucket's: a draw takes from both or from neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import asyncpg

from connector.crm.quota.rule import LOOK_EVERY, Pace
from connector.state.database import database_errors, transaction


class Verdict(StrEnum):
    """What became of a draw."""

    GRANTED = "granted"
    PACED = "paced"
    """The turn would be further away than the class may reserve."""
    AT_ONCE = "at_once"
    """As many calls are open as may be."""
    DAY = "day"
    """What is left of the day's calls is not for this class."""
    SET_BACK = "set_back"
    """The CRM refused somebody."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One draw. `wait`: seconds until the call's turn, or until it is worth asking again."""

    verdict: Verdict
    wait: float
    number: int
    ends: int
    day_calls: int
    pace_calls: int | None
    pace_seconds: float | None

    @property
    def day_left(self) -> int:
        """Calls left of the day."""
        return max(0, self.ends - self.number)


_LONGEST_WAIT = timedelta(seconds=720)
"""No CRM sets a bucket back by more (ten minutes, and turns on top). What is later was written before the database's
clock was set back, and would hold up everything until the clock is there again."""

_DRAW = """
WITH clock AS MATERIALIZED (SELECT coalesce($7::timestamptz, clock_timestamp()) AS now),
account AS MATERIALIZED (
    SELECT drawn, ends, day_calls, look_again_at, open_calls,
           CASE WHEN not_before > clock.now + $9::interval THEN clock.now ELSE not_before END AS not_before
      FROM shared.quota_accounts CROSS JOIN clock WHERE account = $1 FOR UPDATE OF quota_accounts
),
pace AS MATERIALIZED (
    SELECT calls, seconds, spacing, tolerance,
           CASE WHEN next_at > clock.now + tolerance + $9::interval THEN clock.now ELSE next_at END AS next_at
      FROM shared.quotas CROSS JOIN clock WHERE account = $1 AND bucket = $2 AND EXISTS (SELECT 1 FROM account)
       FOR UPDATE OF quotas
),
turn AS MATERIALIZED (
    SELECT clock.now, a.not_before, a.drawn, a.ends, a.day_calls, a.look_again_at, p.calls, p.seconds, p.spacing,
           greatest(p.next_at, clock.now) + p.spacing AS next_at,
           greatest(coalesce(p.next_at - p.tolerance, clock.now), clock.now) AS at,
           (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(a.open_calls)
             WHERE value::float8 > extract(epoch FROM clock.now)
               AND value::float8 <= extract(epoch FROM clock.now) + $6::float8) AS open
      FROM clock CROSS JOIN account a LEFT JOIN pace p ON true
),
verdict AS MATERIALIZED (
    SELECT turn.*,
           CASE WHEN not_before > now THEN 'set_back'
                WHEN day_calls > 0 AND ends - drawn <= day_calls * $4::float8 AND look_again_at > now THEN 'day'
                WHEN $5::int > 0 AND (SELECT count(*) FROM jsonb_object_keys(open)) >= $5 THEN 'at_once'
                WHEN at > now + make_interval(secs => $3) THEN 'paced'
                ELSE 'granted' END AS what
      FROM turn
),
counted AS (
    UPDATE shared.quota_accounts AS t
       SET drawn = v.drawn + 1, look_again_at = v.now + make_interval(secs => $8), used_at = v.now,
           open_calls = CASE WHEN $5 > 0 THEN v.open || jsonb_build_object(
               (v.drawn + 1)::text, extract(epoch FROM v.now) + $6::float8) ELSE '{}' END
      FROM verdict v WHERE t.account = $1 AND v.what = 'granted'
),
paced AS (
    UPDATE shared.quotas AS t SET next_at = v.next_at
      FROM verdict v WHERE t.account = $1 AND t.bucket = $2 AND v.what = 'granted'
)
SELECT what, drawn + (what = 'granted')::int AS number, ends, day_calls, calls AS pace_calls, seconds AS pace_seconds,
       extract(epoch FROM CASE what WHEN 'granted' THEN at - now
                                    WHEN 'paced' THEN at - now - make_interval(secs => $3)
                                    WHEN 'day' THEN look_again_at - now
                                    WHEN 'set_back' THEN not_before - now
                                    ELSE interval '100 ms' END)::float8 AS wait
  FROM verdict
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuotaStore:
    """The buckets of one account."""

    pool: asyncpg.Pool
    account: str
    crm: str

    async def ensure(self, *, paces: Mapping[str, Pace], share: float, day_calls: int, at_once: int) -> None:
        """Make the account's rows as set, where there are none. What the CRM told is kept; a new share is applied."""
        async with transaction(self.pool) as connection:
            await connection.execute(
                "INSERT INTO shared.quota_accounts AS a (account, crm, day_calls, ends, at_once) "
                "VALUES ($1, $2, $3::int, $3, $4) ON CONFLICT (account) DO UPDATE SET at_once = excluded.at_once, "
                "day_calls = CASE WHEN $3 = 0 OR a.day_calls = 0 THEN $3 ELSE a.day_calls END, "
                "ends = CASE WHEN a.day_calls = 0 THEN a.drawn + $3 ELSE a.ends END",
                self.account,
                self.crm,
                day_calls,
                at_once,
            )
            rows = await connection.fetch(
                "SELECT bucket, calls, seconds FROM shared.quotas WHERE account = $1 AND told", self.account
            )
            told = {row["bucket"]: Pace(calls=row["calls"], seconds=row["seconds"]) for row in rows}
            for bucket, pace in paces.items():
                known = told.get(bucket, pace)
                spaced = known.share(share)
                await connection.execute(
                    "INSERT INTO shared.quotas (account, bucket, calls, seconds, spacing, tolerance) "
                    "VALUES ($1, $2, $3, $4, make_interval(secs => $5), make_interval(secs => $6)) "
                    "ON CONFLICT (account, bucket) DO UPDATE SET calls = excluded.calls, "
                    "seconds = excluded.seconds, spacing = excluded.spacing, tolerance = excluded.tolerance",
                    self.account,
                    bucket,
                    known.calls,
                    known.seconds,
                    spaced.spacing,
                    spaced.tolerance,
                )
            # A credential that was replaced leaves its account behind.
            await connection.execute(
                "DELETE FROM shared.quota_accounts WHERE used_at < now() - interval '30 days' AND account <> $1",
                self.account,
            )

    async def draw(
        self,
        bucket: str,
        *,
        horizon: float,
        kept_back: float,
        at_once: int = 0,
        over_after: float = 0.0,
        now: datetime | None = None,
    ) -> Draw | None:
        """Draw one call; None when the account's rows are not there.

        `horizon`: seconds ahead that a turn may be reserved; `kept_back`: share of the day to leave; `over_after`:
        seconds until a call that nobody reported over counts as over. `now`: else the database's clock.
        """
        async with database_errors():
            row = await self.pool.fetchrow(
                _DRAW,
                self.account,
                bucket,
                horizon,
                kept_back,
                at_once,
                over_after,
                now,
                LOOK_EVERY,
                _LONGEST_WAIT,
            )
        if row is None:
            return None
        values = dict(row)
        return Draw(verdict=Verdict(values.pop("what")), **values)

    async def over(self, number: int) -> None:
        """A call is not open any more."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quota_accounts SET open_calls = open_calls - $2::text WHERE account = $1",
                self.account,
                str(number),
            )

    async def set_pace(self, bucket: str, pace: Pace, *, share: float) -> None:
        """The CRM tells the limit of a bucket."""
        spaced = pace.share(share)
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quotas SET calls = $3, seconds = $4, spacing = make_interval(secs => $5), "
                "tolerance = make_interval(secs => $6), told = true WHERE account = $1 AND bucket = $2",
                self.account,
                bucket,
                pace.calls,
                pace.seconds,
                spaced.spacing,
                spaced.tolerance,
            )

    async def make_room(self, bucket: str, *, turns: int) -> None:
        """Skip some turns: others call with our credential, and the window is full."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quotas SET next_at = greatest(next_at, clock_timestamp()) + spacing * $3::int "
                "WHERE account = $1 AND bucket = $2",
                self.account,
                bucket,
                turns,
            )

    async def set_day(self, *, number: int, calls: int, left: int, slack: int) -> None:
        """The answer to call `number` tells what is left of the day.

        Fewer than thought are believed at once. More are only by more than `slack`, and from a newer call than the
        last: calls overtake one another, and then each counts some that the other does not.
        """
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quota_accounts SET day_calls = $3, heard = greatest(heard, $2::bigint), "
                "ends = CASE WHEN $4::bigint < ends OR $4 > ends + $5::int AND $2 > heard OR day_calls <> $3 "
                "THEN $4 ELSE ends END "
                "WHERE account = $1 AND day_calls > 0",
                self.account,
                number,
                calls,
                number + left,
                slack,
            )

    async def look_on(self, *, number: int) -> None:
        """Let the next call look at a used-up day at once: call `number` passed, and told nothing of the day."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quota_accounts SET look_again_at = clock_timestamp() "
                "WHERE account = $1 AND day_calls > 0 AND ends < $2::bigint",
                self.account,
                number,
            )

    async def set_back_bucket(self, bucket: str, seconds: float) -> None:
        """Nobody's next turn of this bucket is sooner than that."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quotas SET next_at = greatest(next_at, "
                "clock_timestamp() + make_interval(secs => $3) + tolerance) WHERE account = $1 AND bucket = $2",
                self.account,
                bucket,
                seconds,
            )

    async def set_back(self, seconds: float) -> None:
        """Nobody calls at all for so long."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quota_accounts SET not_before = greatest(not_before, "
                "clock_timestamp() + make_interval(secs => $2)) WHERE account = $1",
                self.account,
                seconds,
            )

    async def end_day(self, seconds: float) -> None:
        """The CRM says that the day's calls are used up; one call looks again after so long."""
        async with database_errors():
            await self.pool.execute(
                "UPDATE shared.quota_accounts SET ends = least(ends, drawn), heard = drawn, "
                "look_again_at = clock_timestamp() + make_interval(secs => $2) "
                "WHERE account = $1 AND day_calls > 0",
                self.account,
                seconds,
            )
