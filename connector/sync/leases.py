"""Holding the claimed contacts while a drain works, and knowing when that is no longer certain."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

import asyncpg
import structlog

from connector.errors import ConnectorError, Transient
from connector.state.database import transaction
from connector.sync.claims import Claims, LeaseEnds

log = structlog.get_logger(__name__)

RENEW_EVERY = 2.0
"""Seconds between renewals; most drains end before the first."""


def lease_seconds(request_timeout: float) -> float:
    """A lease outlasts any request that was sent under it, also when its process dies right after a renewal.

    It does not outlast what the CRM may make of a request whose answer is lost: such a lease is made to linger.
    """
    return request_timeout + 2 * RENEW_EVERY + 1.0


def longest_lease(request_timeout: float, late_write: float) -> float:
    """Seconds from now that no lease ends after, also one that another replica with longer settings took."""
    return 2 * max(lease_seconds(request_timeout), request_timeout + late_write) + 60.0


@dataclass(slots=True)
class HeldLease:
    """Until when (monotonic seconds) nobody else writes the claimed contacts.

    `leased_until`: what their rows say (the database's time). One that ran out is not taken up again, as others may
    have written meanwhile. `lock`: held by a renewal and by the commits that go by `leased_until`.

    `lingering`: whose request may still be at work in the CRM, its answer lost, until `lingers_until` (monotonic
    seconds): their leases are kept when the others' are given back.
    """

    until: float
    leased_until: datetime
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    lingering: set[UUID] = field(default_factory=set)
    lingers_until: float = -math.inf
    _departed: float | None = None

    def must_outlast(self, seconds: float) -> None:
        """Raise `Transient` unless a call of `seconds`, which departs now, ends within the lease.

        A process that was frozen may wake up after its lease: by then others write these contacts.
        """
        now = time.monotonic()
        if now + seconds > self.until:
            raise Transient(
                "The lease on the claimed contacts would end before the call does.", retry_after=0.5
            )
        self._departed = now

    def linger(self, contacts: Iterable[UUID], seconds: float) -> float:
        """Keep the leases of these contacts until `seconds` after the last call departed; how long that is from now."""
        now = time.monotonic()
        self.lingering.update(contacts)
        self.lingers_until = max(
            self.lingers_until, (now if self._departed is None else self._departed) + seconds
        )
        return self.lingers_until - now

    def ends(self, contacts: Iterable[UUID]) -> LeaseEnds:
        """What becomes of the leases of `contacts`, all those that are held, when their drain ends now."""
        return LeaseEnds(
            release=[contact for contact in contacts if contact not in self.lingering],
            linger=sorted(self.lingering),
            seconds=max(0.0, self.lingers_until - time.monotonic()),
            leased_until=self.leased_until,
        )


@asynccontextmanager
async def held(
    pool: asyncpg.Pool,
    claims: Claims,
    contacts: Sequence[UUID],
    *,
    until: float,
    leased_until: datetime,
    seconds: float,
) -> AsyncIterator[HeldLease]:
    """Renew the leases while the body runs; give them back at once when it fails for the CRM or the database."""
    lease = HeldLease(until=until, leased_until=leased_until)
    renewing = asyncio.create_task(_renew(pool, claims, contacts, lease, seconds))
    try:
        yield lease
    except ConnectorError:
        await _give_back(pool, claims, contacts, lease)
        raise
    finally:
        renewing.cancel()


async def _renew(
    pool: asyncpg.Pool, claims: Claims, contacts: Sequence[UUID], lease: HeldLease, seconds: float
) -> None:
    while True:
        await asyncio.sleep(RENEW_EVERY)
        try:
            async with lease.lock:
                asked = time.monotonic()
                async with transaction(pool) as connection:
                    renewed = await claims.renew(
                        connection, contacts, lease=seconds, leased_until=lease.leased_until
                    )
                if renewed is None:
                    lease.until = -math.inf
                    log.warning("a lease ran out and is not held any more", sink=claims.schema)
                    return
                lease.until, lease.leased_until = asked + seconds, renewed
        except ConnectorError as error:
            log.info("a lease could not be renewed", sink=claims.schema, reason=error.message)


async def _give_back(pool: asyncpg.Pool, claims: Claims, contacts: Sequence[UUID], lease: HeldLease) -> None:
    try:
        async with lease.lock, transaction(pool) as connection:
            await claims.give_back(connection, lease.ends(contacts))
    except ConnectorError:
        log.info("leases could not be given back; they run out by themselves", sink=claims.schema)
