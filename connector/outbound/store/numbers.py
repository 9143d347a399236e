"""The business's numbers, as Graph listed them and as webhooks changed them since."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from connector.outbound.numbers import OwnNumber
from connector.state.database import Connection

_SAVE = """
INSERT INTO outbound.numbers AS o (phone_number_id, waba_id, display_phone, verified_name, quality, status, throughput,
    coexistence, limit_tier, read_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[],
                     $9::text[], $10::timestamptz[])
ON CONFLICT (phone_number_id) DO UPDATE SET waba_id = excluded.waba_id, display_phone = excluded.display_phone,
    verified_name = excluded.verified_name, quality = excluded.quality, status = excluded.status,
    throughput = excluded.throughput, coexistence = excluded.coexistence, limit_tier = excluded.limit_tier,
    read_at = excluded.read_at
WHERE o.read_at < excluded.read_at
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class NumberReading:
    """One number as Graph showed it. Empty: it did not say."""

    phone_number_id: str
    waba_id: str
    display_phone: str
    verified_name: str
    quality: str
    status: str
    throughput: str
    coexistence: bool
    limit_tier: str
    read_at: datetime


async def save_numbers(connection: Connection, readings: Iterable[NumberReading]) -> None:
    """Write what was read, unless something newer is there."""
    rows = sorted(readings, key=lambda one: one.phone_number_id)
    if rows:
        await connection.execute(
            _SAVE,
            [row.phone_number_id for row in rows],
            [row.waba_id for row in rows],
            [row.display_phone for row in rows],
            [row.verified_name for row in rows],
            [row.quality for row in rows],
            [row.status for row in rows],
            [row.throughput for row in rows],
            [row.coexistence for row in rows],
            [row.limit_tier for row in rows],
            [row.read_at for row in rows],
        )


async def forget_numbers(connection: Connection, waba_id: str, *, kept: Collection[str]) -> None:
    """The account has these numbers and no others any more."""
    await connection.execute(
        "DELETE FROM outbound.numbers WHERE waba_id = $1 AND NOT phone_number_id = ANY($2::text[])",
        waba_id,
        sorted(kept),
    )


async def load_numbers(connection: Connection) -> Sequence[OwnNumber]:
    """All numbers, by id."""
    rows = await connection.fetch(
        "SELECT phone_number_id, display_phone FROM outbound.numbers ORDER BY phone_number_id"
    )
    return [OwnNumber(**dict(row)) for row in rows]
