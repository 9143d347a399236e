"""When each business account was read from Meta, who reads it now, and when it is due again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from connector.state.database import Connection

LEASE = 180.0
"""Seconds that one reading may take; then another replica may begin its own, which harms nothing."""
LEAST_PAUSE = 15.0
"""Seconds between readings of an account for which webhooks ask: Meta allows 200 calls an hour and account without a
registered number (…/about-the-platform, business use case limits)."""

_EXPECT = """
INSERT INTO outbound.account_syncs (waba_id) SELECT * FROM unnest($1::text[]) ON CONFLICT DO NOTHING
"""
_CLAIM = """
UPDATE outbound.account_syncs SET lease_until = now() + make_interval(secs => $3) WHERE waba_id = (
    SELECT waba_id FROM outbound.account_syncs WHERE waba_id = ANY($1::text[]) AND lease_until <= now() AND (
        asked_at IS NULL OR asked_at <= now() - make_interval(secs => $2)
        OR (wanted_at > asked_at AND asked_at <= now() - make_interval(secs => $4)))
    ORDER BY asked_at NULLS FIRST LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING waba_id, failures
"""
_WANT = """
INSERT INTO outbound.account_syncs AS s (waba_id, wanted_at) SELECT w, now() FROM unnest($1::text[]) AS n (w)
ON CONFLICT (waba_id) DO UPDATE SET wanted_at = excluded.wanted_at
"""
_DONE = """
INSERT INTO outbound.account_syncs (waba_id, asked_at, templates) VALUES ($1, $2, $3) ON CONFLICT (waba_id) DO UPDATE
SET asked_at = excluded.asked_at, templates = excluded.templates, problem = '', failures = 0, lease_until = '-infinity'
"""
_FAILED = """
UPDATE outbound.account_syncs SET problem = $2, failures = failures + 1,
    lease_until = now() + make_interval(secs => $3) WHERE waba_id = $1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedAccount:
    """An account to read. `failures`: tries in a row that came to nothing."""

    waba_id: str
    failures: int


async def claim_account(
    connection: Connection, accounts: Collection[str], *, every: float
) -> ClaimedAccount | None:
    """The account that is due, held for the lease. `every`: seconds between readings that nobody asked for."""
    ordered = sorted(accounts)
    await connection.execute(_EXPECT, ordered)
    row = await connection.fetchrow(_CLAIM, ordered, every, LEASE, LEAST_PAUSE)
    return None if row is None else ClaimedAccount(**dict(row))


async def want_sync(connection: Connection, accounts: Collection[str]) -> None:
    """Have these accounts read as soon as somebody can."""
    if accounts:
        await connection.execute(_WANT, sorted(accounts))


async def note_read(connection: Connection, waba_id: str, *, asked_at: datetime, templates: int) -> None:
    """The account was read as a whole, by a reading that began at `asked_at`."""
    await connection.execute(_DONE, waba_id, asked_at, templates)


async def note_failure(connection: Connection, waba_id: str, *, problem: str, wait: float) -> None:
    """It was not; the next try is in `wait` seconds."""
    await connection.execute(_FAILED, waba_id, problem, wait)


async def synced_at(connection: Connection, accounts: Collection[str]) -> datetime | None:
    """Since when the oldest of these accounts' readings is true; None: one was never read."""
    moment: datetime | None = await connection.fetchval(
        "SELECT CASE WHEN count(asked_at) = cardinality($1::text[]) THEN min(asked_at) END "
        "FROM outbound.account_syncs WHERE waba_id = ANY($1::text[])",
        sorted(set(accounts)),
    )
    return moment
